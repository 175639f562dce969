"""Formats, roles and tables."""

from __future__ import annotations

import pytest

from mmfree.contract.pow2 import LAYER_SEGMENTS, ROLES, SEGMENT_ROLES, Formats
from mmfree.errors import InputError


@pytest.mark.parametrize(
    ("role", "gate", "fraction_bits"),
    [
        ("i", "hard", 4),
        ("gate", "sigmoid", 4),
        ("f", "hard", 6),
        ("f", "sigmoid", 4),
        ("f", "signed", 6),
    ]
    + [(role, gate, 9) for role in ("o", "down", "head") for gate in ("hard", "sigmoid")],
)
def test_output_formats_are_those_of_the_text(role: str, gate: str, fraction_bits: int) -> None:
    """docs/arithmetic.md, 7."""
    assert ROLES[role].fraction_bits(gate) == fraction_bits
    assert ROLES[role].shift_base(2, gate) == 9 - 2 - fraction_bits


def test_every_role_belongs_to_one_segment() -> None:
    roles = [role for kind in (*LAYER_SEGMENTS, "head") for role in SEGMENT_ROLES[kind]]
    assert sorted(roles) == sorted(ROLES)


@pytest.mark.parametrize("value", [-1, 16, 4.0, True, "4"])
def test_bad_formats_are_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"formats\.state_fb must be an integer in 0\.\.15"):
        Formats(state_fb=value)  # type: ignore[arg-type]

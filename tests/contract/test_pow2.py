"""Formats, roles and tables."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal, localcontext

import pytest

from mmfree.contract import pow2
from mmfree.contract.pow2 import (
    DEFAULT_FORMATS,
    LAYER_SEGMENTS,
    ROLES,
    SEGMENT_MODULES,
    SEGMENT_ROLES,
    Formats,
    gumbel_table,
    reciprocal_root_table,
    sigmoid_table,
    silu_table,
)
from mmfree.errors import InputError
from tests.support.integers.exactly import rounded, sigmoid


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


@pytest.mark.parametrize("formats", [Formats(), Formats(index_fb=3, forget_fb=10, state_fb=9)])
def test_tables_are_right_to_the_last_bit(formats: Formats) -> None:
    """Every entry of each, in 40 decimal digits; docs/arithmetic.md, 8."""
    gates, silus = sigmoid_table(formats), silu_table(formats)
    assert {(table.shape, table.dtype.name) for table in (gates, silus)} == {((256,), "int16")}
    with localcontext(prec=40):
        step = Decimal(1) / 2**formats.index_fb
        for n in range(-128, 128):
            share = sigmoid(n * step)
            assert gates[n + 128] == rounded(share * 2**formats.forget_fb)
            assert silus[n + 128] == rounded(n * step * share * 2**formats.state_fb)


def test_noise_is_right_to_the_last_bit() -> None:
    """u lies between exp(-exp(-x)) of half a step below an entry and of half a step above."""
    table = [int(value) for value in gumbel_table()]
    assert len(table) == 2048
    with localcontext(prec=40):
        middles = [Decimal(2 * j + 1) / 2048 for j in range(1024)]
        for place, u in enumerate([*middles, *(1 - (1 - middle) / 1024 for middle in middles)]):
            low, high = (
                (-(-(2 * table[place] + side) / Decimal(1024)).exp()).exp() for side in (-1, 1)
            )
            assert low <= u < high
    # -log(-log(1/2048)) = -2.03
    assert gumbel_table(Formats(residual_fb=0))[0] == -2


def test_reciprocal_roots_are_the_nearest_integers() -> None:
    """RT[i] = r where r - 1/2 <= 256 sqrt(64 / (i + 1/2)) < r + 1/2, squared; section 6."""
    table = [int(value) for value in reciprocal_root_table()]
    assert (len(table), table[:64]) == (256, [0] * 64)
    for i in range(64, 256):
        square = 256**2 * 64 * 8  # of twice the root, times 2 i + 1
        assert (
            (2 * table[i] - 1) ** 2 * (2 * i + 1) <= square < (2 * table[i] + 1) ** 2 * (2 * i + 1)
        )


def test_constants_are_those_of_the_text() -> None:
    assert asdict(DEFAULT_FORMATS) == {
        "residual_fb": 9,
        "index_fb": 4,
        "gate_sigmoid_fb": 4,
        "gate_hard_fb": 6,
        "forget_fb": 8,
        "state_fb": 11,
    }
    assert (pow2.VALUE_BITS, pow2.MAX_FAN_IN, pow2.TABLE_ENTRIES) == (16, 65535, 256)
    assert (pow2.TEMPERATURE_FB, pow2.TEMPERATURE_MAX, pow2.NOISE_INDEX_BITS) == (6, 255, 10)
    assert (pow2.SHIFT_BASE_MIN, pow2.SHIFT_BASE_MAX) == (-5, 13)
    assert (pow2.NORM_EXPONENT_MIN, pow2.NORM_EXPONENT_MAX) == (6, 15)
    assert pow2.GATES == ("sigmoid", "hard", "signed")
    assert LAYER_SEGMENTS == ("gates", "output", "glu", "down")
    assert SEGMENT_ROLES == {
        "gates": ("i", "f", "g"),
        "output": ("o",),
        "glu": ("gate", "up"),
        "down": ("down",),
        "head": ("head",),
    }
    # The order of the chip's counters.
    sites = ["quantizer", "projection", "gate", "state", "product", "residual", "logit"]
    assert list(pow2.SATURATION_SITES) == sites
    assert SEGMENT_MODULES == {"gates": "mixer", "output": "mixer", "glu": "glu", "down": "glu"}


def test_formats_of_a_role_are_those_that_are_given() -> None:
    formats = Formats(residual_fb=7, index_fb=3, gate_sigmoid_fb=2, gate_hard_fb=5)
    found = {name: role.fraction_bits("hard", formats) for name, role in ROLES.items()}
    assert found == {
        **dict.fromkeys(("i", "g", "gate", "up"), 3),
        **dict.fromkeys(("o", "down", "head"), 7),
        "f": 5,
    }
    assert ROLES["f"].fraction_bits("sigmoid", formats) == 2
    assert ROLES["down"].shift_base(-4, "hard", formats) == 9 + 4 - 7
    assert {name for name, role in ROLES.items() if role.width_bits == 16} == {
        *("f", "o", "down", "head")
    }


def test_every_role_belongs_to_one_segment() -> None:
    roles = [role for kind in (*LAYER_SEGMENTS, "head") for role in SEGMENT_ROLES[kind]]
    assert sorted(roles) == sorted(ROLES)


@pytest.mark.parametrize("value", [-1, 16, 4.0, True, "4"])
def test_bad_formats_are_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"formats\.state_fb must be an integer in 0\.\.15"):
        Formats(state_fb=value)  # type: ignore[arg-type]

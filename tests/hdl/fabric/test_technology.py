"""Which technology a design is elaborated for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hdl.fabric.technology import Technology, technology_of


@pytest.mark.parametrize(
    ("platform", "technology"),
    [
        (None, Technology.GENERIC),
        *((technology, technology) for technology in Technology),
        (SimpleNamespace(device="LFE5U-85F"), Technology.ECP5),
        (SimpleNamespace(device="LFE5UM5G-45F"), Technology.ECP5),
        (SimpleNamespace(device="xczu3eg"), Technology.GENERIC),
        (SimpleNamespace(device="iCE40LFE5U"), Technology.GENERIC),
        (SimpleNamespace(), Technology.GENERIC),
    ],
    ids=str,
)
def test_a_technology_a_board_or_nothing(platform: object, technology: Technology) -> None:
    assert technology_of(platform) is technology

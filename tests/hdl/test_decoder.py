"""The weight decoder: every code."""

from __future__ import annotations

import pytest

from hdl.decoder import Decoder
from mmfree.weight_codes import WEIGHT_CODES
from tests.hdl.bench import Item, play


@pytest.mark.parametrize("name", sorted(WEIGHT_CODES))
def test_every_code_of_every_place(name: str) -> None:
    """Two groups and a lane more, so that the last group is cut."""
    code = WEIGHT_CODES[name]
    lanes = 2 * code.group + 1
    entries = list(code.codes.items())
    items: list[Item] = []
    expected = []
    for index, (trits, number) in enumerate(entries):
        other, other_number = entries[(index + 7) % len(entries)]
        items.append({"word": number | other_number << code.bits | number << 2 * code.bits})
        values = [*trits, *other, trits[0]]
        expected.append(sum((value & 3) << 2 * lane for lane, value in enumerate(values)))
    results = play(Decoder(lanes, name), items, Decoder.LATENCY, ["o"])
    assert [result["o"] for result in results] == expected

"""The weight decoder: every code in every place of every group of rows."""

from __future__ import annotations

import pytest

from hdl.array.decoder import Decoder
from mmfree.chip.weight_codes import WEIGHT_CODES
from tests.support.hdl.bench import Item, play
from tests.support.hdl.values import small_design


@pytest.mark.parametrize("rows", [8, 5, 6])
@pytest.mark.parametrize("name", sorted(WEIGHT_CODES))
def test_every_code_of_every_place(name: str, rows: int) -> None:
    """A group of rows has 16, 20 or 12 lanes: its last code may be cut."""
    design = small_design(rows, 4, 4, weight_code=name)
    code, lanes = WEIGHT_CODES[name], design.group_rows * design.columns
    places = -(-lanes // code.group)
    entries = list(code.codes.items())
    items: list[Item] = []
    expected = []
    for index in range(len(entries)):
        words, decoded = [], []
        for group in range(design.num_groups):
            chosen = [
                entries[(index + 7 * (group * places + place)) % len(entries)]
                for place in range(places)
            ]
            words.append(
                sum(number << code.bits * place for place, (_, number) in enumerate(chosen))
            )
            trits = [trit for entry, _ in chosen for trit in entry][:lanes]
            decoded.append(sum((trit & 3) << 2 * lane for lane, trit in enumerate(trits)))
        items.append({"words": words})
        expected.append(decoded)
    results = play(Decoder(design), items, Decoder.LATENCY, ["o"])
    assert [result["o"] for result in results] == expected

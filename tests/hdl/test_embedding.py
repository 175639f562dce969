"""Embedding: every row, at an odd width and every shift."""

from __future__ import annotations

import numpy as np
import pytest

from hdl.embedding import Embedding
from mmfree.config import ModelConfig
from mmfree.design import design_for
from mmfree.layout import layout
from tests.hdl.bench import Item, play, with_idle
from tests.hdl.values import IDLE
from tests.random_tapes import random_tape

CONFIG = ModelConfig(vocab_size=5, head_size=3, hidden_size=11, intermediate_size=20, num_layers=1)
TAPE = random_tape(np.random.default_rng(0), **CONFIG.to_dict())


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize("shift", [0, 3, 8])
def test_rows_become_vectors(shift: int, idle: float) -> None:
    design = design_for(TAPE, 16)
    words = layout(TAPE, design).words["embedding"]
    tiles = design.embedding_tiles
    items: list[Item] = [
        {"valid": 1, "id": token, "tile": tile, "last": tile == tiles - 1, "shift": shift}
        for token in (3, 0, 4, 4, 1, 2)
        for tile in range(tiles)
    ]
    # A row's words are read one after another; idle cycles come between rows.
    spread: list[Item | None] = []
    for first in with_idle([{"row": row} for row in range(6)], idle):
        spread += [None] if first is None else items[first["row"] * tiles : (first["row"] + 1) * tiles]
    outputs = ["x", "o_valid", "o_tile", "o_last"]
    block, idle_values = Embedding(design), {"valid": 0, "shift": shift}
    results = play(block, spread, Embedding.LATENCY, outputs, idle_values, (block.words, words))
    for item, result in zip(items, results, strict=True):
        start = item["tile"] * design.columns
        expected = TAPE.embedding[item["id"], start : start + design.columns].astype(int) << shift
        padding = [0] * (design.columns - len(expected))
        assert result["x"] == expected.tolist() + padding
        assert (result["o_valid"], result["o_tile"]) == (1, item["tile"])
        assert result["o_last"] == item["last"]

"""Embedding: every row, at odd widths, every shift and several widths of the post-processing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdl.absmax.parts import Scaled
from hdl.memory.embedding import Embedding
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for, design_of_array
from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.golden.absmax import AbsmaxGolden
from tests.support.hdl.bench import fill, simulate, to_python
from tests.support.hdl.values import IDLE
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.random_tapes import random_tape

CONFIG = ModelConfig(vocab_size=5, head_size=3, hidden_size=11, intermediate_size=20, num_layers=1)
TAPE = random_tape(np.random.default_rng(0), **CONFIG.to_dict())
TOKENS = (3, 0, 4, 4, 1, 2)


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("tiles", [1, 2, 3])
@pytest.mark.parametrize("shift", [0, 3, 5, 8])
def test_rows_become_vectors(shift: int, tiles: int, width: int, idle: float) -> None:
    """P elements at a time, 0 after the row's end; ``vector_done`` ``ending`` cycles earlier.

    Rows follow each other directly, or with idle cycles between them.
    """
    design = replace(design_for(TAPE, 16), post_width=width, bias_words=12, state_words=12)
    image, block, rng = layout(TAPE, design), Embedding(design), random.Random(tiles)
    groups = tiles * design.columns // width
    starts: dict[int, int] = {}
    due: dict[int, tuple[int, int]] = {}
    cycle = 0
    for token in TOKENS:
        while rng.random() < idle:
            cycle += 1
        starts[cycle] = token
        due |= {cycle + block.latency + group: (token, group) for group in range(groups)}
        cycle += groups
    endings = {start + block.latency + groups - 1 - block.ending for start in starts}

    async def bench(ctx: Any) -> None:
        fill(ctx, block.words, image.words["embedding"])
        ctx.set(block.segment.header, {"tiles": tiles, "base": [shift, 0, 0]})
        for cycle in range(max(due) + 3):
            ctx.set(block.row.start, cycle in starts)
            ctx.set(block.row.id, starts.get(cycle, rng.randrange(CONFIG.vocab_size)))
            await ctx.tick()
            assert ctx.get(block.vector_done) == (cycle + 1 in endings)
            assert not ctx.get(block.parity_error)
            assert ctx.get(block.write.enable) == (cycle + 1 in due)
            if cycle + 1 in due:
                token, group = due[cycle + 1]
                row = [*(int(value) << shift for value in TAPE.embedding[token]), 0]
                assert ctx.get(block.write.group) == group
                assert (
                    to_python(ctx.get(block.write.data)) == row[group * width : (group + 1) * width]
                )

    simulate(block, bench)


@pytest.mark.parametrize("fraction_bits", [11, 20, 40])
@pytest.mark.parametrize(("width", "turns"), [(1, 2), (4, 2), (2, 0)])
def test_rows_of_absmax_have_a_scale_and_leave_in_turns(
    width: int, turns: int, fraction_bits: int, tmp_path: Path
) -> None:
    """A row's scale comes with it; a write in 2^turns cycles, ``vector_done`` with the last."""
    config = AbsmaxConfig(vocab_size=5, hidden_size=11, intermediate_size=20, num_layers=1)
    tape = random_absmax_tape(tmp_path, config, 2, embedding_fb=fraction_bits)
    design = design_of_array(config, 4, 4, width)
    block = Embedding(design, expand=Scaled(design))
    words, rows = layout(tape, design).words["embedding"], AbsmaxGolden(tape).embed(np.arange(5))
    tiles = design.embedding_tiles
    header = {"tiles": tiles, "base": [fraction_bits - 18, 0, 0], "turns": turns}

    async def bench(ctx: Any) -> None:
        fill(ctx, block.words, words)
        ctx.set(block.segment.header, header)
        await ctx.tick().repeat(2)
        for token in TOKENS:
            ctx.set(block.row.id, token)
            ctx.set(block.row.start, 1)
            values, writes = list[int](), list[int]()
            for cycle in range(1, block.latency + (tiles * 4 // width << turns) + 4):
                await ctx.tick()
                ctx.set(block.row.start, 0)
                assert not ctx.get(block.parity_error)
                if ctx.get(block.write.enable):
                    assert ctx.get(block.write.group) == len(writes)
                    values += to_python(ctx.get(block.write.data))
                    writes.append(cycle)
                ends = len(values) == tiles * 4 and writes[-1] == cycle
                assert ctx.get(block.vector_done) == ends
            assert writes == [block.latency + (n << turns) for n in range(tiles * 4 // width)]
            assert values == [*rows[token].tolist(), 0]

    simulate(block, bench)


def test_a_parity_error_is_noticed_when_the_word_is_read() -> None:
    design = design_for(TAPE, 16)
    words, block = layout(TAPE, design).words["embedding"], Embedding(design)
    words[design.embedding_rows + 2] ^= 1 << 5  # word 1 of row 2

    async def bench(ctx: Any) -> None:
        fill(ctx, block.words, words)
        ctx.set(block.segment.header, {"tiles": design.embedding_tiles})
        for token in range(CONFIG.vocab_size):
            ctx.set(block.row.id, token)
            ctx.set(block.row.start, 1)
            await ctx.tick()
            ctx.set(block.row.start, 0)
            noticed = 0
            for _ in range(block.latency + design.max_width):
                noticed += ctx.get(block.parity_error)
                await ctx.tick()
            assert bool(noticed) == (token == 2)

    simulate(block, bench)

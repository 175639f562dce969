"""Rows from an external memory: every element, what is found wrong with them, and when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdl.absmax.parts import Scaled
from hdl.memory.sources.embedding import StreamedEmbedding, row_order_cycles
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.memory_image import EMBEDDING, MemoryImage, write_memory_image
from mmfree.chip.memory_map import row_bytes
from mmfree.chip.sizing import design_for_memory
from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.golden.absmax import AbsmaxGolden
from mmfree.tape.pow2 import Tape
from tests.support.hdl.axi_memory import AxiMemory, Pace, TwoClocks
from tests.support.hdl.bench import to_python
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.random_tapes import random_tape

BASE = 0x5_0000_0000
TOKENS = (3, 0, 4, 4)
PATIENCE = 1000


def model(d: int) -> ModelConfig:
    return ModelConfig(vocab_size=5, head_size=3, hidden_size=d, intermediate_size=20, num_layers=1)


def made(
    d: int, memory: str, folder: Path, *, width: int | None = None, room: int = 0
) -> tuple[Tape, Design, MemoryImage]:
    """A tape, a design for it with ``room`` for longer rows, and its image."""
    external = find_memory(memory)
    assert external is not None
    tape = random_tape(np.random.default_rng(d), **model(d).to_dict())
    design = design_for_memory(model(d), external)
    design = replace(design, embedding_width=d + room, max_width=max(design.max_width, d + room))
    if width is not None:
        words = design.bias_words * design.post_width // width
        design = replace(design, post_width=width, bias_words=words, state_words=words)
    return tape, design, write_memory_image(tape, design, folder / "memory.bin")


async def place(ctx: Any, block: StreamedEmbedding, design: Design, image: MemoryImage) -> None:
    settings = [*(BASE + region.offset for region in image.regions), image.words]
    for index, value in enumerate(settings):
        ctx.set(block.settings.index, index)
        ctx.set(block.settings.value, value)
        ctx.set(block.settings.enable, 1)
        await ctx.tick()
    ctx.set(block.settings.enable, 0)


async def read_row(
    ctx: Any, block: StreamedEmbedding, token: int, shift: int, tiles: int, **header: int
) -> tuple[list[int], dict[str, int]]:
    """Elements of a row, as they are written, and in which cycle what happened, from the order."""
    ctx.set(block.segment.header, {"tiles": tiles, "base": [shift, 0, 0], **header})
    ctx.set(block.row.id, token)
    ctx.set(block.row.start, 1)
    values, seen = list[int](), dict[str, int]()
    for cycle in range(1, PATIENCE):
        await ctx.tick()
        ctx.set(block.row.start, 0)
        if ctx.get(block.write.enable):
            assert ctx.get(block.write.group) * len(block.write.data) == len(values)
            values += to_python(ctx.get(block.write.data))
            seen.setdefault("first", cycle)
            seen["last"] = cycle
        for name in ("vector_done", "fault", "response", "timeout", "checked"):
            if ctx.get(getattr(block, name)):
                assert name not in seen, f"{name} twice"
                seen[name] = cycle
        if "checked" in seen and cycle > seen["checked"] + 10:
            return values, seen
    raise AssertionError(f"no row within {PATIENCE} cycles: {seen}")


@pytest.mark.parametrize("shift", [0, 3, 8])
@pytest.mark.parametrize(
    ("d", "memory", "width", "room"),
    [
        (11, "axi64", 1, 0),
        (8, "axi64x2", 2, 0),
        (20, "axi128x4", 4, 0),
        # A design for longer rows: what follows the vector is only checked.
        (11, "axi128x2", 1, 40),
        (70, "axi512x8", 8, 0),
    ],
)
def test_rows_become_vectors(
    d: int, memory: str, width: int, room: int, shift: int, tmp_path: Path
) -> None:
    tape, design, image = made(d, memory, tmp_path, width=width, room=room)
    block, tiles, latency = StreamedEmbedding(design), -(-d // design.columns), 7
    axi = AxiMemory(block.axi, image.path.read_bytes(), BASE, Pace(latency=(latency, latency)))

    async def bench(ctx: Any) -> None:
        ctx.set(block.playing, 1)
        await place(ctx, block, design, image)
        for number, token in enumerate(TOKENS):
            values, seen = await read_row(ctx, block, token, shift, tiles)
            row = [int(value) << shift for value in tape.embedding[token]]
            assert values == row + [0] * (tiles * design.columns - d)
            assert not {"fault", "response", "timeout"} & set(seen)
            assert seen["last"] - seen["vector_done"] == block.ending
            # The first row waits for the settings; the others only for the memory.
            if number and seen["last"] - seen["first"] + 1 == tiles * design.columns // width:
                assert seen["first"] == row_order_cycles(design) + latency + block.first_write
            await ctx.tick().repeat(200)

    TwoClocks(block, phase=0.5).run(bench, [axi])


@pytest.mark.parametrize(("memory", "d"), [("axi64", 11), ("axi128x4", 40)])
def test_rows_of_absmax_begin_with_their_scale(memory: str, d: int, tmp_path: Path) -> None:
    """They leave P elements in 4 cycles; ``vector_done`` comes with the last write."""
    config = AbsmaxConfig(vocab_size=5, hidden_size=d, intermediate_size=20, num_layers=1)
    tape, external = random_absmax_tape(tmp_path, config, 3), find_memory(memory)
    assert external is not None
    design = design_for_memory(config, external)
    image = write_memory_image(tape, design, tmp_path / "memory.bin")
    block, latency = StreamedEmbedding(design, expand=Scaled(design)), 7
    tiles = -(-d // design.columns)
    axi = AxiMemory(block.axi, image.path.read_bytes(), BASE, Pace(latency=(latency, latency)))
    rows, groups = AbsmaxGolden(tape).embed(np.arange(5)), tiles * design.columns
    groups //= design.post_width

    async def bench(ctx: Any) -> None:
        ctx.set(block.playing, 1)
        await place(ctx, block, design, image)
        for number, token in enumerate(TOKENS):
            shift = tape.embedding_fb - 18
            values, seen = await read_row(ctx, block, token, shift, tiles, turns=2)
            assert values == rows[token].tolist() + [0] * (tiles * design.columns - d)
            assert not {"fault", "response", "timeout"} & set(seen)
            assert seen["vector_done"] == seen["last"]
            assert seen["last"] - seen["first"] == 4 * (groups - 1)
            if number:
                due = row_order_cycles(design) + latency + 1 + block.first_write
                assert seen["first"] == due
            await ctx.tick().repeat(200)

    TwoClocks(block, phase=0.5).run(bench, [axi])


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_of_a_row_is_found_when_it_is_read(bit: int, tmp_path: Path) -> None:
    """Of any byte of it: an element, one beyond the vector, or the check word."""
    _, design, image = made(11, "axi64", tmp_path)
    block, data = StreamedEmbedding(design), image.path.read_bytes()
    axi = AxiMemory(block.axi, data, BASE, Pace(latency=(3, 30), withheld=0.3))
    start = image.region(EMBEDDING).offset + 2 * row_bytes(design)

    async def bench(ctx: Any) -> None:
        ctx.set(block.playing, 1)
        await place(ctx, block, design, image)
        # Two tiles of 8, and the check word; what follows is padding.
        for byte in range(0, row_bytes(design), 3):
            flipped = bytearray(data)
            flipped[start + byte] ^= 1 << bit
            axi.data = bytes(flipped)
            _, seen = await read_row(ctx, block, 2, 0, 2)
            assert ("fault" in seen) == (byte < 2 * 8 + 4 or byte < 3 * 8)
            assert seen.get("fault", seen["checked"]) == seen["checked"]
            # Of another row nothing is found.
            _, seen = await read_row(ctx, block, 1, 0, 2)
            assert "fault" not in seen

    TwoClocks(block).run(bench, [axi])


def test_an_error_for_an_answer_and_none_at_all_are_told_of(tmp_path: Path) -> None:
    _, design, image = made(11, "axi64", tmp_path)
    block = StreamedEmbedding(design, timeout=150)
    axi = AxiMemory(block.axi, image.path.read_bytes(), BASE)
    domains = TwoClocks(block)
    row = BASE + image.region(EMBEDDING).offset + 2 * row_bytes(design)

    async def bench(ctx: Any) -> None:
        ctx.set(block.playing, 1)
        await place(ctx, block, design, image)
        axi.errors = {row + 8}
        _, seen = await read_row(ctx, block, 2, 0, 2)
        assert "response" in seen
        axi.errors, axi.silent = (), True
        values, seen = await read_row(ctx, block, 2, 0, 2)
        # The row comes to its end, with anything.
        assert "timeout" in seen
        assert len(values) == 16
        axi.silent = False
        await domains.reset(ctx, domains.bus)
        _, seen = await read_row(ctx, block, 2, 0, 2)
        assert not {"fault", "response", "timeout"} & set(seen)

    domains.run(bench, [axi])

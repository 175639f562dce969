"""Activations: tiles are quantized for the matrices of their own, and read back equal for all."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from hdl.absmax.activations import LATENCY, Activations
from hdl.absmax.norm.elements import vector_words
from hdl.memory.vectors import VectorMemory
from mmfree.chip.header import KIND_CODES, MATRICES_PER_SEGMENT
from mmfree.contract.absmax import CUT_BITS, CUT_EXPONENT_BITS
from mmfree.golden import cuts
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import IDLE, small_design

COLUMNS = 4
LARGEST_READ = 3
"""Cycles from a fresh beat until its vector's largest element is looked at."""

NAMES = ("mantissa", "exponent", "negative")
Words = list[list[tuple[int, int, int]]]


def element(packed: int) -> tuple[int, int, int]:
    exponent = packed >> CUT_BITS & ((1 << CUT_EXPONENT_BITS) - 1)
    return packed & ((1 << CUT_BITS) - 1), exponent, packed >> CUT_BITS + CUT_EXPONENT_BITS


def structures(elements: list[tuple[int, int, int]]) -> list[dict[str, int]]:
    return [dict(zip(NAMES, one, strict=True)) for one in elements]


class Vector:
    """A vector's words with garbage after its end, its largest element, and its activations."""

    def __init__(self, rng: random.Random, size: int, reach: int) -> None:
        values = [rng.randrange(-(1 << reach), 1 << reach) >> rng.randrange(9) for _ in range(size)]
        v = cuts.cut(np.array(values, dtype=np.int64))
        largest = cuts.largest(v)
        tiles = -(-size // COLUMNS)
        elements = [element(int(packed)) for packed in v.packed()]
        elements += [element(rng.getrandbits(36)) for _ in range(tiles * COLUMNS - size)]
        q = cuts.quantize(v, largest).tolist() + [0] * (tiles * COLUMNS - size)
        self.words = [elements[n : n + COLUMNS] for n in range(0, len(elements), COLUMNS)]
        self.tiles: list[list[int]] = [q[n : n + COLUMNS] for n in range(0, len(q), COLUMNS)]
        self.largest = element(int(largest.packed()[0]))


class Bench:
    """Plays segments of three row blocks, and compares all that leaves the block."""

    def __init__(self, size: int, hidden: int, idle: float) -> None:
        self.size, self.idle = size, idle
        self.design = small_design(
            2, COLUMNS, size, embedding_width=hidden, arithmetic="absmax", value_bits=32
        )
        self.block = Activations(self.design)
        self.rng = random.Random(size)
        self.compared = 0

    async def segment(self, ctx: Any, kind: str, matrices: int, own: int, vectors: Any) -> None:
        """``own``: the first matrices, which have activations of their own."""
        block, rng = self.block, self.rng
        tiles = len(vectors[0].words)
        tail = self.size - (tiles - 1) * COLUMNS
        ctx.set(block.segment.header, {"kind": KIND_CODES[kind], "tail": tail})
        memory = {}
        for slot, vector in enumerate(vectors):
            for tile, word in enumerate(vector.words):
                memory[slot * self.design.embedding_tiles + tile] = word
        await ctx.tick()
        waiting = [
            (visit == 0 and matrix < own, matrix, tile)
            for visit in range(3)
            for matrix in range(matrices)
            for tile in range(tiles)
        ]
        due: dict[int, tuple[int, int]] = {}
        looked: dict[int, int] = {}
        addresses = [0] * VectorMemory.LATENCY
        cycle = 0
        while waiting or due:
            valid = bool(waiting) and rng.random() >= self.idle
            fresh, matrix, tile = rng.getrandbits(1), rng.randrange(3), rng.randrange(tiles)
            if valid:
                fresh, matrix, tile = waiting.pop(0)
            slot = matrix if kind == "gates" else 0
            beat = {"valid": valid, "first": tile == 0, "last": tile == tiles - 1}
            ctx.set(block.beat, {**beat, "fresh": fresh, "matrix": matrix})
            ctx.set(block.tile, tile)
            if valid:
                due[cycle + LATENCY] = slot, tile
                looked[cycle + LARGEST_READ] = slot
            # The vector memory answers LATENCY cycles after its address; anything but the word of
            # a fresh tile may be garbage.
            garbage = [element(rng.getrandbits(36)) for _ in range(COLUMNS)]
            ctx.set(block.v.data, structures(memory.get(addresses.pop(0), garbage)))
            largest = [element(rng.getrandbits(36)) for _ in range(MATRICES_PER_SEGMENT)]
            if cycle in looked:
                slot = looked.pop(cycle)
                largest[slot] = vectors[slot].largest
            ctx.set(block.largest, structures(largest))
            addresses.append(ctx.get(block.v.address))
            await ctx.tick()
            cycle += 1
            leaves = ctx.get(block.tiles.beat)
            assert leaves.valid == (cycle in due)
            if cycle in due:
                slot, tile = due.pop(cycle)
                assert to_python(ctx.get(block.tiles.x)) == vectors[slot].tiles[tile]
                assert (leaves.first, leaves.last) == (tile == 0, tile == tiles - 1)
                self.compared += 1


@pytest.mark.parametrize(("size", "hidden"), [(1, 1), (4, 8), (7, 8), (8, 8), (19, 20), (20, 4)])
@pytest.mark.parametrize("idle", IDLE)
def test_every_row_block_gives_the_golden_vectors(size: int, hidden: int, idle: float) -> None:
    """Three vectors for gates, one for two matrices of glu, one for a single matrix; twice."""
    bench = Bench(size, hidden, idle)
    expected = 0

    async def run(ctx: Any) -> None:
        nonlocal expected
        for reach in (60, 5):
            for kind, matrices, own in (
                ("gates", 3, 3),
                ("glu", 2, 1),
                ("glu", 2, 2),
                ("output", 1, 1),
            ):
                if kind == "gates" and size > hidden:
                    continue
                count = own if kind == "gates" else 1
                vectors = [Vector(bench.rng, size, reach) for _ in range(count)]
                await bench.segment(ctx, kind, matrices, own, vectors)
                expected += 3 * matrices * len(vectors[0].words)

    simulate(bench.block, run)
    assert bench.compared == expected > 0


@pytest.mark.parametrize(("size", "hidden", "words"), [(20, 8, 6), (40, 8, 10), (24, 8, 6)])
def test_the_memory_holds_three_vectors_of_gates_or_one_of_another_kind(
    size: int, hidden: int, words: int
) -> None:
    design = small_design(
        2, COLUMNS, size, embedding_width=hidden, arithmetic="absmax", value_bits=32
    )
    assert vector_words(design) == words

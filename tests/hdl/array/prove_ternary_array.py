"""The ternary array: its sums are those of a plain sum of x, -x and 0, tile after tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add, or_

from amaranth.hdl import Const, Mux, Signal, Value, signed

from hdl.array.ternary_array import CHAIN, TernaryArray
from hdl.fabric.technology import Technology
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Inside, Proof

LARGEST = 128
"""The largest magnitude of an activation."""


def sums(
    rows: int, columns: int, tiles: int, technology: Technology = Technology.GENERIC
) -> Callable[[], Bench]:
    """Every row of an array; the widest vector has ``tiles`` tiles."""

    def build() -> Bench:
        design = small_design(rows, columns, tiles * columns)
        bench = Bench(TernaryArray(design))
        m, block = bench.m, bench.block
        beat, results = block.tiles.beat, block.sums
        registers = _Registers(bench.inside(block, technology))
        for group in range(design.num_groups):
            # The group's own time: its weights come when the activations have passed to it.
            valid, first, last = (bench.past(v, group) for v in (beat.valid, beat.first, beat.last))
            x = [bench.past(block.tiles.x[c], group) for c in range(columns)]
            trits = [block.w[group][n : n + 2] for n in range(0, len(block.w[group]), 2)]
            bench.assume(
                f"group {group}: each lane's code is 0, 1 or 3",
                ~valid | ~reduce(or_, [trit == 2 for trit in trits]),
                by="the layout of an image; what has other codes fails the check of the weights",
            )
            arrived, begins, ends = (
                bench.past(flag, block.latency - 1) for flag in (valid, first, last)
            )
            count = Signal(range(tiles + 2), name=f"count_{group}")
            with m.If(arrived):
                m.d.sync += count.eq(Mux(begins, 1, count + 1))
            bench.assume(
                f"group {group}: a row block has no more tiles than the widest vector",
                ~arrived | begins | (count < tiles),
                by="Sequencer",
                proof="sequencer_tiles",
            )
            bench.lemma(count <= tiles)
            for row in range(design.group_rows):
                lanes = [
                    Mux(trit[0], Mux(trit[1], -value, value), 0)
                    for value, trit in zip(x, trits[row * columns :][:columns], strict=True)
                ]
                if technology is Technology.ULTRASCALE_PLUS:
                    tile = bench.past(reduce(add, lanes), block.latency - 1)
                else:
                    owed = [trit[1] for trit in trits[row * columns :][:columns]]
                    tile = _tile(bench, registers, lanes, owed, valid)
                total = Signal(signed(24), name=f"total_{group}_{row}")
                with m.If(arrived):
                    m.d.sync += total.eq(Mux(begins, 0, total) + tile)
                number = group * design.group_rows + row
                bench.prove(f"row {number}: the sum is exact", results.acc[number] == total)
                bound = count * (LARGEST * columns)
                bench.prove(
                    f"row {number}: no larger than 128 for each element",
                    (total <= bound) & (total >= -bound),
                )
            bench.prove(
                f"group {group}: sums are valid after a row block's last tile",
                results.valid[group] == bench.past(arrived & ends),
            )
        largest = Const(LARGEST * columns * tiles)
        bench.cover("the largest sum", results.valid[-1] & (results.acc[-1] == largest))
        return bench

    return build


class _Registers:
    """The registers of the array's chains and trees, row after row."""

    def __init__(self, inner: Inside) -> None:
        self.first: Iterator[Signal] = iter(inner.all("total"))
        self.following: Iterator[Signal] = iter(inner.all("following"))
        self.node: Iterator[Signal] = iter(inner.all("node"))


def _tile(
    bench: Bench, registers: _Registers, lanes: list[Value], negative: list[Value], valid: Value
) -> Value:
    """Sum of a tile's lanes, in registers beside the array's own: each of these is the sum so far,
    less the 1 that the first lane of its last chain still owes.
    """
    chain = min(CHAIN, len(lanes))
    nodes = []
    for c in range(0, len(lanes), chain):
        total: Value = Const(0, signed(8))
        for k in range(chain):
            total = bench.past(total + bench.past(lanes[c + k], k))
            owed = bench.past(negative[c], k + 1)
            register = next(registers.following if k else registers.first)
            bench.lemma(~bench.past(valid, k + 1) | (register + owed == total))
        nodes.append((total, owed))
    cycles = chain
    while len(nodes) > 1:
        cycles += 1
        level = []
        for (left, _), (right, owed) in zip(nodes[::2], nodes[1::2], strict=True):
            total, owed = bench.past(left + right), bench.past(owed)
            register = next(registers.node)
            bench.lemma(~bench.past(valid, cycles) | (register + owed == total))
            level.append((total, owed))
        nodes = level
    return nodes[0][0]


PROOFS = [
    Proof("ternary_array_2x1", sums(1, 2, 3), depth=6, section="7"),
    Proof("ternary_array_4x1", sums(1, 4, 3), depth=8, section="7", quick=True),
    Proof("ternary_array_8x1", sums(1, 8, 2), depth=9, section="7"),
    Proof("ternary_array_4x6", sums(6, 4, 3), depth=8, section="7"),
    *(
        Proof(
            f"ternary_array_4x1_{technology.name.lower()}",
            sums(1, 4, 3, technology),
            depth=8,
            section="7",
            technology=technology,
        )
        for technology in (Technology.ECP5, Technology.ULTRASCALE_PLUS)
    ),
]

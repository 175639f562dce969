"""The RMS norm: which parts it takes up, their sum of squares, and section 6 of the contract."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory

from hdl.arithmetic.square import LATENCY as SQUARE_LATENCY
from hdl.fabric.pipeline import Timed
from hdl.pow2.rms_norm import SUM_BITS, RMSNorm
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT
from mmfree.contract.pow2 import reciprocal_root_table
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.product_tree import product_tree

DESIGN = small_design(1, 4, 8)


class OpenNorm(RMSNorm):
    """The norm, and what passes between its steps."""

    def _take_up(self, m: Module) -> tuple[Value, Value, Value, Value]:
        self.part = super()._take_up(m)
        return self.part

    def _sum_of_squares(self, m: Module) -> tuple[Value, Value]:
        self.total, self.summed = super()._sum_of_squares(m)
        return self.total, self.summed

    def _scale(self, m: Module, complete: Timed) -> None:
        self.complete = complete
        super()._scale(m, complete)


class VectorBench(Bench):
    """Vectors of any numbers of tiles, at any times.

    ``came``: tiles of a vector so far; ``ended``: they are all. ``taken``: parts of them that were
    taken up; ``taking``: one more; ``age``: cycles since the last one was, 0 before, not counted on
    from ``latency``. The conditions say what the block's own counters and flags stand for.
    """

    def __init__(self, design: Design) -> None:
        self.norm = block = OpenNorm(design)
        super().__init__(block)
        self.inner = self.inside(block)
        beat, load, m = block.tiles.beat, block.segment.load, self.m
        self.words = words = design.max_tiles
        self.came, self.ended = Signal(range(words + 1)), Signal()
        self.taken, self.age = Signal(range(words * block.parts + 1)), Signal(8)
        self.all_parts = self.came * block.parts
        self.taking = self.taken < self.all_parts
        self.last = self.taking & self.ended & (self.taken + 1 == self.all_parts)
        with m.If(beat.valid):
            m.d.sync += [self.came.eq(self.came + 1), self.ended.eq(beat.last)]
        with m.If(self.taking):
            m.d.sync += self.taken.eq(self.taken + 1)
        with m.If(self.last | ((self.age != 0) & (self.age < block.latency))):
            m.d.sync += self.age.eq(self.age + 1)
        with m.If(load):
            m.d.sync += [count.eq(0) for count in (self.came, self.ended, self.taken, self.age)]
        self.assume(
            "a vector has no more tiles than fit, and the last one is marked",
            ~beat.valid | (~self.ended & (self.came < words) & ~load),
            by="Sequencer, and the check of a tape",
        )
        self.assume(
            "another vector begins when the scale of the one before is done",
            ~load | block.scale.done | (self.came == 0),
            by="Sequencer: it waits for results, and RowBlocks gives none before that",
        )
        self.sum_cycles = block.latency - block.complete.last - 1
        self._say_what_registers_are()

    def _say_what_registers_are(self) -> None:
        inner, block = self.inner, self.norm
        self.lemma((self.came <= self.words) & (self.taken <= self.all_parts))
        self.lemma((self.age != 0) == (self.ended & (self.taken == self.all_parts)))
        self.lemma(self.age <= block.latency)
        self.lemma(~self.ended | (self.came != 0))
        self.lemma(inner["written"] == self.came)
        self.lemma(inner["word"] * block.parts + inner["part"] == self.taken)
        self.lemma(inner["part"] < block.parts)
        self.lemma(inner["following"] == inner["word"] + 1)
        self.lemma(inner["begun"] == (self.taken != 0))
        self.lemma((inner["complete"] == self.ended) | (self.came == 0))
        _, valid, first, last = block.part
        self.lemma(valid == self.past(self.taking, 2))
        self.lemma(first == self.past(self.taking & (self.taken == 0), 2))
        self.lemma(last == self.past(self.last, 2))
        for cycle in range(block.complete.last + 1):
            self.lemma(block.complete.at(cycle) == (self.age == self.sum_cycles + cycle))


def sum_of_squares(columns: int, words: int) -> Bench:
    """Beside the block: the tiles as they came, and the sum of the squares of their parts."""
    bench = VectorBench(small_design(1, columns, columns * words))
    block, m = bench.norm, bench.m
    parts: list[Value] = []
    kept: memory.Memory = bench.inner.part("words")
    bits = 8 * len(block.squares)
    for word in range(words):
        tile = Signal(8 * columns, name=f"tile_{word}")
        with m.If(block.tiles.beat.valid & (bench.came == word)):
            m.d.sync += tile.eq(block.tiles.x.as_value())
        read = kept.read_port(domain="comb")
        m.d.comb += read.addr.eq(word)
        bench.lemma((bench.came <= word) | (read.data == tile))
        parts += [tile[n : n + bits] for n in range(0, len(tile), bits)]
    now, expected = Signal(bits), Signal(SUM_BITS)
    m.d.comb += now.eq(Array(parts)[bench.taken])
    squares = []
    for c in range(len(block.squares)):
        q = now[8 * c : 8 * c + 8].as_signed()
        squares.append((q * q)[:15])
    with m.If(bench.taking):
        m.d.sync += expected.eq(Mux(bench.taken == 0, 0, expected) + sum(squares))

    # The block's own pipeline: a part, its squares, their sum so far.
    part, valid, *_ = block.part
    cycles = SQUARE_LATENCY + 2
    for square, exact in zip(block.squares, squares, strict=True):
        bench.lemma(~bench.past(bench.taking, cycles) | (square.o == bench.past(exact, cycles)))
    cycles = bench.sum_cycles - 1
    some = bench.past(bench.taken != 0, cycles)
    bench.lemma(~some | (block.total == bench.past(expected, cycles)))

    summed = block.summed
    bench.prove("a part in each cycle while there is one", valid == bench.past(bench.taking, 2))
    bench.prove("parts are those of the tiles, in order", ~valid | (part == bench.past(now, 2)))
    bench.prove("S is complete when all were taken", ~summed | (bench.ended & ~bench.taking))
    bench.prove("S is the sum of their squares, each once", ~summed | (block.total == expected))
    bench.prove("and so many cycles after the last part", summed == (bench.age == bench.sum_cycles))
    done = block.scale.done
    bench.prove("done after the latency, until the next one", done == (bench.age == block.latency))
    bench.cover(
        "a vector of two tiles after one of one", done & (bench.came == 2) & bench.past(~done)
    )
    return bench


class NormOfAnySum(RMSNorm):
    """The norm, with a sum of squares that the bench gives."""

    def _sum_of_squares(self, m: Module) -> tuple[Value, Value]:
        m.submodules += self.squares
        return self.total, self.summed


class SumBench(Bench):
    """The norm after its sum. ``at[n]``: S was complete n cycles ago."""

    def __init__(self) -> None:
        self.norm = block = NormOfAnySum(DESIGN)
        super().__init__(block)
        block.total, block.summed = self.any(SUM_BITS, "S"), self.any(1, "summed")
        self.assume(
            "S is 0 or at least 4096",
            (block.total == 0) | (block.total >= 4096),
            by="Quantizer: the largest element is at least 64",
            proof="quantizer_generic",
        )
        self.at: list[Value] = [block.summed]
        for _ in range(block.latency):
            self.at.append(self.past(self.at[-1]))
        self.assume(
            "one vector at a time",
            ~block.summed | ~Cat(self.at[1:]).any(),
            by="Sequencer: it waits for results, and RowBlocks gives none before the scale",
        )


def look_up() -> Bench:
    bench = SumBench()
    scale, root = bench.norm.scale, bench.norm.root.read[0]
    known, k, was = bench.at[4], scale.exponent, bench.past(scale.exponent)
    s = bench.past(Mux(bench.norm.total == 0, 4096, bench.norm.total), 4)
    high = (s >> (k << 1))[:3]
    bench.prove("4^k is at most S, and 4^(k + 1) above it", ~known | ((high >= 1) & (high <= 3)))
    bench.prove("k is from 6 to 14", ~known | ((k >= 6) & (k <= 14)))
    bench.prove("k stays until another S", known | (k == was) | ~bench.after(1))
    index = bench.past(root.address)
    bench.prove("the index is S >> (2k - 6)", ~known | (index == s >> ((k << 1) - 6)[:5]))
    bench.prove("the index is from 64", ~known | (index >= 64))
    bench.cover(
        "the largest index, after the lowest k", known & (index == 255) & (k == 14) & (was == 6)
    )
    return bench


def table() -> Bench:
    """Of the entries, the solver chooses the one that is looked at."""
    bench = SumBench()
    block, m = bench.norm, bench.m
    bench.assume("the table is not loaded anew", ~block.load.enable, by="the host")
    root = block.root
    stored = bench.inside(root.memory).part(root.name).read_port(domain="comb")
    entry = bench.some(8, "entry")
    expected = _chosen(entry, [Const(int(value), 8) for value in reciprocal_root_table()])
    m.d.comb += stored.addr.eq(entry)
    bench.lemma(stored.data == Cat(expected, expected.xor()))
    read = root.read[0]
    asked = bench.past(read.address, root.latency) == entry
    bench.prove(
        "R is the entry of the contract's table", ~asked | ~bench.after(2) | (read.data == expected)
    )
    bench.prove("its parity is right", ~bench.past(asked) | ~bench.after(3) | ~block.parity_error)
    bench.cover("one of the larger half", asked & bench.after(2) & (read.data == 200))
    return bench


def _chosen(index: Value, values: list[Value]) -> Value:
    """One of 2^n values, by multiplexers: Yosys makes a memory of an array, unknown in a step."""
    if len(values) == 1:
        return values[0]
    pairs = zip(values[::2], values[1::2], strict=True)
    return _chosen(index[1:], [Mux(index[0], high, low) for low, high in pairs])


def scale() -> Bench:
    """The three products are shown by levels; half of what is shifted out is their addend."""
    bench = SumBench()
    block, m = bench.norm, bench.m
    weights = block.segment.header.multiplier
    for n in range(MATRICES_PER_SEGMENT):
        bench.assume(f"matrix {n}: m_w is at most 256", weights[n] <= 256, by="the check of a tape")
    answered = 3 + block.root.latency
    r, multiplier = Signal(8), Signal(9)
    with m.If(bench.at[answered]):
        m.d.sync += r.eq(block.root.read[0].data)
    for n in range(MATRICES_PER_SEGMENT):
        with m.If(bench.at[answered + n]):
            m.d.sync += multiplier.eq(weights[n])
    inner = bench.inside(block)
    bench.lemma((inner["entry"] == r) & (inner["multiplier"] == multiplier))
    total = product_tree(
        bench,
        block.scaler,
        multiplier,
        r,
        Const(64, 7),
        say=lambda words, condition: bench.lemma(condition),
    )
    for n in range(MATRICES_PER_SEGMENT):
        result = block.scale.multipliers[n]
        known = bench.at[answered + block.scaler.latency + n + 2]
        bench.prove(
            f"matrix {n}: M is R * m_w, rounded", ~known | (result == bench.past(total >> 7))
        )
        bench.prove(f"matrix {n}: M is at most 510", ~known | (result <= 510))
        bench.prove(f"matrix {n}: M stays until another S", known | (result == bench.past(result)))
    rising = block.scale.done & ~bench.past(block.scale.done)
    bench.prove("done with the last one", ~bench.after(1) | ~rising | known)
    bench.cover(
        "M of 510, after one of 255", known & (result == 510) & (block.scale.multipliers[0] == 255)
    )
    return bench


PROOFS = [
    Proof("rms_norm_look_up", look_up, depth=6, reach=40, section="6", quick=True),
    Proof("rms_norm_table", table, depth=6, section="6"),
    Proof("rms_norm_scale", scale, depth=16, section="6"),
    Proof("rms_norm_sum_4", partial(sum_of_squares, 4, 3), depth=10, reach=40, section="6"),
    Proof("rms_norm_sum_16", partial(sum_of_squares, 16, 2), depth=10, reach=40, section="6"),
]

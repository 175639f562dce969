"""The size of a vector: exact, and what the quantizer relies on."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Mux, Signal, signed

from hdl.payloads import START_CYCLES
from hdl.pow2.vector_size import VectorSize
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.notation import folded

WIDTH = 4


class SizeBench(Bench):
    """``complete``: the vector's last cycle; its shift is there a cycle later."""

    def __init__(self) -> None:
        super().__init__(VectorSize(small_design(4, 4, 16, post_width=WIDTH)))
        block = self.block
        self.assume(
            "no value is written in the cycle before the size counts",
            ~(self.past(block.load, START_CYCLES - 1) & (block.x.enable | block.u.enable)),
            by="Sequencer",
        )
        self.complete = self.past(block.load, START_CYCLES)
        inner = self.inside(block)
        self.written, self.size = inner["written"], inner["size"]


def exact() -> Bench:
    """Of the 15 bits of a size, the solver chooses the one that is looked at."""
    bench = SizeBench()
    block, m = bench.block, bench.m
    bit = bench.some(4, "bit")
    # Whether a value of the vector has it set; a value counts two cycles after its write.
    has_it = Cat(
        write.enable & keep & folded(u).bit_select(bit, 1)
        for write in (block.x, block.u)
        for u, keep in zip(write.data, write.keep, strict=True)
    ).any()
    seen, of_vector, known = Signal(), Signal(), Signal()
    m.d.sync += seen.eq(~bench.complete & (seen | bench.past(has_it)))
    with m.If(bench.complete):
        m.d.sync += [of_vector.eq(seen), known.eq(1)]
    bench.lemma(seen == bench.size.bit_select(bit, 1))
    bench.prove("no set bit is lost", ~of_vector | (block.shift + bit < 15))
    highest = known & (block.shift + bit == 14)
    bench.prove("no larger than needed: a value has the highest bit", ~highest | of_vector)
    was = bench.past(block.shift)
    changed = bench.after(1) & (block.shift != was)
    bench.prove("stable until the next one is complete", ~changed | bench.past(bench.complete))
    bench.cover("two bits less than the vector before", known & changed & (block.shift == was + 2))
    return bench


def fits() -> Bench:
    """Of all values ever written the solver chooses one."""
    bench = SizeBench()
    block, m = bench.block, bench.m
    values = Array(u for write in (block.x, block.u) for u in write.data)
    kept = Array(write.enable & keep for write in (block.x, block.u) for keep in write.keep)
    place = bench.some(range(2 * WIDTH), "place")
    waiting, reading = Signal(), Signal()
    chosen, u = Signal(signed(16)), Signal(signed(16))
    take = kept[place] & bench.any(1, "choice") & ~waiting
    with m.If(bench.complete):
        m.d.sync += [waiting.eq(0), reading.eq(waiting), u.eq(chosen)]
    with m.If(take):
        m.d.sync += [waiting.eq(1), chosen.eq(values[place])]
    counted = Mux(bench.past(take), bench.written, bench.size)
    bench.lemma(~waiting | ((folded(chosen) & ~counted) == 0))
    size = (15 - block.shift)[:4]
    bench.prove(
        "a value that is read has no bit above the size", ~reading | ((folded(u) >> size) == 0)
    )
    bench.cover(
        "a smaller one after a larger one",
        reading & (u == -1) & (block.shift == 3) & (bench.past(block.shift) == 2),
    )
    return bench


PROOFS = [
    Proof("vector_size_exact", exact, depth=START_CYCLES + 2, section="5", quick=True),
    Proof("vector_size_fits", fits, depth=START_CYCLES + 2, section="5", quick=True),
]

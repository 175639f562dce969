"""The largest element: no element is larger, and it is one of them."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Array, Cat, Signal

from hdl.absmax.norm.largest import Largest, largest_levels
from hdl.payloads import START_CYCLES
from tests.support.hdl.cuts import absmax_design
from tests.support.proofs.bench import Bench, Proof


def largest(width: int) -> Bench:
    """Of the three slots, and of all elements ever written there, the solver chooses one."""
    design = absmax_design(width, max(2, width), 16, width)
    bench = Bench(Largest(design))
    block, m = bench.block, bench.m
    levels = largest_levels(design)
    slot = bench.some(2, "slot")
    bench.assume("the slot is one of three", slot < 3, by="the bench")
    lane = bench.some(range(max(2, width)), "lane")
    bench.assume("the lane is one", lane < width, by="the bench")
    complete = bench.past(block.load, START_CYCLES)
    bench.assume(
        "nothing is compared in the cycle in which the largest are taken",
        ~complete | ~bench.past(block.write.enable, levels),
        by="the gain unit's vector_done, and the sequencer",
    )
    keys = Array(Cat(v.mantissa, v.exponent) for v in block.write.data)
    mine = block.write.enable & (block.slot == slot)
    held = Array(bench.inside(block)[f"held_{n}"] for n in range(3))[slot]
    taken = Array(Cat(v.mantissa, v.exponent) for v in block.largest)[slot]
    # The chosen element, once it has been compared.
    chosen, waiting, reading = Signal(35), Signal(), Signal()
    counted = Signal(35)
    take = bench.past(mine & bench.any(1, "choice"), levels)
    key = bench.past(keys[lane], levels)
    with m.If(complete):
        m.d.sync += [waiting.eq(0), reading.eq(waiting), counted.eq(chosen)]
    with m.Elif(take):
        m.d.sync += [waiting.eq(1), chosen.eq(key)]
    bench.lemma(~waiting | (chosen <= held))
    bench.prove("no element of the vector is larger", ~reading | (counted <= taken))
    ages = levels + 1
    written = Cat(bench.past(mine, ages) & (bench.past(one, ages) == held) for one in keys).any()
    same, then = taken == bench.past(taken), bench.past(complete)
    bench.prove(
        "what is held stays, is one that was written, or begins anew",
        (held == bench.past(held)) | written | then,
    )
    bench.prove("it begins anew at 0", ~then | (held == 0))
    bench.prove("the largest stays until another vector is complete", same | then)
    bench.prove("and becomes what was held", ~then | (taken == bench.past(held)))
    bench.cover("a largest of the highest bit length", reading & (taken == (87 << 28 | 1 << 27)))
    return bench


PROOFS = [
    Proof(f"largest_{width}", partial(largest, width), depth=START_CYCLES + 3, section="absmax 7")
    for width in (1, 4)
]

"""Faults: the first of a pass is kept, with its memory and its segment."""

from __future__ import annotations

from amaranth.hdl import Cat, Signal, Value

from hdl.control.faults import Faults
from mmfree.chip.memory_map import LOADED_MEMORIES
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

LATENCY = 2
"""Cycles from a fault to its report."""


def first_fault() -> Bench:
    bench = Bench(Faults(small_design(2, 4, 4, header_words=5)))
    block, faults, m = bench.block, bench.block.faults, bench.m
    cleared, was_any = bench.past(block.clear), bench.past(faults.any)
    found = {name: bench.past(block.found[name], LATENCY) for name in LOADED_MEMORIES}
    some = Cat(found.values()).any()
    # Of this pass, whatever it was.
    any_found = Signal()
    m.d.comb += any_found.eq(~cleared & (some | bench.past(any_found)))

    bench.prove("none when a token has begun", ~cleared | ~faults.any)
    bench.prove("one if and only if something was found in this pass", faults.any == any_found)
    bench.prove(
        "the first stays until a token begins",
        ~was_any | cleared | (Value.cast(faults.first) == bench.past(Value.cast(faults.first))),
    )
    new = faults.any & ~was_any
    bench.prove("a first one was found just now", ~new | some)
    for index, name in enumerate(LOADED_MEMORIES):
        lowest = found[name] & ~Cat(list(found.values())[:index]).any()
        bench.prove(
            f"{name}: told of, if the lowest", ~(new & lowest) | (faults.first.memory == index)
        )
    others = new & ~found["weights"]
    segment = bench.past(block.segment, LATENCY)
    bench.prove("in the segment in progress", ~others | (faults.first.segment == segment))

    # Check words examined since the token began.
    examined = Signal.like(block.segment)
    with m.If(block.clear):
        m.d.sync += examined.eq(0)
    with m.Elif(block.checked):
        m.d.sync += examined.eq(examined + 1)
    own = bench.past(examined + 1, LATENCY)[: len(block.segment)]
    weights = new & found["weights"]
    bench.prove(
        "weights: in the segment of the check word", ~weights | (faults.first.segment == own)
    )
    bench.lemma(bench.inside(block)["examined"] == (examined + 1)[: len(block.segment)])
    bench.cover("a fault of the third check word", weights & (faults.first.segment == 3))
    bench.cover("another pass, another fault", others & bench.past(was_any, 2))
    return bench


PROOFS = [Proof("faults", first_fault, depth=4, quick=True)]

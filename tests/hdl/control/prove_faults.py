"""Faults: the first of a pass is kept, with its memory and its segment."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Cat, Signal, Value

from hdl.control.faults import Faults
from mmfree.chip.design import Design
from mmfree.chip.memory_map import fault_memories
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

LATENCY = 2
"""Cycles from a fault to its report."""


DESIGN = small_design(2, 4, 4, header_words=5)
EXTERNAL = small_design(5, 8, 8, header_words=5, weight_code="1.6", memory="axi64")


def first_fault(design: Design) -> Bench:
    bench = Bench(Faults(design))
    block, faults, m = bench.block, bench.block.faults, bench.m
    memories, external = fault_memories(design), design.external is not None
    cleared, was_any = bench.past(block.clear), bench.past(faults.any)
    found = {name: bench.past(block.found[name], LATENCY) for name in memories}
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
    for index, name in enumerate(memories):
        lowest = found[name] & ~Cat(list(found.values())[:index]).any()
        bench.prove(
            f"{name}: told of, if the lowest", ~(new & lowest) | (faults.first.memory == index)
        )
    # Those of a word are its segment's, and those of a row are the embedding's.
    own = {"weights"}
    if external:
        late = new & (faults.first.memory == memories.index("weights_response"))
        delivered = bench.past(block.delivered, LATENCY)
        bench.prove(
            "weights_response: in the segment of the word",
            ~late | (faults.first.segment == delivered),
        )
        rows = [name for name in memories if name.startswith("embedding")]
        for name in rows:
            of_row = new & (faults.first.memory == memories.index(name))
            bench.prove(f"{name}: of the embedding", ~of_row | (faults.first.segment == 0))
        own |= {"weights_response", *rows}
    others = new & ~Cat(faults.first.memory == memories.index(name) for name in own).any()
    segment = bench.past(block.segment, LATENCY)
    bench.prove("in the segment in progress", ~others | (faults.first.segment == segment))

    # Check words examined since the token began; the embedding's, if it has one.
    examined = Signal.like(block.segment)
    with m.If(block.clear):
        m.d.sync += examined.eq(0)
    with m.Elif(block.checked):
        m.d.sync += examined.eq(examined + 1)
    before = 0 if external else 1
    checked = bench.past(examined + before, LATENCY)[: len(block.segment)]
    weights = new & found["weights"]
    bench.prove(
        "weights: in the segment of the check word", ~weights | (faults.first.segment == checked)
    )
    bench.lemma(bench.inside(block)["examined"] == (examined + before)[: len(block.segment)])
    bench.cover("a fault of the third check word", weights & (faults.first.segment == 3))
    bench.cover("another pass, another fault", others & bench.past(was_any, 2))
    return bench


PROOFS = [
    Proof("faults", partial(first_fault, DESIGN), depth=4, quick=True),
    Proof("faults_external_memory", partial(first_fault, EXTERNAL), depth=4, quick=True),
]

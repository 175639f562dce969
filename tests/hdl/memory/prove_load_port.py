"""The load port: only what was accepted is written, and while it settles nobody may read."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Mux

from hdl.memory.load_port import SETTLE_CYCLES, LoadPort
from mmfree.chip.memory_map import LOADED_MEMORIES, loaded_shape
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

DESIGN = small_design(4, 4, 12, post_width=2, max_rows=8, embedding_width=8, header_words=3)


def writes() -> Bench:
    """Both at once: what a write does to each memory, and what the host is told of it."""
    bench = Bench(LoadPort(DESIGN))
    port = bench.block
    host = port.host
    enable, busy, memory, word, part, data = (
        bench.past(value, 2)
        for value in (host.enable, port.busy, host.memory, host.word, host.part, host.data)
    )
    accepted = []
    for index, name in enumerate(LOADED_MEMORIES):
        shape, write = loaded_shape(DESIGN, name), getattr(port.writes, name)
        fits = (word < shape.depth) & (part < shape.parts) & (data < 1 << shape.part_bits)
        wanted = enable & ~busy & (memory == index) & fits
        accepted.append(wanted)
        bench.prove(f"{name}: written if asked, idle and within, not else", write.enable == wanted)
        same = (write.word == word) & (write.part == part) & (write.data == data)
        bench.prove(f"{name}: what was asked", ~write.enable | same)
    took = reduce(or_, accepted)
    bench.prove(
        "refused: of the last attempt",
        ~bench.after(2) | (host.refused == Mux(enable, ~took, bench.past(host.refused))),
    )
    bench.cover("a refusal is followed by a write", bench.past(host.refused) & took)
    return bench


def settling() -> Bench:
    bench = Bench(LoadPort(DESIGN))
    port = bench.block
    for cycles in range(1, SETTLE_CYCLES + 1):
        asked = bench.past(port.host.enable, cycles)
        bench.prove(f"settling {cycles} cycles after an attempt", ~asked | port.settling)
    recent = [bench.past(port.host.enable, cycles) for cycles in range(1, SETTLE_CYCLES + 3)]
    bench.prove("settling ends", ~port.settling | reduce(or_, recent))
    bench.cover("it has ended", bench.past(port.settling) & ~port.settling)
    return bench


PROOFS = [
    Proof("load_port_writes", writes, depth=4, quick=True),
    Proof("load_port_settling", settling, depth=SETTLE_CYCLES + 4, quick=True),
]

"""The forget gate: section 9 of the contract, and the way of i and gate to the table."""

from __future__ import annotations

from functools import partial

from hdl.pow2.forget_gate import INDEX_LATENCY, LATENCY, ForgetGate
from mmfree.contract.pow2 import GATES
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.notation import clamp, sat

LANES = 2
ONE = 256
"""1 as a value of f."""


class GateBench(Bench):
    """One lane, the solver's choice. ``asked``: its o is that of the ``gate`` and of ``total``."""

    def __init__(self, gate: str) -> None:
        super().__init__(ForgetGate(LANES))
        block = self.block
        lane = self.some(range(LANES), "lane")
        self.index, self.entry, self.o = block.index[lane], block.entry[lane], block.o[lane]
        self.saturated = block.saturated.bit_select(lane, 1)
        self.total_now = block.z[lane] + block.bias[lane]
        self.total = self.past(self.total_now, LATENCY)
        asked = self.past(block.gate == GATES.index(gate), LATENCY)
        self.asked = asked & self.after(LATENCY)


def by_table() -> Bench:
    bench = GateBench("sigmoid")
    asked, total = bench.asked, bench.total
    index = sat(bench.past(bench.total_now, INDEX_LATENCY), 8)
    bench.prove(
        "the index is z + bias, clamped", ~bench.after(INDEX_LATENCY) | (bench.index == index)
    )
    bench.prove("o is the entry", ~asked | (bench.o == bench.past(bench.entry)))
    clamped = total != sat(total, 8)
    bench.prove("saturated: the index was clamped", ~asked | (bench.saturated == clamped))
    bench.prove("saturated is of the table alone", asked | ~bench.saturated)
    bench.cover("clamped, and a cycle later not", asked & ~clamped & bench.past(bench.saturated))
    return bench


def ramp(gate: str, low: int, middle: int) -> Bench:
    bench = GateBench(gate)
    asked, f = bench.asked, bench.o
    line = bench.total + middle
    bench.prove("f is the line, clamped", ~asked | (f == clamp(line, low, ONE)))
    bench.prove("f is from its least to 1", ~asked | ((f >= low) & (f <= ONE)))
    bench.prove("the table has no say", ~asked | ~bench.saturated)
    bench.cover("the least, then 1", asked & (f == ONE) & bench.past(asked & (f == low)))
    return bench


PROOFS = [
    Proof("forget_gate_sigmoid", by_table, depth=7, section="9", quick=True),
    Proof("forget_gate_hard", partial(ramp, "hard", 0, ONE // 2), depth=7, section="9"),
    Proof("forget_gate_signed", partial(ramp, "signed", -ONE, 0), depth=7, section="9", quick=True),
]

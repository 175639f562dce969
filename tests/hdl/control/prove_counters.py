"""The counters: each counts its own cycles or flags, from the beginning of a token on."""

from __future__ import annotations

from functools import reduce
from operator import add, or_

from amaranth.hdl import Signal, Value

from hdl.control.counters import SETTLE_CYCLES, Counters
from hdl.payloads import COUNTER_BITS
from mmfree.chip.exchange import CYCLE_COUNTERS
from mmfree.contract.pow2 import SATURATION_SITES
from tests.support.proofs.bench import Bench, Proof

MOST = 100
"""Values of one site that a token can clamp."""

SUM_CYCLES = 2
"""Cycles more until a site's flags are counted."""


def _count(bench: Bench, name: str, step: Value, settle: int, most: int) -> None:
    """``name``: the sum of the steps, ``settle`` cycles late; 0 until the first is counted."""
    block = bench.block
    counted = Signal(COUNTER_BITS, name=f"counted_{name}")
    with bench.m.If(block.clear):
        bench.m.d.sync += counted.eq(step)
    with bench.m.Else():
        bench.m.d.sync += counted.eq(counted + step)
    counter = Value.cast(block.counters[name])
    # Of the counter's bits; a token does not count more.
    late = bench.past(counted, settle - 1)
    cleared = [bench.past(block.clear, cycles) for cycles in range(2, settle)]
    expected = late
    for flag in cleared:
        expected = expected & ~flag.replicate(COUNTER_BITS)
    bits = COUNTER_BITS if name in CYCLE_COUNTERS else most.bit_length()
    bench.lemma(counter[:bits] == expected[:bits])
    bench.prove(f"{name}: counted", (late > most) | (counter == expected))


def counts() -> Bench:
    """Sites of less flags than one sum takes, of exactly as many, and of more."""
    widths = dict(zip(SATURATION_SITES, (1, 8, 11, 3, 16, 4, 2), strict=False))
    bench = Bench(Counters(widths, MOST))
    block = bench.block
    flags = {site: Value.cast(block.saturated[site]) for site in SATURATION_SITES}
    late = [bench.past(Value.cast(block.saturated), n).any() for n in range(1, SUM_CYCLES + 1)]
    bench.assume(
        "nothing saturates in the last cycles before a token",
        ~block.clear | ~reduce(or_, late),
        by="Sequencer, which waits for the last result",
    )
    for name, step in {
        "cycles": block.busy,
        "beats": block.admitted,
        **{name: block.waits[name.removeprefix("wait_")] for name in CYCLE_COUNTERS[2:]},
    }.items():
        _count(bench, name, step, SETTLE_CYCLES, (1 << COUNTER_BITS) - 1)
    for site, bits in flags.items():
        step = reduce(add, (bits[n] for n in range(len(bits))))
        _count(bench, f"saturated_{site}", step, SETTLE_CYCLES + SUM_CYCLES, MOST)
    counted = Value.cast(block.counters.saturated_quantizer) != 0
    bench.cover("a count from a second token", counted & bench.past(block.clear, 5))
    return bench


PROOFS = [Proof("counters", counts, depth=8, quick=True)]

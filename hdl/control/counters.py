"""Counters of one token: where its cycles went, and what saturated."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.adder import count_ones, sum_of
from hdl.fabric.pipeline import delay
from hdl.payloads import COUNTER_BITS, COUNTERS_LAYOUT, WAITS
from mmfree.chip.exchange import CYCLE_COUNTERS
from mmfree.contract.pow2 import SATURATION_SITES

SETTLE_CYCLES = 3
"""Cycles from the end of a token until its cycles are counted."""


class Counters(wiring.Component):
    """Counts cycles by cause and saturations by site, from ``clear`` on.

    Ports::

        clear      in   1                a token begins
        busy       in   1                a token is being played
        admitted   in   1                a tile is admitted
        waits      in   WAITS            why not
        saturated  in   flags by site    of values that were clamped
        counters   out  COUNTERS_LAYOUT  SETTLE_CYCLES late, saturations two cycles more

    After reset all are 0. ``flag_bits``: flags of those of SATURATION_SITES, in their order, that
    the arithmetic has; the counters of others stay 0. ``max_saturations``: most values of one site
    that a token can clamp.
    """

    def __init__(self, flag_bits: dict[str, int], max_saturations: int) -> None:
        self._saturation_bits = min(COUNTER_BITS, max_saturations.bit_length())
        self._sites = tuple(flag_bits)
        assert self._sites == tuple(site for site in SATURATION_SITES if site in flag_bits)
        super().__init__(
            {
                "clear": In(1),
                "busy": In(1),
                "admitted": In(1),
                "waits": In(WAITS),
                "saturated": In(data.StructLayout(flag_bits)),
                "counters": Out(COUNTERS_LAYOUT),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counted: dict[str, Value] = {
            "cycles": self.busy,
            "beats": self.admitted,
            "wait_weights": self.waits.weights,
            "wait_room": self.waits.room,
            "wait_drain": self.waits.drain,
            "wait_vector": self.waits.vector,
            "wait_control": self.waits.control,
        }
        for site in self._sites:
            # The sum of many flags takes two cycles: in one it limited the clock.
            flags = delay(m, self.saturated[site], 1, reset=True)
            parts = [
                delay(m, count_ones(flags[n : n + 8]), 1, reset=True)
                for n in range(0, len(flags), 8)
            ]
            counted[f"saturated_{site}"] = sum_of(parts)
        steps = {name: delay(m, value, 2, reset=True) for name, value in counted.items()}
        clear = delay(m, self.clear, 1, reset=True)
        for name, step in steps.items():
            counter = Signal(
                COUNTER_BITS if name in CYCLE_COUNTERS else self._saturation_bits, name=name
            )
            m.d.sync += counter.eq(counter + step)
            with m.If(clear):
                m.d.sync += counter.eq(0)
            m.d.comb += self.counters[name].eq(counter)
        return m

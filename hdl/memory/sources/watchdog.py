"""When to wait no longer for a memory."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

TIMEOUT_CYCLES = 1 << 16
"""Cycles that a word, or a beat, may take to come, by default."""


class Watchdog(wiring.Component):
    """Gives up what does not come for ``timeout`` cycles in a row.

    Ports::

        waiting  in   1  something is waited for in this cycle
        lost     in   1  it cannot come any more
        again    in   1  begin anew
        timeout  out  1  it is given up; one cycle
        gave_up  out  1  that was in a cycle before this one, with no ``again`` since

    Both outputs are 0 after reset.
    """

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout
        super().__init__(
            {"waiting": In(1), "lost": In(1), "again": In(1), "timeout": Out(1), "gave_up": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        waited = Signal(range(self._timeout))
        late = self.waiting & (waited == self._timeout - 1)
        m.d.sync += [
            waited.eq(Mux(self.waiting & ~self.gave_up & ~self.again, waited + 1, 0)),
            self.gave_up.eq((self.gave_up | self.timeout) & ~self.again),
        ]
        m.d.comb += self.timeout.eq((late | self.lost) & ~self.gave_up)
        return m

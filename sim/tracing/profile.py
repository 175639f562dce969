"""Where the cycles go: by segment and cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cocotb.triggers import FallingEdge

from mmfree.chip.exchange import CYCLE_COUNTERS


class Profiler:
    """Attributes the growth of the cycle counters to the segment in progress.

    ``cycles[name]`` holds, for each segment of the tape and for "embedding", its cycles by cause,
    summed over the tokens played.
    """

    def __init__(self, dut: Any, names: list[str], read: Callable[[], dict[str, int]]) -> None:
        self._dut, self._names, self._read = dut, names, read
        self._segment = 0
        self._last = dict.fromkeys(CYCLE_COUNTERS, 0)
        self.cycles = {name: dict.fromkeys(CYCLE_COUNTERS, 0) for name in names}

    async def watch(self) -> None:
        """Follow the chip; runs as a task until the simulation ends."""
        while True:
            await self._dut.segment.value_change
            await FallingEdge(self._dut.clk)
            segment = int(self._dut.segment.value)
            # Segment 0 begins a token, whose counters begin at 0.
            if segment:
                self.close(self._read())
            else:
                self._last = dict.fromkeys(CYCLE_COUNTERS, 0)
            self._segment = segment

    def close(self, counters: dict[str, int]) -> None:
        """Attribute what was counted since the last call to the segment in progress."""
        entry = self.cycles[self._names[self._segment]]
        for name in CYCLE_COUNTERS:
            entry[name] += counters[name] - self._last[name]
            self._last[name] = counters[name]

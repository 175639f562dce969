"""The whole chip's streams inside another simulator: their contract, and an answer per request."""

from __future__ import annotations

from typing import Any

from cocotb.triggers import FallingEdge, ReadOnly

from hdl.payloads import fault_layout, request_layout, result_layout
from mmfree.chip.design import Design
from tests.support.hdl.streams import Contract, ContractError


class ChipStreams:
    """Holds request, result and fault to their contract, cycle by cycle.

    A request is answered by results, of which the last says so, or ends with a fault; there is no
    other answer. ``open``: how many requests have not ended.
    """

    def __init__(self, dut: Any, design: Design) -> None:
        self._dut, self._cycle = dut, -1
        self.open = 0
        layouts = {
            "request": request_layout(design),
            "result": result_layout(design),
            "fault": fault_layout(design),
        }
        self.contracts = {name: Contract(name, shape) for name, shape in layouts.items()}
        self._handles = {
            name: [getattr(dut, f"{name}__{part}") for part in ("valid", "ready", "payload")]
            for name in layouts
        }

    async def watch(self) -> None:
        """A task, to be started after reset; the driver drives at falling edges."""
        while True:
            await self.step()

    async def step(self) -> None:
        """Look at the next cycle, before the rising edge that ends it."""
        await FallingEdge(self._dut.clk)
        await ReadOnly()
        self._cycle += 1
        for name, handles in self._handles.items():
            valid, ready, payload = (int(handle.value) for handle in handles)
            self.contracts[name].step(self._cycle, valid, ready, payload)
            if valid and ready:
                self._count(name)

    def _count(self, name: str) -> None:
        if name == "request":
            self.open += 1
        elif self.open != 1:
            raise ContractError(f"cycle {self._cycle}: a {name} for {self.open} open requests")
        elif name == "fault" or self.contracts["result"].taken[-1]["last"]:
            self.open = 0

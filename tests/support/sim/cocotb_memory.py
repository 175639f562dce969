"""A master at a port of the memory's model, run by tests/sim/memory/test_axi_memory.py.

Asked for in asked.json: ``pins`` of the model, and which change ``at`` a cycle; ``bursts`` (port,
address, beats, size; the cycle ``from`` which it is asked for; the pins that change ``then``, while
it is not taken); ``pace`` (share of the cycles in which beats are taken); ``cycles`` in all. In
given.json: of each port the cycle in which each address was taken, each beat (cycle, data,
response, last), and its counters.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from sim.memory.model import COUNTERS, INPUTS

PORTS = ("0", "rows")


class Master:
    """Sends bursts to a port one after another, and keeps what comes back."""

    def __init__(self, dut: Any, port: str, asked: dict[str, Any]) -> None:
        self._dut, self._port, self._pace = dut, port, asked["pace"]
        self._left = [burst for burst in asked["bursts"] if burst["port"] == port]
        self._random = random.Random(1)
        self._asks = False
        self.accepted: list[int] = []
        self.beats: list[tuple[int, int, int, int]] = []

    def pin(self, name: str) -> Any:
        return getattr(self._dut, f"m_{self._port}_{name}")

    def drive(self, cycle: int) -> None:
        """Inputs of the cycle."""
        if self._asks:
            # A mistake: an address was offered, and not taken.
            for name, value in self._left[0].get("then", {}).items():
                self.pin(name).value = value
        elif self._left and cycle >= self._left[0].get("from", 0):
            burst, self._asks = self._left[0], True
            self.pin("araddr").value = burst["address"]
            self.pin("arlen").value = burst["beats"] - 1
            self.pin("arsize").value = burst["size"]
            self.pin("arburst").value = burst.get("kind", 1)
            self.pin("arvalid").value = 1
        else:
            self.pin("arvalid").value = 0
        self.pin("rready").value = int(self._random.random() < self._pace)

    def see(self, cycle: int) -> None:
        """What the rising edge at the cycle's end takes."""
        if self._asks and int(self.pin("arready").value):
            self.accepted.append(cycle)
            self._left.pop(0)
            self._asks = False
        if int(self.pin("rvalid").value) and int(self.pin("rready").value):
            beat = (int(self.pin(name).value) for name in ("rdata", "rresp", "rlast"))
            self.beats.append((cycle, *beat))


@cocotb.test()
async def masters_read(dut: Any) -> None:
    """What is asked for, for so many cycles."""
    asked = json.loads(Path("asked.json").read_text())
    for name in INPUTS:
        getattr(dut, name).value = asked["pins"].get(name, 0)
    masters = {port: Master(dut, port, asked) for port in PORTS}
    for master in masters.values():
        for name in ("araddr", "arlen", "arsize", "arburst", "arvalid", "rready"):
            master.pin(name).value = 0
    dut.rst.value = dut.bus_rst.value = 1
    Clock(dut.clk, 10, unit="ns").start()
    for _ in range(2):
        await FallingEdge(dut.clk)
    dut.bus_rst.value = dut.rst.value = 0
    for cycle in range(asked["cycles"]):
        for name, value in asked["at"].get(str(cycle), {}).items():
            getattr(dut, name).value = value
        for master in masters.values():
            master.drive(cycle)
        await ReadOnly()
        for master in masters.values():
            master.see(cycle)
        await FallingEdge(dut.clk)
    given = {}
    for number, (port, master) in enumerate(masters.items()):
        dut.memory_port.value = number
        await FallingEdge(dut.clk)
        counters = {name: int(getattr(dut, f"memory_{name}").value) for name in COUNTERS}
        given[port] = {"accepted": master.accepted, "beats": master.beats, "counted": counters}
    Path("given.json").write_text(json.dumps(given))

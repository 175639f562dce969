"""Reads passes of words through cocotbext-axi's memories, whose protocol checks are not ours.

A cocotb test, run by test_axi_protocol.py (not by pytest): settings, words and contents are in
scene.json.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus

CLOCK_NS, BUS_CLOCK_NS = 10, 14


class Memory:
    """The one place that knows cocotbext-axi: a RAM behind a port, with random pauses."""

    def __init__(self, dut: Any, port: str, size: int, seed: int) -> None:
        bus = AxiReadBus.from_prefix(dut, port)
        self._ram = AxiRamRead(bus, dut.bus_clk, dut.bus_rst, size=size)
        for number, channel in enumerate((self._ram.ar_channel, self._ram.r_channel)):
            channel.set_pause_generator(_pauses(random.Random(2 * seed + number)))

    def write(self, address: int, data: bytes) -> None:
        self._ram.write(address, data)


def _pauses(rng: random.Random) -> Iterator[bool]:
    """Some cycles of every length, up to a latency."""
    while True:
        yield from [True] * rng.choice([0, 0, 0, 1, 2, 30])
        yield from [False] * rng.choice([1, 5, 40])


async def never_withdrawn(dut: Any, port: str) -> None:
    """A burst that is asked for stays, the same, until it is accepted."""
    waiting = None
    while True:
        await RisingEdge(dut.bus_clk)
        valid, ready, *burst = (
            getattr(dut, f"{port}_{name}").value
            for name in ("arvalid", "arready", "araddr", "arlen", "arsize", "arburst")
        )
        assert waiting is None or (valid and burst == waiting), f"{port}: {waiting} became {burst}"
        waiting = burst if valid and not ready else None


@cocotb.test()
async def play(dut: Any) -> None:
    scene = json.loads(Path("scene.json").read_text())
    regions = [bytes.fromhex(region) for region in scene["regions"]]
    words, step = scene["settings"][-1], scene["port_bytes"]
    for name in ("take", "restart", "pause", "playing", "enable"):
        getattr(dut, name).value = 0
    dut.rst.value = dut.bus_rst.value = 1
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    Clock(dut.bus_clk, BUS_CLOCK_NS, unit="ns").start()
    for group, region in enumerate(regions):
        memory = Memory(dut, f"axi_{group}", scene["size"], group)
        memory.write(scene["settings"][group], region)
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = dut.bus_rst.value = 0
    for group in range(len(regions)):
        cocotb.start_soon(never_withdrawn(dut, f"axi_{group}"))
    for index, value in enumerate(scene["settings"]):
        dut.index.value, dut.value.value, dut.enable.value = index, value, 1
        await FallingEdge(dut.clk)
    dut.enable.value = 0
    due: list[dict[int, int]] = [{} for _ in regions]
    taken = cycle = 0
    while taken < scene["taken"] or any(due):
        assert cycle < 40 * scene["taken"], f"only {taken} words have come"
        take = bool(dut.available.value) and taken < scene["taken"]
        if take:
            first = taken % words * step
            for group, region in enumerate(regions):
                share = int.from_bytes(region[first : first + step], "little")
                due[group][cycle + scene["latency"] + group] = share
        taken += take
        dut.take.value = take
        await FallingEdge(dut.clk)
        cycle += 1
        assert not dut.response.value
        for group, shares in enumerate(due):
            if (share := shares.pop(cycle, None)) is not None:
                seen = int(getattr(dut, f"data_{group}").value)
                assert seen == share, f"word {taken}, group {group}: {seen:#x}, not {share:#x}"
    Path("cycles.json").write_text(json.dumps({"cycles": cycle, "words": taken}))

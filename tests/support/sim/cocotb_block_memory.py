"""Replays cycles of a memory in another simulator: promised outputs must be known and exact.

A cocotb test, run by test_block_memory.py (not by pytest). Counts how often a side of a block RAM
is enabled (enabled.json).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge


@cocotb.test()
async def play(dut: Any) -> None:
    cycles = json.loads(Path("cycles.json").read_text())
    dut.rst.value = 0
    for name, value in cycles[0]["inputs"].items():
        getattr(dut, name).value = value
    blocks = [
        child for child in dut if isinstance(child, HierarchyObject) and "_block_" in child._name
    ]
    enabled = 0
    Clock(dut.clk, 10, unit="ns").start(start_high=False)
    for number, cycle in enumerate(cycles):
        for name, value in cycle["inputs"].items():
            getattr(dut, name).value = value
        await RisingEdge(dut.clk)
        enabled += sum(int(side.value) for block in blocks for side in (block.CEA, block.CEB))
        await FallingEdge(dut.clk)
        for name, value in cycle["outputs"].items():
            seen = str(getattr(dut, name).value)
            assert seen == f"{value:0{len(seen)}b}", (
                f"cycle {number}: {name} is {seen}, not {value:b}"
            )
    Path("enabled.json").write_text(json.dumps(enabled))

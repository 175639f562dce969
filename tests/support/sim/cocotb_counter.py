"""cocotb tests of a counter, run by test_runner.py (not by pytest)."""

from __future__ import annotations

import sys
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge


@cocotb.test()
async def counts_to_five(dut: Any) -> None:
    """Five edges after reset, unless the design has been broken."""
    assert "xdist" not in sys.modules, "pytest's plugins take time, and have no use here"
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(5):
        await FallingEdge(dut.clk)
    assert int(dut.count.value) == 5

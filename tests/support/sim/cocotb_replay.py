"""Replays the recording of a block test, cycle by cycle, in another simulator.

A cocotb test, run by test_icarus.py (not by pytest).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge


def differences(value: Any, expected: int) -> tuple[int, int]:
    """(known bits, known bits that differ) of a signal's value."""
    text = str(value)
    wanted = f"{expected:0{len(text)}b}"
    known = [(a, b) for a, b in zip(text, wanted, strict=True) if a in "01"]
    return len(known), sum(a != b for a, b in known)


@cocotb.test()
async def replay(dut: Any) -> None:
    """Every known bit of every output is as recorded.

    Unknown is only what no test may rely on: a few before the pipeline is full.
    """
    recording = json.loads(Path("recording.json").read_text())
    # Known beforehand: every output in every cycle.
    due = sum(len(getattr(dut, name)) for outputs in recording["outputs"] for name in outputs)
    assert due, "the recording holds no output"
    dut.rst.value = 0
    for name, value in recording["inputs"][0].items():
        getattr(dut, name).value = value
    Clock(dut.clk, 10, unit="ns").start(start_high=False)
    bits = known = 0
    for cycle, (inputs, outputs) in enumerate(
        zip(recording["inputs"], recording["outputs"], strict=True)
    ):
        for name, value in inputs.items():
            getattr(dut, name).value = value
        await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        for name, value in outputs.items():
            signal = getattr(dut, name)
            seen, wrong = differences(signal.value, value)
            assert not wrong, f"cycle {cycle}: {name} is {signal.value}, recorded was {value:#x}"
            bits, known = bits + len(signal), known + seen
    assert bits == due, f"{bits} of {due} bits were compared"
    assert known >= 0.5 * due, f"only {known} of {due} bits were known"

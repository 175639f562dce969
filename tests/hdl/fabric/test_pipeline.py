# amaranth: UnusedElaboratable=no
"""Registers of a pipeline: how late they are, which of them a reset clears, and their copies."""

from __future__ import annotations

import re
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.sim import Simulator

from hdl.fabric.pipeline import Timed, copies, delay, num_copies
from hdl.fabric.technology import Technology

CYCLES = 4


def test_flags_are_cleared_by_a_reset_and_values_are_not() -> None:
    """A value comes out exactly as late as it was asked for, whatever a reset does meanwhile."""
    m, value, domain = Module(), Signal(8), ClockDomain("sync")
    m.domains.sync = domain
    late = {
        "value": delay(m, value, CYCLES),
        "flag": delay(m, value, CYCLES, reset=True),
        "timed value": Timed(m, value, first=2, last=2 + CYCLES).at(2 + CYCLES),
        "timed flag": Timed(m, value, last=CYCLES, reset=True).at(CYCLES),
        "now": delay(m, value, 0),
    }
    sent = [*range(1, 20)]
    seen: dict[str, list[int]] = {name: [] for name in late}

    async def bench(ctx: Any) -> None:
        for cycle, number in enumerate(sent):
            ctx.set(value, number)
            ctx.set(domain.rst, cycle == 9)
            for name, signal in late.items():
                seen[name].append(ctx.get(signal))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    expected = [*[0] * CYCLES, *sent[:-CYCLES]]
    cleared = [0 if 10 <= cycle < 10 + CYCLES else n for cycle, n in enumerate(expected)]
    assert seen == {
        "value": expected,
        "flag": cleared,
        "timed value": expected,
        "timed flag": cleared,
        "now": sent,
    }


@pytest.mark.parametrize("cycle", [1, 6])
def test_a_value_is_not_known_in_a_cycle_for_which_it_has_no_register(cycle: int) -> None:
    timed = Timed(Module(), Signal(), first=2, last=5)
    with pytest.raises(AssertionError, match=rf"{cycle} is not in 2\.\.5"):
        timed.at(cycle)
    assert len(timed.at(2)) == len(timed.at(5)) == 1


@pytest.mark.parametrize("technology", Technology)
def test_copies_are_registers_of_their_own(technology: Technology) -> None:
    """On the ECP5 a cell for each bit, which synthesis leaves as it is.

    A flip-flop that is always enabled, is never set or cleared, and takes the clock as it is.
    """
    m, value = Module(), Signal(3)
    made = copies(m, technology, value, 5)
    assert [len(copy) for copy in made] == [3] * 5
    seen = Signal(15)
    for n, copy in enumerate(made):
        m.d.comb += seen[3 * n : 3 * n + 3].eq(copy)
    text = rtlil.convert(m, name="copies", ports=[value, seen], emit_src=False)
    cells = re.findall(r"cell \\TRELLIS_FF .*?\n  end\n", text, re.DOTALL)
    assert len(cells) == (15 if technology is Technology.ECP5 else 0)
    assert text.count("cell $dff") == (0 if technology is Technology.ECP5 else 5)
    for cell in cells:
        parameters = dict(re.findall(r"parameter \\(\w+) \"(\w+)\"", cell))
        assert parameters == {
            "GSR": "ENABLED",
            "CEMUX": "1",
            "CLKMUX": "CLK",
            "LSRMUX": "LSR",
            "REGSET": "RESET",
        }
        ports = dict(re.findall(r"connect \\(\w+) (.*)", cell))
        assert ports["LSR"] == "1'0"
        assert set(ports) == {"CLK", "LSR", "DI", "Q"}


@pytest.mark.parametrize(("elements", "count"), [(1, 1), (4, 1), (5, 2), (8, 2), (16, 4), (17, 5)])
def test_a_copy_drives_four_elements(elements: int, count: int) -> None:
    assert num_copies(elements) == count

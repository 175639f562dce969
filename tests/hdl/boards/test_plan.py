"""What is planned for a board, and its top: every pin on the port that it belongs to."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth.hdl import Fragment, Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

import hdl.boards.plan
import hdl.boards.ulx3s
from hdl.boards import BOARDS
from hdl.boards.plan import plan
from hdl.boards.pll import PLL, pll_for
from hdl.boards.ulx3s import Top
from mmfree.errors import InputError
from tests.support.sim.shapes import ODD

BOARD = BOARDS["ulx3s-85f"]


def test_a_plan_is_of_its_board_design_image_and_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The serial line's divider is of the clock that the PLL makes, not of the one asked for."""
    seen: dict[str, Any] = {}

    def system(design: Any, image: Any, divisor: int) -> SimpleNamespace:
        seen.update(design=design, image=image, divisor=divisor)
        return SimpleNamespace(registers="registers")

    class Platform:
        def prepare(self, top: Any, name: str, **options: Any) -> SimpleNamespace:
            seen.update(top=top, name=name, options=options)
            return SimpleNamespace(files={"top.il": "RTLIL", "top.lpf": "LPF"})

    board = SimpleNamespace(PLATFORM=Platform, Top=lambda system, pll: (system, pll))
    monkeypatch.setattr(hdl.boards.plan, "System", system)
    monkeypatch.setitem(sys.modules, "a.board", board)
    other = replace(BOARD, module="a.board")
    design, image = ODD.design(), object()
    found = plan(other, design, image, 150.52e6)  # type: ignore[arg-type]
    assert (seen["design"], seen["image"]) == (design, image)
    assert found.pll == pll_for(25e6, 150.52e6) == seen["top"][1]
    assert found.pll.output_hz == 150e6
    assert seen["divisor"] == 150
    slow = plan(replace(other, oscillator_hz=12e6), design, None, 40e6)
    assert (slow.pll.input_hz, seen["image"], seen["divisor"]) == (12e6, None, 40)
    assert (found.rtlil, found.constraints, found.registers) == ("RTLIL", "LPF", "registers")
    assert (seen["name"], seen["options"]) == ("top", {"emit_src": False})
    with pytest.raises(InputError, match="cannot make 1,000,000 baud within 2 %"):
        plan(other, design, None, 12.5e6)


class System(wiring.Component):
    """Stands for the accelerator and its line."""

    def __init__(self) -> None:
        lights = {name: Out(1) for name in ("playing", "result", "fault")}
        super().__init__({"rx": In(1), "tx": Out(1), **lights})

    def elaborate(self, platform: object) -> Module:
        return Module()


class Clock(wiring.Component):
    """Stands for the PLL."""

    def __init__(self, pll: PLL) -> None:
        super().__init__({"oscillator": In(1), "clk": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.clk.eq(self.oscillator)
        return m


class Platform:
    """Gives pins by name and number."""

    def __init__(self) -> None:
        self.resources: list[Any] = []
        self.pins: dict[str, Any] = {}

    def add_resources(self, resources: list[Any]) -> None:
        self.resources += resources

    def request(self, name: str, number: int = 0, *, dir: str) -> Any:
        assert dir == "-"
        if name == "uart":
            self.pins |= {"rx": io.SimulationPort("i", 1), "tx": io.SimulationPort("o", 1)}
            return SimpleNamespace(rx=self.pins["rx"], tx=self.pins["tx"])
        key = f"{name} {number}"
        self.pins[key] = io.SimulationPort("i" if name.startswith("clk") else "o", 1)
        return self.pins[key]


def test_every_pin_shows_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """LEDs 0, 1, 2: playing, result, fault; LED 7 and the pin that keeps the board on: always."""
    monkeypatch.setattr(hdl.boards.ulx3s, "ECP5Clock", Clock)
    system, platform = System(), Platform()
    top = Fragment.get(Top(system, pll_for(25e6, 100e6)), platform)  # type: ignore[arg-type]
    names = ("tx", "led 0", "led 1", "led 2", "led 7", "keep_on 0")
    ports = (system.tx, system.playing, system.result, system.fault)
    assert platform.pins.keys() == {"rx", "clk25 0", *names}
    (keep_on,) = platform.resources
    assert (keep_on.name, keep_on.ios[0].names) == ("keep_on", ["L2"])

    async def bench(ctx: Any) -> None:
        for lit, port in enumerate(ports):
            ctx.set(port, 1)
            shown = [ctx.get(platform.pins[name].o) for name in names]
            assert shown == [int(n == lit) for n in range(4)] + [1, 1]
            ctx.set(port, 0)
        for level in (1, 0):
            ctx.set(platform.pins["rx"].i, level)
            assert ctx.get(system.rx) == level
            ctx.set(platform.pins["clk25 0"].i, level)

    simulator = Simulator(top)
    simulator.add_testbench(bench)
    simulator.run()

"""The ULX3S with an LFE5U-85F: oscillator, serial line over its USB connector, LEDs."""

from __future__ import annotations

from typing import Any

from amaranth.build import Attrs, Pins, Resource
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module
from amaranth.lib import io
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from hdl.boards.clock import ECP5Clock
from hdl.boards.pll import PLL
from hdl.boards.system import System

PLATFORM = ULX3S_85F_Platform

_KEEP_ON = Resource("keep_on", 0, Pins("L2", dir="o"), Attrs(IO_TYPE="LVCMOS33"))
"""GPIO0 of the ESP32 beside the FPGA; if it is low, the ESP32 may restart the board."""


class Top(Elaboratable):
    """A System on the board's pins; it has no ports.

    LEDs 0 to 2: a token is played, a result waits, a fault waits; LED 7: the FPGA is configured.
    """

    def __init__(self, system: System, pll: PLL) -> None:
        self._system, self._pll = system, pll

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        platform.add_resources([_KEEP_ON])
        m.submodules.oscillator = oscillator = io.Buffer("i", platform.request("clk25", dir="-"))
        m.submodules.clock = clock = ECP5Clock(self._pll)
        m.domains.sync = ClockDomain(reset_less=True)
        m.d.comb += [clock.oscillator.eq(oscillator.i), ClockSignal().eq(clock.clk)]
        m.submodules.system = system = self._system
        uart = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        outputs = {
            "tx": (uart.tx, system.tx),
            "keep_on": (platform.request("keep_on", dir="-"), 1),
            "led_playing": (platform.request("led", 0, dir="-"), system.playing),
            "led_result": (platform.request("led", 1, dir="-"), system.result),
            "led_fault": (platform.request("led", 2, dir="-"), system.fault),
            "led_configured": (platform.request("led", 7, dir="-"), 1),
        }
        m.d.comb += system.rx.eq(rx.i)
        for name, (pins, value) in outputs.items():
            m.submodules[name] = buffer = io.Buffer("o", pins)
            m.d.comb += buffer.o.eq(value)
        return m

"""What the tools and a host need for a board: its netlist, pins, clock and registers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hdl.boards import BAUD, Board
from hdl.boards.pll import PLL, pll_for
from hdl.boards.system import System
from hdl.link.serial import divisor_for
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.registers import RegisterMap


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the tools and a host need for a board.

    ``rtlil``: top module ``top``. ``constraints``: an LPF file's text. ``pll``, ``registers``: for
    the host.
    """

    rtlil: str
    constraints: str
    pll: PLL
    registers: RegisterMap


def plan(board: Board, design: Design, image: Image | None, clock_hz: float) -> Plan:
    """Elaborate a board's top for a design.

    Raises
    ------
    InputError
        If the board has no PLL setting, or no serial rate, for the clock.
    """
    module: Any = import_module(board.module)
    pll = pll_for(board.oscillator_hz, clock_hz)
    system = System(design, image, divisor_for(pll.output_hz, BAUD))
    prepared = module.PLATFORM().prepare(module.Top(system, pll), "top", emit_src=False)
    return Plan(
        rtlil=prepared.files["top.il"],
        constraints=prepared.files["top.lpf"],
        pll=pll,
        registers=system.registers,
    )

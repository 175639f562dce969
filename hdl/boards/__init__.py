"""Boards that the accelerator is built for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hdl.boards.clock import PLL, pll_for
from hdl.boards.system import System
from hdl.boards.target import Target
from hdl.link.serial import divisor_for
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.registers import RegisterMap
from mmfree.errors import InputError

BAUD = 1_000_000
"""Rate of the serial line to a host, in bits per second."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board.

    ``module``: has PLATFORM and Top. ``target``: the device; ``block_rams``: how many it has.
    ``oscillator_hz``: on the board.
    """

    name: str
    module: str
    target: Target
    block_rams: int
    oscillator_hz: float


BOARDS = {
    board.name: board
    for board in (
        Board(
            name="ulx3s-85f",
            module="hdl.boards.ulx3s",
            target=Target(device="LFE5U-85F", package="CABGA381", speed=6),
            block_rams=208,
            oscillator_hz=25e6,
        ),
    )
}
"""Known boards, by name."""


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


def find_board(name: str) -> Board:
    """A board by its name.

    Raises
    ------
    InputError
        If it is not known.
    """
    if name not in BOARDS:
        raise InputError(f"--board must be one of {', '.join(BOARDS)}, got {name!r}")
    return BOARDS[name]


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

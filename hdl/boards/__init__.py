"""Boards that the accelerator is built for, by name. What is planned for one is in ``plan``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hdl.boards.target import Target
from mmfree.errors import not_one_of

BAUD = 1_000_000
"""Rate of the serial line to a host, in bits per second."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board.

    ``module``: has PLATFORM and Top. ``target``: the device; ``family``: its own, and ``capacity``:
    its cells by kind (luts, flip_flops, ram_blocks). ``oscillator_hz``: on the board.
    """

    name: str
    module: str
    target: Target
    family: str
    capacity: Mapping[str, int]
    oscillator_hz: float


BOARDS = {
    board.name: board
    for board in (
        Board(
            name="ulx3s-85f",
            module="hdl.boards.ulx3s",
            target=Target(device="LFE5U-85F", package="CABGA381", speed=6),
            family="ecp5",
            capacity={"luts": 83640, "flip_flops": 83640, "ram_blocks": 208},
            oscillator_hz=25e6,
        ),
    )
}
"""Known boards, by name."""


def find_board(name: str) -> Board:
    """A board by its name.

    Raises
    ------
    InputError
        If it is not known.
    """
    if name not in BOARDS:
        raise not_one_of("--board", name, BOARDS)
    return BOARDS[name]

"""Boundaries of builds: clocks of a board, cells of a device, what a build says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from hdl.boards.pll import pll_for
from hdl.toolchain.built import read_built
from hdl.toolchain.families import Area, with_totals
from hdl.toolchain.place_and_route import ResourceError, read_fit
from tests.hdl.toolchain.test_built import changed
from tests.support.boundaries import Boundary

Action = Callable[[Path], object]


def _pll(input_hz: float, asked_hz: float) -> Action:
    return lambda _: pll_for(input_hz, asked_hz)


def _built(path: str, value: object) -> Action:
    """Read a build with another value at a path of keys."""

    def read(folder: Path) -> None:
        (folder / "build.json").write_text(json.dumps(changed(path, value)))
        read_built(folder)

    return read


def _totals(luts: int) -> Action:
    areas = {"post": Area(luts=1, flip_flops=1, lut_rams=52)}
    return lambda _: with_totals(areas, luts=luts, flip_flops=1, ram_blocks=0)


def _fit(used: int) -> Action:
    return lambda _: read_fit(f"Info: \t              DP16KD:      {used}/     56    99%\n")


CLOCK, BUILT = "hdl/boards/pll.py", "hdl/toolchain/built.py"

ROWS = [
    *(
        Boundary(
            file=CLOCK,
            compares="low <= asked_hz <= high",
            allowed=_pll(25e6, inside),
            refused=_pll(25e6, outside),
            says=rf"--clock must lie in 3\.125\.\.400 MHz, got {outside / 1e6:g}",
        )
        for inside, outside in ((3.125e6, 3.12e6), (400e6, 400.1e6))
    ),
    *(
        Boundary(
            file=CLOCK,
            compares="INPUT_HZ[0] <= input_hz <= INPUT_HZ[1]",
            allowed=_pll(inside, 100e6),
            refused=_pll(outside, 100e6),
            says=rf"a PLL takes 8\.\.400 MHz, got {outside / 1e6:g}",
        )
        for inside, outside in ((8e6, 7.99e6), (400e6, 400.1e6))
    ),
    # From 8 MHz a PLL makes 272 MHz, and then 276: 272 are 1 % less than 274.747 MHz.
    Boundary(
        file=CLOCK,
        compares="best[0] < asked * (1 - Fraction(TOLERANCE))",
        allowed=_pll(8e6, 274.747e6),
        refused=_pll(8e6, 274.748e6),
        says=r"no PLL setting makes 274\.748 MHz, or up to 1 % less, from 8 MHz",
    ),
    *(
        Boundary(
            file=BUILT,
            compares=compares,
            allowed=_built(path, allowed),
            refused=_built(path, refused),
            says=says,
        )
        for compares, path, allowed, refused, says in (
            ("1 <= hertz <= _FASTEST_HZ", "pll_hz", 1, 0.99, "pll_hz must be .*, got 0.99"),
            ("1 <= hertz <= _FASTEST_HZ", "pll_hz", 10**10, 10**10 + 1, "pll_hz must be a freq"),
            ("0 <= value < _LARGEST_COUNT", "counts.synthesized.luts", 0, -1, "luts must be"),
            (
                "0 <= value < _LARGEST_COUNT",
                "counts.synthesized.luts",
                (1 << 40) - 1,
                1 << 40,
                "luts must be a number of cells, got 1099511627776",
            ),
            (
                "count > available",
                "utilisation.DP16KD",
                [208, 208],
                [209, 208],
                r"utilisation\.DP16KD uses 209 of 208",
            ),
        )
    ),
    Boundary(
        file="hdl/toolchain/families.py",
        compares="total < 0",
        allowed=_totals(52),
        refused=_totals(51),
        says="51 LUTs were counted of the whole design",
    ),
    Boundary(
        file="hdl/toolchain/place_and_route.py",
        compares="used > available",
        allowed=_fit(56),
        refused=_fit(57),
        says="the design needs 57 DP16KD, and the device has 56",
        raises=ResourceError,
    ),
]

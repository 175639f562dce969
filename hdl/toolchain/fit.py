"""Whether a design can fit a part, told before anything is synthesized.

What is refused here would be refused minutes later, by the tools. What passes may still be too
large: the cost model gives lower bounds only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hdl.toolchain.cost import memory_bits, resources
from mmfree.chip.design import Design


@dataclass(frozen=True, kw_only=True)
class _Least:
    """What a design takes of a family at least.

    ``luts``, ``flip_flops``: shares of the cost model's counts, which are the ECP5's.
    ``block_bits``: of a block RAM.
    """

    luts: float
    flip_flops: float
    block_bits: int


_LEAST = {
    "ecp5": _Least(luts=1.0, flip_flops=0.97, block_bits=18 << 10),
    "ice40": _Least(luts=1.0, flip_flops=1.0, block_bits=4 << 10),
    "xc7": _Least(luts=0.65, flip_flops=0.7, block_bits=36 << 10),
    "xcup": _Least(luts=0.65, flip_flops=0.7, block_bits=36 << 10),
}
"""By family. Below what syntheses by block took (``tools/measure/fits.py``): the cost model errs by
3 %, and a LUT of six inputs holds more than one of four."""

_COUNTED, _PACKED = 0.99, 0.95
"""Shares of the block RAMs: of the ECP5's, which the plan counts that places them; and of those
that the bits alone would fill, since small memories may be made of LUTs.
"""


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """A kind of cell of which a design needs at least ``needed``, and a part has ``available``.

    ``kind``: "luts", "flip_flops" or "ram_blocks".
    """

    kind: str
    needed: int
    available: int


def least_cells(design: Design, family: str) -> dict[str, int]:
    """The fewest cells by kind that a design takes of a family of FPGAs."""
    least, size = _LEAST[family], resources(design)
    blocks = (
        math.floor(_COUNTED * size.blocks) if family == "ecp5" else _blocks_of_bits(design, family)
    )
    return {
        "luts": math.floor(least.luts * size.luts),
        "flip_flops": math.floor(least.flip_flops * size.flip_flops),
        "ram_blocks": blocks,
    }


def find_shortage(design: Design, family: str, capacity: Mapping[str, int]) -> Shortage | None:
    """The first kind of cell of which a part has too few for a design; None: it may fit."""
    # Planning very large memories takes seconds, which is not needed to see that they are.
    blocks = _blocks_of_bits(design, family)
    if blocks > capacity["ram_blocks"]:
        return Shortage(kind="ram_blocks", needed=blocks, available=capacity["ram_blocks"])
    for kind, needed in least_cells(design, family).items():
        if needed > capacity[kind]:
            return Shortage(kind=kind, needed=needed, available=capacity[kind])
    return None


def _blocks_of_bits(design: Design, family: str) -> int:
    """Block RAMs that the bits of the memories fill at least."""
    return math.floor(_PACKED * memory_bits(design) / _LEAST[family].block_bits)

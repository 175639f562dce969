"""Whether a design can fit a part, told before anything is synthesized.

What ``find_shortage`` refuses would be refused minutes later, by the tools: it takes lower bounds,
so what passes may still be too large. ``usual_cells`` are what tools usually take, to plan with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hdl.fabric.ecp5_ram import DISTRIBUTED_DEPTH, num_copies
from hdl.planning.cost import resources
from hdl.planning.memories import memories, memory_bits
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

_USUAL = {"ecp5": (1.45, 1.06), "xcup": (0.92, 0.9)}
"""LUTs and flip-flops that a whole board takes, by those of the cost model: on the ECP5 as routed,
with LUTs that are memory, a host's link and the ends of carry chains (docs/power.md, which count is
which), on UltraScale+ as Yosys synthesizes (measured/fits.json).
"""

_SHAPES_36 = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of half a block RAM of 36 Kbit; the first one with a single read port."""

_COUNTED, _PACKED = 0.99, 0.95
"""Shares of the block RAMs: of the ECP5's, which the plan counts that places them; and of those
that the bits alone would fill, since small memories may be made of LUTs.
"""


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """Something of which a design needs ``needed``, and a part has ``available``.

    ``kind``: "luts", "flip_flops" or "ram_blocks"; of a plan (hdl/planning/projection.py) also
    "ram_bits" (of block RAM), "memory_bytes" (of an external memory), "ports" and "port_bits".
    """

    kind: str
    needed: int
    available: int

    @property
    def missing(self) -> int:
        """How much more it would take."""
        return self.needed - self.available


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


def usual_cells(design: Design, family: str) -> dict[str, int]:
    """The cells by kind that a design may be expected to take of a family, ECP5 or UltraScale+.

    TooMuchMemoryError as of ``resources``.
    """
    size = resources(design)
    luts, flip_flops = _USUAL[family]
    return {
        "luts": math.ceil(luts * size.luts),
        "flip_flops": math.ceil(flip_flops * size.flip_flops),
        "ram_blocks": size.blocks if family == "ecp5" else _blocks_36(design),
    }


def _blocks_36(design: Design) -> int:
    """Block RAMs of 36 Kbit, in halves, each memory in the shape that takes the fewest."""
    halves = 0
    for memory in memories(design):
        if memory.depth > DISTRIBUTED_DEPTH:
            bits = memory.part_bits * memory.parts
            shapes = _SHAPES_36[memory.reads > 1 :]
            least = min(-(-memory.depth // words) * -(-bits // width) for words, width in shapes)
            halves += memory.count * num_copies(memory.reads) * least
    return math.ceil(halves / 2)


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

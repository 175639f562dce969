"""How many cells a design takes, counted in several ways, and which figure is which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hdl.toolchain.audit import luts, ram_blocks
from mmfree.chip.design import Design

if TYPE_CHECKING:
    from hdl.toolchain.families import Area

ESTIMATED, BY_BLOCK, SYNTHESIZED, ROUTED = "estimated", "by block", "synthesized", "routed"

WAYS = {
    ESTIMATED: "the accelerator, by the cost model; without LUTs that are memory",
    BY_BLOCK: "the accelerator, each block by Yosys, not placed; with LUTs that are memory",
    SYNTHESIZED: "the whole board, by Yosys, not placed; with LUTs that are memory",
    ROUTED: "the whole board, placed and routed by nextpnr: what the device has in use",
}
"""Ways of counting, from the first guess to what was built, and what each counts.

The board adds a serial link, a host's registers and a PLL to the accelerator. A carry cell counts
as the two LUTs whose place it takes.
"""


@dataclass(frozen=True, kw_only=True)
class Count:
    """Cells of a design, counted in one of WAYS."""

    way: str
    luts: int
    flip_flops: int
    ram_blocks: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "luts": self.luts,
            "flip_flops": self.flip_flops,
            "ram_blocks": self.ram_blocks,
            "what": WAYS[self.way],
        }


def estimated_count(design: Design) -> Count:
    """By the cost model, for the ECP5."""
    from hdl.planning.cost import resources

    size = resources(design)
    return Count(way=ESTIMATED, luts=size.luts, flip_flops=size.flip_flops, ram_blocks=size.blocks)


def block_count(areas: Mapping[str, Area]) -> Count:
    """Of all blocks together, each synthesized apart."""
    found = areas.values()
    return Count(
        way=BY_BLOCK,
        luts=sum(area.luts + area.lut_rams for area in found),
        flip_flops=sum(area.flip_flops for area in found),
        ram_blocks=round(sum(area.ram_blocks for area in found)),
    )


def synthesized_count(cells: dict[str, int]) -> Count:
    """Of a board's netlist for the ECP5, by type of cell."""
    from hdl.toolchain.families import FAMILIES

    memory = FAMILIES["ecp5"].area(cells).lut_rams
    return Count(
        way=SYNTHESIZED,
        luts=luts(cells) + memory,
        flip_flops=cells.get("TRELLIS_FF", 0),
        ram_blocks=ram_blocks(cells),
    )


def routed_count(utilisation: Mapping[str, tuple[int, int]]) -> Count:
    """Of what nextpnr-ecp5 placed: kind of cell -> (used, available)."""
    return Count(
        way=ROUTED,
        luts=utilisation["TRELLIS_COMB"][0],
        flip_flops=utilisation["TRELLIS_FF"][0],
        ram_blocks=utilisation["DP16KD"][0],
    )


def counts_to_dict(counts: Iterable[Count]) -> dict[str, Any]:
    """Plain JSON types, by way."""
    return {count.way: count.to_dict() for count in counts}


def describe_counts(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """``counts_to_dict``'s as a table that says of each what it counts."""
    lines = [f"{'cells':<13}{'LUTs':>8}{'flip-flops':>12}{'block RAMs':>12}"]
    lines += [
        f"{way:<13}{count['luts']:>8,}{count['flip_flops']:>12,}{count['ram_blocks']:>12,}"
        f"  {count['what']}"
        for way, count in counts.items()
    ]
    return "\n".join(lines)

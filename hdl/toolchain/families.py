"""Families of FPGAs: how Yosys synthesizes for them, and what their cells amount to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate

from hdl.accelerator import Accelerator
from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import ECP5_DSP_CELLS, cells_by_block
from hdl.toolchain.emit import TOP, convert_rtlil
from hdl.toolchain.ultrascale_audit import (
    FLIP_FLOPS,
    LUT_CELLS,
    RAM_LUTS,
    SHIFT_REGISTERS,
    ULTRASCALE_DSP_CELLS,
)
from mmfree.chip.design import Design
from mmfree.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Area:
    """Cells of a block.

    ``luts``: that compute. ``lut_rams``: LUTs that are memory. ``ram_blocks``: block RAMs, and
    ``disabled_blocks``: how many of these stay disabled during a read, on average. ``uram``:
    UltraRAMs. ``dsp``: DSP blocks.
    """

    luts: int = 0
    flip_flops: int = 0
    lut_rams: int = 0
    ram_blocks: float = 0
    disabled_blocks: float = 0
    uram: int = 0
    dsp: int = 0


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of FPGAs.

    ``synthesis``: Yosys' command, with the design's blocks kept. The others: kinds of cells, and
    for how many each counts; of ``flip_flops``, prefixes of their names.
    """

    synthesis: str
    technology: Technology = Technology.GENERIC
    luts: Mapping[str, int]
    flip_flops: tuple[str, ...]
    ram_blocks: Mapping[str, float]
    dsp: frozenset[str]
    lut_rams: Mapping[str, int] = field(default_factory=dict)
    uram: frozenset[str] = frozenset()

    def area(self, cells: Mapping[str, int]) -> Area:
        """What cells by type amount to."""
        return Area(
            luts=sum(each * cells.get(kind, 0) for kind, each in self.luts.items()),
            flip_flops=sum(
                count for kind, count in cells.items() if kind.startswith(self.flip_flops)
            ),
            lut_rams=sum(each * cells.get(kind, 0) for kind, each in self.lut_rams.items()),
            ram_blocks=sum(each * cells.get(kind, 0) for kind, each in self.ram_blocks.items()),
            uram=sum(cells.get(kind, 0) for kind in self.uram),
            dsp=sum(cells.get(kind, 0) for kind in self.dsp),
        )


_XILINX_LUTS = dict.fromkeys(LUT_CELLS, 1)
_XILINX_LUT_RAMS = RAM_LUTS | dict.fromkeys(SHIFT_REGISTERS, 1)
_ANY_RAM = "setattr -unset ram_style a:ram_style=distributed"
"""For a family without distributed RAM: Yosys refuses a memory that asks for it."""

FAMILIES = {
    "ice40": Family(
        synthesis="synth_ice40 -device u -dsp -noflatten",
        luts={"SB_LUT4": 1},
        flip_flops=("SB_DFF",),
        ram_blocks={"SB_RAM40_4K": 1, "SB_RAM40_4KNR": 1, "SB_RAM40_4KNW": 1, "SB_RAM40_4KNRNW": 1},
        dsp=frozenset({"SB_MAC16"}),
    ),
    "ecp5": Family(
        synthesis="synth_ecp5 -noflatten",
        technology=Technology.ECP5,
        luts={"LUT4": 1, "CCU2C": 2},
        flip_flops=("TRELLIS_FF",),
        ram_blocks={"DP16KD": 1, "PDPW16KD": 1},
        dsp=ECP5_DSP_CELLS,
        lut_rams={"TRELLIS_DPR16X4": 4},
    ),
    "xc7": Family(
        synthesis="synth_xilinx -family xc7 -noiopad -noclkbuf",
        ram_blocks={"RAMB36E1": 1, "RAMB18E1": 0.5},
        dsp=frozenset({"DSP48E1"}),
        luts=_XILINX_LUTS,
        flip_flops=tuple(FLIP_FLOPS),
        lut_rams=_XILINX_LUT_RAMS,
    ),
    "xcup": Family(
        synthesis="synth_xilinx -family xcup -noiopad -noclkbuf",
        technology=Technology.ULTRASCALE_PLUS,
        ram_blocks={"RAMB36E2": 1, "RAMB18E2": 0.5},
        dsp=ULTRASCALE_DSP_CELLS,
        uram=frozenset({"URAM288"}),
        luts=_XILINX_LUTS,
        flip_flops=tuple(FLIP_FLOPS),
        lut_rams=_XILINX_LUT_RAMS,
    ),
}


def area_by_block(design: Design, family: str, *, array: ArrayOf = TernaryArray) -> dict[str, Area]:
    """Cells of an accelerator's blocks (Yosys estimate, neither placed nor routed).

    "top": cells outside of all blocks.
    """
    chosen, accelerator = FAMILIES[family], Accelerator(design, array=array)
    text = convert_rtlil(accelerator, chosen.technology)
    before = () if chosen.lut_rams else (_ANY_RAM,)
    found = cells_by_block(text, TOP, chosen.synthesis, before=before)
    areas = {name: chosen.area(cells) for name, cells in found.items()}
    if chosen.technology is Technology.ECP5:
        for name, memories in accelerator.memories.items():
            disabled = sum(memory.disabled_blocks() for memory in memories)
            areas[name] = replace(areas[name], disabled_blocks=disabled)
    return areas


def with_totals(
    areas: Mapping[str, Area], *, luts: int, flip_flops: int, ram_blocks: int
) -> dict[str, Area]:
    """Blocks that together have as many cells as were counted of the whole.

    What was counted is shared in the proportion of ``areas``, where a block of its own would be a
    guess. ``luts`` include those that are memory, which stay as they are.

    Raises
    ------
    InputError
        If fewer were counted than are memory, or any of a kind that no block has.
    """
    found = list(areas.values())
    memory = sum(area.lut_rams for area in found)
    shares: dict[str, list[int]] = {}
    for name, total, weights in (
        ("LUTs", luts - memory, [float(area.luts) for area in found]),
        ("flip-flops", flip_flops, [float(area.flip_flops) for area in found]),
        ("block RAMs", ram_blocks, [area.ram_blocks for area in found]),
    ):
        if total < 0 or (total and not sum(weights)):
            raise InputError(
                f"{total + memory * (name == 'LUTs'):,} {name} were counted of the whole design,"
                f" and its blocks have {sum(weights) + memory * (name == 'LUTs'):,g}: it is another"
                " design, or what was counted is damaged; build it again"
            )
        shares[name] = _shared(total, weights)
    return {
        name: replace(
            area,
            luts=shares["LUTs"][n],
            flip_flops=shares["flip-flops"][n],
            ram_blocks=shares["block RAMs"][n],
            disabled_blocks=(
                area.disabled_blocks * shares["block RAMs"][n] / area.ram_blocks
                if area.ram_blocks
                else 0.0
            ),
        )
        for n, (name, area) in enumerate(areas.items())
    }


def _shared(total: int, weights: list[float]) -> list[int]:
    """Integers in the proportion of ``weights`` that add up to ``total``."""
    whole = sum(weights)
    ends = [round(total * end / whole) if whole else 0 for end in accumulate(weights)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]

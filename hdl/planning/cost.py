"""What an accelerator costs, before it is built.

Cycles per token, exactly; LUTs, flip-flops and block RAMs of the ECP5, from measured syntheses.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdl.fabric.ecp5_ram import plan_banks
from hdl.memory.vectors import MAX_DISTRIBUTED_WORDS
from hdl.planning.memories import memories, memory_blocks, parameter_memories, vector_memories
from mmfree.chip.design import Design
from mmfree.chip.memory_map import PARAMETER_BITS, group_bits, parameters_per_word

MEASURED = {
    "pow2": Path(__file__).parent / "measured" / "ecp5.json",
    "absmax": Path(__file__).parent / "measured" / "ecp5_absmax.json",
}
"""Syntheses by ``tools/measure/costs.py``, by arithmetic: a configuration, its design and its cells
each.
"""

ROUTED = Path(__file__).parent / "measured" / "routed.json"
"""Clocks after routing, by ``tools/measure/route.py``."""

OWN_FEATURES = (0, 5, 6, 7)
"""Of ``features`` those that an arithmetic has its own coefficients for: what every design has,
each of C and of P, and its parameters or sums.
"""

PORT_CELLS = {"luts": 300, "flip_flops": 80}
"""What a port of an external memory takes, its ring's included: of five ports of 128 bits, by what
source and embedding took more than those of block RAM.
"""


def routed_rows() -> list[dict[str, Any]]:
    """Post-route results (``tools/measure/route.py``), a row for each design.

    ``lanes``, ``clock_hz`` (median of ``seeds`` seeds), and how they were reached.
    """
    rows: list[dict[str, Any]] = json.loads(ROUTED.read_text())
    return rows


def clock_hz(lanes: int) -> float:
    """Clock to expect on an ECP5 of speed grade 6, interpolated between routed designs.

    Linear in the logarithm of the lanes; outside their range, the nearest design's.
    """
    rows = sorted((row["lanes"], row["clock_hz"]) for row in routed_rows())
    return float(
        np.interp(math.log2(lanes), [math.log2(n) for n, _ in rows], [clock for _, clock in rows])
    )


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a design takes of an ECP5: LUT4-equivalents, flip-flops, block RAMs.

    LUT4-equivalents are LUT4, and 2 for each CCU2C, without distributed RAM.
    """

    luts: int
    flip_flops: int
    blocks: int


def resources(design: Design) -> Resources:
    """Estimate for a design: LUTs and flip-flops by regression over the measured syntheses.

    Block RAMs are counted from the same plan that places them. What reads an external memory was
    in none of these designs, and is added (``PORT_CELLS``, without the memory's controller).

    Raises
    ------
    TooMuchMemoryError
        If the design has more block RAM than any part: see MOST_MEMORY_BITS.
    """
    coefficients = _coefficients(design.arithmetic)
    row = features(design)
    luts, flip_flops = (float(row @ coefficients[name]) for name in ("luts", "flip_flops"))
    if (external := design.external) is not None:
        # A port for each group of rows, and one for rows of the embedding.
        luts += PORT_CELLS["luts"] * (external.ports + 1)
        luts += _bias_multiplexers(design) if design.arithmetic == "pow2" else 0
        flip_flops += PORT_CELLS["flip_flops"] * (external.ports + 1)
    return Resources(luts=round(luts), flip_flops=round(flip_flops), blocks=memory_blocks(design))


def measured_rows(arithmetic: str = "pow2") -> list[tuple[Design, dict[str, int]]]:
    """Designs that were synthesized, with their LUT4-equivalents, flip-flops and blocks."""
    rows = json.loads(MEASURED[arithmetic].read_text())
    return [
        (
            Design.from_dict(row["design"]),
            {
                "luts": row["lut4"] + 2 * row["ccu2c"],
                "flip_flops": row["ff"],
                "blocks": row["blocks"],
            },
        )
        for row in rows
    ]


def fit(
    rows: list[tuple[Design, dict[str, int]]],
    known: dict[str, NDArray[np.float64]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Coefficients of the features, by least squares of the relative error.

    ``known``: those of another arithmetic, of which all but those of OWN_FEATURES hold here, too.
    """
    table = np.array([features(design) for design, _ in rows])
    free = np.array([known is None or n in OWN_FEATURES for n in range(table.shape[1])])
    found = {}
    for name in ("luts", "flip_flops"):
        measured = np.array([cells[name] for _, cells in rows], dtype=np.float64)
        coefficients = np.zeros(table.shape[1]) if known is None else np.where(free, 0, known[name])
        rest = (measured - table @ coefficients) / measured
        weighted = table[:, free] / measured[:, None]
        coefficients[free] = np.linalg.lstsq(weighted, rest, rcond=None)[0]
        found[name] = np.asarray(coefficients, dtype=np.float64)
    return found


@cache
def _coefficients(arithmetic: str) -> dict[str, NDArray[np.float64]]:
    # The array, its words and its memories are those of pow2, of which more was measured.
    known = None if arithmetic == "pow2" else _coefficients("pow2")
    return fit(measured_rows(arithmetic), known)


def _bias_multiplexers(design: Design) -> float:
    """LUTs that choose P biases out of a word of all ports: two inputs each."""
    choices = design.num_groups * group_bits(design) // (16 * design.post_width)
    return 17 * design.post_width * (choices - 1) / 2


def features(design: Design) -> NDArray[np.float64]:
    """What LUTs and flip-flops grow with; TooMuchMemoryError as of ``resources``."""
    lanes, columns, width = design.lanes, design.columns, design.post_width
    banked = 0
    for memory in memories(design):
        banks = plan_banks(memory.depth, memory.part_bits, memory.parts, memory.reads)
        banked += memory.count * memory.part_bits * memory.parts * max(0, len(banks) - 1)
    absmax = design.arithmetic == "absmax"
    small = vector_memories(design)
    if absmax:
        small += [(m.count, m.parts * m.part_bits, m.depth) for m in parameter_memories(design)]
    distributed = sum(
        count * bits * (-(-depth // 16) - 1)
        for count, bits, depth in small
        if depth <= MAX_DISTRIBUTED_WORDS
    )
    # Of absmax the bits of a word of parameters, from which P are chosen.
    chosen = (PARAMETER_BITS + 1) * parameters_per_word(design)
    return np.array(
        [
            1,
            lanes,
            lanes * (design.weight_code == "1.67"),
            lanes * (design.weight_code == "1.6"),
            lanes / columns * design.accumulator_bits,
            columns,
            width,
            chosen if absmax else width * design.accumulator_bits,
            banked,
            distributed,
        ],
        dtype=np.float64,
    )

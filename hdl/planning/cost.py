"""What an accelerator costs, before it is built.

Cycles per token, exactly; LUTs, flip-flops and block RAMs of the ECP5, from measured syntheses.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdl.accelerator import ORDER_CYCLES
from hdl.array.row_blocks import LATENCY as QUEUE_LATENCY
from hdl.array.ternary_array import array_latency
from hdl.fabric.ecp5_ram import plan_banks
from hdl.memory.embedding import LATENCY as EMBEDDING_LATENCY
from hdl.memory.sources.embedding import FIRST_WRITE, order_cycles
from hdl.memory.sources.interface import LATENCY as SOURCE_LATENCY
from hdl.memory.vectors import MAX_DISTRIBUTED_WORDS
from hdl.memory.weight_check import CHECK_DISTANCE, check_latency
from hdl.payloads import EARLY, RESULT_BLOCKS
from hdl.planning.memories import memories, memory_blocks
from hdl.pow2.activations import LATENCY as ACTIVATIONS_LATENCY
from hdl.pow2.logits import chosen_cycle
from hdl.pow2.products import GATES_WRITTEN, GLU_WRITTEN
from hdl.pow2.residual import WRITTEN as RESIDUAL_WRITTEN
from hdl.pow2.rms_norm import norm_latency, take_up_parts
from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_bits, parameter_words
from mmfree.contract.pow2 import SEGMENT_ROLES
from mmfree.contract.shape import ModelConfig, segment_name
from mmfree.tape.pow2 import segment_shapes

MEASURED = Path(__file__).parent / "measured" / "ecp5.json"
"""Syntheses by ``tools/measure/costs.py``: a configuration, its design and its cells each."""

ROUTED = Path(__file__).parent / "measured" / "routed.json"
"""Clocks after routing, by ``tools/measure/route.py``."""

PORT_CELLS = {"luts": 100, "flip_flops": 60}
"""What reads a port of an external memory takes besides its ring (measured on a prototype)."""

_FIRST_ADMISSION = 2
"""Cycles from a header's load to the first tile."""


@dataclass(frozen=True, kw_only=True)
class SegmentCycles:
    """Cycles of one entry of the segment table: all, those with a tile admitted, waits by cause.

    The causes are those of ``hdl.interface.WAITS``; weights are always available.
    """

    name: str
    cycles: int
    beats: int
    wait_room: int
    wait_drain: int
    wait_vector: int
    wait_control: int = 2


@dataclass(frozen=True, kw_only=True)
class _Latencies:
    """Cycles that a design's blocks take."""

    array: int
    groups: int
    norm: int
    norm_parts: int
    check: int
    write: dict[str, int]
    head: int

    @classmethod
    def of(cls, design: Design) -> _Latencies:
        return cls(
            array=array_latency(design.columns),
            groups=design.num_groups,
            norm=norm_latency(design.columns),
            norm_parts=take_up_parts(design.columns),
            check=check_latency(design.num_groups),
            write={
                "gates": GATES_WRITTEN,
                "output": RESIDUAL_WRITTEN,
                "glu": GLU_WRITTEN,
                "down": RESIDUAL_WRITTEN,
            },
            head=chosen_cycle(design.post_width),
        )


MEMORY_LATENCY = 100
"""Cycles from a burst's acceptance by an external memory to its first beat, where none is given."""


def segment_cycles(
    config: ModelConfig, design: Design, *, memory_latency: int = MEMORY_LATENCY
) -> list[SegmentCycles]:
    """Cycles of the embedding and of every segment of a token, with weights always available.

    Equal to the chip's own counters. ``memory_latency`` counts for the row of the embedding in an
    external memory: cycles from a burst's acceptance to its first beat, by a bus with the chip's
    clock that takes every burst and has every later beat in time.
    """
    latencies = _Latencies.of(design)
    tiles = -(-config.hidden_size // design.columns)
    groups = tiles * design.columns // design.post_width
    row = EMBEDDING_LATENCY
    if design.external is not None:
        row = order_cycles(design) + memory_latency + FIRST_WRITE
    # LOAD, PREPARE, the start; the row; its vector counts as ready EARLY cycles before its last
    # write.
    cycles = 2 + row + (groups - 1) - EARLY + 2
    found = [
        SegmentCycles(
            name="embedding",
            cycles=cycles,
            beats=0,
            wait_room=0,
            wait_drain=0,
            wait_vector=cycles - 2,
        )
    ]
    # All layers are alike.
    known: dict[tuple[str, int, int, int], SegmentCycles] = {}
    for kind, layer, rows, fan_in in segment_shapes(config):
        # After the last tile of a layer come the biases of the next.
        parameters = 0
        if design.external is not None and kind == "down" and layer != config.num_layers - 1:
            parameters = parameter_words(design)
        name, shape = segment_name(kind, layer), (kind, rows, fan_in, parameters)
        if shape not in known:
            known[shape] = _segment(name, *shape, design, latencies)
        found.append(replace(known[shape], name=name))
    return found


def cycles_per_token(
    config: ModelConfig, design: Design, *, memory_latency: int = MEMORY_LATENCY
) -> int:
    """Cycles from a token's acceptance until its result is valid; see ``segment_cycles``."""
    segments = segment_cycles(config, design, memory_latency=memory_latency)
    return sum(segment.cycles for segment in segments)


def lane_utilization(config: ModelConfig, design: Design) -> float:
    """Ternary weights of the model per lane and cycle, head included."""
    weights = sum(
        len(SEGMENT_ROLES[k]) * rows * fan_in for k, _, rows, fan_in in segment_shapes(config)
    )
    return weights / (design.lanes * cycles_per_token(config, design))


_PROMISES = RESULT_BLOCKS - 2
"""Most row blocks in use when another is begun, as far as the sequencer then knows."""


def _count_until(cycles: list[int], last: int) -> int:
    """How many of the rising ``cycles`` are at most ``last``; searched from the end."""
    count = len(cycles)
    while count and cycles[count - 1] > last:
        count -= 1
    return count


def _segment(
    name: str,
    kind: str,
    rows: int,
    fan_in: int,
    parameters: int,
    design: Design,
    latencies: _Latencies,
) -> SegmentCycles:
    """``parameters``: words that are taken after the last tile."""
    tiles, blocks = -(-fan_in // design.columns), len(SEGMENT_ROLES[kind]) * -(-rows // design.rows)
    slots = design.groups_per_block
    # Cycles from a tile's admission until its words reach the norm, and until the sums of a row
    # block's last tile reach the queue.
    to_norm = ACTIVATIONS_LATENCY - 1
    to_queue = 1 + ACTIVATIONS_LATENCY + latencies.array + latencies.groups - 1
    scale_done = _FIRST_ADMISSION + to_norm + tiles * latencies.norm_parts + latencies.norm
    begins: list[int] = []
    ends: list[int] = []
    takes: list[int] = []
    waited = 0
    end = _FIRST_ADMISSION - 1
    for _ in range(blocks):
        # A row block is begun when there is room, by what the sequencer knows: the blocks begun and
        # taken out until two cycles before.
        begin = wanted = end + 1
        while (begun := _count_until(begins, begin - 3)) >= _PROMISES and takes[
            begun - _PROMISES
        ] > begin - 4:
            begin += 1
        waited += begin - wanted
        begins.append(begin)
        end = begin + tiles - 1
        ends.append(end)
        take = max(end + to_queue + 1, scale_done)
        takes.append(max(take, takes[-1] + slots) if takes else take)
    last_tag = takes[-1] + QUEUE_LATENCY - 1 + slots - 1
    if kind == "head":
        check = ends[-1] + 2 + ORDER_CYCLES + SOURCE_LATENCY + latencies.check + 2
        cycles = max(last_tag + latencies.head + 1, check) + 1
    else:
        # Only words of parameters can be so many that the check word comes late.
        check = ends[-1] + 2 + parameters + CHECK_DISTANCE - 2
        cycles = max(last_tag + latencies.write[kind] - EARLY + 1, check)
    beats, drain = tiles * blocks, takes[-1] + 1 - ends[-1]
    return SegmentCycles(
        name=name,
        cycles=cycles,
        beats=beats,
        wait_room=waited,
        wait_drain=drain,
        wait_vector=cycles - beats - waited - drain - 2,
    )


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
    coefficients = _coefficients()
    row = features(design)
    luts, flip_flops = (float(row @ coefficients[name]) for name in ("luts", "flip_flops"))
    if (external := design.external) is not None:
        # A port for each group of rows, and one for rows of the embedding.
        luts += PORT_CELLS["luts"] * (external.ports + 1) + _bias_multiplexers(design)
        flip_flops += PORT_CELLS["flip_flops"] * (external.ports + 1)
    return Resources(luts=round(luts), flip_flops=round(flip_flops), blocks=memory_blocks(design))


def measured_rows() -> list[tuple[Design, dict[str, int]]]:
    """Designs that were synthesized, with their LUT4-equivalents, flip-flops and blocks."""
    rows = json.loads(MEASURED.read_text())
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


def fit(rows: list[tuple[Design, dict[str, int]]]) -> dict[str, NDArray[np.float64]]:
    """Coefficients of the features, by least squares of the relative error."""
    table = np.array([features(design) for design, _ in rows])
    found = {}
    for name in ("luts", "flip_flops"):
        measured = np.array([cells[name] for _, cells in rows], dtype=np.float64)
        weighted = table / measured[:, None]
        found[name] = np.asarray(
            np.linalg.lstsq(weighted, np.ones(len(rows)), rcond=None)[0], dtype=np.float64
        )
    return found


@cache
def _coefficients() -> dict[str, NDArray[np.float64]]:
    return fit(measured_rows())


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
    distributed = sum(
        size * columns * (-(-depth // 16) - 1)
        for size, depth in (
            (design.value_bits, design.embedding_tiles),
            (design.value_bits, design.max_tiles),
            (8, design.max_tiles),
            (8, design.max_tiles),
        )
        if depth <= MAX_DISTRIBUTED_WORDS
    )
    return np.array(
        [
            1,
            lanes,
            lanes * (design.weight_code == "1.67"),
            lanes * (design.weight_code == "1.6"),
            lanes / columns * design.accumulator_bits,
            columns,
            width,
            width * design.accumulator_bits,
            banked,
            distributed,
        ],
        dtype=np.float64,
    )

"""Cycles that a token takes on an accelerator, before it is built: exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hdl.absmax.activations import LATENCY as ABSMAX_ACTIVATIONS
from hdl.absmax.norm.gains import LATENCY as GAIN_LATENCY
from hdl.absmax.norm.largest import largest_levels
from hdl.absmax.norm.scalars import norm_latency as absmax_norm_latency
from hdl.absmax.parts import Scaled
from hdl.absmax.post import ELEMENTS, EMBEDDING_LATENCY
from hdl.absmax.products import NOISE_READY as ABSMAX_NOISE_READY
from hdl.array.row_blocks import LATENCY as QUEUE_LATENCY
from hdl.array.ternary_array import array_latency
from hdl.blocks import order_cycles
from hdl.control.sequencer import settling_cycles
from hdl.memory.embedding import Expand, ShiftUp, block_latency
from hdl.memory.sources.embedding import first_write, row_order_cycles, scale_cycles
from hdl.memory.sources.interface import LATENCY as SOURCE_LATENCY
from hdl.memory.weight_check import CHECK_DISTANCE, check_latency
from hdl.payloads import EARLY, RESULT_BLOCKS
from hdl.pow2.activations import LATENCY as POW2_ACTIVATIONS
from hdl.pow2.post import RESIDUAL_WRITTEN
from hdl.pow2.products import GATES_WRITTEN, GLU_WRITTEN
from hdl.pow2.products import NOISE_READY as POW2_NOISE_READY
from hdl.pow2.rms_norm import norm_latency as pow2_norm_latency
from hdl.pow2.rms_norm import take_up_parts
from hdl.pow2.token_shift import LATENCY as SHIFT_LATENCY
from hdl.rows.logits import chosen_cycle
from mmfree.chip.design import Design
from mmfree.chip.records import Record, array_shapes, records
from mmfree.contract.pow2 import SEGMENT_ROLES
from mmfree.contract.shape import AnyConfig, segment_name

_FIRST_ADMISSION = 2
"""Cycles from a header's load to the first tile."""

MEMORY_LATENCY = 100
"""Cycles from a burst's acceptance by an external memory to its first beat, where none is given."""


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
    """Cycles that a design's blocks take.

    ``norm``: from a segment's load to its scale, and ``norm_tile`` more for each tile of the
    vector. ``ready``: from a vector's last tag to ``vector_done``, by kind; ``embedded`` likewise,
    from the embedding's last write; in absmax to that of the first product with gains. ``chosen``:
    from the last logits' tag to the row.
    """

    activations: int
    array: int
    groups: int
    check: int
    order: int
    norm: int
    norm_tile: int
    ready: dict[str, int]
    embedded: int
    chosen: int

    @classmethod
    def of(cls, design: Design) -> _Latencies:
        absmax = design.arithmetic == "absmax"
        activations = ABSMAX_ACTIVATIONS if absmax else POW2_ACTIVATIONS
        if absmax:
            norm, norm_tile = absmax_norm_latency(design), 0
            gained = GAIN_LATENCY - (EARLY - largest_levels(design))
            ready = {kind: cycle + gained for kind, cycle in ELEMENTS.items()}
            embedded = EMBEDDING_LATENCY + gained
        else:
            norm = _FIRST_ADMISSION + activations - 1 + pow2_norm_latency(design.columns)
            norm_tile = take_up_parts(design.columns)
            written = {
                "gates": GATES_WRITTEN,
                "output": RESIDUAL_WRITTEN,
                "glu": GLU_WRITTEN,
                "down": RESIDUAL_WRITTEN,
            }
            ready = {kind: cycle - EARLY for kind, cycle in written.items()}
            embedded = 1 - EARLY
            if design.token_shift:
                embedded += SHIFT_LATENCY
                ready |= {kind: ready[kind] + SHIFT_LATENCY for kind in ("output", "down")}
        noise_ready = ABSMAX_NOISE_READY if absmax else POW2_NOISE_READY
        return cls(
            activations=activations,
            array=array_latency(design.columns),
            groups=design.num_groups,
            check=check_latency(design.num_groups),
            order=order_cycles(design, activations),
            norm=norm,
            norm_tile=norm_tile,
            ready=ready,
            embedded=embedded,
            chosen=chosen_cycle(design.post_width, noise_ready),
        )


def segment_cycles(
    config: AnyConfig, design: Design, *, memory_latency: int = MEMORY_LATENCY
) -> list[SegmentCycles]:
    """Cycles of the embedding and of every segment of a token, with weights always available.

    Equal to the chip's own counters. ``memory_latency`` counts for the row of the embedding in an
    external memory: cycles from a burst's acceptance to its first beat, by a bus with the chip's
    clock that takes every burst and has every later beat in time.
    """
    latencies = _Latencies.of(design)
    embedding, *segments = records(config, design)
    found = [_embedding(embedding, design, latencies, memory_latency)]
    # Most layers are alike.
    known: dict[Record, SegmentCycles] = {}
    for record in segments:
        name, shape = segment_name(record.kind, record.layer), replace(record, layer=None)
        if shape not in known:
            known[shape] = _segment(name, shape, design, latencies)
        found.append(replace(known[shape], name=name))
    return found


def cycles_per_token(
    config: AnyConfig, design: Design, *, memory_latency: int = MEMORY_LATENCY
) -> int:
    """Cycles from a token's acceptance until its result is valid; see ``segment_cycles``."""
    segments = segment_cycles(config, design, memory_latency=memory_latency)
    return sum(segment.cycles for segment in segments)


def lane_utilization(config: AnyConfig, design: Design) -> float:
    """Ternary weights of the model per lane and cycle, head included."""
    weights = sum(
        len(SEGMENT_ROLES[k]) * rows * fan_in for k, _, rows, fan_in in array_shapes(config)
    )
    return weights / (design.lanes * cycles_per_token(config, design))


def _embedding(
    record: Record, design: Design, latencies: _Latencies, memory_latency: int
) -> SegmentCycles:
    """LOAD, PREPARE, in absmax the gains of the row; then the row, from its order on."""
    absmax = design.arithmetic == "absmax"
    expand: Expand = Scaled(design) if absmax else ShiftUp()
    ordered = 2
    if absmax:
        taken = latencies.order + SOURCE_LATENCY
        ordered += record.own_gains + 1 + 1 + settling_cycles(design, taken)
    row = block_latency(expand)
    scale = 1
    if design.external is not None:
        row = row_order_cycles(design) + memory_latency + first_write(expand)
        scale = scale_cycles(design)
    # In absmax the row's scale comes before its elements.
    first = ordered + row + absmax * scale
    groups = record.tiles * design.columns // design.post_width
    last = first + (groups - 1) * max(1, record.turns)
    cycles = last + latencies.embedded + _written_after(record) + 1
    if absmax:
        cycles = max(cycles, _checked(ordered - 2, record, design))
    return SegmentCycles(
        name="embedding",
        cycles=cycles,
        beats=0,
        wait_room=0,
        wait_drain=0,
        wait_vector=cycles - 2,
    )


def _written_after(record: Record) -> int:
    """absmax: turns from an element's first product with a gain to the last one that is written:
    that for a norm is not.
    """
    return max(0, record.turns - 2)


def _checked(end: int, record: Record, design: Design) -> int:
    """Cycles of a segment whose last tile was admitted in cycle ``end``, if its check word is what
    the next one waits for: only words of parameters can be so many.
    """
    parameters = record.bounds + record.gains
    if design.arithmetic == "absmax":
        # A cycle after each kind.
        parameters += 2
    return end + 2 + parameters + CHECK_DISTANCE - 2


_PROMISES = RESULT_BLOCKS - 2
"""Most row blocks in use when another is begun, as far as the sequencer then knows."""


def _count_until(cycles: list[int], last: int) -> int:
    """How many of the rising ``cycles`` are at most ``last``; searched from the end."""
    count = len(cycles)
    while count and cycles[count - 1] > last:
        count -= 1
    return count


def _segment(name: str, record: Record, design: Design, latencies: _Latencies) -> SegmentCycles:
    tiles, matrices = record.tiles, record.matrices
    blocks, slots = matrices * record.blocks, design.groups_per_block
    # Cycles that a row block leaves in: of the last matrix as many as its elements' turns.
    paces = [slots] * (matrices - 1) + [slots * max(1, record.turns)]
    # Cycles from a tile's admission until the sums of a row block's last tile reach the queue.
    to_queue = 1 + latencies.activations + latencies.array + latencies.groups - 1
    scale_done = latencies.norm + tiles * latencies.norm_tile
    begins: list[int] = []
    ends: list[int] = []
    takes: list[int] = []
    waited = 0
    end = _FIRST_ADMISSION - 1
    for number in range(blocks):
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
        takes.append(max(take, takes[-1] + paces[(number - 1) % matrices]) if takes else take)
    last_tag = takes[-1] + QUEUE_LATENCY - 1 + (slots - 1) * max(1, record.turns)
    if record.kind == "head":
        absmax = design.arithmetic == "absmax"
        asked = ends[-1] + 2 + 2 * absmax
        check = asked + latencies.order + SOURCE_LATENCY + latencies.check + 2
        cycles = max(last_tag + latencies.chosen + 1, check) + 1
    else:
        written = last_tag + latencies.ready[record.kind] + _written_after(record)
        cycles = max(written + 1, _checked(ends[-1], record, design))
    beats, drain = tiles * blocks, takes[-1] + 1 - ends[-1]
    return SegmentCycles(
        name=name,
        cycles=cycles,
        beats=beats,
        wait_room=waited,
        wait_drain=drain,
        wait_vector=cycles - beats - waited - drain - 2,
    )

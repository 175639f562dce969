"""The first place where the chip leaves the model: segment, vector and index."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

from hdl.payloads import START_CYCLES
from mmfree.chip.design import Design
from mmfree.tape.reading import AnySegment, AnyTape
from sim.tracing.writes import TAPS, Write, tap_values

_TRACE_NAMES = {"x": "x", "u": "u", "state": "h", "logits": "logits"}
_VECTORS = {name: vector for vector, name in _TRACE_NAMES.items()}


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """First element that differs.

    ``expected`` is None if there is no such element, or it was written already; ``got`` and
    ``cycle`` if it was never written.
    """

    segment: str
    vector: str
    index: int
    expected: int | None
    got: int | None
    cycle: int | None


class TapMonitor:
    """Records every vector write of the chip, cycle by cycle: slow, meant for one token."""

    def __init__(self, dut: Any, design: Design) -> None:
        self._dut, self._design = dut, design
        self.writes: list[Write] = []

    async def watch(self) -> None:
        """Follow the taps; runs as a task until it is cancelled."""
        dut, cycle = self._dut, 0
        width, shown = self._design.post_width, tap_values(self._design)
        # A vector's last values are written when the next segment has already begun.
        segments = deque([0] * (START_CYCLES + 1), maxlen=START_CYCLES + 1)
        while True:
            await FallingEdge(dut.clk)
            cycle += 1
            segments.append(int(dut.segment.value))
            for vector in TAPS:
                if not int(getattr(dut, f"tap_{vector}__enable").value):
                    continue
                keep = int(getattr(dut, f"tap_{vector}__keep").value)
                base = int(getattr(dut, f"tap_{vector}__group").value) * width
                data = int(getattr(dut, f"tap_{vector}__data").value)
                segment = segments[0]
                self.writes += [
                    Write(
                        cycle=cycle,
                        segment=segment,
                        vector=vector,
                        index=base + lane,
                        value=shown[vector].of(data, lane),
                    )
                    for lane in range(width)
                    if keep >> lane & 1
                ]


def first_divergence(
    writes: list[Write], trace: dict[str, NDArray[Any]], tape: AnyTape, design: Design
) -> Divergence | None:
    """Compare the writes of one token with the golden model's trace of it.

    ``trace``: intermediate name -> vector. Returns None if every write agrees and every element was
    written. The state's index counts within its layer.
    """
    missing = {key: set(range(len(values))) for key, values in _expected(trace, tape).items()}
    height = -(-tape.config.hidden_size // design.rows) * design.rows
    for write in writes:
        if write.segment == 0:
            key, name = "embedding", "embedding"
        else:
            segment = tape.segments[write.segment - 1]
            key, name = _key(segment, write.vector), segment.name
        index = write.index
        if write.vector == "state":
            if index >= design.state_words * design.post_width:
                continue  # x, which a token shift keeps: its own writes are compared
            index -= (tape.segments[write.segment - 1].layer or 0) * height
        expected = trace.get(key)
        if expected is None or (
            write.vector == "x" and write.segment == 0 and index >= len(expected)
        ):
            continue  # padding of the embedding's last word
        due = 0 <= index < len(expected) and index in missing.get(key, ())
        wanted = int(expected[index]) if due else None
        if wanted != write.value:
            return Divergence(
                segment=name,
                vector=write.vector,
                index=index,
                expected=wanted,
                got=write.value,
                cycle=write.cycle,
            )
        missing.get(key, set()).discard(index)
    for key, indices in missing.items():
        if indices:
            segment_name, _, name = key.partition("/")
            index = min(indices)
            return Divergence(
                segment=segment_name,
                vector=_VECTORS.get(name, "x"),
                index=index,
                expected=int(trace[key][index]),
                got=None,
                cycle=None,
            )
    return None


def _key(segment: AnySegment, vector: str) -> str:
    return f"{segment.name}/{_TRACE_NAMES[vector]}"


def _expected(trace: dict[str, NDArray[Any]], tape: AnyTape) -> dict[str, NDArray[Any]]:
    """The traced vectors that the chip writes to a memory, in order."""
    written = {
        "gates": ("h", "u"),
        "output": ("x",),
        "glu": ("u",),
        "down": ("x",),
        "head": ("logits",),
    }
    keys = ["embedding"]
    keys += [f"{s.name}/{vector}" for s in tape.segments for vector in written[s.kind]]
    return {key: trace[key] for key in keys}

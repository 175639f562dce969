"""Vector writes as they are recorded, and the first divergence in made-up records of a token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sim.tracing.divergence
from hdl.payloads import START_CYCLES
from mmfree.chip.sizing import design_for
from mmfree.contract.shape import ModelConfig
from mmfree.golden.pow2 import Golden
from sim.tracing.divergence import Divergence, TapMonitor, first_divergence
from sim.tracing.writes import Write
from tests.support.hdl.values import small_design
from tests.support.random_tapes import random_tape
from tests.support.sim.pins import Pins, until_the_end

CONFIG = ModelConfig(vocab_size=7, head_size=5, hidden_size=10, intermediate_size=14, num_layers=2)
TAPE = random_tape(np.random.default_rng(0), **CONFIG.to_dict())
DESIGN = design_for(TAPE, 16)
HEIGHT = -(-10 // DESIGN.rows) * DESIGN.rows
"""Channels of a layer in the state memory: whole row blocks."""


def trace_of(token: int) -> dict[str, np.ndarray]:
    trace: dict[str, np.ndarray] = {}
    golden = Golden(TAPE)
    golden.step(
        np.array([token]),
        golden.state(),
        trace=lambda name, values: trace.update({name: values[0]}),
    )
    return trace


TRACE = trace_of(3)
WRITTEN = {
    "gates": {"state": "h", "u": "u"},
    "output": {"x": "x"},
    "glu": {"u": "u"},
    "down": {"x": "x"},
    "head": {"logits": "logits"},
}


def writes() -> list[Write]:
    """What a faithful chip writes, in order; the embedding's last word with padding."""
    found: list[Write] = []

    def add(segment: int, vector: str, values: Any, base: int = 0) -> None:
        for index, value in enumerate(values):
            found.append(
                Write(
                    cycle=len(found),
                    segment=segment,
                    vector=vector,
                    index=base + index,
                    value=int(value),
                )
            )

    add(0, "x", [*TRACE["embedding"], *[0] * (-10 % DESIGN.columns)])
    for number, segment in enumerate(TAPE.segments, start=1):
        for vector, name in WRITTEN[segment.kind].items():
            base = HEIGHT * (segment.layer or 0) if vector == "state" else 0
            add(number, vector, TRACE[f"{segment.name}/{name}"], base)
    return found


def test_a_faithful_record_has_no_divergence() -> None:
    assert first_divergence(writes(), TRACE, TAPE, DESIGN) is None


@pytest.mark.parametrize(
    ("segment", "vector", "index", "name"),
    [
        (0, "x", 4, "embedding"),
        (1, "state", 9, "layer 0 gates"),
        (5, "state", HEIGHT + 2, "layer 1 gates"),
        (5, "u", 3, "layer 1 gates"),
        (6, "x", 0, "layer 1 output"),
        (3, "u", 13, "layer 0 glu"),
        (9, "logits", 4, "head"),
    ],
)
def test_a_wrong_value_is_located(segment: int, vector: str, index: int, name: str) -> None:
    record = writes()
    (place,) = (
        n
        for n, w in enumerate(record)
        if (w.segment, w.vector, w.index) == (segment, vector, index)
    )
    right = record[place].value
    record[place] = replace(record[place], value=right ^ 1)
    # What comes later is wrong too, as it would be.
    record[place + 1 :] = [replace(w, value=w.value ^ 2) for w in record[place + 1 :]]
    expected_index = index - HEIGHT if (vector, segment) == ("state", 5) else index
    assert first_divergence(record, TRACE, TAPE, DESIGN) == Divergence(
        segment=name,
        vector=vector,
        index=expected_index,
        expected=right,
        got=right ^ 1,
        cycle=place,
    )


def test_a_missing_write_is_located() -> None:
    record = [w for w in writes() if (w.segment, w.vector, w.index) != (2, "x", 6)]
    found = first_divergence(record, TRACE, TAPE, DESIGN)
    assert found is not None
    assert (found.segment, found.vector, found.index, found.got) == ("layer 0 output", "x", 6, None)
    assert found.expected == TRACE["layer 0 output/x"][6]


def test_a_write_beyond_a_vector_is_located() -> None:
    record = writes()
    record.append(replace(record[-1], index=5))
    found = first_divergence(record, TRACE, TAPE, DESIGN)
    assert found is not None
    assert (found.segment, found.vector, found.index, found.expected) == ("head", "logits", 5, None)


def test_padding_of_the_embedding_is_no_divergence() -> None:
    record = [replace(w, value=9) if (w.segment == 0 and w.index >= 10) else w for w in writes()]
    assert first_divergence(record, TRACE, TAPE, DESIGN) is None


TAPPED = small_design(8, 8, 16, post_width=2)


def tap(vector: str, group: int, keep: int, data: int) -> dict[str, int]:
    name = f"tap_{vector}__"
    return {f"{name}enable": 1, f"{name}group": group, f"{name}keep": keep, f"{name}data": data}


def test_every_write_is_recorded_with_the_segment_it_belongs_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A write belongs to the segment that was in progress START_CYCLES before."""
    values = (-2 & 0xFFFF) | 300 << 16
    cycles = [{"segment": 1} for _ in range(START_CYCLES)]
    cycles += [
        {"segment": 2} | tap("x", 3, 0b11, values),
        {"segment": 2},
        {"segment": 3} | tap("u", 0, 0b10, values) | tap("logits", 1, 0b01, values),
        {"segment": 3} | tap("state", 5, 0b00, values),
        {"segment": 3} | tap("state", 5, 0b11, 0x8000_7FFF),
    ]
    pins = Pins.scripted(cycles)
    monkeypatch.setattr(sim.tracing.divergence, "FallingEdge", pins.edge)
    monitor = TapMonitor(pins, TAPPED)
    until_the_end(monitor.watch())
    cycle = START_CYCLES + 1
    found = [(w.cycle - cycle, w.segment, w.vector, w.index, w.value) for w in monitor.writes]
    assert found == [
        (0, 1, "x", 6, -2),
        (0, 1, "x", 7, 300),
        (2, 1, "u", 1, 300),
        (2, 1, "logits", 2, -2),
        (4, 2, "state", 10, 32767),
        (4, 2, "state", 11, -32768),
    ]

"""The cost model: sums and bounds of its cycles, cells against synthesis.

tests/sim/cosim/test_run.py compares its cycles with the simulated chip's counters.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from hdl.toolchain.cost import (
    clock_hz,
    cycles_per_token,
    features,
    fit,
    lane_utilization,
    measured_rows,
    memory_blocks,
    resources,
    routed_rows,
    segment_cycles,
)
from mmfree.chip.sizing import design_for_model, design_of_array
from tests.support.sim.shapes import shape_of


def test_causes_add_up() -> None:
    config = shape_of(128, 256, 2, 100)
    segments = segment_cycles(config, design_for_model(config, 64))
    for s in segments:
        assert s.cycles == s.beats + s.wait_room + s.wait_drain + s.wait_vector + s.wait_control, s
    assert sum(s.cycles for s in segments) == cycles_per_token(config, design_for_model(config, 64))


@pytest.mark.parametrize(("lanes", "least"), [(256, 0.92), (512, 0.87), (1024, 0.78)])
def test_lanes_are_busy_at_d_256(lanes: int, least: float) -> None:
    config = shape_of(256, 704, 6, 512)
    design = design_for_model(config, lanes)
    assert lane_utilization(config, design) >= least
    beats = sum(segment.beats for segment in segment_cycles(config, design))
    assert beats * lanes == 4_947_968, "no padding at these sizes"


def test_lanes_are_busy_at_d_1024() -> None:
    config = shape_of(1024, 2816, 2, 32000)
    assert lane_utilization(config, design_for_model(config, 1024)) >= 0.985


def test_a_post_processing_that_is_too_narrow_costs_cycles() -> None:
    config = shape_of(256, 704, 1, 64)
    design = design_for_model(config, 1024)
    narrow = replace(
        design, post_width=2, bias_words=4 * design.bias_words, state_words=4 * design.state_words
    )
    assert cycles_per_token(config, narrow) > 1.5 * cycles_per_token(config, design)
    assert sum(segment.wait_room for segment in segment_cycles(config, narrow)) > 0


def test_milliseconds() -> None:
    """A generous bound: a per-cycle model would take minutes here."""
    config = shape_of(2560, 6912, 32, 32000)
    start = time.process_time()
    cycles_per_token(config, design_for_model(config, 64))
    assert time.process_time() - start < 20


@pytest.mark.parametrize("name", ["luts", "flip_flops"])
def test_cells_are_predicted_from_the_other_designs(name: str) -> None:
    """Each of at least 12 designs from a fit without it."""
    rows = measured_rows()
    assert len(rows) >= 12
    errors = {}
    for n, (design, measured) in enumerate(rows):
        coefficients = fit(rows[:n] + rows[n + 1 :])[name]
        errors[n] = float(features(design) @ coefficients) / measured[name] - 1
    assert all(abs(error) < 0.10 for error in errors.values()), errors


def test_blocks_are_counted() -> None:
    """All but at most one: synthesis removes a block of which no bit is read."""
    rows = measured_rows()
    missing = [memory_blocks(design) - measured["blocks"] for design, measured in rows]
    assert set(missing) <= {0, 1}, missing
    assert missing.count(0) >= 0.8 * len(rows)
    assert all(resources(design).blocks == memory_blocks(design) for design, _ in rows)


@pytest.mark.parametrize(("value_bits", "more"), [(18, 0), (19, 14), (28, 14)])
def test_values_of_more_than_18_bits_take_more_blocks(value_bits: int, more: int) -> None:
    """Twice as many: 4 of the state, 2 of the residual, 4 each of the words of x and u."""
    design = design_of_array(shape_of(2048, 4096, 1, 64), 8, 8, 2)
    assert memory_blocks(replace(design, value_bits=value_bits)) - memory_blocks(design) == more


def test_clocks_come_from_routed_designs() -> None:
    for row in routed_rows():
        assert clock_hz(row["lanes"]) == row["clock_hz"]
    first, last = routed_rows()[0], routed_rows()[-1]
    between = clock_hz(2 * first["lanes"] - 1)
    assert (
        min(r["clock_hz"] for r in routed_rows())
        <= between
        <= max(r["clock_hz"] for r in routed_rows())
    )
    assert clock_hz(10**6) == last["clock_hz"]

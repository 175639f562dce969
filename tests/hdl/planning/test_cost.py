"""The cost model: sums and bounds of its cycles, cells against synthesis.

tests/sim/cosim/test_run.py compares its cycles with the simulated chip's counters.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hdl.planning.cost import clock_hz, features, fit, measured_rows, resources, routed_rows
from hdl.planning.cycles import cycles_per_token, lane_utilization, segment_cycles
from hdl.planning.memories import disabled_memory_blocks, memory_blocks
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.sizing import design_for_memory, design_for_model, design_of_array
from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from tests.support.sim.shapes import ADDITION, ODD, shape_of

BASELINE = json.loads((Path(__file__).parents[2] / "baseline.json").read_text(encoding="utf-8"))
"""What synthesis and simulation of today's designs gave (tests/support/baseline.py)."""


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


@pytest.mark.parametrize(("arithmetic", "worst"), [("pow2", 0.10), ("absmax", 0.07)])
@pytest.mark.parametrize("name", ["luts", "flip_flops"])
def test_cells_are_predicted_from_the_other_designs(
    arithmetic: str, worst: float, name: str
) -> None:
    """Each of at least 12 designs from a fit without it; absmax has coefficients of pow2, too."""
    rows = measured_rows(arithmetic)
    known = None if arithmetic == "pow2" else fit(measured_rows())
    assert len(rows) >= 12
    assert {design.arithmetic for design, _ in rows} == {arithmetic}
    errors = {}
    for n, (design, measured) in enumerate(rows):
        coefficients = fit(rows[:n] + rows[n + 1 :], known)[name]
        errors[n] = float(features(design) @ coefficients) / measured[name] - 1
    assert all(abs(error) < worst for error in errors.values()), errors


@pytest.mark.parametrize(
    ("memory", "cells"),
    [(None, (26225, 33541, 202)), ("axi128x4", (30278, 35233, 177))],
)
def test_cells_of_a_published_model(memory: str | None, cells: tuple[int, int, int]) -> None:
    """The 370M shape as Yosys synthesized it: 256 lanes with memories for few weights and rows, and
    320 lanes whose image is in an external memory. Neither is among the measured designs.
    """
    config = AbsmaxConfig(vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_layers=24)
    external = None if memory is None else find_memory(memory)
    if external is None:
        design = replace(
            design_of_array(config, 16, 16, 1),
            weight_words=1024,
            embedding_rows=16,
            stores_logits=False,
        )
    else:
        design = design_for_memory(config, external)
    luts, flip_flops, blocks = cells
    size = resources(design)
    assert size.luts == pytest.approx(luts, rel=0.05)
    assert size.flip_flops == pytest.approx(flip_flops, rel=0.03)
    assert size.blocks == blocks
    assert luts < 36_000, "what was aimed at, for 256 lanes"


@pytest.mark.parametrize("arithmetic", ["pow2", "absmax"])
def test_blocks_are_counted(arithmetic: str) -> None:
    """All but at most one: synthesis removes a block of which no bit is read."""
    rows = measured_rows(arithmetic)
    missing = [memory_blocks(design) - measured["blocks"] for design, measured in rows]
    assert set(missing) <= {0, 1}, missing
    assert missing.count(0) >= 0.8 * len(rows)
    assert all(resources(design).blocks == memory_blocks(design) for design, _ in rows)


@pytest.mark.parametrize(("value_bits", "more"), [(18, 0), (19, 18), (28, 18)])
def test_values_of_more_than_18_bits_take_more_blocks(value_bits: int, more: int) -> None:
    """Twice as many: 4 each of state, logits, and the words of x and u; 2 of the residual."""
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
    assert clock_hz(4) == first["clock_hz"]
    assert clock_hz(512) == 136_165_573
    middle = 2**8.5
    assert clock_hz(math.floor(middle)) == pytest.approx((132_013_199 + 136_165_573) / 2, rel=1e-5)


def test_cells_are_those_that_synthesis_counts() -> None:
    """Of a design as it is today, whose cells tests/baseline.json has by type.

    A carry cell takes the place of two LUTs. The model's own syntheses are of other designs.
    """
    cells, size = BASELINE["cells"], resources(ODD.design())
    assert size.luts == pytest.approx(cells["LUT4"] + 2 * cells["CCU2C"], rel=0.04)
    assert size.flip_flops == pytest.approx(cells["TRELLIS_FF"], rel=0.04)
    assert size.blocks == cells["DP16KD"] == 5


def test_a_measured_row_is_its_cells() -> None:
    """The first: 2538 LUTs, 817 carry cells, 5530 flip-flops, 5 block RAMs."""
    design, cells = measured_rows()[0]
    assert cells == {"luts": 2538 + 2 * 817, "flip_flops": 5530, "blocks": 5}
    assert (design.rows, design.columns, design.weight_words) == (4, 4, 265)


def test_block_rams_of_a_design_by_hand() -> None:
    """A block holds 2,048 lanes of 9 bits; 1, 2 or 4 of them make a word.

    Weights: 1,301 words of 16 lanes, in a bank of 1,024 (8 blocks) and one of 512 (4 blocks).
    Embedding: 124 words of 16 lanes, 4 blocks. Tables: 512 words of 2 lanes, read by four ports,
    two of which share a copy: 2. Reciprocal root 1; noise, 2,048 words of 2 lanes: 2. The state's
    two banks of 64 words of 4 lanes: 1. All else is no deeper than 64 words.
    """
    design = ADDITION.design()
    assert memory_blocks(design) == (8 + 4) + 4 + 2 + 1 + 2 + 1
    # While weights are read, the bank that holds the word is enabled, and the other is not.
    assert disabled_memory_blocks(design) == pytest.approx((8 * 277 + 4 * 1024) / 1301)
    assert disabled_memory_blocks(ODD.design()) == 0


def test_features_of_designs_by_hand() -> None:
    """What the cells of a design grow with."""
    # Sums of 9 bits, 8 of the width 128: 17. The weights' second bank is 128 bits wide.
    assert features(ADDITION.design()).tolist() == [
        *(1, 64, 0, 0, 64 // 16 * 17, 16, 2, 2 * 17),
        *(16 * 8, 0),
    ]
    design = design_for_model(shape_of(512, 1408, 1, 64), 512)
    assert (design.rows, design.columns, design.post_width) == (16, 32, 2)
    # Vectors of more than 16 words: x and u of 44, in 16 and twice in 8 bits, two steps of 16 more.
    assert features(design)[-1] == 32 * 2 * (16 + 8 + 8)
    for code, place in (("1.67", 2), ("1.6", 3)):
        row = features(replace(ADDITION.design(), weight_code=code))
        assert [int(row[n]) for n in (2, 3)] == [64 * (n == place) for n in (2, 3)]


def test_features_of_absmax_by_hand() -> None:
    """What it does not share with pow2 are the last three."""
    config = AbsmaxConfig(vocab_size=64, hidden_size=192, intermediate_size=512, num_layers=1)
    design = design_for_model(config, 256)
    assert (design.rows, design.columns, design.post_width) == (16, 16, 4)
    row = features(design)
    assert row[:7].tolist() == [1, 256, 0, 0, 16 * design.accumulator_bits, 16, 4]
    # A word of four groups, 144 bits each: 6 parameters of a share, 25 bits with their parity.
    assert row[7] == 4 * 6 * 25
    # V and activations have 36 words, two steps of 16 more than one: 36 and 8 bits for each column.
    # Gains take 2 * 32 words of four times 9 parts of 17 bits, three steps; lower bounds 8 words.
    assert row[9] == 2 * 16 * (36 + 8) + 3 * 4 * 9 * 17


def test_a_fit_recovers_what_the_cells_were_made_of() -> None:
    """Made-up cells: LUTs and flip-flops linear in the features, each with its own numbers."""
    rng = np.random.default_rng(0)
    wanted = {name: rng.integers(1, 50, 10) for name in ("luts", "flip_flops")}
    rows = [
        (design, {name: int(features(design) @ values) for name, values in wanted.items()})
        for design, _ in measured_rows()
    ]
    found = fit(rows)
    for name, values in wanted.items():
        for design, cells in rows:
            assert float(features(design) @ found[name]) == pytest.approx(cells[name], rel=1e-6)
        assert found[name] == pytest.approx(values, rel=1e-3)


def test_cycles_are_those_that_the_simulated_chip_counted() -> None:
    """Per segment: all, with a tile, waiting for room, for the array, for the vector.

    As `mmfree cosim --profile` shows them (tests/sim/cosim/test_run.py compares again).
    """
    found = [
        (s.name, s.cycles, s.beats, s.wait_room, s.wait_drain, s.wait_vector, s.wait_control)
        for s in segment_cycles(ODD.config, ODD.design())
    ]
    assert found == [
        ("embedding", 29, 0, 0, 0, 27, 2),
        ("layer 0 gates", 125, 75, 0, 16, 32, 2),
        ("layer 0 output", 65, 25, 0, 26, 12, 2),
        ("layer 0 glu", 140, 100, 0, 16, 22, 2),
        ("layer 0 down", 80, 50, 0, 16, 12, 2),
        ("head", 64, 10, 0, 29, 23, 2),
    ]
    simulated = BASELINE["cycles"]["addition, 64 lanes, simulated"]
    assert cycles_per_token(ADDITION.config, ADDITION.design()) == simulated


def test_tiles_of_every_segment_by_hand() -> None:
    """Tiles of C columns, times matrices, times row blocks of R rows; two layers of 64 and 128."""
    beats = {s.name: s.beats for s in segment_cycles(ADDITION.config, ADDITION.design())}
    layer = {"gates": 4 * 3 * 16, "output": 4 * 16, "glu": 4 * 2 * 32, "down": 8 * 16}
    wanted = {f"layer {n} {kind}": count for n in (0, 1) for kind, count in layer.items()}
    assert beats == {"embedding": 0, **wanted, "head": 4 * 3}


def test_utilization_is_weights_by_lanes_and_cycles() -> None:
    """The odd shape: i, f, g, o of 20 x 20, gate and up of 37 x 20, down 20 x 37, head 5 x 20."""
    weights = 4 * 400 + 3 * 740 + 100
    share = lane_utilization(ODD.config, ODD.design())
    assert share == pytest.approx(weights / (16 * (29 + 125 + 65 + 140 + 80 + 64)))


def of_memory(d: int, i: int) -> tuple[ModelConfig, Design]:
    """A model of two layers, and its design with a port of 64 bits."""
    external = find_memory("axi64")
    assert external is not None
    config = replace(shape_of(d, i, 2, 7), gate="sigmoid")
    return config, design_for_memory(config, external)


def test_biases_from_memory_cost_cycles_only_where_they_are_many() -> None:
    """tests/hdl/test_external_memory.py plays the second model."""
    for i, late in ((40, 0), (60, 16)):
        config, design = of_memory(150, i)
        cycles = {segment.name: segment.cycles for segment in segment_cycles(config, design)}
        # Behind the last layer there are none.
        assert cycles["layer 0 down"] - cycles["layer 1 down"] == late
        assert cycles["layer 0 gates"] == cycles["layer 1 gates"]


def test_a_token_waits_for_its_row_as_long_as_the_memory_takes() -> None:
    config, design = of_memory(20, 37)
    fast, slow = (cycles_per_token(config, design, memory_latency=n) for n in (20, 200))
    assert slow - fast == 180
    embedding, *_ = segment_cycles(config, design, memory_latency=21)
    assert embedding.cycles == 64


@pytest.mark.parametrize(("memory", "simulated"), [("axi512", 5680), ("axi256", 5692)])
def test_a_row_whose_scale_is_a_burst_of_its_own(memory: str, simulated: int) -> None:
    """Cycles per token that the chip counted (tests/sim/published), 60 cycles of latency."""
    external = find_memory(memory)
    assert external is not None
    config = AbsmaxConfig(vocab_size=11, hidden_size=37, intermediate_size=53, num_layers=2)
    design = design_for_memory(config, external)
    assert cycles_per_token(config, design, memory_latency=60) == simulated

# amaranth: UnusedElaboratable=no
"""The ternary array in UltraScale+ cells: the cycles of the generic body, and its cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from numpy.typing import NDArray

from hdl.arithmetic.carry8 import Summands
from hdl.array.ternary_array import TernaryArray
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import forbidden_cells
from hdl.toolchain.ultrascale_audit import ultrascale_area, ultrascale_cells
from hdl.toolchain.yosys import YosysError
from mmfree.chip.design import Design
from sim.simulators.runner import SimulationFailed
from tests.hdl.toolchain.test_audit import Multiplier
from tests.support.hdl import bench
from tests.support.hdl.ultrascale import prove_equal, replay
from tests.support.hdl.values import small_design
from tools.measure.array_area import array_rtlil, ecp5_area, ultrascale_plus_area

Cycle = dict[str, Any]
"""valid, first, last; x [C], trits [R, C]."""


def random_cycles(design: Design, num_cycles: int) -> Iterator[Cycle]:
    """Tiles of any values, with and without idle cycles, and flags in any order."""
    rng = np.random.default_rng(design.lanes)
    for n in range(num_cycles):
        corners = rng.choice([-128, -127, -1, 0, 1, 127], design.columns)
        yield {
            "valid": n < num_cycles // 3 or rng.random() < 0.5,
            "first": n == 0 or rng.random() < 0.3,
            "last": rng.random() < 0.3,
            "x": np.where(
                rng.random(design.columns) < 0.5, corners, rng.integers(-128, 128, design.columns)
            ),
            "trits": rng.integers(-1, 2, (design.rows, design.columns)),
        }


def largest_sums(design: Design) -> Iterator[Cycle]:
    """Blocks of the widest vector, with equal values and equal weights; alternating, too."""
    tiles, shape = design.max_tiles, (design.rows, design.columns)
    alternating = np.resize([1, -1], shape)
    for trits in (
        np.full(shape, -1),
        np.full(shape, 0),
        np.full(shape, 1),
        alternating,
        -alternating,
    ):
        for value in (-128, 127, 0, -1):
            for tile in range(tiles):
                x = np.full(design.columns, value)
                yield {
                    "valid": 1,
                    "first": tile == 0,
                    "last": tile == tiles - 1,
                    "x": x,
                    "trits": trits,
                }


def code(trits: NDArray[Any]) -> int:
    """Codes of a group's lanes, row after row."""
    return sum((int(t) & 3) << 2 * lane for lane, t in enumerate(trits.ravel()))


def play(design: Design, cycles: list[Cycle]) -> None:
    """Send tiles into the generic body, each group's weights as late as its place requires.

    Idle cycles at the end empty the pipeline.
    """
    array = TernaryArray(design)
    rows = design.group_rows
    idle = {
        "valid": 0,
        "first": 1,
        "last": 1,
        "x": np.full(design.columns, 5),
        "trits": cycles[0]["trits"],
    }
    cycles = [*cycles, *[idle] * (array.latency + design.num_groups)]

    async def testbench(ctx: Any) -> None:
        for n, cycle in enumerate(cycles):
            for name in ("valid", "first", "last"):
                ctx.set(array.tiles.beat[name], int(cycle[name]))
            ctx.set(array.tiles.x, cycle["x"].tolist())
            for group in range(design.num_groups):
                trits = cycles[max(0, n - group)]["trits"]
                ctx.set(array.w[group], code(trits[group * rows : (group + 1) * rows]))
            await ctx.tick()

    bench.simulate(array, testbench)


def recorded(design: Design, monkeypatch: pytest.MonkeyPatch) -> bench.Recording:
    """Random cycles and largest sums on the generic body, which gives a result for each block."""
    monkeypatch.setattr(bench, "recordings", [])
    cycles = [*random_cycles(design, 300), *largest_sums(design)]
    play(design, cycles)
    assert bench.recordings is not None
    (recording,) = bench.recordings
    sent = [cycle for cycle in recording.outputs if cycle["sums__valid"]]
    ends = sum(bool(cycle["valid"] and cycle["last"]) for cycle in cycles)
    assert sum(cycle["sums__valid"].bit_count() for cycle in sent) == ends * design.num_groups
    assert len({cycle["sums__acc"] for cycle in sent}) > 30
    return recording


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 4), (8, 8), (4, 16), (2, 32)])
def test_every_cycle_is_that_of_the_generic_body(
    rows: int, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay(recorded(small_design(rows, columns, 3 * columns), monkeypatch), tmp_path)


@pytest.mark.parametrize("columns", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_row_is_proven_equal_for_all_inputs(columns: int, tmp_path: Path) -> None:
    """A pair of lanes with its accumulator: all weights and activations, in every cycle.

    With four lanes also the tree, which takes a minute.
    """
    prove_equal(TernaryArray(small_design(1, columns, columns)), tmp_path, clocked=True)


@pytest.mark.parametrize(
    "lanes",
    [
        lambda x0, x1, n0, s0, s1, n1: ((x1 ^ s0) & n0, (x0 ^ s1) & n1),
        lambda x0, x1, n0, s0, s1, n1: ((x0 ^ s0) & n0, x1 & n1),
    ],
    ids=["activations exchanged", "second lane never negative"],
)
def test_a_wrong_pair_would_be_found(
    lanes: Summands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdl.array.lane_pairs._lanes", lanes)
    with pytest.raises(YosysError, match="proof did fail"):
        prove_equal(TernaryArray(small_design(1, 2, 2)), tmp_path, clocked=True)


def test_a_wrong_sign_in_the_tree_would_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hdl.array.lane_pairs._inverted_signs", lambda ca, pa, cb, pb: (ca ^ pa, cb ^ pb)
    )
    recording = recorded(small_design(2, 4, 12), monkeypatch)
    with pytest.raises(SimulationFailed, match=r"cycle [0-9]+: sums__acc is "):
        replay(recording, tmp_path)


def test_a_pair_of_lanes_is_a_slice() -> None:
    """Eight LUT6_2 and one CARRY8; no addition is left to the synthesizer."""
    rows, columns = 4, 16
    design = small_design(rows, columns, 1024)
    text = array_rtlil(design, Technology.ULTRASCALE_PLUS)
    tree = sum((columns >> level) * (7 + level) for level in range(2, 5))
    assert text.count(r"cell \LUT6_2 ") == rows * (
        8 * columns // 2 + tree + design.accumulator_bits
    )
    chains = columns // 2 + 2 * (columns // 2 - 1) + -(-design.accumulator_bits // 8)
    assert text.count(r"cell \CARRY8 ") == rows * chains
    assert "cell $add " not in text
    assert not forbidden_cells(text)


@pytest.mark.parametrize("rows", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_thirteen_luts_of_a_lane_are_enough(rows: int) -> None:
    """13 were allowed; a lane takes 9.2, and half a LUT of shift registers."""
    design = small_design(rows, 32, 1024)
    area = ultrascale_plus_area(design)
    assert area["total_lut"] <= 13 * design.lanes
    assert area["lut"] == pytest.approx(9.23 * design.lanes, rel=0.01)
    assert area["shift_register_lut"] <= 0.5 * design.lanes
    # A carry cell's inputs have LUTs of their own, which were not merged.
    assert area["lut"] >= rows * (8 * 16 + 72 + 40 + 22 + 12 + design.accumulator_bits)
    assert area["flip_flops"] <= 14.2 * design.lanes
    assert area["dsp"] == area["ram_lut"] == 0


def test_the_ecp5_is_counted_too() -> None:
    area = ecp5_area(small_design(2, 4, 64))
    assert area["lut4_equivalents"] == area["lut4"] + 2 * area["ccu2c"] > 0
    assert area["per_lane"]["flip_flops"] == round(area["flip_flops"] / 8, 3) > 0
    assert area["dsp"] == area["ram_cells"] == 0


def test_a_multiplier_becomes_a_dsp_block() -> None:
    """So synthesis would show a multiplier if there were one."""
    text = rtlil.convert(Multiplier(), name="product", emit_src=False)
    assert ultrascale_area(ultrascale_cells(text, "product"))["dsp"] == 1


def test_cells_are_counted_by_the_luts_they_take() -> None:
    cells = {
        "LUT6_2": 3,
        "LUT2": 2,
        "INV": 1,
        "SRL16E": 4,
        "RAM64M8": 2,
        "CARRY8": 5,
        "FDRE": 6,
        "FDSE": 1,
        "BUFG": 1,
    }
    assert ultrascale_area(cells) == {
        "lut": 6,
        "shift_register_lut": 4,
        "ram_lut": 16,
        "total_lut": 26,
        "carry8": 5,
        "flip_flops": 7,
        "dsp": 0,
    }

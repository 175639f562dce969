"""Figures of the documents about hardware, each from the data or the code that it comes from."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from hdl.boards import BAUD, BOARDS
from hdl.boards.pll import TOLERANCE
from hdl.planning.cost import routed_rows
from hdl.planning.cycles import cycles_per_token, lane_utilization
from hdl.toolchain.build import FAR_MORE, SEED_MARGIN
from mmfree.chip.sizing import design_for, design_for_model
from tests.support.documents import numbers_in, text_of
from tests.support.sim.shapes import ADDITION, shape_of
from tools.figures.scaling import study

ROOT = Path(__file__).parents[3]
FIGURES = ROOT / "docs" / "figures"
ACCELERATOR, BOARD_PAGE, RESULTS = map(text_of, ("accelerator.md", "boards.md", "results.md"))


SCALING = json.loads((FIGURES / "scaling.json").read_text(encoding="utf-8"))


def test_the_study_of_scaling_is_of_todays_hardware() -> None:
    """Else: `python -m tools.figures.scaling`."""
    assert study() == SCALING


def half_busy(hidden_size: int) -> float:
    """Lanes of which half are busy, between those of the study."""
    rows = [row for row in SCALING if row["hidden_size"] == hidden_size]
    points = [(math.log2(row["lanes"]), row["lane_utilization"]) for row in rows]
    (found,) = (
        a + (b - a) * (u - 0.5) / (u - w) for (a, u), (b, w) in pairwise(points) if u >= 0.5 > w
    )
    return float(2**found)


def test_how_the_accelerator_scales() -> None:
    pattern = (
        r"half of the lanes are busy near ([\d,]+) lanes at d = (\d+), ([\d,]+) at d = (\d+) and"
        r" ([\d,]+) at d = (\d+)"
    )
    shown = numbers_in(ACCELERATOR, pattern)
    for lanes, width in zip(shown[::2], shown[1::2], strict=True):
        assert half_busy(int(width)) == pytest.approx(lanes, rel=0.03)
    width, lanes, percent = numbers_in(ACCELERATOR, r"d = ([\d,]+) keeps ([\d,]+) lanes at (\d+) %")
    (row,) = (r for r in SCALING if (r["hidden_size"], r["lanes"]) == (width, lanes))
    assert round(100 * row["lane_utilization"]) == percent
    assert numbers_in(ACCELERATOR, r"an extrapolation beyond ([\d,]+) lanes") == [1024]


def test_routed_clocks() -> None:
    rows = routed_rows()
    wanted = [value for row in rows for value in (round(row["clock_hz"] / 1e6), row["lanes"])]
    (seeds,) = {row["seeds"] for row in rows}
    pattern = (
        r"\*\*: (\d+) MHz at (\d+) lanes and (\d+) at (\d+) on an LFE5U-85F"
        r" \(post-route, median of (\d+)"
    )
    assert numbers_in(ACCELERATOR, pattern) == [*wanted, seeds]
    pattern = r"requested\), (\d+) and (\d+) lanes: (\d+), (\d+) MHz, median of (\d+) seeds"
    clocks, lanes = wanted[::2], wanted[1::2]
    assert numbers_in(RESULTS, pattern) == [*lanes, *clocks, seeds]


def test_cycles_and_utilization() -> None:
    tape = ADDITION.tape(1, wild=False)
    cycles, share = numbers_in(RESULTS, r"([\d,]+) cycles per token, lane utilization ([\d.]+) %")
    assert share == round(100 * tape.num_ternary_weights / (64 * cycles), 1)
    baseline = json.loads((ROOT / "tests" / "baseline.json").read_text(encoding="utf-8"))
    assert cycles == baseline["cycles"]["addition, 64 lanes, simulated"]
    config = shape_of(256, 704, 6, 512)
    found = [lane_utilization(config, design_for_model(config, n)) for n in (256, 512, 1024)]
    pattern = r"at 256, 512, 1,024 lanes: ([\d.]+), ([\d.]+), ([\d.]+) %"
    assert numbers_in(RESULTS, pattern) == [round(100 * share, 1) for share in found]
    config = shape_of(1024, 2816, 2, 32000)
    found_large = lane_utilization(config, design_for_model(config, 1024))
    assert numbers_in(RESULTS, r"1,024 lanes: ([\d.]+) %\.") == [round(100 * found_large, 1)]


def test_tokens_per_second_are_the_clock_by_the_cycles() -> None:
    rate, clock, cycles = numbers_in(
        RESULTS,
        r"one sequence: ([\d,]+) tokens/s\. Projected: ([\d.]+) MHz / simulated cycles"
        r" \(([\d,]+)\)",
    )
    config = shape_of(192, 512, 3, 512)
    assert cycles == cycles_per_token(config, design_for_model(config, 512))
    (row,) = (row for row in routed_rows() if row["lanes"] == 512)
    assert clock == round(row["clock_hz"] / 1e6, 1)
    assert rate == round(1e6 * clock / cycles, -2)


def test_the_addition_design_as_built() -> None:
    data = json.loads((FIGURES / "addition_on_ecp5.json").read_text(encoding="utf-8"))
    count = data["counts"]["routed"]
    pattern = (
        r"registers: ([\d,]+) LUTs, ([\d,]+) flip-flops, (\d+) block RAMs, (\d+) DSP blocks;"
        r" routed for (\d+) MHz where (\d+) were asked for"
    )
    assert numbers_in(RESULTS, pattern) == [
        count["luts"],
        count["flip_flops"],
        count["ram_blocks"],
        data["utilisation"]["dsp"][0],
        round(data["clock_limit_hz"] / 1e6),
        data["estimates"]["routed"]["clock_hz"] / 1e6,
    ]
    assert data["lanes"] == design_for(ADDITION.tape(1, wild=False), 64).lanes


def test_a_board_and_its_clock() -> None:
    (board,) = BOARDS.values()
    pattern = (
        r"Board `([\w-]+)`: ([\w-]+), speed (\d), (\w+); oscillator (\d+) MHz; serial line on the"
        r" USB connector, ([\d,]+) baud"
    )
    found = re.search(pattern, BOARD_PAGE)
    assert found is not None
    name, device, speed, package, oscillator, baud = found.groups()
    target = board.target
    assert (name, device, int(speed), package) == (
        board.name,
        target.device,
        target.speed,
        target.package,
    )
    assert (1e6 * int(oscillator), int(baud.replace(",", ""))) == (board.oscillator_hz, BAUD)
    assert numbers_in(BOARD_PAGE, r"`pll_hz`, at most (\d+) % below") == [100 * TOLERANCE]
    pattern = r"at most (\d+) % of `clock_hz` and at least (\d+) % of `pll_hz`"
    assert numbers_in(BOARD_PAGE, pattern) == [round(100 * SEED_MARGIN), round(100 * FAR_MORE)]

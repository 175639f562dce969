"""The page about an estimate: every figure on it in the unit that it says."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html import unescape

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sim.power.page
from hdl.planning.cost import clock_hz, resources
from hdl.planning.cycles import cycles_per_token, lane_utilization
from hdl.toolchain.counts import BY_BLOCK, ROUTED, WAYS, Count
from mmfree.chip.sizing import design_for
from sim.power.activity import Activity, BlockActivity
from sim.power.cells import CellEnergy
from sim.power.coefficients import TECHNOLOGY, Quantity, load_part, load_quantities
from sim.power.estimate import REPORT_RATE, Power
from sim.power.interval import Interval
from sim.power.page import CLOCKS, LANES, lanes_study, peers, power_page
from tests.sim.power.test_estimate import PART
from tests.support.sim.shapes import ODD

TAPE = ODD.tape(1, wild=False)
DESIGN = design_for(TAPE, ODD.lanes)
WEIGHTS = 4 * 400 + 3 * 740 + 100
ACTIVITY = Activity(
    tape_sha256=TAPE.sha256,
    design=DESIGN.to_dict(),
    text="a test",
    tokens=20,
    cycles=10_000,
    blocks={"array": BlockActivity(registers=300, register_toggles=600_000)},
)
"""0.2 toggles per register and cycle."""

ZERO = Interval(0.0, 0.0, 0.0)
FOUND = Power(
    part="test",
    device="a part <1>",
    clock_hz=62.5e6,
    clock_label="made up",
    cycles_per_token=1234.0,
    tokens_per_second=56_789.0,
    watts=Interval(0.0011, 0.0022, 0.0044),
    joules_per_token=Interval(1.5e-6, 3e-6, 6e-6),
    by_kind=dict.fromkeys(("clock", "routing", "dsp", "external"), ZERO)
    | {
        "static": Interval(1e-6, 2e-6, 4e-6),
        "logic": Interval(0.25e-6, 0.5e-6, 1e-6),
        "memory": Interval(0.25e-6, 0.5e-6, 1e-6),
    },
    by_block={
        "array": Interval(0.2e-6, 0.75e-6, 1e-6),
        "post": ZERO,
        "whole chip": Interval(1e-6, 2.25e-6, 4e-6),
    },
    by_segment={"embedding": Interval(1e-7, 2e-7, 4e-7), "head": Interval(1e-6, 2.8e-6, 5e-6)},
    utilisation={"luts": (1500, 83640), "ram_blocks": (5, 208)},
    assumptions=("no glitches <seen>",),
)
CELLS = [
    CellEnergy(
        node="45 nm",
        weights_are="ternary",
        arithmetic=Interval(1e-9, 2e-9, 3e-9),
        weight_memory=Interval(4e-9, 5e-9, 6e-9),
    )
]
COUNTS = [
    Count(way=BY_BLOCK, luts=1337, flip_flops=2200, ram_blocks=2),
    Count(way=ROUTED, luts=1500, flip_flops=2201, ram_blocks=3),
]


@cache
def page_of(family: str = "xc7") -> str:
    none = Quantity(0, 0, 0, "pJ", "V", "none")
    part = replace(PART, family=family, coefficients=PART.coefficients | {"of none": none})
    return power_page(FOUND, part, ACTIVITY, TAPE, DESIGN, CELLS, COUNTS)


def rows_of(page: str) -> dict[str, list[str]]:
    """Rows of all tables by their first cell."""
    rows = [
        re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall("<tr>.*?</tr>", page)
    ]
    return {unescape(first): [unescape(cell) for cell in cells] for first, *cells in rows}


def texts_of(svg: str) -> list[str]:
    """What is written in figures."""
    return [re.sub(r"<.*?>", " ", text) for text in re.findall(r"<text.*?</text>", svg, re.DOTALL)]


def test_every_figure_is_in_its_unit() -> None:
    page = page_of()
    rows = rows_of(page)
    assert rows["energy per token, uJ"][:3] == ["1.5", "3", "6"]
    per_weight = [1e12 * joules / WEIGHTS for joules in (1.5e-6, 3e-6, 6e-6)]
    assert rows["energy per ternary weight, pJ"][:3] == [f"{pj:.0f}" for pj in per_weight[:2]] + [
        "1,530"
    ]
    assert rows["power, mW"][:3] == ["1.1", "2.2", "4.4"]
    assert rows["clock"] == ["62.5 MHz: made up"]
    assert rows["cycles per token (simulated, batch 1)"] == ["1,234"]
    assert rows["tokens per second"] == ["56,789"]
    assert rows["luts"] == ["1,500 of 83,640"]
    assert rows["ram blocks"] == ["5 of 208"]
    assert rows["by block"] == ["1,337", "2,200", "2", WAYS[BY_BLOCK]]
    assert rows["routed"] == ["1,500", "2,201", "3", WAYS[ROUTED]]
    assert rows["embedding"][:3] == ["100", "200", "400"], "nJ"
    assert rows["head"][:3] == ["1,000", "2,800", "5,000"]
    assert rows["45 nm, ternary: arithmetic"][:3] == ["1", "2", "3"], "nJ"
    assert rows["45 nm, ternary: weights from SRAM"][:3] == ["4", "5", "6"]
    assert "power on a part &lt;1&gt;" in page
    assert "<li>no glitches &lt;seen&gt;</li>" in page
    assert "Lanes and clock" not in page, "projections are of the ECP5"


def test_blocks_are_shown_by_their_share() -> None:
    """Those that take nothing are left out, and a kind that takes nothing, too."""
    shown = page_of().partition("<h2>Joules by block</h2>")[2].partition("<h2>Against")[0]
    texts = texts_of(shown)
    labels = " ".join(" ".join(texts).split())
    assert "whole chip 2,250 nJ 75 %" in labels
    assert "array 750 nJ 25 %" in labels
    assert "post" not in labels
    kinds = [text.strip() for text in texts if text.strip() in ("static", "logic", "memory", "dsp")]
    assert kinds == ["static", "logic", "memory"] * 2, "for both screens"
    rows = rows_of(page_of())
    assert rows["whole chip"][:3] == ["1,000", "2,250", "4,000"], "nJ"
    assert rows["array"][:3] == ["200", "750", "1,000"]


def test_others_are_compared_by_weight_and_token() -> None:
    """The most frugal first; what each takes is of its token and of its weights."""
    found = peers()
    assert [peer.name for peer in found[:2]] == [
        "TerEffic, MMfreeLM 370M",
        "TerEffic, MMfreeLM 2.7B",
    ]
    assert found[-1].name == "RTX 3060, Qwen2.5 1.5B, fp16"
    per_weight = [peer.joules_per_weight for peer in found]
    assert per_weight == sorted(per_weight)
    assert len(found) == (TECHNOLOGY / "peers.toml").read_text().count("[[peers]]")
    rows = rows_of(page_of())
    device, joules, picojoules, batch, what = rows["Ternip, MMfreeLM 370M"]
    # 0.01437 J for 308.3 million weights.
    assert (device, joules, picojoules, batch) == ("U250, 300 MHz", "0.01437", "46.6", "48")
    assert what.startswith("card, measured; head on the host; read in its source: sifferman/")


def test_coefficients_are_listed_with_their_sources() -> None:
    rows = rows_of(page_of())
    glitches = load_quantities("model", "model")["glitches"]
    assert rows["glitches"][:3] == ["1", "1.2", "2"]
    assert rows["glitches"][3] == f"1; derived: {glitches.source}"
    assert rows["net_toggle"][:3] == ["3", "3", "3"]
    assert "of none" not in rows, "what a part has none of"


def test_other_sizes_are_estimated_by_the_cost_model() -> None:
    """Cells, cycles and clock of each; toggles as in the run, as far as its lanes are busy."""
    part = load_part("ecp5-85")
    study = lanes_study(part, ACTIVITY, TAPE, DESIGN)
    assert [row[1] for row in study[:4]] == list(CLOCKS) == [0.1, 0.25, 0.5, 1.0]
    lanes = sorted({row[0] for row in study})
    sizes = {n: resources(design_for(TAPE, n)) for n in LANES}
    assert lanes == [
        n for n, s in sizes.items() if max(s.luts, s.flip_flops) <= 83640 and s.blocks <= 208
    ]
    assert len(study) == 4 * len(lanes)
    value = {name: quantity.value for name, quantity in part.coefficients.items()}
    value |= {name: q.value for name, q in load_quantities("model", "model").items()}
    busy_of = lane_utilization(TAPE.config, DESIGN)
    for n, share, power in study:
        design = design_for(TAPE, n)
        size, cycles = resources(design), cycles_per_token(TAPE.config, design)
        assert power.clock_hz == pytest.approx(share * clock_hz(n))
        assert power.cycles_per_token == cycles
        assert power.utilisation["luts"][0] == size.luts
        assert power.utilisation["ram_blocks"][0] == size.blocks
        busy = lane_utilization(TAPE.config, design)
        toggles = 0.2 * busy / busy_of
        routing = toggles * (size.luts * 0.92 * 1.2 + size.flip_flops) * value["net_toggle"]
        assert power.by_kind["routing"].best == pytest.approx(1e-12 * cycles * routing, rel=1e-4)
        clock = size.flip_flops * value["ff_clock"]
        assert power.by_kind["clock"].best == pytest.approx(1e-12 * cycles * clock)
    # The rate at which memories toggle is that of the coefficients, while they are read.
    assert REPORT_RATE == 0.125
    sixteen = study[3][2]
    blocks = resources(design_for(TAPE, 16)).blocks
    memory = blocks * value["ram_access"] * lane_utilization(TAPE.config, design_for(TAPE, 16))
    cycles = cycles_per_token(TAPE.config, design_for(TAPE, 16))
    assert sixteen.by_kind["memory"].best == pytest.approx(1e-12 * cycles * memory, rel=1e-4)


def test_sizes_that_do_not_fit_are_left_out() -> None:
    part = load_part("ecp5-85")
    small = replace(part, capacity=part.capacity | {"luts": resources(design_for(TAPE, 32)).luts})
    assert {row[0] for row in lanes_study(small, ACTIVITY, TAPE, DESIGN)} == {16, 32}


def test_a_projection_is_drawn_for_the_ecp5() -> None:
    part = load_part("ecp5-85")
    page = power_page(FOUND, part, ACTIVITY, TAPE, DESIGN, CELLS, COUNTS)
    shown = page.partition("<h2>Lanes and clock</h2>")[2]
    labels = " ".join(texts_of(shown))
    for text in ("10 % of the clock reached", "100 % of the clock reached", "uJ per token"):
        assert text in labels
    assert "Projected: cells by the cost model" in shown


def test_bars_and_lines_have_the_values_of_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(sim.power.page, "svg_of", lambda figure: figures.append(figure) or "")
    part = load_part("ecp5-85")
    power_page(FOUND, part, ACTIVITY, TAPE, DESIGN, CELLS, COUNTS)
    assert len(figures) == 2 * 4, "each for both screens"
    for drawn in (figures[::2], figures[1::2]):
        check_bars_and_lines(*(figure.axes[0] for figure in drawn))


def check_bars_and_lines(treemap: Axes, kinds: Axes, others: Axes, lanes: Axes) -> None:
    part = load_part("ecp5-85")
    areas = [box.get_width() * box.get_height() for box in treemap.patches]
    assert areas[0] / sum(areas) == pytest.approx(0.75)
    assert len(areas) == 2
    assert [bar.get_width() for bar in kinds.patches] == pytest.approx([2000, 500, 500])
    assert spans_of(kinds)[0] == pytest.approx([1000, 4000])
    own = [1e12 * joules / WEIGHTS for joules in (1.5e-6, 3e-6, 6e-6)]
    first, *_, last = others.lines
    assert list(first.get_xdata()) == pytest.approx([own[1]])
    assert list(last.get_xdata()) == pytest.approx([1e12 * p.joules_per_weight for p in peers()])
    assert not others.patches, "no bars: a logarithmic axis has no 0"
    assert spans_of(others)[0] == pytest.approx([own[0], own[2]])
    study = lanes_study(part, ACTIVITY, TAPE, DESIGN)
    for line, share in zip(lanes.lines, CLOCKS, strict=True):
        wanted = [(n, 1e6 * p.joules_per_token.best) for n, s, p in study if s == share]
        assert list(zip(*line.get_data(), strict=True)) == [
            pytest.approx(point) for point in wanted
        ]
    (band,) = lanes.collections
    ends = band.get_paths()[0].vertices[:, 1]
    full = [power.joules_per_token for _, share, power in study if share == 1.0]
    assert (min(ends), max(ends)) == pytest.approx(
        (1e6 * min(j.low for j in full), 1e6 * max(j.high for j in full))
    )


def spans_of(axes: Axes) -> list[list[float]]:
    """Ends of the error bars."""
    (bars,) = axes.collections
    return [[float(x) for x, _ in segment] for segment in bars.get_segments()]

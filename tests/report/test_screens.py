"""Figures on a telephone and on a large screen: what can be told without a browser.

A page leaves 358 of a telephone's 390 pixels, and shows the wide figures from 861 pixels on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

import sim.power.page
from mmfree.chip.sizing import design_for
from mmfree.report import figures
from mmfree.report.figures import NARROW, WIDE, svg_of
from mmfree.report.page import html_page
from mmfree.report.palette import DARK, theme, themed
from mmfree.report.picture import draw_accelerator
from tests.sim.power.test_page import FOUND, TAPE
from tests.support.verbs.case import SUM_TAPE

PIXELS = {NARROW: 390 - 32, WIDE: 861 - 32}
"""Width of a figure -> the fewest pixels on which a page shows it."""

ROWS = [(step, 3.0 / (1 + step), 0.5) for step in range(0, 20_000, 100)]
CHAINS = [
    {"gate": gate, "seed": 0, "kind": "chains", "digits": n, "examples": 10, "exact": 5}
    for gate in ("hard", "sigmoid")
    for n in (10, 10_000)
]
CAUSES = dict.fromkeys(figures.CAUSES, 1000)
PROFILE = dict.fromkeys(("embedding", "layer 11 output", "head"), CAUSES)
COUNTS = {"ternary additions": 123_456_789, "products: update state": 16}
STUDY = [(lanes, share, FOUND) for lanes in sim.power.page.LANES for share in sim.power.page.CLOCKS]

PLOTS: dict[str, Callable[..., str]] = {
    "training": partial(figures.training_curve, ROWS, ROWS[::20]),
    "comparison": partial(
        figures.comparison_curves,
        [
            (name, [row[0] for row in ROWS], [row[1] for row in ROWS], 1000.0)
            for name in ("matmul-free", "transformer")
        ],
    ),
    "accuracy": partial(figures.followed_accuracy, ROWS),
    "digits": partial(figures.accuracy_against_digits, [(10, 1.0)], "hard", CHAINS),
    "cycles": partial(figures.cycles_by_segment, PROFILE, 1),
    "operations": partial(figures.operations_per_token, COUNTS),
    "blocks": partial(sim.power.page._treemap, FOUND),
    "kinds": partial(sim.power.page._kinds, FOUND),
    "others": partial(sim.power.page._against, FOUND, TAPE),
    "lanes": partial(sim.power.page._lanes_and_clock, STUDY),
}
CASES = [(name, width) for name in PLOTS for width in (NARROW, WIDE)]


def smallest_letters(svg: str) -> float:
    """Height in units of the picture."""
    return min(float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg))


@pytest.mark.parametrize(("name", "width"), CASES)
def test_a_plot_is_readable(name: str, width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters of ten pixels, all within the figure; the legend beside the plot; honest bars."""
    drawn: list[Figure] = []
    for module in (figures, sim.power.page):
        monkeypatch.setattr(module, "svg_of", lambda figure: drawn.append(figure) or "")
    PLOTS[name](width=width)
    (figure,) = drawn
    svg = svg_of(figure)
    (units,) = re.findall(r'viewBox="0 0 ([\d.]+) ', svg)
    assert float(units) == pytest.approx(72 * width)
    assert smallest_letters(svg) * PIXELS[width] / float(units) >= 10
    check_room(figure)
    for axes in figure.axes:
        if any(isinstance(found, BarContainer) for found in axes.containers):
            assert (axes.get_xscale(), axes.get_xlim()[0]) == ("linear", 0), "bars start at 0"


def check_room(figure: Figure) -> None:
    """No text leaves the figure, no legend covers a plot, no two marks of an axis touch."""
    figure.draw_without_rendering()
    whole = figure.bbox
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_visible() and text.get_text():
            box = text.get_window_extent()
            inside = whole.x0 <= box.x0 and box.x1 <= whole.x1
            shown = inside and whole.y0 <= box.y0 and box.y1 <= whole.y1
            assert shown or not is_mark_in_view(text, figure.axes), text.get_text()
    for legend in figure.legends:
        for axes in figure.axes:
            assert not legend.get_window_extent().overlaps(axes.bbox)
    for axes in figure.axes:
        assert axes.get_legend() is None, "within the plot"
        marks = [text for text in axes.get_xticklabels() if is_mark_in_view(text, [axes])]
        boxes = [text.get_window_extent() for text in marks]
        for one, other in pairwise(boxes):
            assert not one.overlaps(other), [text.get_text() for text in marks]


def is_mark_in_view(text: Text, plots: list[Axes]) -> bool:
    """Whether it is drawn: matplotlib keeps marks of an axis beyond its ends, too."""
    for axes in plots:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            places = axis.get_ticklocs()
            for place, label in zip(places, axis.get_ticklabels(), strict=False):
                if label is text:
                    return bool(low <= place <= high) and bool(text.get_text())
    return True


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_a_picture_of_a_chip_is_readable(width: float) -> None:
    """Also a large one: letters of ten pixels, each text within its block."""
    design = replace(design_for(SUM_TAPE, 64), embedding_rows=65_536, embedding_width=1_024)
    picture = draw_accelerator(design, width=width)
    page = html_page("", [])
    screen = page[page.index(".narrow .name") :] if width == NARROW else page
    (units, *_) = re.findall(r'viewBox="0 0 (\d+) ', picture)
    for kind in ("name", "size"):
        pattern = rf"\.{kind}{{font(?:-size)?:(?:600 )?([\d.]+)px"
        (size, *_) = map(float, re.findall(pattern, screen))
        assert size * PIXELS[width] / int(units) >= 10
        blocks = re.findall(
            r'<rect x="\d+" y="\d+" width="(\d+)" height="\d+" rx="6"[^>]*>'
            r'<text [^>]*class="name">([^<]*)</text><text [^>]*class="size">([^<]*)<',
            picture,
        )
        assert len(blocks) == 15
        for room, *texts in blocks:
            # Half a letter's height is its width, in the mean of usual fonts.
            assert len(texts[kind == "size"]) * size * 0.5 < int(room), texts


def test_a_page_fits_every_screen() -> None:
    """Tables scroll, what is long breaks, one of two figures is hidden."""
    page = html_page("a page", [])
    assert 'name="viewport" content="width=device-width,initial-scale=1"' in page
    assert ".scroll{overflow-x:auto" in page
    assert "td.long{overflow-wrap:anywhere" in page
    assert ".narrow{display:none" in page
    assert "@media(max-width:860px){.wide{display:none}.narrow{display:block}}" in page


def test_a_page_has_colours_for_a_dark_screen() -> None:
    """Every colour of the palette is a variable with two values; black text turns light."""
    page = html_page("a page", [])
    style = page[page.index("<style>") : page.index("</style>")]
    light, dark = style.split("@media(prefers-color-scheme:dark)")
    for color, other in DARK.items():
        assert f"--c{color[1:]}:{color};" in light
        assert f"--c{color[1:]}:{other};" in dark
    rules = style.removeprefix("<style>" + theme())
    assert "color:var(--c000000);background:var(--cffffff)" in rules
    assert not re.search("#[0-9a-f]{3,6}", rules)
    assert themed("fill: #000000; stroke: #123456") == "fill: var(--c000000); stroke: #123456"

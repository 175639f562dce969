"""The plots of a run's report, as SVG text.

Each takes the width of its figure in inches: a page shows the ``WIDE`` one, and on a telephone the
``NARROW`` one, whose letters are as large there. Legends stand below what is drawn.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from mmfree.report.palette import AMBER, GREEN, GREY, INK, RED, SKY, VIOLET

WIDE, NARROW = 9.0, 4.4
"""Widths in inches of 72 units; letters of 10 units are 10 pixels or more on any screen."""

_MARKS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (10, (1, 1.5, 2, 3, 4, 5, 6, 8)),
    (1000, (1, 2, 5)),
)
"""Below so large a ratio of an axis' ends, so many marks of a decade; else one."""

COLORS = {
    "beats": GREEN,
    "wait_weights": VIOLET,
    "wait_room": AMBER,
    "wait_drain": SKY,
    "wait_vector": RED,
    "wait_control": GREY,
}
CAUSES = {
    "beats": "busy",
    "wait_weights": "waiting for weights",
    "wait_room": "waiting for room",
    "wait_drain": "draining",
    "wait_vector": "waiting for the vector",
    "wait_control": "control",
}
GATE_COLORS = {"hard": GREEN, "sigmoid": RED}
ARCHITECTURE_COLORS = {"matmul-free": GREEN, "transformer": RED}

_FONTS = ["DejaVu Sans", "Verdana"]
"""Of about the same width: matplotlib measures with the first, which is not everywhere."""

Row = tuple[int, float, float]
"""A row of a checkpoint's CSV file: step, and two figures."""


def _mark(value: float, _: object) -> str:
    """A mark of an axis: 0.00005, 20, 1,000, 5 M."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.10g} M"
    if abs(value) >= 1e-4:
        return f"{value:,.10g}"
    return f"{value:.10f}".rstrip("0").rstrip(".")


def figure_of(width: float, height: float, columns: int = 1) -> Figure:
    """A figure of so many plots side by side, or below each other where it is narrow; in inches."""
    shape = (1, columns) if is_wide(width) else (columns, 1)
    figure = Figure(figsize=(width, height * shape[0]), layout="constrained")
    for axes in np.atleast_1d(figure.subplots(*shape, sharey=True)):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_formatter(_mark)
        # About a mark an inch: 1,000,000 does not touch its neighbours.
        axes.locator_params(axis="x", nbins=max(3, int(width / shape[1])))
    return figure


def is_wide(width: float) -> bool:
    """Whether there is room beside a plot: not on a telephone."""
    return width > (WIDE + NARROW) / 2


def svg_of(figure: Figure) -> str:
    """The figure's SVG element; text stays text, and the same data gives the same bytes."""
    buffer = io.StringIO()
    # Names of parts are unique to a size: a browser must not look into a figure that it hides.
    salt = f"mmfree {figure.get_figwidth():g}"
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": salt, "font.sans-serif": _FONTS}
    ):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def add_legend(figure: Figure, axes: Axes) -> None:
    """Names of what is drawn, below the plot, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    # A letter is about 6 units wide, a line and its gaps 44.
    room = 72 * figure.get_figwidth() // (6 * max(map(len, labels)) + 44)
    columns = max(1, min(len(labels), int(room)))
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False)


def make_logarithmic(axis: Axis) -> None:
    """A logarithmic axis of what is drawn, its marks written out: no small powers of ten."""
    axes = axis.axes
    axes.set(xscale="log") if axis is axes.xaxis else axes.set(yscale="log")
    low, high = axis.get_view_interval()
    # Of losses that are no numbers there are no ends.
    subs = next((marks for ratio, marks in _MARKS if high < ratio * low), (1,))
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(_mark)


def wrapped(names: Iterable[str], width: float) -> list[str]:
    """Names of bars, in lines that leave room for the bars."""
    return [textwrap.fill(name, 48 if is_wide(width) else 22) for name in names]


def centred_means(values: Sequence[float]) -> tuple[slice, NDArray[np.float64]]:
    """Means of a value and of as many before as after it, about a fiftieth of all.

    Returns which of the values have a mean, and the means: the first and the last hundredth have
    too few neighbours. So a curve that falls evenly is its own mean: it does not lag.
    """
    count = len(values)
    reach = count // 100
    sums = np.concatenate(([0.0], np.cumsum(values)))
    around = 2 * reach + 1
    return slice(reach, count - reach), (sums[around:] - sums[:-around]) / around


def training_curve(
    rows: Sequence[Row], validation: Sequence[Row] = (), *, width: float = WIDE
) -> str:
    """Loss against steps: of each step, its centred running mean, and on held-out examples.

    ``rows``: of metrics.csv. ``validation``: of validation.csv; its loss is drawn.
    """
    figure = figure_of(width, 3.4)
    (axes,) = figure.axes
    steps, losses = [row[0] for row in rows], [row[1] for row in rows]
    axes.plot(steps, losses, color=GREY, linewidth=0.6, label="training, each step")
    middle, means = centred_means(losses)
    axes.plot(steps[middle], means, color=GREEN, linewidth=1.6, label="training, running mean")
    if validation:
        axes.plot(
            [row[0] for row in validation],
            [row[1] for row in validation],
            color=RED,
            linewidth=1.2,
            marker="o",
            markersize=3,
            label="validation, held-out text",
        )
    if any(loss > 0 for loss in losses):
        make_logarithmic(axes.yaxis)
    axes.set(xlabel="step", ylabel="loss, nats")
    add_legend(figure, axes)
    return svg_of(figure)


def comparison_curves(
    runs: Sequence[tuple[str, list[int], list[float], float]], *, width: float = WIDE
) -> str:
    """Centred running means of the loss of runs against tokens and against time.

    ``runs``: (architecture, tokens seen, losses, tokens per second) of each.
    """
    figure = figure_of(width, 3.6, columns=2)
    panels = figure.axes
    shown: set[str] = set()
    for name, tokens, losses, speed in runs:
        every = max(1, len(losses) // 300)
        middle, means = centred_means(losses)
        label = None if name in shown else name
        shown.add(name)
        for axes, xs in ((panels[0], tokens), (panels[1], [count / speed for count in tokens])):
            axes.plot(
                xs[middle][::every],
                means[::every],
                color=ARCHITECTURE_COLORS[name],
                linewidth=1.2,
                alpha=0.8,
                label=label,
            )
    make_logarithmic(panels[0].yaxis)
    for axes, what in zip(panels, ("tokens", "seconds of training"), strict=True):
        axes.set(xlabel=what)
    for axes in panels if not is_wide(width) else panels[:1]:
        axes.set(ylabel="training loss, nats per token")
    add_legend(figure, panels[0])
    return svg_of(figure)


def followed_accuracy(rows: Sequence[Row], *, width: float = WIDE) -> str:
    """Accuracy on training and held-out examples against steps."""
    figure = figure_of(width, 3.2)
    (axes,) = figure.axes
    steps = [row[0] for row in rows]
    axes.plot(steps, [100 * row[1] for row in rows], color=GREY, label="training examples")
    axes.plot(steps, [100 * row[2] for row in rows], color=GREEN, label="held-out examples")
    axes.set(xlabel="step", ylabel="exact, %", ylim=(-3, 103))
    add_legend(figure, axes)
    return svg_of(figure)


def accuracy_against_digits(
    own: Sequence[tuple[int, float]],
    gate: str,
    reference: Sequence[dict[str, Any]],
    *,
    width: float = WIDE,
) -> str:
    """Exact full-carry sums against digits: this model, and reference models of both gates.

    ``own``: (digits, share of exact sums). ``reference``: rows of the file of that name.
    """
    figure = figure_of(width, 3.6)
    (axes,) = figure.axes
    chains = [row for row in reference if row["kind"] == "chains"]
    for name, color in GATE_COLORS.items():
        for seed in sorted({row["seed"] for row in chains}):
            part = [row for row in chains if (row["gate"], row["seed"]) == (name, seed)]
            axes.plot(
                [row["digits"] for row in part],
                [100 * row["exact"] / row["examples"] for row in part],
                color=color,
                linestyle="--" if name == "sigmoid" else "-",
                alpha=0.35,
                label=f"{name} gate, reference" if seed == 0 else None,
            )
    axes.plot(
        [digits for digits, _ in own],
        [100 * accuracy for _, accuracy in own],
        color=INK,
        marker="o",
        linewidth=1.8,
        label=f"this model ({gate} gate)",
    )
    axes.axvspan(1, 20, color=GREY, alpha=0.2, linewidth=0, label="digits it was trained on")
    make_logarithmic(axes.xaxis)
    axes.set(xlabel="digits", ylabel="exact full-carry sums, %", ylim=(-4, 104), xlim=(1, 14_000))
    if not is_wide(width):
        axes.xaxis.set_major_locator(LogLocator())
    add_legend(figure, axes)
    return svg_of(figure)


def cycles_by_segment(
    profile: dict[str, dict[str, int]], tokens: int, *, width: float = WIDE
) -> str:
    """Cycles per token of every segment, by cause."""
    figure = figure_of(width, 1.4 + 0.28 * len(profile))
    (axes,) = figure.axes
    names = list(profile)
    left = [0.0] * len(names)
    for cause, label in CAUSES.items():
        widths = [profile[name][cause] / max(1, tokens) for name in names]
        if any(widths):
            axes.barh(names, widths, left=left, color=COLORS[cause], label=label)
            left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="cycles per token")
    if axes.patches:
        add_legend(figure, axes)
    return svg_of(figure)


def operations_per_token(counts: dict[str, int], *, width: float = WIDE) -> str:
    """Operations of one token: bars from 0, and the count of each beside its bar."""
    figure = figure_of(width, 0.7 + (0.3 if is_wide(width) else 0.36) * len(counts))
    (axes,) = figure.axes
    bars = axes.barh(wrapped(counts, width), list(counts.values()), color=GREEN)
    axes.bar_label(bars, labels=[f"{count:,}" for count in counts.values()], padding=4)
    axes.invert_yaxis()
    # Room for a count at the end of the longest bar.
    axes.set(xlabel="per token", xlim=(0, 1.35 * max(counts.values())))
    return svg_of(figure)

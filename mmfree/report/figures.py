"""The plots of a run's report, as SVG text."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {
    "beats": "#0b6e4f",
    "wait_weights": "#7c3aed",
    "wait_room": "#d97706",
    "wait_drain": "#0ea5e9",
    "wait_vector": "#c8553d",
    "wait_control": "#94a3b8",
}
CAUSES = {
    "beats": "busy",
    "wait_weights": "waiting for weights",
    "wait_room": "waiting for room",
    "wait_drain": "draining",
    "wait_vector": "waiting for the vector",
    "wait_control": "control",
}
GATE_COLORS = {"hard": "#0b6e4f", "sigmoid": "#c8553d"}

Row = tuple[int, float, float]
"""A row of a checkpoint's CSV file: step, and two figures."""


def figure_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one plot, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def svg_of(figure: Figure) -> str:
    """The figure's SVG element; text stays text, and the same data gives the same bytes."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mmfree"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def training_curve(rows: list[Row]) -> str:
    """Loss against steps, each step and a running mean."""
    figure, axes = figure_of(7.2, 3.0)
    steps, losses = [row[0] for row in rows], [row[1] for row in rows]
    axes.plot(steps, losses, color="#94a3b8", linewidth=0.6)
    window = max(1, len(losses) // 50)
    means = [
        sum(losses[max(0, i - window + 1) : i + 1]) / (i + 1 - max(0, i - window + 1))
        for i in range(len(losses))
    ]
    axes.plot(steps, means, color="#0b6e4f", linewidth=1.6)
    axes.set(xlabel="step", ylabel="loss, nats", yscale="log")
    return svg_of(figure)


ARCHITECTURE_COLORS = {"matmul-free": "#0b6e4f", "transformer": "#c8553d"}


def comparison_curves(runs: list[tuple[str, list[int], list[float], float]]) -> str:
    """Smoothed loss of runs against tokens and against time.

    ``runs``: (architecture, tokens seen, losses, tokens per second) of each.
    """
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shown: set[str] = set()
    for name, tokens, losses, speed in runs:
        window, every = max(1, len(losses) // 50), max(1, len(losses) // 300)
        means = [
            sum(losses[max(0, i - window + 1) : i + 1]) / (i + 1 - max(0, i - window + 1))
            for i in range(len(losses))
        ]
        label = None if name in shown else name
        shown.add(name)
        for axes, xs in ((panels[0], tokens), (panels[1], [count / speed for count in tokens])):
            axes.plot(
                xs[::every],
                means[::every],
                color=ARCHITECTURE_COLORS[name],
                linewidth=1.2,
                alpha=0.8,
                label=label,
            )
    for axes, what in zip(panels, ("tokens", "seconds of training"), strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set(xlabel=what, yscale="log")
    panels[0].set(ylabel="training loss, nats per token")
    panels[0].legend(frameon=False)
    return svg_of(figure)


def followed_accuracy(rows: list[Row]) -> str:
    """Accuracy on training and held-out examples against steps."""
    figure, axes = figure_of(7.2, 3.0)
    steps = [row[0] for row in rows]
    axes.plot(steps, [100 * row[1] for row in rows], color="#94a3b8", label="training examples")
    axes.plot(steps, [100 * row[2] for row in rows], color="#0b6e4f", label="held-out examples")
    axes.set(xlabel="step", ylabel="exact, %", ylim=(-3, 103))
    axes.legend(frameon=False)
    return svg_of(figure)


def accuracy_against_digits(
    own: list[tuple[int, float]], gate: str, reference: list[dict[str, Any]]
) -> str:
    """Exact full-carry sums against digits: this model, and reference models of both gates.

    ``own``: (digits, share of exact sums). ``reference``: rows of the file of that name.
    """
    figure, axes = figure_of(7.2, 3.2)
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
        color="#111827",
        marker="o",
        linewidth=1.8,
        label=f"this model ({gate} gate)",
    )
    axes.axvspan(1, 20, color="0.93")
    axes.text(1.15, 6, "trained on", color="0.4", fontsize=9)
    axes.set(
        xscale="log",
        xlabel="digits",
        ylabel="exact full-carry sums, %",
        ylim=(-4, 104),
        xlim=(1, 14_000),
    )
    axes.legend(frameon=False, loc="center left")
    return svg_of(figure)


def cycles_by_segment(profile: dict[str, dict[str, int]], tokens: int) -> str:
    """Cycles per token of every segment, by cause."""
    figure, axes = figure_of(7.2, 0.7 + 0.28 * len(profile))
    names = list(profile)
    left = [0.0] * len(names)
    for cause, label in CAUSES.items():
        widths = [profile[name][cause] / max(1, tokens) for name in names]
        if any(widths):
            axes.barh(names, widths, left=left, color=COLORS[cause], label=label)
            left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="cycles per token")
    axes.legend(frameon=False, fontsize=9)
    return svg_of(figure)


def operations_per_token(counts: dict[str, int]) -> str:
    """Operations of one token, log axis."""
    figure, axes = figure_of(7.2, 0.7 + 0.3 * len(counts))
    bars = axes.barh(list(counts), list(counts.values()), color="#0b6e4f")
    axes.bar_label(bars, labels=[f"{count:,}" for count in counts.values()], padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="per token", xlim=(1, 6 * max(counts.values())))
    return svg_of(figure)

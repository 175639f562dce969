"""Figures: what is drawn where, read back from matplotlib before it becomes SVG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmfree.report import figures
from mmfree.report.figures import (
    NARROW,
    accuracy_against_digits,
    add_legend,
    centred_means,
    comparison_curves,
    cycles_by_segment,
    figure_of,
    followed_accuracy,
    operations_per_token,
    svg_of,
    training_curve,
)


def names_in_legend(axes: Axes) -> list[str]:
    """Of the figure, below its plots."""
    (legend,) = axes.figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Axes]]:
    """Draws a figure; its plots."""
    seen: list[Figure] = []
    monkeypatch.setattr(figures, "svg_of", lambda figure: str(seen.append(figure)))

    def draw(function: Callable[..., str], *arguments: Any) -> list[Axes]:
        function(*arguments)
        return seen.pop().axes

    return draw


def lines_of(axes: Axes) -> list[tuple[list[float], list[float], str]]:
    """Points and label of each curve; matplotlib's own names are none."""
    return [
        (
            [float(x) for x in line.get_xdata()],
            [float(y) for y in line.get_ydata()],
            "" if str(line.get_label()).startswith("_") else str(line.get_label()),
        )
        for line in axes.get_lines()
    ]


def running_means(values: list[float], reach: int) -> list[float]:
    """Of each value and ``reach`` on either side, where there are so many."""
    inner = range(reach, len(values) - reach)
    return [float(np.mean(values[n - reach : n + reach + 1])) for n in inner]


def test_a_training_curve_is_each_loss_and_its_running_mean(
    drawn: Callable[..., list[Axes]],
) -> None:
    """Of 260 steps the mean is over five, two on either side; of a short run the loss itself."""
    losses = np.random.default_rng(0).uniform(1, 9, 260).tolist()
    rows = [(100 + number, loss, 0.5) for number, loss in enumerate(losses)]
    (axes,) = drawn(training_curve, rows)
    each, mean = lines_of(axes)
    steps = list(range(100, 360))
    assert each == (steps, losses, "training, each step")
    assert mean[0] == steps[2:-2]
    assert mean[1] == pytest.approx(running_means(losses, 2))
    assert mean[2] == "training, running mean"
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == (
        "step",
        "loss, nats",
        "log",
    )
    (axes,) = drawn(training_curve, rows[:99])
    each, mean = lines_of(axes)
    assert mean[1] == pytest.approx(each[1])


@pytest.mark.parametrize(("count", "reach"), [(99, 0), (100, 1), (1000, 10)])
def test_a_running_mean_does_not_lag(count: int, reach: int) -> None:
    """A loss that falls evenly is its own mean."""
    falling = [float(value) for value in range(count, 0, -1)]
    middle, means = centred_means(falling)
    assert middle == slice(reach, count - reach)
    assert means == pytest.approx(falling[middle])


def test_nothing_has_no_mean() -> None:
    middle, means = centred_means([])
    assert (list(range(0)[middle]), means.tolist()) == ([], [])


def test_validation_is_drawn_beside_the_training_loss(drawn: Callable[..., list[Axes]]) -> None:
    """Its loss, at the steps at which it was measured; both are named, below the plot."""
    rows = [(step, 9.0 - step, 0.5) for step in range(5)]
    (axes,) = drawn(training_curve, rows, [(2, 6.5, 3.25), (4, 5.5, 2.75)])
    *training, validation = lines_of(axes)
    assert len(training) == 2
    assert validation == ([2, 4], [6.5, 5.5], "validation, held-out text")
    assert names_in_legend(axes) == [
        "training, each step",
        "training, running mean",
        "validation, held-out text",
    ]
    colors = [line.get_color() for line in axes.get_lines()]
    assert len(set(colors)) == 3


@pytest.mark.parametrize(
    ("losses", "marks"),
    [
        ([0.00002, 2.0], ["0.0001", "0.001", "0.01", "0.1", "1"]),
        ([0.00002, 0.0004], ["0.00002", "0.00005", "0.0001", "0.0002"]),
        ([1.4, 4.9], ["1.5", "2", "3", "4", "5"]),
        ([800.0, 90000.0], ["1,000", "2,000", "5,000", "10,000", "20,000", "50,000"]),
    ],
)
def test_marks_of_a_logarithmic_axis_are_numbers(
    losses: list[float], marks: list[str], drawn: Callable[..., list[Axes]]
) -> None:
    """No powers of ten in small letters; few of them over many decades."""
    (axes,) = drawn(training_curve, [(n, loss, 0.1) for n, loss in enumerate(losses)])
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    low, high = axes.get_ylim()
    shown = [
        text.get_text()
        for place, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if low <= place <= high
    ]
    assert [mark for mark in shown if mark in marks] == marks
    assert not any("$" in mark or "e" in mark for mark in shown)
    assert 3 <= len(shown) <= 8


@pytest.mark.parametrize("losses", [[], [1.0], [0.0] * 5, [float("nan")] * 5, [1.0, float("inf")]])
def test_a_run_that_diverged_or_did_not_begin_has_its_figure(losses: list[float]) -> None:
    svg = training_curve([(step, loss, 0.1) for step, loss in enumerate(losses)])
    assert svg.startswith("<svg")


def test_a_comparison_is_over_tokens_and_over_time(drawn: Callable[..., list[Axes]]) -> None:
    """Every second of 600 points, means of thirteen; a name in the legend once."""
    losses = np.random.default_rng(1).uniform(1, 9, 600).tolist()
    tokens = [128 * (step + 1) for step in range(600)]
    runs = [
        ("matmul-free", tokens, losses, 64.0),
        ("matmul-free", tokens[:3], [3.0, 2.0, 1.0], 64.0),
        ("transformer", tokens[:2], [5.0, 4.0], 256.0),
    ]
    over_tokens, over_time = drawn(comparison_curves, runs)
    first, second, other = lines_of(over_tokens)
    assert first[0] == tokens[6:-6:2]
    assert first[1] == pytest.approx(running_means(losses, 6)[::2])
    assert (second[0], second[1]) == (tokens[:3], pytest.approx([3.0, 2.0, 1.0]))
    assert [line[2] for line in (first, second, other)] == ["matmul-free", "", "transformer"]
    assert [line[0][:2] for line in lines_of(over_time)] == [[14.0, 18.0], [2.0, 4.0], [0.5, 1.0]]
    assert [line[1] for line in lines_of(over_time)] == [first[1], second[1], other[1]]
    for panel in (over_tokens, over_time):
        colors = [line.get_color() for line in panel.get_lines()]
        assert colors[0] == colors[1] != colors[2]
        assert panel.get_yscale() == "log"
    assert (over_tokens.get_xlabel(), over_time.get_xlabel()) == ("tokens", "seconds of training")
    assert over_tokens.get_ylabel() == "training loss, nats per token"
    assert over_tokens.get_shared_y_axes().joined(over_tokens, over_time)
    assert names_in_legend(over_tokens) == ["matmul-free", "transformer"]
    assert over_time.get_ylabel() == "", "the same axis"
    panels = drawn(lambda runs: comparison_curves(runs, width=NARROW), runs)
    assert [panel.get_ylabel() for panel in panels] == ["training loss, nats per token"] * 2
    tops = [panel.get_subplotspec().get_topmost_subplotspec().rowspan.start for panel in panels]
    assert tops == [0, 1], "one below the other"


def test_accuracy_while_training_is_in_percent(drawn: Callable[..., list[Axes]]) -> None:
    (axes,) = drawn(followed_accuracy, [(25, 0.5, 0.125), (50, 1.0, 0.75)])
    assert lines_of(axes) == [
        ([25, 50], [50.0, 100.0], "training examples"),
        ([25, 50], [12.5, 75.0], "held-out examples"),
    ]
    low, high = axes.get_ylim()
    assert low < 0 < 100 < high < 110


def test_accuracy_against_digits_is_of_full_carries(drawn: Callable[..., list[Axes]]) -> None:
    """One line for each gate and seed, this model's on top."""
    reference = [
        {"gate": gate, "seed": seed, "kind": kind, "digits": digits, "examples": 200, "exact": n}
        for gate, seed, kind, digits, n in (
            ("hard", 0, "chains", 10, 200),
            ("hard", 0, "random", 10, 7),
            ("hard", 0, "chains", 100, 150),
            ("hard", 1, "chains", 10, 190),
            ("sigmoid", 0, "chains", 10, 20),
        )
    ]
    (axes,) = drawn(accuracy_against_digits, [(10, 1.0), (30, 0.25)], "signed", reference)
    found = [line for line in lines_of(axes) if line[0]]
    assert found == [
        ([10, 100], [100.0, 75.0], "hard gate, reference"),
        ([10], [95.0], ""),
        ([10], [10.0], "sigmoid gate, reference"),
        ([10, 30], [100.0, 25.0], "this model (signed gate)"),
    ]
    styles = {line.get_linestyle() for line in axes.get_lines() if "sigmoid" in line.get_label()}
    assert styles == {"--"}
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "digits"
    assert axes.get_ylabel() == "exact full-carry sums, %"


def test_cycles_are_per_token_and_side_by_side(drawn: Callable[..., list[Axes]]) -> None:
    causes = ("beats", "wait_weights", "wait_room", "wait_drain", "wait_vector", "wait_control")
    none = dict.fromkeys(causes, 0)
    profile = {
        "layer 0 glu": none | {"beats": 40, "wait_drain": 10},
        "head": none | {"beats": 20, "wait_drain": 2, "wait_control": 6},
    }
    (axes,) = drawn(cycles_by_segment, profile, 4)
    bars = [(bar.get_y(), bar.get_x(), bar.get_width()) for bar in axes.patches]
    rows = sorted({y for y, _, _ in bars})
    assert [[(x, width) for y, x, width in bars if y == row] for row in rows] == [
        [(0, 10), (10, 2.5), (12.5, 0)],
        [(0, 5), (5, 0.5), (5.5, 1.5)],
    ]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["layer 0 glu", "head"]
    assert axes.yaxis_inverted(), "the first segment on top"
    assert names_in_legend(axes) == ["busy", "draining", "control"]
    assert axes.get_xlabel() == "cycles per token"
    assert drawn(cycles_by_segment, profile, 0), "nothing was played"


def test_operations_are_labelled_with_their_counts(drawn: Callable[..., list[Axes]]) -> None:
    (axes,) = drawn(operations_per_token, {"additions": 12345, "reads": 67})
    assert [bar.get_width() for bar in axes.patches] == [12345, 67]
    assert [text.get_text() for text in axes.texts] == ["12,345", "67"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["additions", "reads"]
    low, high = axes.get_xlim()
    assert (axes.get_xscale(), low) == ("linear", 0)
    assert high > 1.2 * 12345, "room for the count"
    assert axes.yaxis_inverted()


def test_the_same_figure_is_the_same_text() -> None:
    """No date, no random names; words stay words."""
    texts = []
    for _ in range(2):
        figure = figure_of(3, 2)
        (axes,) = figure.axes
        axes.plot([1, 2], [3, 4], label="some words")
        add_legend(figure, axes)
        texts.append(svg_of(figure))
    assert texts[0] == texts[1]
    assert texts[0].startswith("<svg")
    assert "some words" in texts[0]
    assert "<dc:date>" not in texts[0]
    assert 'viewBox="0 0 216 144"' in texts[0], "3 by 2 inches"

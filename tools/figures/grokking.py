"""Addition modulo 97, with and without weight decay: accuracy during training, then every pair.

    python -m tools.figures.grokking

Trains two models (about 3 minutes), evaluates all pairs on the golden model, and writes
docs/figures/grokking.json and grokking.svg.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from mmfree.inference.backends import load_trained_tape
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.report.figures import WIDE, add_legend, figure_of, svg_of
from mmfree.report.palette import GREEN, GREY
from mmfree.tasks.modular import examined_pairs, split_pairs
from mmfree.training.checkpoint import MODEL_NAME
from mmfree.training.metrics import ACCURACY_NAME
from mmfree.training.presets import modular_addition
from mmfree.training.train import train

FIGURES = Path(__file__).parents[2] / "docs" / "figures"


class Outcome(TypedDict):
    """A model: [exact, all] pairs by part, and its curve, [step, training, held-out] accuracy each.

    ``largest_gap``: of the curve's two accuracies.
    """

    weight_decay: float
    exact_pairs: dict[str, list[int]]
    largest_gap: float
    curve: list[list[float]]


def measure(folder: Path, weight_decay: float) -> Outcome:
    """Train (where the model is missing), and evaluate all 9,409 pairs."""
    config = modular_addition()
    config = replace(config, recipe=replace(config.recipe, weight_decay=weight_decay))
    if not (folder / MODEL_NAME).exists():
        train(config, folder)
    with (folder / ACCURACY_NAME).open(newline="") as file:
        curve = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    backend = GoldenBackend(load_trained_tape(folder))
    exact = {}
    for name, pairs in zip(("training", "held_out"), split_pairs(), strict=True):
        batch = examined_pairs(pairs)
        logits, _ = backend.run(batch.ids, backend.state(len(batch.ids)))
        exact[name] = [batch.num_exact(np.argmax(logits, axis=-1)), len(pairs)]
    gap = max(row[1] - row[2] for row in curve)
    return Outcome(weight_decay=weight_decay, exact_pairs=exact, largest_gap=gap, curve=curve)


def draw(results: list[Outcome]) -> str:
    """A panel for each model, as SVG."""
    figure = figure_of(WIDE, 3.4, columns=len(results))
    for axes, result in zip(figure.axes, results, strict=True):
        steps, training, held_out = zip(*result["curve"], strict=True)
        for name, values, color in (("training", training, GREY), ("held-out", held_out, GREEN)):
            axes.plot(steps, [100 * value for value in values], color=color, label=f"{name} pairs")
        axes.set(title=f"weight decay {result['weight_decay']:g}", xlabel="step", ylim=(-3, 103))
    figure.axes[0].set_ylabel("exact sums modulo 97, %")
    add_legend(figure, figure.axes[0])
    return svg_of(figure)


def main() -> None:
    """Measure and plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", type=Path, default=Path("runs/grokking"), help="folder of the models"
    )
    parser.add_argument(
        "--out", type=Path, default=FIGURES, help="folder of the figure and its data"
    )
    options = parser.parse_args()
    results = [measure(options.models / f"decay{decay:g}", decay) for decay in (1.0, 0.0)]
    for result in results:
        print({key: value for key, value in result.items() if key != "curve"})
    (options.out / "grokking.json").write_text(json.dumps(results) + "\n")
    (options.out / "grokking.svg").write_text(draw(results))


if __name__ == "__main__":
    main()

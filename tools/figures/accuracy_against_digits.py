"""Accuracy of streaming addition against the number of digits, for both gates.

    python -m tools.figures.accuracy_against_digits

Trains 6 models (2 gates, 3 seeds; about 15 minutes; those that are in the folder already are not
trained again), then evaluates them on the golden model (about 20 minutes). Writes
docs/figures/accuracy_against_digits.svg and its data, which reports show beside a model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TypedDict

from mmfree.inference.backends import load_trained_tape
from mmfree.inference.scoring import evaluate_task
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.report.figures import (
    GATE_COLORS,
    WIDE,
    add_legend,
    figure_of,
    make_logarithmic,
    svg_of,
)
from mmfree.report.palette import GREY
from mmfree.tasks.addition import SUM_KINDS
from mmfree.training.checkpoint import MODEL_NAME
from mmfree.training.presets import addition
from mmfree.training.train import train

GATES = ("hard", "sigmoid")
KINDS = {"random": "addition", "chains": "addition-chains"}
DIGITS = {10: 1000, 20: 1000, 50: 1000, 100: 1000, 300: 300, 1000: 100, 3000: 30, 10_000: 10}
"""Digits -> sums of each kind."""

ROOT = Path(__file__).parents[2]
FIGURES, DATA = ROOT / "docs" / "figures", ROOT / "mmfree" / "report" / "reference"


class Row(TypedDict):
    """``exact`` of ``examples`` sums of a ``kind`` and of ``digits``, by one model."""

    gate: str
    seed: int
    sha256: str
    kind: str
    backend: str
    task: str
    digits: int
    examples: int
    exact: int


def measure(folder: Path, seeds: int) -> list[Row]:
    """A row for each gate, seed, kind and length; models are trained where they are missing."""
    rows = []
    for gate in GATES:
        for seed in range(seeds):
            checkpoint = folder / f"{gate}{seed}"
            if not (checkpoint / MODEL_NAME).exists():
                train(addition(gate), checkpoint, seed=seed)
            tape = load_trained_tape(checkpoint)
            backend = GoldenBackend(tape)
            for kind in SUM_KINDS:
                for digits, examples in DIGITS.items():
                    result = evaluate_task(backend, KINDS[kind], digits=digits, examples=examples)
                    rows.append(
                        Row(
                            gate=gate,
                            seed=seed,
                            sha256=tape.sha256,
                            kind=kind,
                            backend=result.backend,
                            task=result.task,
                            digits=result.digits,
                            examples=result.examples,
                            exact=result.exact,
                        )
                    )
                    print(
                        f"{gate} {seed} {kind} {digits}: {result.exact} of {examples}", flush=True
                    )
    return rows


def draw(rows: list[Row]) -> str:
    """Two panels, random sums and full-carry chains; a line for each model; as SVG."""
    figure = figure_of(WIDE, 3.8, columns=2)
    titles = {"random": "random sums", "chains": "full-carry chains"}
    for axes, kind in zip(figure.axes, SUM_KINDS, strict=True):
        for gate, marker, line in (("hard", "o", "-"), ("sigmoid", "s", "--")):
            for seed in sorted({row["seed"] for row in rows}):
                part = [r for r in rows if (r["gate"], r["seed"], r["kind"]) == (gate, seed, kind)]
                axes.plot(
                    [r["digits"] for r in part],
                    [100 * r["exact"] / r["examples"] for r in part],
                    color=GATE_COLORS[gate],
                    marker=marker,
                    linestyle=line,
                    markersize=4,
                    alpha=0.75,
                    label=f"{gate} gate" if seed == 0 else None,
                )
        axes.axvspan(1, 20, color=GREY, alpha=0.2, linewidth=0, label="digits of training")
        axes.set(title=titles[kind], xlabel="digits", xlim=(1, 14_000), ylim=(-4, 104))
        make_logarithmic(axes.xaxis)
    figure.axes[0].set_ylabel("exact sums, %")
    add_legend(figure, figure.axes[0])
    return svg_of(figure)


def main() -> None:
    """Measure and plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", type=Path, default=Path("runs/accuracy"), help="folder of the models"
    )
    parser.add_argument("--seeds", type=int, default=3, help="models per gate")
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of the figure")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of its data")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.data.mkdir(parents=True, exist_ok=True)
    rows = measure(options.models, options.seeds)
    (options.data / "accuracy_against_digits.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.out / "accuracy_against_digits.svg").write_text(draw(rows))


if __name__ == "__main__":
    main()

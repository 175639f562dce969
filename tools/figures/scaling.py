"""How the accelerator scales: lanes against hidden size.

    python -m tools.figures.scaling

Writes docs/figures/scaling.json and scaling.svg. Cycles are exact (hdl/planning/cost.py equals the
chip's counters); LUTs are estimates by regression over syntheses, without memories for weights and
embedding; clocks are post-route results where there are any.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from hdl.planning.cost import clock_hz, resources, routed_rows
from hdl.planning.cycles import lane_utilization
from mmfree.chip.sizing import design_for_model
from mmfree.contract.shape import ModelConfig
from mmfree.report.figures import WIDE, add_legend, make_logarithmic, svg_of
from mmfree.report.palette import GREEN, GREY

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
WIDTHS = (64, 128, 256, 512, 1024, 2048, 2560)
LANES = tuple(2**n for n in range(5, 13))
LAYERS, VOCABULARY = 4, 512


class Row(TypedDict):
    """A design: its sizes, and what it takes and gives."""

    hidden_size: int
    lanes: int
    rows: int
    columns: int
    post_width: int
    lane_utilization: float
    luts_per_lane: float
    flip_flops_per_lane: float
    clock_hz: float
    weights_per_second_per_lut: int


def model(width: int) -> ModelConfig:
    """A model of a hidden size, its intermediate size as in the published ones."""
    return ModelConfig(
        vocab_size=VOCABULARY,
        head_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=256 * math.ceil(int(8 * width / 3) / 256),
        num_layers=LAYERS,
        gate="hard",
    )


def study() -> list[Row]:
    """A row for every width and lane count."""
    rows = []
    for width in tqdm(WIDTHS, disable=None):
        config = model(width)
        for lanes in LANES:
            design = design_for_model(config, lanes)
            # Weights and embedding come from elsewhere: no multiplexers between the banks of a
            # memory that no chip of this kind has.
            taken = resources(replace(design, weight_words=512, embedding_rows=64))
            utilization = lane_utilization(config, design)
            clock = clock_hz(lanes)
            rows.append(
                Row(
                    hidden_size=width,
                    lanes=lanes,
                    rows=design.rows,
                    columns=design.columns,
                    post_width=design.post_width,
                    lane_utilization=round(utilization, 4),
                    luts_per_lane=round(taken.luts / lanes, 1),
                    flip_flops_per_lane=round(taken.flip_flops / lanes, 1),
                    clock_hz=clock,
                    weights_per_second_per_lut=round(lanes * utilization * clock / taken.luts),
                )
            )
    return rows


def draw(rows: list[Row]) -> str:
    """Four panels over the lanes, as SVG."""
    figure = Figure(figsize=(WIDE, 7.6), layout="constrained")
    axes: list[Axes] = list(figure.subplots(2, 2).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    panels: list[tuple[str, Callable[[Row], float]]] = [
        ("lane utilization, % (exact)", lambda r: 100 * r["lane_utilization"]),
        ("LUT4-equivalents per lane (estimate)", lambda r: r["luts_per_lane"]),
        (
            "million weights per second and LUT (estimate)",
            lambda r: 1e-6 * r["weights_per_second_per_lut"],
        ),
    ]
    # The larger the model, the darker its line.
    colors = colormaps["viridis_r"](np.linspace(0.12, 1, len(WIDTHS)))
    for axis, (label, value) in zip(axes, panels, strict=False):
        for width, color in zip(WIDTHS, colors, strict=True):
            part = [row for row in rows if row["hidden_size"] == width]
            axis.plot(
                [r["lanes"] for r in part],
                [value(r) for r in part],
                color=color,
                marker=".",
                label=f"d = {width:,}",
            )
        axis.set(ylabel=label, ylim=(0, None))
    _draw_clocks(axes[3], rows)
    for axis in axes:
        make_logarithmic(axis.xaxis)
        axis.set(xlabel="lanes", xlim=(0.8 * LANES[0], 1.25 * LANES[-1]))
        axis.set_xticks(LANES, [str(lanes) for lanes in LANES])
    add_legend(figure, axes[0])
    return svg_of(figure)


def _draw_clocks(axes: Axes, rows: list[Row]) -> None:
    """Clocks of routed designs, and what the estimates make of them for any number of lanes."""
    assumed = {row["lanes"]: row["clock_hz"] / 1e6 for row in rows}
    axes.plot(list(assumed), list(assumed.values()), color=GREY, label="of the estimates")
    routed = routed_rows()
    axes.plot(
        [row["lanes"] for row in routed],
        [row["clock_hz"] / 1e6 for row in routed],
        "o",
        color=GREEN,
        label="placed and routed, median of seeds",
    )
    axes.set(ylabel="clock, MHz", ylim=(0, 1.25 * max(assumed.values())))
    # In the empty lower half.
    axes.legend(loc="lower left", frameon=False)


def main() -> None:
    """Compute, write, draw."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rows = study()
    lines = ",\n".join(json.dumps(row) for row in rows)
    (FIGURES / "scaling.json").write_text(f"[\n{lines}\n]\n")
    (FIGURES / "scaling.svg").write_text(draw(rows))


if __name__ == "__main__":
    main()

"""How the accelerator scales: lanes against hidden size.

    python -m tools.figures.scaling

Writes docs/figures/scaling.json and scaling.svg. Cycles are exact (hdl/toolchain/cost.py equals the
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

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from hdl.toolchain.cost import clock_hz, lane_utilization, resources, routed_rows
from mmfree.chip.sizing import design_for_model
from mmfree.contract.shape import ModelConfig

ROOT = Path(__file__).parents[2]
WIDTHS = (64, 128, 256, 512, 1024, 2048, 2560)
LANES = tuple(2**n for n in range(5, 13))
LAYERS, VOCABULARY = 4, 512
COLORS = ("#94a3b8", "#7c3aed", "#c8553d", "#d97706", "#0b6e4f", "#0ea5e9", "#111827")


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


def draw(rows: list[Row]) -> Figure:
    """Four panels over the lanes."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes: list[Axes] = list(figure.subplots(2, 2).flat)
    panels: list[tuple[str, Callable[[Row], float]]] = [
        ("lane utilization, % (exact)", lambda r: 100 * r["lane_utilization"]),
        ("LUT4-equivalents per lane (estimate)", lambda r: r["luts_per_lane"]),
        (
            "million weights per second and LUT (estimate)",
            lambda r: 1e-6 * r["weights_per_second_per_lut"],
        ),
    ]
    for axis, (label, value) in zip(axes, panels, strict=False):
        for width, color in zip(WIDTHS, COLORS, strict=True):
            part = [row for row in rows if row["hidden_size"] == width]
            axis.plot(
                [r["lanes"] for r in part],
                [value(r) for r in part],
                color=color,
                marker=".",
                label=f"d = {width}",
            )
        axis.set(xscale="log", xlabel="lanes", ylabel=label)
    axes[1].set(yscale="log")
    axes[0].legend(frameon=False, fontsize=8)
    routed = routed_rows()
    axes[3].plot(
        [row["lanes"] for row in routed],
        [row["clock_hz"] / 1e6 for row in routed],
        "o",
        color="#0b6e4f",
    )
    axes[3].set(
        xscale="log",
        xlabel="lanes",
        ylabel="clock, MHz (post-route, median of seeds)",
        ylim=(0, None),
    )
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.set_xticks(LANES, [str(n) for n in LANES])
        axis.minorticks_off()
    return figure


def main() -> None:
    """Compute, write, draw."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rows = study()
    lines = ",\n".join(json.dumps(row) for row in rows)
    (ROOT / "docs" / "figures" / "scaling.json").write_text(f"[\n{lines}\n]\n")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mmfree"}):
        draw(rows).savefig(
            ROOT / "docs" / "figures" / "scaling.svg", metadata={"Date": None, "Creator": None}
        )


if __name__ == "__main__":
    main()

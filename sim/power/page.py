"""A page about an estimate of power: where the joules go, how sure they are, how they compare."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import squarify
from matplotlib.patches import Rectangle

from hdl.toolchain.cost import (
    clock_hz,
    cycles_per_token,
    disabled_memory_blocks,
    lane_utilization,
    resources,
)
from hdl.toolchain.counts import WAYS, Count
from hdl.toolchain.families import Area
from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for
from mmfree.report.figures import figure_of, svg_of
from mmfree.report.page import html_page, note, table
from mmfree.tape.pow2 import Tape
from sim.power.activity import Activity, BlockActivity
from sim.power.cells import CellEnergy
from sim.power.coefficients import TECHNOLOGY, Part, load_quantities
from sim.power.estimate import KINDS, REPORT_RATE, Interval, Load, Power, estimate

KIND_COLORS = {
    "static": "#94a3b8",
    "clock": "#7c3aed",
    "logic": "#0b6e4f",
    "routing": "#10b981",
    "memory": "#0ea5e9",
    "dsp": "#d97706",
    "external": "#c8553d",
}
LANES = (16, 32, 64, 128, 256, 512, 1024)
_STUDY_CYCLES = 1_000_000
CLOCKS = (0.1, 0.25, 0.5, 1.0)
"""Shares of the clock reached."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A published system.

    ``weights``: read per token. ``batch``: sequences at once. ``label``: measured or estimated.
    ``what``: the figure covers.
    """

    name: str
    device: str
    joules_per_token: float
    weights: float
    batch: int
    label: str
    what: str
    source: str

    @property
    def joules_per_weight(self) -> float:
        """Energy per weight and token."""
        return self.joules_per_token / self.weights


def peers() -> list[Peer]:
    """Peers, the most frugal per weight first."""
    entries = tomllib.loads((TECHNOLOGY / "peers.toml").read_text(encoding="utf-8"))["peers"]
    return sorted((Peer(**entry) for entry in entries), key=lambda peer: peer.joules_per_weight)


def power_page(
    found: Power,
    part: Part,
    activity: Activity,
    tape: Tape,
    design: Design,
    cells: list[CellEnergy],
    counts: Sequence[Count],
) -> str:
    """The whole page."""
    sections = [
        ("Estimate", _summary(found, tape)),
        ("Cells, by who counted", _counts(counts)),
        (
            "Joules by block",
            _treemap(found)
            + note(
                "Best estimate per token; the area is the share. Static power, PLL and the clock's"
                " own net belong to the whole chip."
            ),
        ),
        ("By kind and segment", _kinds(found) + _segments(found)),
        ("Against others", _against(found, tape)),
        ("In cells of an ASIC", _in_cells(cells)),
    ]
    if part.family == "ecp5":
        remark = (
            "Projected: cells by the cost model, cycles exact, clock of routed designs, toggles per"
            " cell and busy cycle as in this run; sizes that do not fit the part are"
            " left out."
        )
        sections.append(
            ("Lanes and clock", _lanes_and_clock(part, activity, tape, design) + note(remark))
        )
    sections.append(("Coefficients", _coefficients(part)))
    return html_page(f"power on {found.device}", sections)


def _summary(found: Power, tape: Tape) -> str:
    weights = tape.num_ternary_weights
    per_weight = found.joules_per_token * (1e12 / weights)
    rows = [
        ("energy per token, uJ", *_three(found.joules_per_token * 1e6)),
        ("energy per ternary weight, pJ", *_three(per_weight)),
        ("power, mW", *_three(found.watts * 1e3)),
    ]
    facts = [
        ("clock", f"{found.clock_hz / 1e6:g} MHz: {found.clock_label}"),
        ("cycles per token (simulated, batch 1)", f"{found.cycles_per_token:,.0f}"),
        ("tokens per second", f"{found.tokens_per_second:,.0f}"),
        *(
            (name.replace("_", " "), f"{used:,} of {available:,}")
            for name, (used, available) in found.utilisation.items()
        ),
    ]
    remarks = "".join(f"<li>{escape(line)}</li>" for line in found.assumptions)
    return (
        table(rows, ("estimated", "low", "best", "high", ""))
        + table(facts)
        + f'<ul class="note">{remarks}</ul>'
    )


def _counts(counts: Sequence[Count]) -> str:
    rows = [
        (
            count.way,
            f"{count.luts:,}",
            f"{count.flip_flops:,}",
            f"{count.ram_blocks:,}",
            WAYS[count.way],
        )
        for count in counts
    ]
    return table(rows, ("count", "LUTs", "flip-flops", "block RAMs", "of what")) + note(
        "The estimate above is of the last line, shared among the blocks, or of the line by block"
        " where nothing was routed."
    )


def _three(found: Interval) -> tuple[str, str, str, str]:
    return (f"{found.low:,.3g}", f"{found.best:,.3g}", f"{found.high:,.3g}", "")


def _treemap(found: Power) -> str:
    figure, axes = figure_of(7.2, 3.6)
    axes.axis("off")
    blocks = sorted(
        ((name, share.best) for name, share in found.by_block.items() if share.best),
        key=lambda item: -item[1],
    )
    sizes = squarify.normalize_sizes([size for _, size in blocks], 100, 50)
    total = sum(size for _, size in blocks)
    for number, ((name, size), box) in enumerate(
        zip(blocks, squarify.squarify(sizes, 0, 0, 100, 50), strict=True)
    ):
        shade = 0.95 - 0.6 / (1 + number)
        color = (1 - shade * 0.95, 1 - shade * 0.45, 1 - shade * 0.65)
        axes.add_patch(
            Rectangle(
                (box["x"], box["y"]), box["dx"], box["dy"], facecolor=color, edgecolor="white"
            )
        )
        if box["dx"] > 7 and box["dy"] > 3:
            text = f"{name}\n{1e9 * size:,.0f} nJ, {100 * size / total:.0f} %"
            axes.text(
                box["x"] + box["dx"] / 2,
                box["y"] + box["dy"] / 2,
                text,
                ha="center",
                va="center",
                fontsize=7,
            )
    axes.set(xlim=(0, 100), ylim=(50, 0))
    return svg_of(figure)


def _kinds(found: Power) -> str:
    figure, axes = figure_of(7.2, 2.6)
    names = [kind for kind in KINDS if found.by_kind[kind].high]
    shares = [found.by_kind[kind] * 1e9 for kind in names]
    errors = [[s.best - s.low for s in shares], [s.high - s.best for s in shares]]
    axes.barh(
        names,
        [s.best for s in shares],
        xerr=errors,
        color=[KIND_COLORS[kind] for kind in names],
        ecolor="#374151",
        capsize=3,
    )
    axes.invert_yaxis()
    axes.set(xlabel="nJ per token (estimated; interval)")
    return svg_of(figure)


def _segments(found: Power) -> str:
    rows = [(name, *_three(share * 1e9)) for name, share in found.by_segment.items()]
    remark = (
        "By segment, nJ per token. Blocks that work on tiles of weights are shared by tiles,"
        " everything else by cycles."
    )
    return table(rows, ("segment", "low", "best", "high", "")) + note(remark)


def _against(found: Power, tape: Tape) -> str:
    figure, axes = figure_of(7.2, 3.4)
    own = found.joules_per_token * (1e12 / tape.num_ternary_weights)
    others = peers()
    names = [
        f"this design ({found.part}), {found.label}",
        *(f"{peer.name} ({peer.label}, batch {peer.batch})" for peer in others),
    ]
    values = [own.best, *(1e12 * peer.joules_per_weight for peer in others)]
    axes.barh(names, values, color=["#0b6e4f", *["#94a3b8"] * len(others)])
    axes.errorbar(
        [own.best],
        [0],
        xerr=[[own.best - own.low], [own.high - own.best]],
        color="#111827",
        capsize=4,
    )
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="pJ per weight and token")
    rows = [
        (
            peer.name,
            peer.device,
            f"{peer.joules_per_token:g}",
            f"{1e12 * peer.joules_per_weight:.3g}",
            str(peer.batch),
            f"{peer.label}: {peer.what}; {peer.source}",
        )
        for peer in others
    ]
    remark = (
        "Per weight, because models differ in size. This figure is the chip's alone, with its"
        " weights on the chip; cards and modules include memory, regulators and fans. A small model"
        " also pays its static power for few weights."
    )
    return (
        svg_of(figure)
        + note(remark)
        + table(rows, ("system", "device", "J per token", "pJ per weight", "batch", "what"))
    )


def _in_cells(cells: list[CellEnergy]) -> str:
    rows = [
        (f"{cell.node}, {cell.weights_are}: {name}", *_three(energy * 1e9))
        for cell in cells
        for name, energy in (
            ("arithmetic", cell.arithmetic),
            ("weights from SRAM", cell.weight_memory),
        )
    ]
    remark = (
        "The matrices alone, in bare cells of an ASIC: no wires, registers, clock or control. What"
        " additions save over multiplications, and fewer bits per weight, before a chip is built"
        " around them (sim/power/technology/cells.toml)."
    )
    return table(rows, ("nJ per token (estimated)", "low", "best", "high", "")) + note(remark)


def lanes_study(
    part: Part, activity: Activity, tape: Tape, design: Design
) -> list[tuple[int, float, Power]]:
    """Estimates of designs of other sizes for the same tape, by the cost model.

    (lanes, share of the clock reached, estimate) of each that fits the part.
    """
    results = []
    # As many toggles per flip-flop and tile as in the run: fewer a cycle where lanes wait.
    per_busy_cycle = activity.toggle_rate / lane_utilization(tape.config, design)
    for lanes in LANES:
        other = design_for(tape, lanes, design.weight_code)
        cycles, size = cycles_per_token(tape.config, other), resources(other)
        area = Area(
            luts=size.luts,
            flip_flops=size.flip_flops,
            ram_blocks=size.blocks,
            disabled_blocks=disabled_memory_blocks(other),
        )
        # Memories are mostly weights: read while lanes are busy.
        busy = round(_STUDY_CYCLES * lane_utilization(tape.config, other))
        block = BlockActivity(
            registers=1,
            register_toggles=round(per_busy_cycle * busy),
            read_bits=1,
            reads=busy,
            read_toggles=round(REPORT_RATE * busy),
        )
        load = Load(
            areas={"design": area},
            activity={"design": block},
            activity_cycles=_STUDY_CYCLES,
            cycles=cycles,
        )
        for share in CLOCKS:
            try:
                power = estimate(
                    part, load, share * clock_hz(lanes), clock_label="projected", segments=[]
                )
            except ValueError:
                continue
            results.append((lanes, share, power))
    return results


def _lanes_and_clock(part: Part, activity: Activity, tape: Tape, design: Design) -> str:
    figure, axes = figure_of(7.2, 3.0)
    results = lanes_study(part, activity, tape, design)
    for share in CLOCKS:
        points = [(lanes, power.joules_per_token) for lanes, s, power in results if s == share]
        lanes, joules = [p[0] for p in points], [p[1] for p in points]
        color = "#0b6e4f" if share == 1.0 else "#94a3b8"
        axes.plot(
            lanes,
            [1e6 * j.best for j in joules],
            marker="o",
            color=color,
            alpha=0.4 + 0.6 * share,
            label=f"{100 * share:.0f} % of the clock reached",
        )
        if share == 1.0:
            axes.fill_between(
                lanes,
                [1e6 * j.low for j in joules],
                [1e6 * j.high for j in joules],
                color=color,
                alpha=0.12,
            )
    axes.set(xscale="log", yscale="log", xlabel="lanes", ylabel="uJ per token")
    axes.set_xticks(LANES, [str(lanes) for lanes in LANES])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    return svg_of(figure)


def _coefficients(part: Part) -> str:
    found = part.coefficients | load_quantities("model", "model")
    rows = [
        (name, f"{q.low:g}", f"{q.value:g}", f"{q.high:g}", f"{q.unit}, {q.label}: {q.source}")
        for name, q in found.items()
        if q.high
    ]
    return table(rows, ("coefficient", "low", "best", "high", "unit, label and source")) + note(
        "V read in the primary source, S quoted by another, D derived, K recalled."
    )

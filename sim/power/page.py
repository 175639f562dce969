"""A page about an estimate of power: where the joules go, how sure they are, how they compare."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import squarify
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator

from hdl.planning.cost import clock_hz, resources
from hdl.planning.cycles import cycles_per_token, lane_utilization
from hdl.planning.memories import disabled_memory_blocks
from hdl.toolchain.counts import WAYS, Count
from hdl.toolchain.families import Area
from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for
from mmfree.report.figures import (
    add_legend,
    figure_of,
    is_wide,
    make_logarithmic,
    svg_of,
    wrapped,
)
from mmfree.report.numbers import plain
from mmfree.report.page import figure, html_page, note, table
from mmfree.report.palette import AMBER, GREEN, GREY, INK, MINT, PAPER, RED, SKY, VIOLET
from mmfree.tape.reading import AnyTape
from sim.power.activity import Activity, BlockActivity
from sim.power.cells import CellEnergy
from sim.power.coefficients import TECHNOLOGY, Part, load_quantities
from sim.power.estimate import KINDS, REPORT_RATE, Load, Power, estimate
from sim.power.interval import Interval

KIND_COLORS = {
    "static": GREY,
    "clock": VIOLET,
    "logic": GREEN,
    "routing": MINT,
    "memory": SKY,
    "dsp": AMBER,
    "external": RED,
}
LABEL_WORDS = {
    "V": "read in its source",
    "S": "quoted by another source",
    "D": "derived",
    "K": "recalled",
}
"""What the letters of the technology files say of a number."""

LANES = (16, 32, 64, 128, 256, 512, 1024)
_STUDY_CYCLES = 1_000_000
CLOCKS = (0.1, 0.25, 0.5, 1.0)
"""Shares of the clock reached."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A published system.

    ``weights``: read per token. ``batch``: sequences at once. ``label``: one of ``LABEL_WORDS``.
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
    tape: AnyTape,
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
            figure(lambda width: _treemap(found, width))
            + note(
                "Best estimate per token; the area is the share. Static power, PLL and the clock's"
                " own net belong to the whole chip."
            )
            + _blocks(found),
        ),
        (
            "By kind and segment",
            figure(lambda width: _kinds(found, width)) + _segments(found),
        ),
        (
            "Against others",
            figure(lambda width: _against(found, tape, width)) + _peers(),
        ),
        ("In cells of an ASIC", _in_cells(cells)),
    ]
    if part.family == "ecp5":
        remark = (
            "Projected: cells by the cost model, cycles exact, clock of routed designs, toggles per"
            " cell and busy cycle as in this run; sizes that do not fit the part are"
            " left out."
        )
        study = lanes_study(part, activity, tape, design)
        drawn = figure(lambda width: _lanes_and_clock(study, width))
        sections.append(("Lanes and clock", drawn + note(remark)))
    sections.append(("Coefficients", _coefficients(part)))
    return html_page(f"power on {found.device}", sections)


def _summary(found: Power, tape: AnyTape) -> str:
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
    return (plain(found.low), plain(found.best), plain(found.high), "")


def _treemap(found: Power, width: float) -> str:
    wide, high = (width, 3.6) if is_wide(width) else (width, 4.4)
    figure = figure_of(wide, high)
    (axes,) = figure.axes
    axes.axis("off")
    blocks = _sorted_blocks(found)
    sizes = squarify.normalize_sizes([size for _, size in blocks], wide, high)
    total = sum(size for _, size in blocks)
    for number, ((name, size), box) in enumerate(
        zip(blocks, squarify.squarify(sizes, 0, 0, wide, high), strict=True)
    ):
        axes.add_patch(
            Rectangle(
                (box["x"], box["y"]),
                box["dx"],
                box["dy"],
                # Any ink is read on it, on a light page and on a dark one.
                facecolor=(MINT, 0.1 + 0.5 / (1 + number)),
                edgecolor=PAPER,
                linewidth=2,
            )
        )
        text = f"{name}\n{plain(1e9 * size)} nJ\n{100 * size / total:.0f} %"
        # A letter is an eleventh of an inch wide here and a line a fifth high; else: in the table.
        if box["dx"] > max(map(len, text.splitlines())) / 11 and box["dy"] > 3 / 5:
            centre = (box["x"] + box["dx"] / 2, box["y"] + box["dy"] / 2)
            axes.text(*centre, text, ha="center", va="center")
    axes.set(xlim=(0, wide), ylim=(high, 0))
    return svg_of(figure)


def _sorted_blocks(found: Power) -> list[tuple[str, float]]:
    """Blocks that take anything and their joules per token, the largest first."""
    blocks = [(name, share.best) for name, share in found.by_block.items() if share.best]
    return sorted(blocks, key=lambda item: -item[1])


def _blocks(found: Power) -> str:
    rows = [(name, *_three(found.by_block[name] * 1e9)) for name, _ in _sorted_blocks(found)]
    return table(rows, ("block, nJ per token", "low", "best", "high", ""))


def _kinds(found: Power, width: float) -> str:
    figure = figure_of(width, 2.6)
    (axes,) = figure.axes
    names = [kind for kind in KINDS if found.by_kind[kind].high]
    shares = [found.by_kind[kind] * 1e9 for kind in names]
    errors = [[s.best - s.low for s in shares], [s.high - s.best for s in shares]]
    axes.barh(
        names,
        [s.best for s in shares],
        xerr=errors,
        color=[KIND_COLORS[kind] for kind in names],
        ecolor=INK,
        capsize=3,
    )
    axes.invert_yaxis()
    axes.set(xlabel="nJ per token (estimated; interval)", xlim=(0, None))
    return svg_of(figure)


def _segments(found: Power) -> str:
    rows = [(name, *_three(share * 1e9)) for name, share in found.by_segment.items()]
    remark = (
        "By segment, nJ per token. Blocks that work on tiles of weights are shared by tiles,"
        " everything else by cycles."
    )
    return table(rows, ("segment", "low", "best", "high", "")) + note(remark)


def _against(found: Power, tape: AnyTape, width: float) -> str:
    """Points, not bars: a logarithmic axis has no 0 from which a bar could start."""
    others = peers()
    figure = figure_of(width, (0.34 if is_wide(width) else 0.5) * (3 + len(others)))
    (axes,) = figure.axes
    own = found.joules_per_token * (1e12 / tape.num_ternary_weights)
    names = wrapped(
        [
            f"this design ({found.part}), {found.label}",
            *(f"{peer.name} (batch {peer.batch})" for peer in others),
        ],
        width,
    )
    axes.errorbar(
        [own.best],
        names[:1],
        xerr=[[own.best - own.low], [own.high - own.best]],
        fmt="o",
        color=GREEN,
        capsize=4,
    )
    values = [1e12 * peer.joules_per_weight for peer in others]
    axes.plot(values, names[1:], "o", color=GREY)
    make_logarithmic(axes.xaxis)
    axes.invert_yaxis()
    axes.set(xlabel="pJ per weight and token")
    if not is_wide(width):
        axes.xaxis.set_major_locator(LogLocator())
    return svg_of(figure)


def _peers() -> str:
    rows = [
        (
            peer.name,
            peer.device,
            f"{peer.joules_per_token:g}",
            plain(1e12 * peer.joules_per_weight),
            str(peer.batch),
            f"{peer.what}; {LABEL_WORDS[peer.label]}: {peer.source}",
        )
        for peer in peers()
    ]
    remark = (
        "Per weight, because models differ in size. This figure is the chip's alone, with its"
        " weights on the chip; cards and modules include memory, regulators and fans. A small model"
        " also pays its static power for few weights."
    )
    return note(remark) + table(
        rows,
        ("system", "device", "J per token", "pJ per weight", "batch", "what"),
        words={0, 1, 5},
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
    part: Part, activity: Activity, tape: AnyTape, design: Design
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


def _lanes_and_clock(study: list[tuple[int, float, Power]], width: float) -> str:
    figure = figure_of(width, 3.6)
    (axes,) = figure.axes
    for share in CLOCKS:
        points = [(lanes, power.joules_per_token) for lanes, s, power in study if s == share]
        lanes, joules = [p[0] for p in points], [p[1] for p in points]
        color = GREEN if share == 1.0 else GREY
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
    make_logarithmic(axes.xaxis)
    make_logarithmic(axes.yaxis)
    axes.set(xlabel="lanes", ylabel="uJ per token")
    axes.set_xticks(LANES)
    add_legend(figure, axes)
    return svg_of(figure)


def _coefficients(part: Part) -> str:
    found = part.coefficients | load_quantities("model", "model")
    rows = [
        (
            name,
            *(plain(value) for value in (q.low, q.value, q.high)),
            f"{q.unit}; {LABEL_WORDS[q.label]}: {q.source}",
        )
        for name, q in found.items()
        if q.high
    ]
    remark = (
        "Letters in brackets are of a single number: V read in its source, S quoted by another, D"
        " derived, K recalled."
    )
    header = ("coefficient", "low", "best", "high", "unit, and where it is from")
    return table(rows, header) + note(remark)

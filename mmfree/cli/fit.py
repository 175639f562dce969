"""``mmfree fit``: which parts a model fits, and how fast it would run there: projected."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from mmfree import api
from mmfree.cli.outcome import Outcome
from mmfree.report.numbers import megahertz, plain, span, with_unit

if TYPE_CHECKING:
    from hdl.planning.fit import Shortage
    from hdl.planning.parts import Fact
    from hdl.planning.projection import Projection
    from mmfree.inference.shapes import Shape

EXAMPLES = (
    "mmfree fit 370m",
    "mmfree fit text.tape --part ulx3s-85f",
    "mmfree fit my.json --part kv260 --memory axi128x2 --json",
)

ALL = "all"

WIDTH = 100
"""Columns of a line."""

_KEY = "{:<14}"
_KINDS = {
    "luts": "LUTs",
    "flip_flops": "flip-flops",
    "ram_blocks": "block RAMs",
    "ram_bits": "of block RAM",
    "memory_bytes": "of memory",
    "ports": "ports",
    "port_bits": "bits of a port",
}
_LIMITS = {
    "memory": "the memory",
    "array": "the array, its lanes and its clock",
    "bubbles": "the pauses between segments, in which no lane works",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="SHAPE|CONFIG.json|MODEL",
        help=(
            "370m, 1.3b, 2.7b, a preset, a JSON file with a model's config, or a tape, a checkpoint"
            " folder or a run folder: only its shape is looked at"
        ),
    )
    parser.add_argument(
        "--part",
        default=ALL,
        metavar="NAME",
        help=(
            "ecp5-25, -45, -85, ulx3s-85f, ecpix-5, orangecrab, kv260, u250, u280, or all of them"
        ),
    )
    parser.add_argument(
        "--memory",
        metavar="NAME",
        help=(
            "where weights are: block (RAM), or ports of an external memory such as axi128x4"
            " (default: block RAM if all fits there, else the fastest ports)"
        ),
    )


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb: a part that was named and is too small is a check that failed."""
    found = api.fit(options.model, part=options.part, memory=options.memory)
    if options.part == ALL:
        return Outcome(found.to_dict(), _describe_all(found))
    (entry,) = found.parts
    return Outcome(found.to_dict(), _describe_one(found.shape, entry), entry.projection.fits)


def _describe_model(shape: Shape) -> list[str]:
    config = shape.config
    weights = config.num_ternary_weights
    text = (
        f"{shape.name}: d {config.hidden_size:,}, intermediate {config.intermediate_size:,}, layers"
        f" {config.num_layers:,}, vocabulary {config.vocab_size:,}; {weights:,} ternary weights,"
        f" {with_unit(weights / 5, 'B')} at 1.6 bits. Projected, nothing was built: one sequence,"
        " head and embedding included"
    )
    if shape.published:
        text += "; in the arithmetic of published checkpoints (absmax)"
    return wrap(text, WIDTH)


def _describe_all(found: api.Fitted) -> str:
    """A line for each part, then what others publish."""
    lines = [
        *_describe_model(found.shape),
        "",
        (
            f"{'part':<11}{'memory':<10}{'lanes':>7}{'clock':>10}{'cycles/token':>14}"
            f"{'tokens/s':>10}  {'limit':<8}{'GB/s needed, of':>16}{'J/token':>9}"
        ),
    ]
    for entry in found.parts:
        plan, joules = entry.projection, entry.joules_per_token
        if joules is None:
            lines += _hanging(f"{plan.part.name:<11}", f"does not fit: {_describe_lack(plan)}")
            continue
        clock = f"{plan.clock.value / 1e6:,.0f} MHz{'*' if plan.clock.label == 'A' else ' '}"
        lines.append(
            f"{plan.part.name:<11}{plan.design.memory:<10}{plan.design.lanes:>7,}{clock:>10}"
            f"{plan.cycles:>14,}{_rate(plan):>10}  {plan.limited_by:<8}"
            f"{_bandwidth(plan):>16}{with_unit(joules.best, '', 2):>9}"
        )
    lines += wrap(
        "~ projected. * assumed: nothing of ours was routed there. J/token: rough; --part NAME has"
        " the interval, cells and sources",
        WIDTH,
    )
    return "\n".join([*lines, *_describe_peers(found.parts)])


def _describe_one(shape: Shape, entry: api.OnPart) -> str:
    """All that is known of one part."""
    plan, joules = entry.projection, entry.joules_per_token
    part, design = plan.part, plan.design
    lines = _describe_model(shape)
    lines += ["", *_hanging(_KEY.format("part"), f"{part.name}: {part.board}, {part.device_name}")]
    verdict = "yes" if plan.fits else f"no: {_describe_lack(plan)}"
    lines += _hanging(_KEY.format("fits"), verdict)
    lines += _hanging(
        _KEY.format("design"),
        f"{design.memory}: {design.lanes:,} lanes ({design.rows} rows x {design.columns} columns),"
        f" post-processing of {design.post_width} per cycle, {design.weight_code} bits a weight;"
        f" {plan.cycles:,} cycles per token",
    )
    if plan.fits:
        allowed = plan.memory_tokens_per_second
        other = "" if allowed is None else f"; the memory allows {plain(allowed)}"
        lines += _hanging(
            _KEY.format("speed"),
            f"{_rate(plan)} tokens/s, projected, limited by {_LIMITS[plan.limited_by]};"
            f" the array alone would reach {plain(1 / plan.array_seconds)}{other}",
        )
    lines += _hanging(
        _KEY.format("clock"), f"{megahertz(plan.clock.value)}, {_describe_source(plan.clock)}"
    )
    lines += _describe_memory(plan)
    for kind, count in plan.cells.items():
        usable, there = plan.usable[kind], part.capacity[kind]
        of = "" if usable == there else f" ({there:,} there; fuller parts hardly route)"
        lines.append(f"{_KEY.format(_KINDS[kind])}{count:,} of {usable:,}{of}")
    if joules is not None:
        from sim.power.projected import WHAT_IS_COUNTED

        lines += _hanging(
            _KEY.format("energy"),
            f"{span(joules.low, joules.best, joules.high, 'J')} per token, {WHAT_IS_COUNTED}",
        )
    lines += _hanging(_KEY.format("capacity"), part.capacity_source)
    return "\n".join([*lines, *_describe_peers((entry,))])


def _describe_memory(plan: Projection) -> list[str]:
    """What is read from where, and how fast."""
    memory = plan.memory
    if memory is None:
        return []
    lines = _hanging(
        _KEY.format("memory"),
        f"{memory.name}, {with_unit(memory.peak.value, 'B/s')} peak: the image takes"
        f" {with_unit(plan.image_bytes, 'B')} of"
        f" {with_unit(memory.capacity_bytes, 'B')}; a token reads"
        f" {with_unit(plan.token_bytes, 'B')}, for which the array needs"
        f" {with_unit(plan.needed_bytes_per_second, 'B/s')}",
    )
    for rate in memory.rates:
        speed = f": {_rate(plan, rate)} tokens/s" if plan.fits else ""
        enough = plan.sufficient_clock_hz(rate)
        if plan.fits and enough < plan.clock.value:
            speed += f", for which {megahertz(enough)} (assumed) suffice"
        given = with_unit(plan.available_bytes_per_second(rate), "B/s")
        lines += _hanging(_KEY.format("at"), f"{given}{speed}; {_describe_source(rate)}")
    for name, source in memory.sources.items():
        lines += _hanging(_KEY.format(name), source)
    return lines


def _describe_peers(parts: tuple[api.OnPart, ...]) -> list[str]:
    """What others publish, beside what is projected here."""
    rows = [(peer, entry.projection) for entry in parts for peer in entry.peers]
    if not rows:
        return []
    lines = [
        "",
        (f"{'published':<26}{'part':<6}{'streams':>8}{'tokens/s':>10}{'here':>8}  theirs excludes"),
    ]
    for peer, plan in rows:
        theirs = plain(peer.tokens_per_second)
        here = _rate(plan) if plan.fits else "-"
        lines.append(
            f"{peer.full_name:<26}{peer.part:<6}{peer.streams:>8}{theirs:>10}{here:>8}"
            f"  {peer.excludes}"
        )
    return lines


def _describe_lack(plan: Projection) -> str:
    return "; ".join(_describe_shortage(shortage) for shortage in plan.shortages)


def _describe_shortage(shortage: Shortage) -> str:
    """What is needed, what there is, and how much is missing."""
    kind, unit = shortage.kind, {"ram_bits": "bit", "memory_bytes": "B"}.get(shortage.kind)
    if kind == "ports" and not shortage.available:
        return "no external memory there"
    needed, available, missing = (
        f"{number:,}" if unit is None else with_unit(number, unit)
        for number in (shortage.needed, shortage.available, shortage.missing)
    )
    return f"{needed} {_KINDS[kind]} needed, {available} there, {missing} missing"


def _describe_source(fact: Fact) -> str:
    from hdl.planning.parts import LABELS

    return f"{LABELS[fact.label]}: {fact.source}"


def _rate(plan: Projection, rate: Fact | None = None) -> str:
    """Tokens per second, marked as projected."""
    return f"~{plain(plan.tokens_per_second(rate))}"


def _bandwidth(plan: Projection) -> str:
    """Gigabytes per second that the array needs, and those that there are."""
    if plan.memory is None:
        return "-"
    available = plan.available_bytes_per_second(plan.memory.rates[0])
    return f"{plain(plan.needed_bytes_per_second / 1e9)}, {plain(available / 1e9)}"


def _hanging(key: str, text: str) -> list[str]:
    """Lines of a text beside its key."""
    return wrap(key + text, WIDTH, subsequent_indent=" " * len(key))

"""``mmfree power``: watts and joules per token of a tape's accelerator, or the estimate's check."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfree import api
from mmfree.chip.design import Design
from mmfree.chip.sizing import refuse_another_design
from mmfree.cli.options import add_design_or_own
from mmfree.cli.outcome import Outcome
from mmfree.cli.progress import Stages
from mmfree.cli.values import above_zero
from mmfree.errors import InputError
from mmfree.files.atomic import read_json
from mmfree.files.claim import claimed
from mmfree.files.folders import FolderKind, new_folder, refuse_to_replace_folder
from mmfree.report.numbers import megahertz, plain, span, with_unit
from mmfree.tape.reading import AnyTape

if TYPE_CHECKING:
    from hdl.toolchain.built import Built
    from sim.power.activity import Activity
    from sim.power.basis import Clock
    from sim.power.cells import CellEnergy
    from sim.power.coefficients import Part
    from sim.power.estimate import Power
    from sim.power.interval import Interval

EXAMPLES = (
    "mmfree power text.tape --part ecp5-85",
    "mmfree power text.tape --build built --out power",
    "mmfree power --validate",
)

DEFAULT_PART = "ecp5-85"

TOKENS = 32
"""Tokens that activity is measured on, if no prompt is given."""

POWER_NAME, ACTIVITY_NAME, PAGE_NAME = "power.json", "activity.json", "power.html"
OTHER_NAMES = (ACTIVITY_NAME, PAGE_NAME)
KIND = FolderKind.of(POWER_NAME, *OTHER_NAMES)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="MODEL",
        help=(
            "a tape, a checkpoint folder, which is exported first, or a run folder with either; not"
            " with --validate"
        ),
    )
    parser.add_argument(
        "--part",
        metavar="NAME",
        help=(
            "ecp5-25, -45, -85, xc7a35t, xc7a100t, xc7z020, zu5ev, zu7ev, ku5p, vu13p, vu37p,"
            " ice40up5k (default: ecp5-85)"
        ),
    )
    parser.add_argument(
        "--technology",
        type=Path,
        metavar="FILE",
        help="parts of your own (docs/power.md; default: those that are known)",
    )
    parser.add_argument(
        "--clock",
        type=above_zero("MHz"),
        metavar="MHZ",
        help="clock (default: that of the build, else what was reached on the part, else 100)",
    )
    parser.add_argument(
        "--build",
        type=Path,
        metavar="DIR",
        help="folder of `mmfree build`: its design, its clock, and its cells as routed",
    )
    parser.add_argument(
        "--activity",
        type=Path,
        metavar="FILE",
        help="activity.json of an earlier run (default: simulate)",
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help="text to measure activity on (default: 32 tokens of real data)",
    )
    parser.add_argument(
        "--validate", action="store_true", help="predict published systems, and compare"
    )
    add_design_or_own(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="folder for power.json, activity.json and a page (default: print only)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    if options.validate:
        _refuse_beside_validate(options)
        return _validate()
    if options.model is None:
        raise InputError("give a tape, a checkpoint folder or a run folder, or --validate")
    from hdl.toolchain.built import read_built
    from sim.power.coefficients import load_part

    _check(options)
    built = read_built(options.build) if options.build is not None else None
    part = load_part(options.part or DEFAULT_PART, options.technology)
    if built is not None and built.device != part.device:
        raise InputError(
            f"{options.build}: built for {built.device}; --part {part.name} is {part.device}"
        )
    with Stages() as say, ExitStack() as stack:
        if options.out is not None:
            stack.enter_context(claimed(options.out))
        tape, design = _model(options, built, say)
        if options.prompt is not None:
            _prompt(options, tape)
        # Not before all is checked that can be without Amaranth.
        from sim.power.basis import clock_of, refuse_small_part

        if built is None:
            refuse_small_part(part, design)
        asked_hz = None if options.clock is None else options.clock * 1e6
        clock = clock_of(part, design, asked_hz, built)
        chosen = _Chosen(part, tape, design, clock, built)
        if options.out is None:
            return _estimate(options, chosen, None, say)
        # From here on nobody else writes there; it takes minutes.
        with new_folder(options.out, KIND, force=options.force) as folder:
            return _estimate(options, chosen, folder, say)


@dataclass(frozen=True)
class _Chosen:
    """What is estimated, checked before anything takes time."""

    part: Part
    tape: AnyTape
    design: Design
    clock: Clock
    built: Built | None


def _estimate(
    options: argparse.Namespace,
    chosen: _Chosen,
    folder: Path | None,
    say: Callable[[str], None],
) -> Outcome:
    """Simulate, synthesize, estimate, and write to ``folder`` what will be in ``--out``."""
    from hdl.planning.cycles import segment_cycles
    from hdl.toolchain.counts import counts_to_dict
    from sim.power.basis import cells_of
    from sim.power.cells import cell_energies
    from sim.power.estimate import Load, estimate

    part, tape, design = chosen.part, chosen.tape, chosen.design
    activity = _activity(options, tape, design, say)
    say(f"synthesizing {design.lanes:,} lanes for {part.device}")
    segments = segment_cycles(tape.config, design)
    taken = cells_of(part, design, chosen.built, options.build)
    host = "" if chosen.built else ", and without the host's link"
    found = estimate(
        part,
        Load.of(taken.areas, activity, segments),
        chosen.clock.hz,
        clock_label=chosen.clock.label,
        segments=segments,
        assumptions=(
            "weights on the chip, one sequence, the host answers at once",
            (
                f"activity: {activity.text}, {activity.tokens} tokens, zero-delay RTL simulation:"
                " no glitches seen (a coefficient stands for them)"
            ),
            taken.text,
            f"without board and regulators{host}",
        ),
    )
    cells = cell_energies(tape.num_ternary_weights, design)
    values = {
        "tape_sha256": tape.sha256,
        "lanes": design.lanes,
        "weight_code": design.weight_code,
        "ternary_weights": tape.num_ternary_weights,
        **found.to_dict(),
        "clock_limit_hz": chosen.clock.limit_hz,
        "counts": counts_to_dict(taken.counts),
        "cells": [asdict(cell) for cell in cells],
    }
    if folder is not None:
        from sim.power.page import power_page

        values["files"] = [str(options.out / name) for name in (POWER_NAME, *OTHER_NAMES)]
        page = power_page(found, part, activity, tape, design, cells, taken.counts)
        activity.write(folder / ACTIVITY_NAME)
        (folder / PAGE_NAME).write_text(page, encoding="utf-8")
        (folder / POWER_NAME).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return Outcome(values, _describe(values, found, tape, cells))


def _refuse_beside_validate(options: argparse.Namespace) -> None:
    """Refuse what would not take effect: published systems have their own parts and clocks."""
    given = {
        "a tape": options.model,
        "--part": options.part,
        "--technology": options.technology,
        "--clock": options.clock,
        "--build": options.build,
        "--activity": options.activity,
        "--prompt": options.prompt,
        "--lanes": options.lanes,
        "--bits": options.bits,
        "--out": options.out,
    }
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"--validate predicts published systems, and takes no {name.removeprefix('a ')};"
                " leave one of the two out"
            )


def _check(options: argparse.Namespace) -> None:
    """Refuse, before anything takes time, what contradicts itself or would overwrite."""
    if options.prompt is not None and options.activity is not None:
        raise InputError("--prompt: the activity of --activity is given; leave one of the two")
    if options.activity is not None:
        read_json(options.activity)
    if options.out is not None:
        refuse_to_replace_folder(options.out, options.force)


def _model(
    options: argparse.Namespace, built: Built | None, say: Callable[[str], None]
) -> tuple[AnyTape, Design]:
    """The tape, and the design that plays it: that of a build, else as ``api.chip_for`` says.

    InputError if a build is of another tape, or has another design than was asked for.
    """
    if built is None:
        return api.chip_for(options.model, options.lanes, options.bits, progress=say)
    tape, _ = api.chip_for(options.model, progress=say)
    if built.tape_sha256 != tape.sha256:
        raise InputError(f"{options.build}: built with another tape than {options.model}")
    refuse_another_design(built.design, options.lanes, options.bits, options.build)
    return tape, built.design


def _activity(
    options: argparse.Namespace, tape: AnyTape, design: Design, say: Callable[[str], None]
) -> Activity:
    """Activity from a file, or measured on the prompt or on real data."""
    from sim.power.activity import measure_activity, read_activity

    if options.activity is not None:
        activity = read_activity(options.activity)
        activity.check(tape, design, str(options.activity))
        return activity
    prompt, text = _prompt(options, tape)
    say(f"generating, compiling and simulating {len(prompt)} tokens, every net watched")
    return measure_activity(tape, design, prompt, text=text)


def _prompt(options: argparse.Namespace, tape: AnyTape) -> tuple[list[int], str]:
    """Tokens to play, and what they are."""
    from mmfree.inference.ranges import real_data
    from mmfree.inference.tape_backends import tokenizer_of

    if options.prompt is None and tape.tokenizer.get("kind") == "none":
        ids = np.random.default_rng(options.seed).integers(0, tape.config.vocab_size, TOKENS)
        return ids.tolist(), "random tokens: the tape has no tokenizer"
    tokenizer = tokenizer_of(tape)
    if options.prompt is not None:
        return tokenizer.encode(options.prompt), "the prompt given"
    data = real_data(tokenizer, [])
    return [int(token) for token in data.ids.ravel()[:TOKENS]], data.source


def _describe(values: dict[str, Any], found: Power, tape: AnyTape, cells: list[CellEnergy]) -> str:
    """For people: what, then where it goes."""
    from hdl.toolchain.counts import describe_counts

    joules, watts = found.joules_per_token, found.watts
    per_weight = joules.best / tape.num_ternary_weights
    lines = [
        (
            f"{found.device}, {values['lanes']:,} lanes at {megahertz(found.clock_hz)}"
            f" ({found.clock_label})"
        ),
        (
            f"energy per token  {_span(joules, 'J')}  ({found.label};"
            f" {with_unit(per_weight, 'J')} per ternary weight)"
        ),
        (
            f"power             {_span(watts, 'W')}  at {found.tokens_per_second:,.0f} tokens/s"
            f" ({found.cycles_per_token:,.0f} cycles per token, simulated)"
        ),
        "",
        "where it goes, per token: low, best, high",
    ]
    for kind, share in found.by_kind.items():
        if share.high:
            lines.append(
                f"  {kind:<12}{_span(share, 'J', 8)}  {100 * share.best / joules.best:5.1f} %"
            )
    lines += ["", "largest blocks"]
    blocks = sorted(found.by_block.items(), key=lambda item: -item[1].best)
    lines += [f"  {name:<14}{_span(share, 'J', 8)}" for name, share in blocks[:8]]
    lines += ["", describe_counts(values["counts"])]
    lines += [
        "",
        (
            "the matrices alone in bare cells of an ASIC (no wires, registers, clock or control):"
            " arithmetic; weights from SRAM"
        ),
    ]
    lines += [
        f"  {c.node + ', ' + c.weights_are:<16}{_span(c.arithmetic, 'J', 8)};"
        f" {_span(c.weight_memory, 'J', 8)}"
        for c in cells
    ]
    lines += ["", *(f"- {line}" for line in found.assumptions)]
    return "\n".join(lines)


def _span(found: Interval, unit: str, width: int = 0) -> str:
    """An interval in a readable size of its unit, the estimate right-aligned in ``width``."""
    return span(found.low, found.best, found.high, unit, width)


def _validate() -> Outcome:
    """Published systems against predictions, those that miss included."""
    from sim.power.validation import predictions

    found = predictions()
    held = [prediction for prediction in found if prediction.held_out]
    inside = sum(prediction.inside for prediction in held)
    lines = [f"{'system':<40}{'low':>8}{'best':>8}{'high':>8}{'published':>11}  watts"]
    for p in found:
        verdict = "inside" if p.inside else "OUTSIDE"
        role = "held out" if p.held_out else "seen"
        lines.append(
            f"{p.name:<40}{plain(p.watts.low):>8}{plain(p.watts.best):>8}{plain(p.watts.high):>8}"
            f"{plain(p.published, 4):>11}"
            f"  {verdict}, {role}, {p.kind}: {p.what}"
        )
    lines += ["", f"held out: {inside} of {len(held)} inside (estimated against published)"]
    values = {
        "systems": [prediction.to_dict() for prediction in found],
        "held_out": len(held),
        "held_out_inside": inside,
    }
    return Outcome(values, "\n".join(lines))

"""``mmfree power``: watts and joules per token of a tape's accelerator, or the estimate's check."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for
from mmfree.cli.options import add_design
from mmfree.cli.outcome import Outcome
from mmfree.errors import InputError
from mmfree.files.atomic import read_json, refuse_to_overwrite, write_atomically
from mmfree.report.record import RUN_NAME, read_record
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import open_chip_tape
from mmfree.text.tokenizer import reads_text
from mmfree.text.tokenizers import tokenizer_from_dict

if TYPE_CHECKING:
    from sim.power.activity import Activity
    from sim.power.cells import CellEnergy
    from sim.power.coefficients import Part
    from sim.power.estimate import Interval, Power

SUMMARY = "estimate watts and joules per token of a tape's accelerator on a part"

TOKENS = 32
"""Tokens that activity is measured on, if no prompt is given."""

ASSUMED_CLOCK_HZ = 100e6
"""Clock of a part for which no design was routed."""

FASTEST_HZ = 1e9
"""Beyond the clock networks of all parts here."""

POWER_NAME, ACTIVITY_NAME, PAGE_NAME = "power.json", "activity.json", "power.html"


@dataclass(frozen=True)
class _Clock:
    """A clock, where it comes from, and the fastest that is known (None: not known)."""

    hz: float
    label: str
    limit_hz: float | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="TAPE|RUN",
        help="file, or folder of a demo; None: with --validate",
    )
    parser.add_argument(
        "--part",
        default="ecp5-85",
        metavar="NAME",
        help=(
            "ecp5-25, -45, -85, xc7a35t, xc7a100t, xc7z020, zu5ev, zu7ev, ku5p, vu13p, vu37p,"
            " ice40up5k"
        ),
    )
    parser.add_argument(
        "--technology",
        type=Path,
        metavar="FILE",
        help="parts of your own (docs/power.md); None: those that are known",
    )
    parser.add_argument(
        "--clock", type=float, metavar="MHZ", help="None: what was reached on the part, else 100"
    )
    parser.add_argument(
        "--build",
        type=Path,
        metavar="DIR",
        help="folder of `mmfree build`: its design and the clock that it reached",
    )
    parser.add_argument(
        "--activity",
        type=Path,
        metavar="FILE",
        help="activity.json of an earlier run; None: simulate",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="text to measure activity on; None: 32 tokens of real data"
    )
    parser.add_argument(
        "--validate", action="store_true", help="predict published systems, and compare"
    )
    add_design(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="folder for power.json, activity.json and a page; None: print only",
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    if options.validate:
        return _validate()
    if options.model is None:
        raise InputError("give a tape or the folder of a demo, or --validate")
    from sim.power.coefficients import load_part

    _check(options)
    built = _read_build(options.build) if options.build is not None else None
    part = load_part(options.part, options.technology)
    tape, design = _model(options, built)
    clock = _clock(options, design, part, built)
    activity = _activity(options, tape, design)
    print(f"synthesizing {design.lanes} lanes for {part.device} ...", file=sys.stderr)
    from hdl.toolchain.cost import segment_cycles
    from hdl.toolchain.families import area_by_block
    from sim.power.cells import cell_energies
    from sim.power.estimate import Load, estimate

    segments = segment_cycles(tape.config, design)
    found = estimate(
        part,
        Load.of(area_by_block(design, part.family), activity, segments),
        clock.hz,
        clock_label=clock.label,
        segments=segments,
        assumptions=(
            "weights on the chip, one sequence, the host answers at once",
            (
                f"activity: {activity.text}, {activity.tokens} tokens, zero-delay RTL simulation:"
                " no glitches seen (a coefficient stands for them)"
            ),
            "cells: Yosys estimate by block, neither placed nor routed",
            "without board, regulators, and the host's link",
        ),
    )
    cells = cell_energies(tape.num_ternary_weights, design)
    values = {
        "tape_sha256": tape.sha256,
        "lanes": design.lanes,
        "weight_code": design.weight_code,
        "ternary_weights": tape.num_ternary_weights,
        **found.to_dict(),
        "cells": [asdict(cell) for cell in cells],
    }
    if options.out is not None:
        from sim.power.page import power_page

        values["files"] = _write(
            options.out, values, power_page(found, part, activity, tape, design, cells), activity
        )
    return Outcome(values, _describe(values, found, tape, cells))


def _check(options: argparse.Namespace) -> None:
    """Refuse, before anything takes time, what contradicts itself or would overwrite."""
    if options.prompt is not None and options.activity is not None:
        raise InputError("--prompt: the activity of --activity is given; leave one of the two")
    if options.clock is not None and not (math.isfinite(options.clock) and options.clock > 0):
        raise InputError(f"--clock: the clock must be positive, got {options.clock} MHz")
    if options.out is not None:
        if options.out.exists() and not options.out.is_dir():
            raise InputError(f"{options.out}: a file; --out needs a folder")
        for name in (POWER_NAME, ACTIVITY_NAME, PAGE_NAME):
            refuse_to_overwrite(options.out / name, options.force)


@dataclass(frozen=True)
class _Build:
    """What ``mmfree build`` wrote about a bitstream: the clock is the one reached by routing."""

    device: str
    tape_sha256: str
    design: Design
    clock_hz: float


def _read_build(folder: Path) -> _Build:
    path = folder / "build.json"
    values = read_json(path)
    try:
        found = _Build(
            values["device"]["device"],
            values["tape_sha256"],
            Design.from_dict(values["design"], str(path)),
            float(values["clock_hz"]),
        )
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the description of a build: {error}") from None
    if not (math.isfinite(found.clock_hz) and found.clock_hz > 0):
        raise InputError(f"{path}: clock_hz must be positive, got {found.clock_hz}")
    return found


def _model(options: argparse.Namespace, built: _Build | None) -> tuple[Tape, Design]:
    """The tape, and the design that plays it: of a build, of a demo, or of the lanes asked for."""
    path: Path = options.model
    if path.is_dir():
        if not (path / "model.tape").is_file():
            raise InputError(f"{path}: no model.tape in it; give a tape or the folder of a demo")
        tape = open_chip_tape(path / "model.tape")
    else:
        tape = open_chip_tape(path)
    if built is not None:
        if built.tape_sha256 != tape.sha256:
            raise InputError(f"{options.build}: built with another tape than {path}")
        return tape, built.design
    if (path / RUN_NAME).is_file():
        return tape, Design.from_dict(
            read_record(path / RUN_NAME, ["design"])["design"], str(path / RUN_NAME)
        )
    return tape, design_for(tape, options.lanes, options.bits)


def _clock(options: argparse.Namespace, design: Design, part: Part, built: _Build | None) -> _Clock:
    """The clock asked for, or the one reached; InputError if more is asked for than was reached."""
    from hdl.toolchain.cost import clock_hz

    if built is not None:
        if built.device != part.device:
            raise InputError(
                f"{options.build}: built for {built.device}; --part {part.name} is {part.device}"
            )
        limit, label = built.clock_hz, "post-route, this build"
    elif part.family == "ecp5":
        limit, label = (
            clock_hz(design.lanes),
            "projected: designs of other sizes after routing (docs/accelerator.md)",
        )
    else:
        hz = ASSUMED_CLOCK_HZ if options.clock is None else options.clock * 1e6
        if hz > FASTEST_HZ:
            raise InputError(
                f"--clock: no FPGA's clock network goes beyond {FASTEST_HZ / 1e6:,.0f} MHz, got"
                f" {options.clock:g}"
            )
        return _Clock(hz, "assumed: nothing was routed for this part", None)
    if options.clock is None:
        return _Clock(limit, label, limit)
    if options.clock * 1e6 > limit:
        raise InputError(
            f"--clock: {options.clock:g} MHz is above what was reached, {limit / 1e6:.1f} MHz"
            f" ({label})"
        )
    return _Clock(options.clock * 1e6, f"asked for; reached: {limit / 1e6:.1f} MHz, {label}", limit)


def _activity(options: argparse.Namespace, tape: Tape, design: Design) -> Activity:
    """Activity from a file, or measured on the prompt or on real data."""
    from sim.power.activity import measure_activity, read_activity

    if options.activity is not None:
        activity = read_activity(options.activity)
        activity.check(tape, design, str(options.activity))
        return activity
    prompt, text = _prompt(options, tape)
    print(f"simulating {len(prompt)} tokens, every net watched ...", file=sys.stderr)
    return measure_activity(tape, design, prompt, text=text)


def _prompt(options: argparse.Namespace, tape: Tape) -> tuple[list[int], str]:
    """Tokens to play, and what they are."""
    from mmfree.inference.ranges import BYTES_PER_TOKEN, real_ids

    tokenizer = tokenizer_from_dict(tape.tokenizer)
    if options.prompt is not None:
        return tokenizer.encode(options.prompt), "the prompt given"
    if reads_text(tokenizer):
        from mmfree.text.loading import load_corpus

        text = (
            load_corpus([])
            .validation.tobytes()[: BYTES_PER_TOKEN * TOKENS]
            .decode("utf-8", "ignore")
        )
        return tokenizer.encode(text)[: TOKENS + 1], "held-out text"
    ids = np.asarray(real_ids(tokenizer, b"")).ravel()[:TOKENS]
    return [int(token) for token in ids], f"a problem of the task {tokenizer.kind}"


def _write(out: Path, values: dict[str, Any], page: str, activity: Activity) -> list[str]:
    """Write the estimate, the activity that it is based on, and a page."""
    activity.write(out / ACTIVITY_NAME)
    write_atomically(out / PAGE_NAME, page.encode())
    write_atomically(out / POWER_NAME, (json.dumps(values, indent=1) + "\n").encode())
    return [str(out / name) for name in (POWER_NAME, ACTIVITY_NAME, PAGE_NAME)]


def _describe(values: dict[str, Any], found: Power, tape: Tape, cells: list[CellEnergy]) -> str:
    """For people: what, then where it goes."""
    joules, watts = found.joules_per_token, found.watts
    per_weight = joules.best / tape.num_ternary_weights
    lines = [
        (
            f"{found.device}, {values['lanes']} lanes at {found.clock_hz / 1e6:g} MHz"
            f" ({found.clock_label})"
        ),
        (
            f"energy per token  {_span(joules, 'J')}  ({found.label}; {1e12 * per_weight:.3g} pJ"
            " per ternary weight)"
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
                f"  {kind:<12}{_span(share, 'J')}  {100 * share.best / joules.best:5.1f} %"
            )
    lines += ["", "largest blocks"]
    blocks = sorted(found.by_block.items(), key=lambda item: -item[1].best)
    lines += [f"  {name:<14}{_span(share, 'J')}" for name, share in blocks[:8]]
    lines += [
        "",
        (
            "the matrices alone in bare cells of an ASIC (no wires, registers, clock or control):"
            " arithmetic; weights from SRAM"
        ),
    ]
    lines += [
        f"  {c.node + ', ' + c.weights_are:<16}{_span(c.arithmetic, 'J')};"
        f" {_span(c.weight_memory, 'J')}"
        for c in cells
    ]
    lines += ["", *(f"- {line}" for line in found.assumptions)]
    return "\n".join(lines)


def _span(found: Interval, unit: str) -> str:
    """An interval in a readable scale."""
    scales = (("", 1.0), ("m", 1e-3), ("u", 1e-6), ("n", 1e-9), ("p", 1e-12))
    prefix, scale = next((entry for entry in scales if found.best >= entry[1]), scales[-1])
    return (
        f"{found.best / scale:8.3g} {prefix}{unit} ({found.low / scale:.3g} to"
        f" {found.high / scale:.3g})"
    )


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
            f"{p.name:<40}{p.watts.low:>8.3g}{p.watts.best:>8.3g}{p.watts.high:>8.3g}"
            f"{p.published:>11.4g}"
            f"  {verdict}, {role}, {p.kind}: {p.what}"
        )
    lines += ["", f"held out: {inside} of {len(held)} inside (estimated against published)"]
    values = {
        "systems": [prediction.to_dict() for prediction in found],
        "held_out": len(held),
        "held_out_inside": inside,
    }
    return Outcome(values, "\n".join(lines))

"""``mmfree cosim``: a model on the simulated chip and the golden model, every bit compared."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfree import api
from mmfree.cli.options import (
    add_design_or_own,
    add_memory,
    add_memory_behaviour,
    add_temperature,
)
from mmfree.cli.outcome import Outcome
from mmfree.cli.progress import Stages
from mmfree.cli.values import whole
from mmfree.inference.places import holds_verilog
from mmfree.shipped import COMES_ALONG

if TYPE_CHECKING:
    from sim.cosim.run import CosimResult

EXAMPLES = (
    "mmfree cosim model.tape --prompt 123+456",
    "mmfree cosim text.tape --prompt 'The ' --tokens 20 --profile",
    "mmfree cosim chip --waveform chip.vcd",
    "mmfree cosim model.tape --memory axi128x4 --withheld 10 --tokens 16",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL|VERILOG",
        help=(
            "a tape, a checkpoint folder, which is exported first, or a run folder with either;"
            f" {COMES_ALONG}; or a folder that `mmfree verilog` wrote, simulated as it is, altered"
            " or not"
        ),
    )
    parser.add_argument("--prompt", metavar="TEXT", help="text to play (default: 16 random tokens)")
    parser.add_argument(
        "--tokens",
        type=whole(0),
        default=0,
        metavar="N",
        help="tokens to generate after the prompt",
    )
    add_temperature(parser, 0.0)
    parser.add_argument(
        "--stop", type=whole(0), metavar="ID", help="token that ends the text (default: none does)"
    )
    parser.add_argument("--profile", action="store_true", help="cycles by segment and cause")
    parser.add_argument(
        "--waveform",
        type=Path,
        metavar="FILE",
        help=(
            "VCD of the run, up to the token at which it has 1 GiB; of the first token that"
            " differs, played alone, if one does"
        ),
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE of --waveform")
    parser.add_argument(
        "--simulator",
        choices=("verilator", "icarus"),
        default="verilator",
        help="icarus is about 50 times slower",
    )
    add_design_or_own(parser)
    add_memory(parser)
    add_memory_behaviour(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    with Stages() as say:
        result = api.cosim(
            options.model,
            prompt=options.prompt,
            tokens=options.tokens,
            temperature=options.temperature,
            stop=options.stop,
            seed=options.seed,
            lanes=options.lanes,
            bits=options.bits,
            memory=options.memory,
            latency=options.latency,
            withheld=options.withheld,
            profile=options.profile,
            waveform=options.waveform,
            simulator=options.simulator,
            force=options.force,
            progress=say,
        )
    values = {
        "bit_exact": result.bit_exact,
        "tokens": result.tokens,
        "tokens_due": result.verdict.due["rows"],
        "compared": result.compared,
        "due": result.due,
        "missing": result.verdict.missing,
        "cycles_per_token": result.cycles_per_token,
        "weights_per_token": result.weights_per_token,
        "lanes": result.lanes,
        "lane_utilization": result.lane_utilization,
        "simulated_hz": result.simulated_hz,
        "counters": result.counters,
        "memory": result.memory,
        "sha256": result.tape_sha256,
        "text": result.text,
    }
    if holds_verilog(options.model):
        values["altered"] = list(result.altered)
    if result.bandwidth_utilization is not None:
        values["bandwidth_utilization"] = result.bandwidth_utilization
    if result.divergence is not None:
        values["divergence"] = result.divergence
    if (recording := result.recording) is not None:
        values["waveform"] = str(recording.path)
        values["waveform_bytes"] = recording.num_bytes
        values["waveform_shows"] = recording.shows
    if result.profile is not None:
        values["profile"] = result.profile
    return Outcome(values, _describe(result), result.bit_exact)


def _describe(result: CosimResult) -> str:
    lines = [] if result.text is None else [result.text]
    if result.altered:
        lines.append(f"altered since `mmfree verilog` wrote them: {', '.join(result.altered)}")
    compared = result.verdict.describe()
    if result.bit_exact:
        lines.append(f"bit-exact: {compared}")
    else:
        place: dict[str, Any] = {**(result.divergence or {})}
        where = ", ".join(f"{key} {place[key]}" for key in place)
        lines.append("NOT bit-exact" + (f"; the first difference: {where}" if place else ""))
        lines.append(compared)
    if (recording := result.recording) is not None:
        lines.append(
            f"waveform: {recording.path}, {recording.num_bytes / 1e6:,.1f} MB, {recording.shows}"
        )
    lines.append(
        f"{result.cycles_per_token:,.0f} cycles per token at {result.lanes} lanes, lane"
        f" utilization {100 * result.lane_utilization:.1f} % (simulated);"
        f" {result.simulated_hz:,.0f} cycles simulated per second"
    )
    if result.bandwidth_utilization is not None:
        lines.append(
            f"memory {result.memory}: {100 * result.bandwidth_utilization:.1f} % of the words that"
            " it could give"
        )
    if result.profile is not None:
        lines += ["", *_describe_profile(result.profile, result.tokens)]
    return "\n".join(lines)


def _describe_profile(profile: dict[str, dict[str, int]], tokens: int) -> list[str]:
    """Cycles per token by segment and cause, and the sums over the segments."""
    causes = list(next(iter(profile.values())))
    sums = {cause: sum(cycles[cause] for cycles in profile.values()) for cause in causes}
    heads = "".join(f"{cause.removeprefix('wait_'):>10}" for cause in causes)
    lines = [f"{'cycles per token':<18}{heads}"]
    for name, cycles in [*profile.items(), ("total", sums)]:
        counts = "".join(f"{cycles[cause] / max(1, tokens):>10,.1f}" for cause in causes)
        lines.append(f"{name:<18}{counts}")
    return lines

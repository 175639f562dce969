"""``mmfree cosim``: a tape on the simulated chip and the golden model, every bit compared."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmfree import api
from mmfree.cli.options import add_design, add_sampling
from mmfree.cli.outcome import Outcome
from mmfree.tape.reading import open_chip_tape
from mmfree.text.tokenizers import tokenizer_from_dict

SUMMARY = "play a tape on the simulated chip and the golden model, and compare every bit"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("tape", type=Path, metavar="TAPE", help="file")
    parser.add_argument(
        "--prompt", metavar="TEXT", help="text to play; None: a random one of 16 tokens"
    )
    parser.add_argument(
        "--tokens", type=int, default=0, metavar="N", help="tokens to generate after the prompt"
    )
    add_sampling(parser)
    parser.add_argument("--profile", action="store_true", help="cycles by segment and cause")
    parser.add_argument(
        "--waveform",
        type=Path,
        metavar="FILE",
        help="VCD of the first token that differs, if one does",
    )
    parser.add_argument(
        "--simulator",
        choices=("verilator", "icarus"),
        default="verilator",
        help="icarus is about 50 times slower",
    )
    add_design(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    result = api.cosim(
        options.tape,
        prompt=options.prompt,
        tokens=options.tokens,
        temperature=options.temperature,
        stop=options.stop,
        seed=options.seed,
        lanes=options.lanes,
        bits=options.bits,
        profile=options.profile,
        waveform=options.waveform,
        simulator=options.simulator,
    )
    tape = open_chip_tape(options.tape)
    text = None
    if options.prompt is not None:
        tokenizer = tokenizer_from_dict(tape.tokenizer)
        played = len(tokenizer.encode(options.prompt))
        rows = result.rows[0][played - 1 :] if tokenizer.feeds_back else result.rows[0]
        text = tokenizer.decode(rows)
    values = {
        "bit_exact": result.bit_exact,
        "tokens": result.tokens,
        "compared": result.compared,
        "cycles_per_token": result.cycles_per_token,
        "weights_per_token": result.weights_per_token,
        "lanes": result.lanes,
        "lane_utilization": result.lane_utilization,
        "simulated_hz": result.simulated_hz,
        "counters": result.counters,
        "sha256": tape.sha256,
        "text": text,
    }
    if result.divergence is not None:
        values["divergence"] = result.divergence
        values["waveform"] = None if result.waveform is None else str(result.waveform)
    if result.profile is not None:
        values["profile"] = result.profile
    return Outcome(values, _describe(values), result.bit_exact)


def _describe(values: dict[str, Any]) -> str:
    lines = []
    if values["text"] is not None:
        lines.append(values["text"])
    if values["bit_exact"]:
        lines.append(
            f"bit-exact: {values['tokens']} tokens, {values['compared']:,} logits and state words"
            " compared"
        )
    else:
        place = values.get("divergence") or {}
        where = ", ".join(f"{key} {place[key]}" for key in place)
        lines.append(f"NOT bit-exact; the first difference: {where}")
        if values.get("waveform"):
            lines.append(f"waveform: {values['waveform']}")
    lines.append(
        f"{values['cycles_per_token']:,.0f} cycles per token at {values['lanes']} lanes, lane"
        f" utilization {100 * values['lane_utilization']:.1f} % (simulated);"
        f" {values['simulated_hz']:,.0f} cycles simulated per second"
    )
    if "profile" in values:
        lines += ["", *_describe_profile(values["profile"], values["tokens"])]
    return "\n".join(lines)


def _describe_profile(profile: dict[str, dict[str, int]], tokens: int) -> list[str]:
    """Cycles per token by segment and cause."""
    causes = list(next(iter(profile.values())))
    lines = [
        "cycles per token  " + "".join(f"{cause.removeprefix('wait_'):>10}" for cause in causes)
    ]
    for name, cycles in profile.items():
        lines.append(
            f"{name:<18}" + "".join(f"{cycles[cause] / tokens:>10.1f}" for cause in causes)
        )
    return lines

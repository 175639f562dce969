"""``mmfree inspect``: what is on a model's tape, or in a folder of token shards."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmfree.cli.outcome import Outcome
from mmfree.cli.progress import stage
from mmfree.cli.tokenize import describe_shards
from mmfree.inference.backends import load_tape_or_export
from mmfree.inference.places import find_model
from mmfree.tape.operations import count_operations
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import AnyTape, open_tape
from mmfree.text.shards import open_shards, read_tokenizer
from mmfree.text.sources import is_shards

EXAMPLES = (
    "mmfree inspect text.tape",
    "mmfree inspect shards --json",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL|SHARDS",
        help=(
            "a tape, a checkpoint folder, which is exported first, or a run folder with either; or"
            " a folder of token shards, which is verified"
        ),
    )


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    if is_shards(options.model):
        return _inspect_shards(options.model)
    tape = _tape(options.model)
    config = tape.config
    values = {
        "sha256": tape.sha256,
        "bytes": tape.num_bytes,
        "arithmetic": tape.arithmetic,
        "config": config.to_dict(),
        "formats": asdict(tape.formats),
        "tokenizer": tape.describe_tokenizer(),
        **_embedding(tape),
        "parameters": config.num_parameters,
        "weights": tape.num_ternary_weights,
        "bits_per_weight": 8 * tape.trit_bytes / tape.num_ternary_weights,
        "state_words": config.num_state_words,
        "segments": _segments(tape),
    }
    values["operations"] = asdict(count_operations(tape))
    return Outcome(values, _describe(values))


def _tape(path: Path) -> AnyTape:
    """The tape of a model, or the one that its checkpoint becomes."""
    found = find_model(path)
    if found.tape is not None:
        return open_tape(found.tape)
    with stage(f"exporting {found.checkpoint} to a tape"):
        return load_tape_or_export(path)


def _embedding(tape: AnyTape) -> dict[str, int]:
    if isinstance(tape, Tape):
        return {"embedding_shift": tape.embedding_shift}
    return {"embedding_fb": tape.embedding_fb}


def _segments(tape: AnyTape) -> list[dict[str, Any]]:
    return [
        {
            "name": segment.name,
            "fan_in": segment.fan_in,
            "matrices": [
                {"role": m.role, "rows": m.rows, **m.constants, "zeros": m.zeros()}
                for m in segment.matrices
            ],
        }
        for segment in tape.segments
    ]


def _describe(values: dict[str, Any]) -> str:
    config = values["config"]
    ends = config.get("eos_token_id")
    end = f", a text ends with {ends}" if ends is not None else ""
    gate = f"gate {config['gate']}, " if "gate" in config else ""
    if "token_shift" in config:
        gate += f"token shift {config['token_shift']}, "
    lines = [
        f"sha256 {values['sha256']}, {values['bytes']:,} bytes, {values['arithmetic']} arithmetic",
        f"d {config['hidden_size']}, intermediate {config['intermediate_size']},"
        f" layers {config['num_layers']}, {gate}vocabulary {config['vocab_size']},"
        f" tokenizer {values['tokenizer']['kind']}{end}",
        f"parameters {values['parameters']:,}, ternary weights {values['weights']:,} of"
        f" {values['bits_per_weight']:.3f} bits, state words {values['state_words']:,}",
        "",
    ]
    first = values["segments"][0]["matrices"][0]
    constants = [name for name in first if name not in ("role", "rows", "zeros")]
    heading = "".join(f"{name:>12}" for name in constants)
    lines.append(f"{'segment':<18}{'matrix':<8}{'rows':>7}{'fan-in':>8}{heading}{'zeros':>9}")
    for segment in values["segments"]:
        for index, matrix in enumerate(segment["matrices"]):
            shown = "".join(f"{_shown(matrix[name]):>12}" for name in constants)
            lines.append(
                f"{segment['name'] if index == 0 else '':<18}{matrix['role']:<8}"
                f"{matrix['rows']:>7}{segment['fan_in']:>8}{shown}{100 * matrix['zeros']:>7.1f} %"
            )
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _inspect_shards(folder: Path) -> Outcome:
    """What a folder of shards holds, every byte of it checked."""
    manifest = open_shards(folder, verify=True).manifest
    kind = read_tokenizer(folder).kind
    values = {
        "shards": str(folder),
        "tokenizer": kind,
        **manifest.summary(),
        "manifest": asdict(manifest),
    }
    line = f"{folder}: {describe_shards(manifest)}; tokenizer {kind}; every sha256 holds"
    return Outcome(values, line)

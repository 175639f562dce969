"""``mmfree inspect``: what is on a tape, or in a folder of token shards."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmfree.cli.outcome import Outcome
from mmfree.cli.tokenize import describe_shards
from mmfree.tape.absmax import AbsmaxTape
from mmfree.tape.operations import count_operations
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import is_absmax, read_tape
from mmfree.text.shards import open_shards, read_tokenizer
from mmfree.text.sources import is_shards
from mmfree.text.tokenizers import describe_tokenizer

SUMMARY = "print what is on a tape, segment by segment, or in token shards"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "tape",
        type=Path,
        metavar="TAPE|SHARDS",
        help="file, or folder of token shards, which is verified",
    )


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    if is_shards(options.tape):
        return inspect_shards(options.tape)
    if is_absmax(options.tape):
        return inspect_absmax(options.tape)
    tape = read_tape(options.tape)
    segments = [
        {
            "name": segment.name,
            "fan_in": segment.fan_in,
            "matrices": [
                {
                    "role": matrix.role,
                    "rows": matrix.rows,
                    "multiplier": matrix.multiplier,
                    "exponent": matrix.exponent,
                    "zeros": float(np.mean(matrix.trits == 0)),
                }
                for matrix in segment.matrices
            ],
        }
        for segment in tape.segments
    ]
    values = {
        "sha256": tape.sha256,
        "bytes": len(tape.data),
        "config": tape.config.to_dict(),
        "formats": asdict(tape.formats),
        "tokenizer": describe_tokenizer(tape.tokenizer),
        "embedding_shift": tape.embedding_shift,
        "parameters": tape.config.num_parameters,
        "weights": tape.num_ternary_weights,
        "state_words": tape.config.num_state_words,
        "operations": asdict(count_operations(tape)),
        "segments": segments,
    }
    return Outcome(values, _describe_tape(tape))


def _describe_tape(tape: Tape) -> str:
    config = tape.config
    lines = [
        f"sha256 {tape.sha256}, {len(tape.data):,} bytes",
        (
            f"d {config.hidden_size}, intermediate {config.intermediate_size}, layers"
            f" {config.num_layers}, gate {config.gate}, vocabulary {config.vocab_size}, head rows"
            f" {config.head_size}, tokenizer {tape.tokenizer.get('kind')}"
        ),
        (
            f"parameters {config.num_parameters:,}, ternary weights {tape.num_ternary_weights:,}, "
            f"state words {config.num_state_words:,}"
        ),
        "",
        f"{'segment':<18}{'matrix':<8}{'rows':>7}{'fan-in':>8}{'m_w':>6}{'a':>4}{'zeros':>8}",
        f"{'embedding':<18}{'':<8}{config.vocab_size:>7}{'':>8}{'':>6}{tape.embedding_shift:>4}",
    ]
    for segment in tape.segments:
        for index, matrix in enumerate(segment.matrices):
            zeros = f"{100 * np.mean(matrix.trits == 0):.1f} %"
            lines.append(
                f"{segment.name if index == 0 else '':<18}{matrix.role:<8}{matrix.rows:>7}"
                f"{matrix.fan_in:>8}{matrix.multiplier:>6}{matrix.exponent:>4}{zeros:>8}"
            )
    return "\n".join(lines)


def inspect_absmax(path: Path) -> Outcome:
    """``mmfree inspect`` of a version 2 tape."""
    tape = AbsmaxTape(path)
    config = tape.config
    segments: list[dict[str, Any]] = [
        {
            "name": segment.name,
            "fan_in": segment.fan_in,
            "matrices": [
                {
                    "role": matrix.role,
                    "rows": matrix.rows,
                    "multiplier": matrix.mantissa,
                    "exponent": matrix.exponent,
                    "absmean": matrix.absmean,
                    "zeros": matrix.zeros(),
                }
                for matrix in segment.matrices
            ],
        }
        for segment in tape.segments
    ]
    kind = tape.tokenizer.get("kind")
    values = {
        "sha256": tape.sha256,
        "bytes": tape.bytes,
        "arithmetic": "absmax",
        "config": config.to_dict(),
        "formats": asdict(tape.formats),
        "tokenizer": {"kind": kind, "bytes": tape.tokenizer_bytes},
        "embedding_fb": tape.embedding_fb,
        "parameters": config.num_parameters,
        "weights": tape.num_ternary_weights,
        "bits_per_weight": 8 * tape.trit_bytes / tape.num_ternary_weights,
        "state_words": config.num_state_words,
        "segments": segments,
    }
    lines = [
        f"sha256 {tape.sha256}, {tape.bytes:,} bytes, absmax arithmetic (a published checkpoint)",
        (
            f"d {config.hidden_size}, intermediate {config.intermediate_size}, layers"
            f" {config.num_layers}, vocabulary {config.vocab_size}, tokenizer {kind}"
        ),
        (
            f"parameters {config.num_parameters:,}, ternary weights {tape.num_ternary_weights:,} of"
            f" {values['bits_per_weight']:.3f} bits, state words {config.num_state_words:,}"
        ),
        "",
        f"{'segment':<18}{'matrix':<8}{'rows':>7}{'fan-in':>8}{'mean |W|':>12}{'zeros':>8}",
    ]
    for segment in segments:
        for index, matrix in enumerate(segment["matrices"]):
            name = segment["name"] if index == 0 else ""
            lines.append(
                f"{name:<18}{matrix['role']:<8}{matrix['rows']:>7}{segment['fan_in']:>8}"
                f"{matrix['absmean']:>12.6f}{100 * matrix['zeros']:>6.1f} %"
            )
    return Outcome(values, "\n".join(lines))


def inspect_shards(folder: Path) -> Outcome:
    """What a folder of shards holds, every byte of it checked."""
    manifest = open_shards(folder, verify=True).manifest
    tokenizer = read_tokenizer(folder)
    values = {
        "shards": str(folder),
        "tokenizer": tokenizer.kind,
        **manifest.summary(),
        "manifest": asdict(manifest),
    }
    return Outcome(
        values,
        f"{folder}: {describe_shards(manifest)}; tokenizer {tokenizer.kind}; every sha256 holds",
    )

"""``mmfree export`` and ``mmfree inspect`` for published checkpoints and their tapes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmfree.absmax_tape import AbsmaxTape
from mmfree.outcome import Outcome
from mmfree.published_export import export_published


def export_published_checkpoint(options: argparse.Namespace) -> Outcome:
    """``mmfree export`` of a folder whose config.json has a model_type."""
    if options.data is not None or options.allow_saturation:
        raise ValueError("--data and --allow-saturation are for models trained here: a published one is exported without playing it")
    exported = export_published(options.checkpoint, options.out)
    tape = AbsmaxTape(options.out)
    bits = 8 * tape.trit_bytes / tape.num_ternary_weights
    values = {
        "sha256": exported.sha256,
        "weights": tape.num_ternary_weights,
        "bytes": exported.bytes,
        "tape": str(options.out),
        "arithmetic": "absmax",
        "bits_per_weight": bits,
    }
    line = (
        f"{options.out}: {exported.bytes:,} bytes, {tape.num_ternary_weights:,} ternary weights of {bits:.3f} bits, "
        f"sha256 {exported.sha256}"
    )
    return Outcome(values, line)


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
        f"d {config.hidden_size}, intermediate {config.intermediate_size}, layers {config.num_layers}, "
        f"vocabulary {config.vocab_size}, tokenizer {kind}",
        f"parameters {config.num_parameters:,}, ternary weights {tape.num_ternary_weights:,} of "
        f"{values['bits_per_weight']:.3f} bits, state words {config.num_state_words:,}",
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

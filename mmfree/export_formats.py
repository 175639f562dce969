"""``mmfree export --format``: a model in the forms that other people's programs read, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmfree.files import new_folder
from mmfree.outcome import Outcome
from mmfree.recipe import TRAINING_NAME

FORMATS = ("tape", "hf", "bitnet", "checkpoint")
"""tape: for the golden model and the chip; hf: a Hugging Face folder; bitnet: packed trits; checkpoint: from a Hugging Face folder, back."""


def export_for_others(options: argparse.Namespace) -> Outcome:
    """``mmfree export`` in any format but "tape"."""
    if options.data is not None or options.allow_saturation:
        raise ValueError("--data and --allow-saturation belong to --format tape")
    if options.out.resolve() == options.checkpoint.resolve():
        raise ValueError(f"{options.out}: the folder that is read; give another --out")
    if (options.out / TRAINING_NAME).exists():
        raise ValueError(f"{options.out}: holds a training run, which nothing replaces; give another --out")
    write = {"hf": _export_hugging_face, "bitnet": _export_bitnet, "checkpoint": _export_checkpoint}[options.format]
    return write(options.checkpoint, options.out, options.force)


def _export_hugging_face(source: Path, out: Path, force: bool) -> Outcome:
    _quiet_unless_watched()
    from mmfree.hf import to_hugging_face

    tape = to_hugging_face(source, out, force=force)
    sha256 = None if tape is None else tape.sha256
    line = f"{out}: a Hugging Face folder; `import mmfree.hf` makes AutoModelForCausalLM.from_pretrained read it"
    return Outcome({"folder": str(out), "format": "hf", "sha256": sha256}, line)


def _export_bitnet(source: Path, out: Path, force: bool) -> Outcome:
    from mmfree.backends import load_tape_or_export
    from mmfree.bitnet_packing import write_bitnet

    tape = load_tape_or_export(source)
    with new_folder(out, force) as folder:
        write_bitnet(tape, folder)
    values = {"folder": str(out), "format": "bitnet", "sha256": tape.sha256, "weights": tape.num_ternary_weights}
    return Outcome(values, f"{out}: {tape.num_ternary_weights:,} ternary weights, four to a byte (docs/huggingface.md)")


def _export_checkpoint(source: Path, out: Path, force: bool) -> Outcome:
    _quiet_unless_watched()
    from mmfree.hf import to_checkpoint

    config = to_checkpoint(source, out, force=force)
    values = {"folder": str(out), "format": "checkpoint", "parameters": config.model.num_parameters}
    return Outcome(values, f"{out}: a checkpoint of {config.model.num_parameters:,} parameters, not to be resumed")


def _quiet_unless_watched() -> None:
    """No progress bars where nobody sees them: transformers shows its own to any stderr."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()

"""``mmfree export``: a checkpoint as a tape, or in the forms that other programs read, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmfree import api
from mmfree.cli.options import add_out
from mmfree.cli.outcome import Outcome
from mmfree.errors import InputError
from mmfree.files.folders import new_folder
from mmfree.inference.backends import load_trained_tape
from mmfree.inference.places import checkpoint_of
from mmfree.inference.ranges import (
    describe_ranges,
    ranges_to_dicts,
)
from mmfree.interchange.bitnet import BITNET_FOLDER, write_bitnet
from mmfree.tape.reading import AnyTape
from mmfree.training.recipe import TRAINING_NAME

EXAMPLES = (
    "mmfree export runs/text --out text.tape",
    "mmfree export runs/text --format hf --out huggingface",
    "mmfree export huggingface --format checkpoint --out runs/again",
)


FORMATS = ("tape", "hf", "bitnet", "checkpoint")
"""tape: for the golden model and the chip; hf: a Hugging Face folder; bitnet: packed trits;
checkpoint: back from a Hugging Face folder."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help=("folder of a training run, or of a demo; or published with model_type hgrn_bit"),
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="text to watch ranges on, as of train (default: what training held out)",
    )
    parser.add_argument(
        "--field", metavar="NAME", help="of a record, that holds its text (default: text)"
    )
    parser.add_argument(
        "--allow-saturation",
        action="store_true",
        help="write a tape even if its values often saturate",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="tape",
        help=(
            "hf: a Hugging Face folder; bitnet: trits as Hugging Face packs them; checkpoint: from"
            " a Hugging Face folder (docs/huggingface.md)"
        ),
    )
    add_out(parser, "tape file; folder in the other formats")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    if options.format != "tape":
        return _export_for_others(options)
    exported = api.export(
        options.checkpoint,
        options.out,
        data=options.data,
        field=options.field,
        allow_saturation=options.allow_saturation,
        force=options.force,
    )
    outcome = _written(exported.tape, options.out)
    if not exported.ranges:
        return outcome
    values = outcome.values | {
        "ranges": ranges_to_dicts(exported.ranges),
        "ranges_on": exported.source,
    }
    table = describe_ranges(exported.ranges, exported.source)
    return Outcome(values, "\n".join([outcome.text, "", *table]))


def _written(tape: AnyTape, out: Path) -> Outcome:
    bits = 8 * tape.trit_bytes / tape.num_ternary_weights
    values = {
        "sha256": tape.sha256,
        "weights": tape.num_ternary_weights,
        "bytes": tape.num_bytes,
        "tape": str(out),
        "arithmetic": tape.arithmetic,
        "bits_per_weight": bits,
    }
    line = (
        f"{out}: {tape.num_bytes:,} bytes, {tape.num_ternary_weights:,} ternary weights of"
        f" {bits:.3f} bits, sha256 {tape.sha256}"
    )
    return Outcome(values, line)


def _export_for_others(options: argparse.Namespace) -> Outcome:
    """``mmfree export`` in any format but "tape"."""
    source = checkpoint_of(options.checkpoint)
    if options.data is not None or options.field is not None or options.allow_saturation:
        raise InputError("--data, --field and --allow-saturation belong to --format tape")
    if options.out.resolve() == source.resolve():
        raise InputError(f"{options.out}: the folder that is read; give another --out")
    if (options.out / TRAINING_NAME).exists():
        raise InputError(
            f"{options.out}: holds a training run, which nothing replaces; give another --out"
        )
    write = {
        "hf": _export_hugging_face,
        "bitnet": _export_bitnet,
        "checkpoint": _export_checkpoint,
    }[options.format]
    return write(source, options.out, options.force)


def _export_hugging_face(source: Path, out: Path, force: bool) -> Outcome:
    _quiet_unless_watched()
    from mmfree.hf import to_hugging_face

    tape = to_hugging_face(source, out, force=force)
    sha256 = None if tape is None else tape.sha256
    line = (
        f"{out}: a Hugging Face folder; AutoModelForCausalLM.from_pretrained reads it with"
        " trust_remote_code=True"
    )
    return Outcome({"folder": str(out), "format": "hf", "sha256": sha256}, line)


def _export_bitnet(source: Path, out: Path, force: bool) -> Outcome:
    tape = load_trained_tape(source)
    with new_folder(out, BITNET_FOLDER, force=force) as folder:
        write_bitnet(tape, folder)
    values = {
        "folder": str(out),
        "format": "bitnet",
        "sha256": tape.sha256,
        "weights": tape.num_ternary_weights,
    }
    return Outcome(
        values,
        f"{out}: {tape.num_ternary_weights:,} ternary weights, four to a byte"
        " (docs/huggingface.md)",
    )


def _export_checkpoint(source: Path, out: Path, force: bool) -> Outcome:
    _quiet_unless_watched()
    from mmfree.hf import to_checkpoint

    config = to_checkpoint(source, out, force=force)
    values = {"folder": str(out), "format": "checkpoint", "parameters": config.model.num_parameters}
    return Outcome(
        values,
        f"{out}: a checkpoint of {config.model.num_parameters:,} parameters, not to be resumed",
    )


def _quiet_unless_watched() -> None:
    """No progress bars where nobody sees them: transformers shows its own to any stderr."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()

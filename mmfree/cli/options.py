"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmfree.chip.sizing import DEFAULT_CODE, DEFAULT_LANES
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.inference.backends import BACKENDS

TOKENIZERS = (
    "bytes, bpe:SIZE (learned from the text), a tokenizer.json, a SentencePiece .model, or a folder"
    " with one"
)
"""What ``--tokenizer`` takes."""

_LANES = "ternary additions per cycle, a power of two"
_BITS = "storage of a weight, in bits"


def add_out(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Where results go, and whether something there may be overwritten."""
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help=meaning)
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def add_lanes(parser: argparse.ArgumentParser) -> None:
    """Size of the array."""
    parser.add_argument("--lanes", type=int, default=DEFAULT_LANES, metavar="N", help=_LANES)


def add_design(parser: argparse.ArgumentParser) -> None:
    """Size of the array, and how weights are stored."""
    add_lanes(parser)
    parser.add_argument("--bits", choices=tuple(WEIGHT_CODES), default=DEFAULT_CODE, help=_BITS)


def add_design_or_own(parser: argparse.ArgumentParser) -> None:
    """As ``add_design``, where a folder or a file may have its own design: nothing is asked for
    unless given.

    Nothing stands for 64 lanes and 2 bits.
    """
    parser.add_argument(
        "--lanes", type=int, metavar="N", help=f"{_LANES}; None: 64, or those of the design given"
    )
    parser.add_argument(
        "--bits", choices=tuple(WEIGHT_CODES), help=f"{_BITS}; None: 2, or that of the design given"
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """What plays the model."""
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help=(
            "what plays the model; None: fakequant for a checkpoint, float for a published one,"
            " golden for a tape"
        ),
    )
    add_lanes(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """A checkpoint or a tape."""
    parser.add_argument("model", type=Path, metavar="CHECKPOINT|TAPE", help="folder or file")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How the next token is chosen."""
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="0: always the most likely token; at most 3.98",
    )
    parser.add_argument(
        "--stop", type=int, metavar="ID", help="token that ends the text; None: no such"
    )

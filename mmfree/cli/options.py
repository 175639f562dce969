"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmfree.chip.sizing import DEFAULT_CODE, DEFAULT_LANES, check_lanes
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.cli.values import number, whole, whole_number
from mmfree.errors import InputError, not_one_of
from mmfree.golden.sampling import SEED_MAX
from mmfree.inference.backends import BACKENDS
from mmfree.shipped import COMES_ALONG

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


def add_seed(parser: argparse.ArgumentParser) -> None:
    """The seed of everything random."""
    parser.add_argument(
        "--seed",
        type=whole(0, SEED_MAX, "2^64-1"),
        default=0,
        help="seed of everything random",
    )


def number_of_lanes(word: str) -> int:
    """The type of ``--lanes``."""
    value = whole_number(word)
    try:
        check_lanes(value)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("lanes ")) from None
    return value


def add_lanes(parser: argparse.ArgumentParser) -> None:
    """Size of the array."""
    parser.add_argument(
        "--lanes", type=number_of_lanes, default=DEFAULT_LANES, metavar="N", help=_LANES
    )


def add_design_or_own(parser: argparse.ArgumentParser) -> None:
    """Size of the array, and how weights are stored: nothing is asked for unless given, for a demo
    or a file may have its own design.
    """
    parser.add_argument(
        "--lanes",
        type=number_of_lanes,
        metavar="N",
        help=f"{_LANES} (default: those of the design given, else {DEFAULT_LANES})",
    )
    parser.add_argument(
        "--bits",
        choices=tuple(WEIGHT_CODES),
        help=f"{_BITS} (default: that of the design given, else {DEFAULT_CODE})",
    )


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Where the weights are."""
    parser.add_argument(
        "--memory",
        metavar="NAME[:SIZE]",
        help=(
            "where weights are: block (RAM), or ports of an external memory, which decide lanes and"
            " bits, and perhaps its size in bytes: axi64, axi128x4:64M (default: that of the design"
            " given, else block)"
        ),
    )


def add_memory_behaviour(parser: argparse.ArgumentParser) -> None:
    """How the model of an external memory behaves."""
    parser.add_argument(
        "--latency",
        metavar="LOW:HIGH",
        help="cycles from an address to the memory's first beat, random (default: 60:200)",
    )
    parser.add_argument(
        "--withheld",
        type=number,
        metavar="PERCENT",
        help="cycles in which the memory gives no beat, random, 0..90 (default: 0)",
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """What plays the model."""
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help=(
            "what plays the model (default: fakequant for a checkpoint, float for a published one,"
            " cpu for a tape)"
        ),
    )
    add_lanes_of_backend(parser)


def backend_names(text: str) -> tuple[str, ...]:
    """The argument of an option that takes several backends."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in BACKENDS]:
        raise argparse.ArgumentTypeError(str(not_one_of("each", unknown[0], BACKENDS)))
    if len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names one twice")
    return names


def add_lanes_of_backend(parser: argparse.ArgumentParser) -> None:
    """Size of the array, where it may be that no chip plays."""
    parser.add_argument(
        "--lanes",
        type=number_of_lanes,
        metavar="N",
        help=f"of the chip that --backend rtl simulates: {_LANES} (default: {DEFAULT_LANES})",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """What a model is played from."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help=(
            "a tape, a checkpoint folder (trained here or published), or a run folder with either;"
            f" or {COMES_ALONG}"
        ),
    )


def add_chip_model(parser: argparse.ArgumentParser) -> None:
    """What an accelerator is made for."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help=(
            "a tape, a checkpoint folder, which is exported first, or a run folder with either; or"
            f" {COMES_ALONG}"
        ),
    )


def add_temperature(
    parser: argparse.ArgumentParser, default: float | None, unless_given: str = ""
) -> None:
    """How far the choice of the next token is left to chance."""
    parser.add_argument(
        "--temperature",
        type=float,
        default=default,
        metavar="T",
        help=f"0: always the most likely token; at most 3.98{unless_given}",
    )

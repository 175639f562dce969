"""The parser of the command line: every verb with its options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from mmfree import __version__
from mmfree.cli.arguments import Arguments
from mmfree.errors import InputError, did_you_mean

VERBS = {
    "tokenize": "write text as token shards, to train on without reading it whole",
    "config": "print a whole config as JSON, to change and to train",
    "train": "train a model into a checkpoint folder",
    "compare": "train a model and a Transformer of its size on the same text, and compare them",
    "evaluate": "bits per byte of a text, accuracy on a task, or on multiple choice",
    "export": "write a checkpoint as a tape, or for others",
    "inspect": "print what is on a tape, segment by segment, or in token shards",
    "generate": "continue a prompt, or add: --prompt 123+456",
    "bench": "tokens per second of whatever plays a model, and how near memory's limit they are",
    "fit": "which parts a model fits, and how fast it would run there, before anything is built",
    "verilog": "generate the accelerator: Verilog, memory files, the tape, design.json",
    "build": "synthesize, place and route the accelerator with a tape in it: a bitstream",
    "cosim": "play a tape on the simulated chip and the golden model, and compare every bit",
    "power": "estimate watts and joules per token of a tape's accelerator on a part",
    "demo": "train, export, generate the chip, simulate it, and compare: all of it once",
    "report": "one self-contained HTML page about a run",
    "page": "the chip of a tape in one HTML page: its RTL plays in anybody's browser",
}
"""Verb -> what it does, in the order of the help. Its module, of the same name beside this one, has
``EXAMPLES``, ``add_options`` and ``run``, and is imported when the verb is asked for.
"""

HELP = "help"
"""Asked for as a verb: ``mmfree help VERB``."""


def parse(words: list[str]) -> argparse.Namespace:
    """The options that a command line gives; ``command`` is the verb's ``run``.

    Ends the program, as argparse does, after the help or the version that is asked for.

    Raises
    ------
    InputError
        If a word is missing, unknown, or of another type than its option takes.
    """
    words = _help_as_option(words)
    verb = _verb_of(words)
    parser, verbs = _build([] if verb is None else [verb])
    asked = parser if verb is None else verbs[verb]
    asked.refuse_unknown(words[verb is not None :])
    options, surplus = parser.parse_known_args(words)
    if surplus:
        raise InputError(
            f"{surplus[0]!r} is not expected here: quote what has spaces, or {asked.see_help}"
        )
    return options


def build_parser(asked: Iterable[str] = VERBS) -> Arguments:
    """Every verb, with its options if it is ``asked`` for; ``command`` of the parsed options is the
    verb's ``run``.
    """
    return _build(asked)[0]


def _build(asked: Iterable[str]) -> tuple[Arguments, dict[str, Arguments]]:
    """The parser, and those of its verbs, of which only the ones ``asked`` for have options."""
    parser = Arguments(
        prog="mmfree",
        description=(
            "Ternary language models without matrix multiplication, from text to an addition-only"
            " chip."
        ),
        epilog="`mmfree help VERB` shows a verb's options, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"mmfree {__version__}")
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="VERB", parser_class=Arguments
    )
    made = {name: _add_verb(verbs, name, name in asked) for name in VERBS}
    return parser, made


def _add_verb(verbs: Any, name: str, asked: bool) -> Arguments:
    summary = VERBS[name]
    if not asked:
        bare: Arguments = verbs.add_parser(name, help=summary)
        return bare
    from mmfree.cli.options import add_seed

    module = import_module(f"mmfree.cli.{name}")
    parser: Arguments = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        examples=module.EXAMPLES,
    )
    parser.set_defaults(command=module.run)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    add_seed(parser)
    module.add_options(parser)
    return parser


def _help_as_option(words: list[str]) -> list[str]:
    """``help`` and ``help VERB`` as the option --help."""
    if words[:1] != [HELP]:
        return words
    if len(words) > 2:
        raise InputError(f"{words[2]!r} is not expected here: help takes one verb")
    return [*words[1:], "--help"]


def _verb_of(words: list[str]) -> str | None:
    """The verb, which comes first; None if only the help or the version is asked for."""
    first = words[0]
    if first in VERBS:
        return first
    if first.partition("=")[0] in ("-h", "--help", "--version"):
        return None
    later = next((word for word in words[1:] if word in VERBS), None)
    if later is not None:
        raise InputError(f"{first!r} stands before the verb: write mmfree {later} {first} ...")
    if first.startswith("-"):
        near = did_you_mean(first, ["--help", "--version"])
        raise InputError(f"{first}: a verb comes first{near or '; `mmfree help` lists them'}")
    near = did_you_mean(first, [*VERBS, HELP])
    raise InputError(f"{first!r} is no verb{near or '; `mmfree help` lists them'}")

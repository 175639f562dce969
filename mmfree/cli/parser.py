"""The parser of the command line: every verb with its options."""

from __future__ import annotations

import argparse
from types import ModuleType

from mmfree import __version__
from mmfree.cli import (
    build,
    compare,
    cosim,
    demo,
    evaluate,
    export,
    generate,
    inspect,
    power,
    report,
    tokenize,
    train,
    verilog,
)

VERBS: dict[str, ModuleType] = {
    "tokenize": tokenize,
    "train": train,
    "compare": compare,
    "evaluate": evaluate,
    "export": export,
    "inspect": inspect,
    "generate": generate,
    "verilog": verilog,
    "build": build,
    "cosim": cosim,
    "power": power,
    "demo": demo,
    "report": report,
}
"""Verb -> its module: ``SUMMARY``, ``add_options`` and ``run``. In the order of the help."""


def build_parser() -> argparse.ArgumentParser:
    """Every verb and option; ``command`` of the parsed options is the verb's ``run``."""
    parser = argparse.ArgumentParser(
        prog="mmfree",
        description=(
            "Ternary language models without matrix multiplication, from text to an addition-only"
            " chip."
        ),
    )
    parser.add_argument("--version", action="version", version=f"mmfree {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        options = verbs.add_parser(
            name,
            help=verb.SUMMARY,
            description=verb.SUMMARY[0].upper() + verb.SUMMARY[1:] + ".",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            allow_abbrev=False,
        )
        options.set_defaults(command=verb.run)
        options.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        options.add_argument("--seed", type=int, default=0, help="seed of everything random")
        verb.add_options(options)
    return parser

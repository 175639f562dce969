"""The command line ``mmfree``: runs a verb; its errors become one line and an exit code.

Results go to stdout, progress to stderr. Exit code 0: everything asked for held. 1: a check failed. 2: the input cannot be used.
"""

from __future__ import annotations

import json
import os
import sys

from mmfree.cli.outcome import Outcome
from mmfree.cli.parser import build_parser

FAILED, UNUSABLE = 1, 2
FAILURES = ("DivergenceError", "MissedClockError", "MultiplierError")
"""Errors that mean: a check failed. (By name, for their modules are loaded when they are needed.)"""

EXTRAS = {
    "torch": "train",
    "safetensors": "train",
    "accelerate": "train",
    "tokenizers": "text",
    "sentencepiece": "text",
    "amaranth": "hdl",
    "cocotb": "sim",
    "cocotb_tools": "sim",
    "matplotlib": "plots",
    "squarify": "plots",
    "amaranth_boards": "boards",
    "datasets": "text",
    "pyarrow": "text",
    "transformers": "hf",
    "lm_eval": "hf",
}
"""Module that may be missing -> extra that installs it."""


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        outcome: Outcome = options.command(options)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        return 141
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        return _fail(f"{package} is not installed; `pip install 'mmfree[{extra}]'` does that", UNUSABLE)
    except (ValueError, OSError) as error:
        return _fail(str(error), UNUSABLE)
    except (RecursionError, ArithmeticError) as error:
        return _fail(f"a number or a nesting of the input is too large: {error}", UNUSABLE)
    except RuntimeError as error:
        if type(error).__module__.partition(".")[0] not in ("mmfree", "hdl", "sim"):
            raise
        return _fail(str(error), FAILED if type(error).__name__ in FAILURES else UNUSABLE)
    if options.json and outcome.values:
        print(json.dumps(outcome.values))
    elif outcome.text:
        print(outcome.text)
    return 0 if outcome.ok else FAILED


def _fail(message: str, code: int) -> int:
    # Of several processes the first speaks.
    if os.environ.get("RANK", "0") == "0":
        print(f"mmfree: error: {' '.join(message.split())}", file=sys.stderr)
    return code



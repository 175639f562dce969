"""The command line ``mmfree``: runs a verb; its errors become one line and an exit code.

Results go to stdout, progress to stderr. Exit code 0: every check passed. 1: a check failed.
2: the input cannot be used, or a tool is missing. 3: a bug.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
import traceback

from mmfree.cli.outcome import Outcome
from mmfree.cli.parser import build_parser
from mmfree.errors import CheckFailed, InputError, ToolMissing

FAILED, UNUSABLE, BUG, INTERRUPTED, NOBODY_READS = 1, 2, 3, 130, 141
"""Exit codes beside 0."""

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding shows an escape where it has no such character.
            stream.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(arguments)
    try:
        outcome: Outcome = options.command(options)
        _print(outcome, as_json=options.json)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # What is left in the buffer would raise again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            return _show_traceback()
        install = f"`pip install 'mmfree[{EXTRAS[package]}]'` does that"
        return _fail(f"{package} is not installed; {install}", UNUSABLE)
    except (InputError, ToolMissing, OSError) as error:
        # A system error names the user's file and what is the matter with it.
        return _fail(str(error), UNUSABLE)
    except CheckFailed as error:
        return _fail(str(error), FAILED)
    except Exception:
        return _show_traceback()
    return 0 if outcome.ok else FAILED


def _print(outcome: Outcome, *, as_json: bool) -> None:
    """The result on stdout, all of it or an OSError."""
    if as_json and outcome.values:
        print(json.dumps(_finite(outcome.values), allow_nan=False))
    elif outcome.text:
        print(outcome.text)
    sys.stdout.flush()


def _finite(value: object) -> object:
    """``value`` with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show_traceback() -> int:
    """What nobody foresaw is a bug: all that is known of it, for whoever mends it."""
    traceback.print_exc()
    return _fail("this is a bug of mmfree: please report it with the lines above", BUG)


def _fail(message: str, code: int) -> int:
    # Of several processes the first speaks.
    if os.environ.get("RANK", "0") == "0":
        print(f"mmfree: error: {' '.join(message.split())}", file=sys.stderr)
    return code

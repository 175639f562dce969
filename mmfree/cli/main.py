"""The command line ``mmfree``: runs a verb; its errors become one line and an exit code.

Results go to stdout, progress to stderr. Exit code 0: every check passed. 1: a check failed.
2: the input cannot be used, or a tool is missing. 3: a bug.
"""

from __future__ import annotations

import json
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
    options = build_parser().parse_args(arguments)
    try:
        outcome: Outcome = options.command(options)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
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
    if options.json and outcome.values:
        print(json.dumps(outcome.values))
    elif outcome.text:
        print(outcome.text)
    return 0 if outcome.ok else FAILED


def _show_traceback() -> int:
    """What nobody foresaw is a bug: all that is known of it, for whoever mends it."""
    traceback.print_exc()
    return _fail("this is a bug of mmfree: please report it with the lines above", BUG)


def _fail(message: str, code: int) -> int:
    # Of several processes the first speaks.
    if os.environ.get("RANK", "0") == "0":
        print(f"mmfree: error: {' '.join(message.split())}", file=sys.stderr)
    return code

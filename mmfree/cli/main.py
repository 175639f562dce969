"""The command line ``mmfree``: runs a verb; its errors become one line and an exit code.

Results go to stdout, progress to stderr. Exit code 0: every check passed. 1: a check failed.
2: the input cannot be used, or a tool is missing. 3: a bug.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mmfree.cli.outcome import Outcome
from mmfree.cli.parser import build_parser, parse
from mmfree.cli.streams import set_up_streams
from mmfree.errors import CheckFailed, InputError, Stopped, ToolMissing
from mmfree.extras import EXTRAS, how_to_install
from mmfree.shipped import hidden_by
from mmfree.threads import prepare_waiting

FAILED, UNUSABLE, BUG, INTERRUPTED, NOBODY_READS = 1, 2, 3, 130, 141
"""Exit codes beside 0."""


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; returns the exit code. Without a word: the help on stderr, and exit code 2."""
    set_up_streams()
    prepare_waiting()
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        build_parser([]).print_help(sys.stderr)
        return UNUSABLE
    try:
        with _termination_raises():
            options = parse(words)
            _say_what_hides(options)
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
        install = f"`{how_to_install(EXTRAS[package])}` does that"
        return _fail(f"{package} is not installed; {install}", UNUSABLE, own=True)
    except InputError as error:
        return _fail(str(error), UNUSABLE)
    except ToolMissing as error:
        return _fail(str(error), UNUSABLE, own=True)
    except OSError as error:
        # It names the user's file and what is the matter with it.
        named = error.filename is not None and error.strerror is not None
        text = f"{error.filename}: {error.strerror}" if named else str(error)
        return _fail(text, UNUSABLE, own=True)
    except Stopped as stopped:
        return _fail(str(stopped), 128 + stopped.signal, word="mmfree")
    except CheckFailed as error:
        return _fail(str(error), FAILED)
    except Exception:
        return _show_traceback()
    return 0 if outcome.ok else FAILED


def _say_what_hides(options: argparse.Namespace) -> None:
    """A line on stderr where a file or folder has the name of a model that comes with mmfree."""
    for word in ("model", "run"):
        path = getattr(options, word, None)
        if isinstance(path, Path) and (said := hidden_by(path)) is not None:
            print(said, file=sys.stderr)


@contextmanager
def _termination_raises() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does: what was begun is cleaned up."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped("terminated", number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def _fail(message: str, code: int, *, own: bool = False, word: str = "mmfree: error") -> int:
    """One line on stderr; returns the exit code.

    Of several processes that train one model the first speaks, for all of them fail alike; not if
    it is this process's ``own`` fault: a file or a tool of its machine.
    """
    rank, processes = _joined()
    if rank and own:
        message = f"process {rank} of 0..{processes - 1}: {message}"
    if not rank or own:
        print(f"{word}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _joined() -> tuple[int, int]:
    """Number of this process, and how many have joined it.

    Variables such as RANK do not tell: a cluster sets them for whatever it starts.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()

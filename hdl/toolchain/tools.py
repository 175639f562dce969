"""Running the tools of chips, which come as WebAssembly with pip, or as the system's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO

_COMPILES = "Preparing to run"
"""What YoWASP's runtime says, before it compiles a tool to machine code and keeps that."""


def run_tool(
    command: Sequence[str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool in ``folder``; what it says, and its exit code, are the caller's to judge.

    The first run of a WebAssembly tool takes minutes: a line on stderr says so while it begins.
    """
    said: list[str] = []
    with (
        TemporaryDirectory(prefix="mmfree-") as own,
        subprocess.Popen(
            command,
            cwd=folder,
            # What it leaves there if it is killed goes with the folder.
            env=os.environ | {"TMPDIR": own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        name = Path(command[0]).name.removeprefix("yowasp-")
        listener = Thread(target=_listen, args=(process.stderr, name, said))
        listener.start()
        try:
            output = process.stdout.read()
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            listener.join()
    return subprocess.CompletedProcess(command, code, output, "".join(said))


def _listen(stream: IO[str], name: str, said: list[str]) -> None:
    for line in stream:
        if line.startswith(_COMPILES):
            print(
                f"mmfree: {name} runs here for the first time: it is compiled for this machine,"
                " once, which can take minutes",
                file=sys.stderr,
                flush=True,
            )
        else:
            said.append(line)

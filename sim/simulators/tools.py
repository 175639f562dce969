"""Compilers of simulators: run in a folder of their own, whatever the paths around it hold."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mmfree.errors import ToolMissing

LOG_NAME = "build.log"
"""What the tools said, in the folder of a build."""

_OTHER_LANGUAGES = (".sv", ".cpp")
"""Names of sources that are not Verilog end so: tools go by it."""


class SimulatorError(RuntimeError):
    """A simulation could not be built, or ended without a verdict."""


def link_sources(folder: Path, sources: Sequence[Path]) -> list[str]:
    """Names, as seen from a folder in ``folder``, by which every tool takes the sources."""
    names = []
    for number, source in enumerate(sources):
        suffix = source.suffix if source.suffix in _OTHER_LANGUAGES else ".v"
        name = f"source{number}{suffix}"
        (folder / name).symlink_to(source.resolve())
        names.append(f"../{name}")
    return names


def run_tools(
    commands: Sequence[Sequence[str]],
    folder: Path,
    environment: Mapping[str, str],
    *,
    of: str,
    source: Path,
) -> None:
    """Run commands in ``folder``/obj, one after another; what they say goes to LOG_NAME.

    Raises
    ------
    SimulatorError
        If one fails: ``of`` could not build ``source``, and why.
    ToolMissing
        If a program is not there.
    """
    (folder / "obj").mkdir(exist_ok=True)
    with (folder / LOG_NAME).open("wb") as log:
        for command in commands:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=folder / "obj",
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise ToolMissing(f"{command[0]} was not found, which {of} needs") from None
            if code := _wait(process):
                reason = last_error(folder / LOG_NAME) or f"exit code {code}"
                # By the name that the user knows.
                reason = reason.replace("../source0.v", source.name)
                raise SimulatorError(f"{of} could not build {source.name}: {reason}")


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process, which is a group of its own: a make has compilers below it.

    None of them outlives what ends the waiting.
    """
    with process:
        try:
            return process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def last_error(log: Path) -> str:
    """The last line of a log that says what went wrong, or else its last line."""
    if not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Verilator's last line only counts its errors; cocotb's SimFailure says that the design ended
    # the simulation.
    errors = [
        line
        for line in lines
        if any(word in line for word in ("Error", "error:", "SimFailure:"))
        and "Exiting due to" not in line
    ]
    return (errors or lines or [""])[-1]

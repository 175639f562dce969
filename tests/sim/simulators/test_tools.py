"""Compilers of simulators: none outlives what ends it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from threading import Timer

import pytest

from sim.simulators.tools import SimulatorError, run_tools

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("child", "w").write(str(child.pid))
child.wait()
"""


def test_what_a_compiler_has_started_ends_with_it(tmp_path: Path) -> None:
    """As the compilers below a make, when the verb is interrupted."""

    def interrupt() -> None:
        while not (child.exists() and child.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    child = tmp_path / "obj" / "child"
    timer = Timer(0, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run_tools(
            [[sys.executable, "-c", PARENT]], tmp_path, os.environ, of="It", source=tmp_path / "a.v"
        )
    timer.join()
    deadline = time.monotonic() + 20
    while is_running(int(child.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(process: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_compiler_that_fails_is_named_with_its_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('../source0.v:3: Error: why'); exit(3)"]
    with pytest.raises(SimulatorError, match=r"It could not build a\.v: a\.v:3: Error: why"):
        run_tools([command], tmp_path, os.environ, of="It", source=tmp_path / "a.v")

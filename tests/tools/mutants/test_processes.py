"""A process ends with all that it has started."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import becomes, is_running
from tools.mutants.processes import Ended, Processes

PARENT = """
import os, subprocess, sys, time
def start(new_session):
    below = "import os, time; open(str(os.getpid()), 'w').close(); time.sleep(600)"
    between = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {below!r}])"
    return subprocess.Popen([sys.executable, "-c", between], start_new_session=new_session)
started = [start(session == "own") for session in sys.argv[1:]]
time.sleep(600)
"""
"""Starts a process for each argument, and one below it, which leaves its number."""

SESSIONS = ["same", *["own"] * (sys.platform == "linux")]
"""Elsewhere than on Linux a session of its own keeps a process alive."""


@pytest.mark.parametrize("by", ["the block", "another thread"])
def test_what_a_process_has_started_ends_with_it(by: str, tmp_path: Path) -> None:
    processes = Processes()
    command = [sys.executable, "-c", PARENT, *SESSIONS]

    def below() -> list[int]:
        return [int(path.name) for path in tmp_path.iterdir()]

    try:
        with processes.start(command, tmp_path, os.environ) as process:
            assert becomes(lambda: len(below()) == len(SESSIONS))
            assert all(map(is_running, below()))
            if by == "another thread":
                processes.end()
        assert process.returncode == -signal.SIGKILL
        assert becomes(lambda: not any(map(is_running, below())))
    finally:
        for left in below():
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)


def test_no_process_begins_after_the_end(tmp_path: Path) -> None:
    processes = Processes()
    processes.end()
    with pytest.raises(Ended), processes.start([sys.executable, "-c", ""], tmp_path, os.environ):
        pytest.fail("it has begun")

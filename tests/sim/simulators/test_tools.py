"""Compilers of simulators: none outlives what ends it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mmfree.errors import ToolMissing
from sim.simulators.tools import SimulatorError, last_error, link_sources, run_tools
from tests.support.processes import becomes, interrupted_when, is_running

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("child", "w").write(str(child.pid))
child.wait()
"""


def test_what_a_compiler_has_started_ends_with_it(tmp_path: Path) -> None:
    """As the compilers below a make, when the verb is interrupted."""

    child = tmp_path / "obj" / "child"
    command = [sys.executable, "-c", PARENT]

    def has_begun() -> bool:
        return child.exists() and bool(child.read_text())

    with interrupted_when(has_begun), pytest.raises(KeyboardInterrupt):
        run_tools([command], tmp_path, os.environ, of="It", source=tmp_path / "a.v")
    started = int(child.read_text())
    assert becomes(lambda: not is_running(started))


def test_a_compiler_that_fails_is_named_with_its_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('../source0.v:3: Error: why'); exit(3)"]
    with pytest.raises(SimulatorError, match=r"It could not build a\.v: a\.v:3: Error: why"):
        run_tools([command], tmp_path, os.environ, of="It", source=tmp_path / "a.v")


def test_commands_run_one_after_another_until_one_fails(tmp_path: Path) -> None:
    """In the folder of the build, in the environment that is given, with what they say in a log."""
    said = "import os, sys; print(os.getcwd(), os.environ.get('MINE'), sys.stdin.read())"
    commands = [
        [sys.executable, "-c", said],
        [sys.executable, "-c", "import sys; sys.exit('second fails')"],
        [sys.executable, "-c", "open('third', 'w')"],
    ]
    with pytest.raises(SimulatorError, match=r"^It could not build a\.v: second fails$"):
        run_tools(commands, tmp_path, {"MINE": "yes"}, of="It", source=tmp_path / "a.v")
    assert [path.name for path in (tmp_path / "obj").iterdir()] == []
    log = (tmp_path / "build.log").read_text()
    assert log.splitlines() == [f"{tmp_path / 'obj'} yes ", "second fails"]


def test_a_tool_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=r"^/no/such was not found, which It needs$"):
        run_tools([["/no/such"]], tmp_path, {}, of="It", source=tmp_path / "a.v")


def test_a_tool_that_says_nothing_has_its_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "exit(3)"]
    with pytest.raises(SimulatorError, match=r"could not build a\.v: exit code 3"):
        run_tools([command], tmp_path, os.environ, of="It", source=tmp_path / "a.v")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ""),
        ("one\n\n  two  \n\n", "two"),
        ("%Error: first\n%Error: second\nlast\n", "%Error: second"),
        ("a.v:1: error: why\n%Error: Exiting due to 1 error(s)\nlast\n", "a.v:1: error: why"),
        ("SimFailure: it ended\nlast\n", "SimFailure: it ended"),
        ("%Error: Exiting due to 1 error(s)\n", "%Error: Exiting due to 1 error(s)"),
    ],
)
def test_the_last_line_that_says_what_went_wrong(text: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert last_error(path) == ""
    path.write_text(text)
    assert last_error(path) == found


def test_sources_have_plain_names(tmp_path: Path) -> None:
    (tmp_path / "it's one.v").write_text("one")
    (tmp_path / "two").write_text("two")
    folder = tmp_path / "build"
    folder.mkdir()
    names = link_sources(folder, [tmp_path / "it's one.v", tmp_path / "two"])
    assert names == ["../source0.v", "../source1.v"]
    (folder / "obj").mkdir()
    assert [(folder / "obj" / name).read_text() for name in names] == ["one", "two"]


def test_sources_in_other_languages_keep_their_endings(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    folder.mkdir()
    names = link_sources(folder, [tmp_path / name for name in ("a b.sv", "c.v", "d.cpp", "e.vh")])
    assert names == ["../source0.sv", "../source1.v", "../source2.cpp", "../source3.v"]

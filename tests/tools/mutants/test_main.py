"""The command line: wrong use, and control-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, becomes, is_running
from tools.mutants.__main__ import main
from tools.mutants.listed import ROOT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--only no_such_text", "--only: no mutant holds 'no_such_text'"),
        ("--draw 3 --only no_such_text", "--only: no mutant holds 'no_such_text'"),
        ("--draw -1", "argument --draw: '-1' is no whole number from 1 on"),
        ("--draw 0", "argument --draw: '0' is no whole number from 1 on"),
        ("--jobs 0", "argument --jobs: '0' is no whole number from 1 on"),
        ("--jobs two", "argument --jobs: 'two' is no whole number from 1 on"),
        ("--seed 0", "--seed and --whole: only with --draw"),
        ("--whole", "--seed and --whole: only with --draw"),
    ],
)
def test_wrong_use_is_no_success(
    arguments: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["mutants", *arguments.split(), "--list"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].endswith(f"error: {message}")


def test_text_of_listed_mutants_chooses_them_and_the_path_of_drawn_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "return total[1:].as_signed()"
    monkeypatch.setattr(sys, "argv", ["mutants", "--only", text, "--list"])
    assert main() == 0
    assert f"- {text}" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["mutants", "--draw", "1", "--only", text, "--list"])
    with pytest.raises(SystemExit):
        main()
    monkeypatch.setattr(sys, "argv", ["mutants", "--draw", "1", "--only", "adder", "--list"])
    assert main() == 0
    assert "adder.py\n- " in capsys.readouterr().out


ENDLESS = """
import os, subprocess, sys
from pathlib import Path
from tools.mutants import Mutant, __main__, running

started, popen = Path(sys.argv.pop(1)), subprocess.Popen
TEST = f'''
import os, time
own = {str(started)!r} + "/" + str(os.getpid())
open(own, "w").close()
time.sleep(600)
'''

class Process(popen):
    def __init__(self, command, **options):
        super().__init__([sys.executable, "-c", TEST], **options)

subprocess.Popen = Process
running.FOLDERS, running.FILES = ["tools"], []
mutant = Mutant(
    file="tools/mutants/listed.py", before="LINES_PER_MUTANT = 100", after="", tests=["any"]
)
__main__.load_mutants = lambda: [mutant] * 6
sys.exit(__main__.main())
"""
"""The command line with mutants whose tests never end; each leaves its number in a folder."""


def test_control_c_ends_the_tests_and_leaves_nothing(tmp_path: Path) -> None:
    started, temporary = tmp_path / "started", tmp_path / "temporary"
    started.mkdir()
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, started, "--jobs", "2"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert becomes(lambda: len(list(started.iterdir())) == 2 or process.poll() is not None)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=PATIENCE)
            tests = [int(path.name) for path in started.iterdir()]
            assert (said, process.returncode) == (("", "interrupted\n"), 130)
            assert len(tests) == 2
            assert not any(map(is_running, tests))
            assert not list(temporary.iterdir())
        finally:
            process.kill()
            for path in started.iterdir():
                with suppress(ProcessLookupError):
                    os.kill(int(path.name), signal.SIGKILL)

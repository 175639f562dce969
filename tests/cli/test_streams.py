"""What is written to stdout and stderr, whatever these can show, and by which process."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mmfree.cli.generate
import mmfree.cli.inspect
from mmfree.cli.main import main
from mmfree.cli.outcome import Outcome
from mmfree.errors import InputError, Stopped, ToolMissing
from mmfree.text.tokenizer import ByteTokenizer
from tests.support.command_line import error_of

TEXT = "Zürich: 東京 🙂"
WORDS = "1.5 µW ± 10 %, größer"


class Stream(io.TextIOWrapper):
    """A pipe, or a terminal, and what was written to it."""

    def __init__(self, encoding: str, *, terminal: bool) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def says(monkeypatch: pytest.MonkeyPatch) -> None:
    """``generate`` says TEXT, in two pieces, and ``inspect`` WORDS."""
    monkeypatch.setattr(mmfree.cli.generate, "tokenizer_at", lambda _: ByteTokenizer())
    monkeypatch.setattr(mmfree.cli.generate, "at_once", lambda _: None)
    monkeypatch.setattr(
        mmfree.cli.generate, "load_backend", lambda *_: SimpleNamespace(name="golden")
    )
    monkeypatch.setattr(
        mmfree.cli.generate, "generate", lambda *_, **__: iter([(TEXT[:4], [1]), (TEXT[4:], [2])])
    )
    monkeypatch.setattr(mmfree.cli.inspect, "run", lambda _: Outcome({"words": WORDS}, WORDS))
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)


def written(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], encoding: str, *, terminal: bool = False
) -> tuple[int, bytes]:
    stream = Stream(encoding, terminal=terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    code = main(arguments)
    stream.flush()
    return code, stream.bytes.getvalue()


GENERATE, INSPECT = ["generate", "a", "--prompt", "x"], ["inspect", "a"]
WHOLE = f"x{TEXT}"
"""What ``generate`` writes: a text begins with its prompt."""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize(("arguments", "text"), [(GENERATE, WHOLE), (INSPECT, WORDS)])
def test_a_pipe_gets_utf_8(
    encoding: str, arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the locale: a file must hold the text itself, not escapes."""
    assert written(monkeypatch, arguments, encoding) == (0, f"{text}\n".encode())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_that_was_asked_for_is_kept_or_refused(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words about a result show escapes; a text that does not fit is not written at all."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    expected = f"{WORDS}\n".encode(encoding, errors="backslashreplace")
    assert written(monkeypatch, INSPECT, encoding) == (0, expected)
    assert written(monkeypatch, GENERATE, encoding) == (2, b"")
    missing = "ü" if encoding == "ascii" else "東"
    assert capsys.readouterr().err == (
        f"mmfree: error: stdout is {encoding} (PYTHONIOENCODING), which has no '{missing}': set"
        " PYTHONIOENCODING=utf-8, or use --json\n"
    )
    monkeypatch.setattr(
        mmfree.cli.generate, "generate", lambda *_, **__: iter([("Zur", [1]), ("ich", [2])])
    )
    assert written(monkeypatch, GENERATE, encoding) == (0, b"xZurich\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "utf-16"])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("arguments", "text"), [(GENERATE, TEXT), (INSPECT, WORDS)])
def test_json_is_exact_in_every_encoding(
    encoding: str, asked: bool, arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked:
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
    code, output = written(monkeypatch, [*arguments, "--json"], encoding)
    assert code == 0
    values = json.loads(output.decode(encoding if asked else "utf-8"))
    assert text in (values.get("text"), values.get("words"))


def test_a_terminal_shows_escapes_as_the_text_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = written(monkeypatch, GENERATE, "latin-1", terminal=True)
    assert (code, output) == (0, f"{WHOLE}\n".encode("latin-1", errors="backslashreplace"))


def test_a_real_pipe_in_a_locale_without_umlauts() -> None:
    """Also what Python makes of a path that it cannot read goes through."""
    program = (
        "import sys, mmfree.cli.inspect as verb;"
        "from mmfree.cli.main import main; from mmfree.cli.outcome import Outcome;"
        f"verb.run = lambda _: Outcome({{}}, {WORDS!a} + chr(0xdcff));"
        "sys.exit(main(['inspect', 'a']))"
    )
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, f"{WORDS}\\udcff\n".encode()), found.stderr


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(options: Any) -> Outcome:
        raise error

    monkeypatch.setattr(mmfree.cli.inspect, "run", run)


@pytest.mark.parametrize("rank", ["1", "7", "x", ""])
def test_a_rank_in_the_environment_silences_nothing(
    rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clusters and notebooks set it for whatever they start."""
    for name, value in {"RANK": rank, "WORLD_SIZE": "8", "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, value)
    failing(monkeypatch, InputError("no such file"))
    assert error_of(capsys, "inspect", "a") == "mmfree: error: no such file"


@pytest.mark.parametrize(
    ("error", "code", "other"),
    [
        (InputError("bad"), 2, ""),
        (Stopped("saved; go on with --resume", 15), 143, ""),
        (KeyboardInterrupt(), 130, ""),
        (OSError("disk full"), 2, "mmfree: error: process 1 of 0..2: disk full\n"),
        (ToolMissing("no yosys"), 2, "mmfree: error: process 1 of 0..2: no yosys\n"),
    ],
)
def test_of_processes_that_have_joined_the_first_speaks(
    error: BaseException,
    code: int,
    other: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """But what is the matter with one machine is said by its own process."""
    failing(monkeypatch, error)
    for rank in (0, 1):
        joined = SimpleNamespace(
            is_available=lambda: True,
            is_initialized=lambda: True,
            get_rank=lambda rank=rank: rank,
            get_world_size=lambda: 3,
        )
        monkeypatch.setitem(sys.modules, "torch.distributed", joined)
        assert main(["inspect", "a"]) == code
        said = capsys.readouterr().err
        if rank:
            assert said == other
        else:
            word = "mmfree" if isinstance(error, Stopped) else "mmfree: error"
            assert said == f"{word}: {str(error) or 'interrupted'}\n"

"""What ``main`` does around a verb: its errors, its signals, and what it says of itself."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import mmfree
import mmfree.cli.inspect
from mmfree.cli.main import main
from mmfree.cli.outcome import Outcome
from mmfree.cli.parser import VERBS, parse
from mmfree.errors import InputError, Stopped
from tests.support.command_line import error_of

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_terminated_while_it_works_and_as_before_afterwards(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls ``main`` keeps what a signal does."""
    before = signal.getsignal(signal.SIGTERM)
    cleaned: list[Any] = []

    def run(options: Any) -> Outcome:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(signal.getsignal(signal.SIGTERM))
        return Outcome({}, "")

    monkeypatch.setattr(mmfree.cli.inspect, "run", run)
    assert main(["inspect", "a"]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "mmfree: terminated\n"
    assert cleaned != [before]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_thread_may_run_a_verb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the main thread of a program can set what a signal does."""
    monkeypatch.setattr(mmfree.cli.inspect, "run", lambda options: Outcome({}, "done"))
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["inspect", "a"])))
    thread.start()
    thread.join(timeout=30)
    assert codes == [0]
    assert capsys.readouterr().out == "done\n"


def test_an_error_of_several_lines_becomes_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(options: Any) -> Outcome:
        raise InputError("first line\n\tand   second\n")

    monkeypatch.setattr(mmfree.cli.inspect, "run", run)
    assert error_of(capsys, "inspect", "a") == "mmfree: error: first line and second"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.json"), "a.json: No such file"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (OSError("of a library"), "of a library"),
    ],
)
def test_a_system_error_names_its_file(
    error: OSError,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(options: Any) -> Outcome:
        raise error

    monkeypatch.setattr(mmfree.cli.inspect, "run", run)
    assert error_of(capsys, "inspect", "a").startswith(f"mmfree: error: {said}")


def test_a_package_that_no_extra_installs_is_a_bug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(options: Any) -> Outcome:
        raise ModuleNotFoundError("No module named 'mmfree.nothing'", name="mmfree.nothing")

    monkeypatch.setattr(mmfree.cli.inspect, "run", run)
    assert main(["inspect", "a"]) == 3
    assert "this is a bug of mmfree" in capsys.readouterr().err


def test_a_failed_check_still_says_what_it_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome({"found": (1, 2)}, "found it", ok=False)
    monkeypatch.setattr(mmfree.cli.inspect, "run", lambda options: outcome)
    assert main(["inspect", "a"]) == 1
    assert capsys.readouterr().out == "found it\n"
    assert main(["inspect", "a", "--json"]) == 1
    assert capsys.readouterr().out == '{"found": [1, 2]}\n'


def test_nothing_to_say_is_not_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the second of two processes that train one model."""
    monkeypatch.setattr(mmfree.cli.inspect, "run", lambda options: Outcome({}, ""))
    for words in (["inspect", "a"], ["inspect", "a", "--json"]):
        assert main(words) == 0
        assert capsys.readouterr().out == ""


def test_a_stop_that_is_no_error_has_no_word_of_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(options: Any) -> Outcome:
        raise Stopped("saved; go on with --resume", signal.SIGINT)

    monkeypatch.setattr(mmfree.cli.inspect, "run", run)
    assert main(["inspect", "a"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "mmfree: saved; go on with --resume\n"


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    project = tomllib.loads(PROJECT.read_text())["project"]
    assert capsys.readouterr().out == f"mmfree {project['version']}\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    places = [shown.index(f" {name} {summary}") for name, summary in VERBS.items()]
    assert places == sorted(places), "in the order of the work"


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    """A script's abbreviation would mean something else once an option is added."""
    message = "mmfree: error: --jso: no such option; did you mean --json?"
    assert error_of(capsys, "inspect", "a", "--jso") == message


def test_without_a_word_the_help_is_shown_and_nothing_was_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr, and exit code 2: a script whose variable is empty must not go on."""
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert shown.err == capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_a_verb_too(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in (["help", verb], [verb, "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert f"usage: mmfree {verb} " in shown[0]


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_verb_can_be_parsed(verb: str) -> None:
    """Two to four, of which the first is what a message about missing words shows."""
    examples = import_module(f"mmfree.cli.{verb}").EXAMPLES
    assert 2 <= len(examples) <= 4
    for line in examples:
        program, *words = shlex.split(line.partition(" > ")[0])
        assert (program, parse(words).verb) == ("mmfree", verb)


def test_the_help_imports_nothing_that_takes_time() -> None:
    """Neither NumPy nor a verb: it is there in a tenth of a second."""
    code = """
import sys
from mmfree.cli.main import main
try:
    main(["--help"])
except SystemExit:
    pass
names = {name.partition(".")[0] for name in sys.modules} | set(sys.modules)
heavy = {"numpy", "tqdm", "torch", "importlib.metadata", "mmfree.cli.train"}
print(sorted(names & heavy), file=sys.stderr)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr == "[]\n"


def test_the_package_gives_its_functions_when_asked() -> None:
    assert mmfree.errors.InputError is InputError
    names = {"cosim", "evaluate", "export", "generate", "load", "train", "verilog"}
    assert names <= set(dir(mmfree))
    assert {getattr(mmfree, name).__module__ for name in names} == {"mmfree.api"}

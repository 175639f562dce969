"""What ``main`` does around a verb: its errors, its signals, and what it says of itself."""

from __future__ import annotations

import signal
import threading
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import mmfree
import mmfree.cli.inspect
from mmfree.cli.main import EXTRAS, main
from mmfree.cli.outcome import Outcome
from mmfree.cli.parser import VERBS
from mmfree.errors import InputError, Stopped
from tests.support.command_line import error_of

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
BROUGHT = {"pyarrow": "datasets"}
"""Distribution -> the one that brings it."""


def test_the_extra_that_is_named_installs_what_is_missing() -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    distributions = packages_distributions()
    for module, extra in EXTRAS.items():
        if module not in distributions:
            continue  # pytest says elsewhere what is not installed
        (name,) = set(distributions[module])
        asked = BROUGHT.get(name, name).replace("_", "-")
        assert any(line.startswith((f"{asked}>", f"{asked}=")) for line in extras[extra]), module


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
    places = [shown.index(f" {name} {verb.SUMMARY}") for name, verb in VERBS.items()]
    assert places == sorted(places), "in the order of the work"


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    """A script's abbreviation would mean something else once an option is added."""
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "a", "--jso"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --jso" in capsys.readouterr().err


def test_the_package_gives_its_functions_when_asked() -> None:
    assert mmfree.errors.InputError is InputError
    names = {"cosim", "evaluate", "export", "generate", "load", "train", "verilog"}
    assert names <= set(dir(mmfree))
    assert {getattr(mmfree, name).__module__ for name in names} == {"mmfree.api"}

"""Values of other types than a function of the package takes: one line, before anything is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmfree
from mmfree.errors import InputError
from tests.support.below import Below
from tests.support.verbs.models import TEXT_BACKEND

PATH = r"a path \(str or os\.PathLike\)"
CALLS: dict[str, tuple[Any, ...]] = {
    "load": ("m",),
    "train": ("text", "out"),
    "export": ("m", "out"),
    "evaluate": ("m",),
    "generate": ("m", "hi"),
    "fit": ("370m",),
    "verilog": ("m", "out"),
    "cosim": ("m",),
}
"""What each function must be given."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not refused may write where it is."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("function", "option", "value", "wanted"),
    [
        ("generate", "tokens", "5", "a whole number, got '5'"),
        ("generate", "tokens", 5.0, "a whole number, got 5.0"),
        ("generate", "tokens", True, "a whole number, got True"),
        ("generate", "top_k", 2.5, "a whole number, got 2.5"),
        ("generate", "top_p", "0.9", "a number, got '0.9'"),
        ("generate", "top_p", True, "a number, got True"),
        ("generate", "temperature", "hot", "a number, got 'hot'"),
        ("generate", "seed", None, "a whole number, got None"),
        ("generate", "seed", 1.5, "a whole number, got 1.5"),
        ("generate", "stop", b".", "a text, got b'.'"),
        ("train", "width", "5", "a whole number, got '5'"),
        ("train", "minutes", "5", "a number, got '5'"),
        ("train", "data", 5, f"{PATH} or several, got 5"),
        ("train", "data", [5], f"{PATH} or several, got .5."),
        ("train", "tokenizer", 3, f"{PATH}, got 3"),
        ("train", "force", 1, "True or False, got 1"),
        ("fit", "part", None, "a text, got None"),
        ("fit", "memory", 128, "a text, got 128"),
        ("verilog", "lanes", "64", "a whole number, got '64'"),
        ("verilog", "bits", 1.6, "a text, got 1.6"),
        ("verilog", "progress", "loud", "a function of a line, got 'loud'"),
        ("cosim", "stop", ".", "a whole number, got '.'"),
        ("evaluate", "data", ["a"], rf"{PATH}, got \['a'\]"),
        ("load", "lanes", 64.0, "a whole number, got 64.0"),
        ("load", "backend", 1, "a text, got 1"),
    ],
)
def test_a_value_of_another_type_is_named(
    function: str, option: str, value: Any, wanted: str
) -> None:
    with pytest.raises(InputError, match=f"^{option} must be {wanted}$"):
        getattr(mmfree, function)(*CALLS[function], **{option: value})


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        ("load", (None,), f"^model must be {PATH}, got None$"),
        ("load", (b"m",), f"^model must be {PATH}, got b'm'$"),
        ("train", (5, "out"), f"^config must be {PATH}, got 5$"),
        ("export", ("m", 5), f"^out must be {PATH}, got 5$"),
        ("evaluate", (3,), rf"^model must be {PATH} or what mmfree\.load gives, got 3$"),
        ("generate", ("m", None), "^prompt must be a text, got None$"),
        ("generate", (TEXT_BACKEND, 12), "^prompt must be a text, got 12$"),
    ],
)
def test_so_is_one_that_is_given_by_its_place(
    function: str, given: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        getattr(mmfree, function)(*given)


def test_what_has_no_parameter_is_refused_by_python() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'token'"):
        mmfree.generate("m", "hi", token=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional arguments"):
        mmfree.load("m", "golden", 64)  # type: ignore[call-arg]


def test_numbers_of_numpy_arrive_as_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    below = Below(monkeypatch)
    below.replace({"mmfree.inference.generate:generate": []})
    options = {"seed": np.uint64(2**64 - 1), "top_k": np.int8(3), "top_p": np.float32(0.5)}
    mmfree.generate(TEXT_BACKEND, "hi", np.int16(7), **options)  # type: ignore[arg-type]
    asked = {name: below.asked[f"generate({name})"] for name in (*options, "tokens")}
    assert asked == {"seed": 2**64 - 1, "top_k": 3, "top_p": 0.5, "tokens": 7}
    assert [type(value) for value in asked.values()] == [int, int, float, int]


def test_paths_come_in_any_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also several of them, of which one may be read only once."""
    below = Below(monkeypatch)
    below.replace(
        {
            "mmfree.inference.backends:load_backend": TEXT_BACKEND,
            "mmfree.inference.scoring:score_text": "scored",
        }
    )
    like = type("Like", (), {"__fspath__": lambda _: "d"})
    mmfree.evaluate(Path("m"), data=like())
    assert below.asked["load_backend(path)"] == Path("m")
    assert below.asked["score_text(data)"] == Path("d")
    with pytest.raises(InputError, match=r"none\.txt"):
        mmfree.train("text", "out", data=(path for path in ("none.txt",)))

"""Classes of what can go wrong: what the command line tells apart, and what callers may catch."""

from __future__ import annotations

import pytest

from mmfree.errors import CheckFailed, InputError, Stopped, ToolMissing, not_one_of


def test_only_bad_input_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)
    for kind in (ToolMissing, Stopped, CheckFailed):
        assert issubclass(kind, RuntimeError)
        assert not issubclass(kind, (ValueError, OSError))
    assert not issubclass(ToolMissing, CheckFailed)


@pytest.mark.parametrize("signal", [2, 15])
def test_what_stopped_says_which_signal_asked(signal: int) -> None:
    stopped = Stopped("saved; go on with --resume", signal)
    assert (str(stopped), stopped.signal) == ("saved; go on with --resume", signal)


@pytest.mark.parametrize(
    ("got", "end"),
    [
        ("golde", "got 'golde'; did you mean golden?"),
        ("RTL", "got 'RTL'; did you mean rtl?"),
        ("Flaot", "got 'Flaot'; did you mean Float?"),
        ("gpu", "got 'gpu'"),
        (["rtl"], "got ['rtl']"),
        (None, "got None"),
    ],
)
def test_a_name_that_is_not_found_may_be_meant_otherwise(got: object, end: str) -> None:
    error = not_one_of("backend", got, ("Float", "golden", "rtl"))
    assert str(error) == f"backend must be one of Float, golden, rtl, {end}"

"""A refactor changes nothing that a user sees.

Verilog, tapes, cycles, cells and the command line are those of baseline.json.
"""

from __future__ import annotations

import json

import pytest

from tests.support.baseline import MEASURES, PATH

SLOW = ("cells", "verilog, 128 lanes")
"""Measures that take long."""

MEASURED = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MEASURES]


@pytest.mark.parametrize("name", MEASURED)
def test_nothing_changed(name: str) -> None:
    """``python -m tests.support.baseline`` writes the file again.

    The commit says why it changed.
    """
    expected = json.loads(PATH.read_text())[name]
    found = json.loads(json.dumps(MEASURES[name]()))
    assert found == expected

"""A refactor changes nothing that a user sees.

Verilog, tapes, cycles, cells and the command line are those of baseline.json.
"""

from __future__ import annotations

import json

import pytest

from tests.support.baseline import MEASURES, PATH


@pytest.mark.parametrize("name", MEASURES)
def test_nothing_changed(name: str) -> None:
    """``python -m tests.support.baseline`` writes the file again.

    The commit says why it changed.
    """
    expected = json.loads(PATH.read_text())[name]
    found = json.loads(json.dumps(MEASURES[name]()))
    assert found == expected

"""The page of a model of bytes, for all tests of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmfree.tape.pow2 import write_tape
from tests.support.models import SMALL_TEXT, tape_of, trained
from tests.support.page.pages import HOSTILE, written


@pytest.fixture(scope="module")
def text_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model of bytes that has learned next to nothing, with a hostile name and card."""
    folder = tmp_path_factory.mktemp("text")
    tape = tape_of(trained(SMALL_TEXT, folder / "run"))
    write_tape(tape, folder / "model.tape")
    return written(folder, HOSTILE, tape, card=HOSTILE)

"""Pages in Firefox, from their files, at 390 pixels, dark, and by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmfree.inference.backends import load_backend
from mmfree.inference.generate import generate
from mmfree.tape.pow2 import write_tape
from mmfree.training.recipe import RunConfig
from sim.page.limits import design_of
from sim.page.page import page_of
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tests.support.page.firefox import ENTER, TAB, Firefox, firefox


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("profile"), dark=True) as found:
        found.resize(390, 900)
        yield found
        assert found.told == found.asked == []


def opened(browser: Firefox, folder: Path, config: RunConfig) -> Path:
    """The page of a model that has learned next to nothing, with its chip loaded; its tape."""
    tape = tape_of(trained(config, folder / "run"))
    write_tape(tape, folder / "model.tape")
    (folder / "page.html").write_bytes(page_of(tape, "small", design_of(tape)))
    browser.open(folder / "page.html")
    assert browser.becomes("!document.getElementById('play').disabled")
    assert browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    return folder / "model.tape"


def filled(browser: Firefox, *values: str) -> None:
    """One field after the other, in a page that was just opened."""
    for value in values:
        browser.press(TAB)
        browser.select_all()
        browser.press(value)


def played(browser: Firefox) -> dict[str, Any]:
    """What was compared, and what the status says, after Enter."""
    browser.evaluate("delete document.body.dataset.compared")
    browser.press(ENTER)
    assert browser.becomes("'compared' in document.body.dataset")
    root = "document.documentElement"
    assert browser.evaluate("innerWidth") == 390
    assert browser.evaluate(f"{root}.scrollWidth == {root}.clientWidth")
    found = browser.evaluate("{...document.body.dataset}")
    told = browser.evaluate("document.getElementById('status').textContent")
    return {"told": told, **{name: int(value) for name, value in found.items()}}


def test_a_sum(browser: Firefox, tmp_path: Path) -> None:
    path = opened(browser, tmp_path, SMALL_ADDITION)
    filled(browser, "907", "88")
    found = played(browser)
    assert found["told"].startswith("Done")
    assert found["compared"] == found["equal"] == 9
    due = "".join(piece for piece, _ in generate(load_backend(path), "907+88"))
    cells = "Array.from(document.querySelectorAll('#columns .sum td'), (cell) => cell.textContent)"
    assert "".join(browser.evaluate(cells)).lstrip("0") == due.lstrip("0")


def test_a_text_and_a_flipped_bit(browser: Firefox, tmp_path: Path) -> None:
    path = opened(browser, tmp_path, SMALL_TEXT)
    due = "".join(p for p, _ in generate(load_backend(path), "ab", 40, temperature=1.0, seed=7))
    filled(browser, "ab", "1", "7", "40")
    found = played(browser)
    assert found["compared"] == found["equal"] == 42
    assert browser.evaluate("document.getElementById('text').textContent") == f"ab{due}"
    # From the last field over the button that plays to the one that flips: Stop is disabled.
    browser.press(TAB, TAB, " ")
    browser.evaluate("document.getElementById('tokens').focus()")
    after = played(browser)
    assert (found["faults"], after["faults"]) == (0, 1)
    assert after["compared"] == after["equal"] == 42
    assert browser.evaluate("document.getElementById('text').textContent") == f"ab{due}"

"""The project's page says what README says, and shows the tape that is shipped."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import pytest

from mmfree.shipped import FOLDER, card_of
from mmfree.tape.reading import open_tape
from sim.page.limits import design_of
from sim.page.page import IN_PAGE, IN_WORKER, WEB, page_of
from tools.figures.project_page import CHIPS, DOCS, figures, index


def test_its_figures_are_those_of_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    found = figures(readme)
    assert len(found) == len(re.findall(r"^- ", readme.partition("## Figures")[2], re.M))
    assert (DOCS / "index.html").read_text(encoding="utf-8") == index(readme)


def part(page: Path, name: str) -> bytes:
    (text,) = re.findall(f'id="{name}">([^<]*)<', page.read_text(encoding="utf-8"))
    return zlib.decompress(base64.b64decode(text))


def test_both_chips_are_there_and_small() -> None:
    sizes = {name: (DOCS / "chips" / f"{name}.html").stat().st_size for name in CHIPS}
    assert sizes["addition"] <= 200 * 1024
    assert sizes["stories"] <= 1024 * 1024


@pytest.mark.parametrize("name", CHIPS)
def test_both_have_the_scripts_of_today(name: str) -> None:
    page = (DOCS / "chips" / f"{name}.html").read_text(encoding="utf-8")
    scripts = list(WEB.glob("*.js"))
    assert {script.stem for script in scripts} == {"whole", *IN_WORKER, *IN_PAGE}
    for script in scripts:
        assert script.read_text(encoding="utf-8") in page, script


def test_what_else_is_remembered_is_said_where_something_is() -> None:
    told = "but for 80 channels of the token before, kept at two places of each layer"
    pages = {name: (DOCS / "chips" / f"{name}.html").read_text(encoding="utf-8") for name in CHIPS}
    assert {name: told in page for name, page in pages.items()} == {
        "addition": False,
        "stories": True,
    }
    assert "but for" not in pages["addition"]


def test_the_story_is_that_of_the_shipped_tape() -> None:
    page = DOCS / "chips" / "stories.html"
    tape = open_tape(FOLDER / "stories.tape")
    assert tape.sha256 in page.read_text(encoding="utf-8")
    segments = json.loads(part(page, "manifest"))["model"]["segments"]
    assert segments[0]["constants"][0][0] == tape.segments[0].matrices[0].multiplier


@pytest.mark.slow
def test_the_page_of_stories_is_what_is_made_today() -> None:
    """Byte by byte: where it is not, `python -m tools.figures.project_page` writes it anew."""
    tape = open_tape(FOLDER / "stories.tape")
    page = page_of(tape, "stories", design_of(tape), card=card_of("stories"))
    assert page == (DOCS / "chips" / "stories.html").read_bytes()

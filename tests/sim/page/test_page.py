"""The file: self-contained, small, and the same for the same tape."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode

import pytest

from mmfree.chip.layout import layout
from sim.page.contents import about_image
from sim.page.limits import design_of
from sim.page.page import packed, page_of
from tests.support.verbs.case import SUM_TAPE, TEXT_TAPE

DESIGN = design_of(SUM_TAPE, 16)


@pytest.fixture(scope="module")
def page() -> bytes:
    return page_of(SUM_TAPE, "sums", DESIGN)


def part(page: bytes, name: str) -> bytes:
    (text,) = re.findall(f'id="{name}">([^<]*)<', page.decode())
    return zlib.decompress(b64decode(text))


def test_the_same_tape_gives_the_same_bytes(page: bytes) -> None:
    assert page_of(SUM_TAPE, "sums", DESIGN) == page


def test_it_holds_the_image_and_asks_for_nothing(page: bytes) -> None:
    memories, words = about_image(layout(SUM_TAPE, DESIGN))
    assert part(page, "image") == words
    about = json.loads(part(page, "manifest"))
    assert about["memories"] == memories
    assert about["design"]["lanes"] == 16
    text = page.decode()
    assert not re.findall(r"https?://|\bsrc=|\bhref=|@import|fetch\(", text)
    assert "default-src 'none'" in text
    for name in ("chip", "golden"):
        assert part(page, name)[:4] == b"\0asm"


def test_its_parts_are_compressed(page: bytes) -> None:
    for name in ("manifest", "chip", "golden"):
        data = part(page, name)
        assert len(packed(data)) < len(data)
        assert packed(data).encode() in page


def test_stages_are_told() -> None:
    told: list[str] = []
    page = page_of(TEXT_TAPE, "a & b", design_of(TEXT_TAPE, 4), card="<i>", progress=told.append)
    assert told == [
        "Verilog of 4 lanes",
        "the chip in WebAssembly",
        "the golden model in WebAssembly",
    ]
    assert "<h1>mmfree: a &amp; b, the chip in a page</h1>" in page.decode()
    assert '<pre class="text">&lt;i&gt;</pre>' in page.decode()


def test_a_name_that_is_no_text() -> None:
    page = page_of(TEXT_TAPE, "a\udcff", design_of(TEXT_TAPE, 4))
    assert b"<title>mmfree: a?, the chip in a page</title>" in page

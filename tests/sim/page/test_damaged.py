"""Files of which something is missing or changed: a page says so, and plays nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sim.page.page import packed
from tests.support.page.pages import unpacked, with_part
from tools.speed.browser import opened, play

NOT_WHOLE = "This file is damaged, or its end is missing."
DAMAGED = "It does not work here: this file is damaged, a part of it cannot be unpacked."


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_file_whose_end_is_missing(share: float, text_page: Path) -> None:
    data = text_page.read_bytes()
    path = text_page.with_name("short.html")
    path.write_bytes(data[: int(share * len(data))])
    with opened(path, wait_for="body") as page:
        page.wait_for_function("told => document.body.textContent.includes(told)", arg=NOT_WHOLE)
        assert page.query_selector("#play:not([disabled])") is None


def another_character(part: str) -> str:
    middle = len(part) // 2
    return part[:middle] + ("A" if part[middle] != "A" else "B") + part[middle + 1 :]


def no_base64(part: str) -> str:
    return "%" + part[1:]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("manifest", another_character),
        ("chip", another_character),
        ("golden", another_character),
        ("image", another_character),
        ("manifest", no_base64),
        ("image", no_base64),
        ("chip", lambda part: ""),
    ],
)
def test_a_part_that_cannot_be_read(
    name: str, change: Callable[[str], str], text_page: Path
) -> None:
    with opened(with_part(text_page, name, change), wait_for="#status.fail") as page:
        assert page.inner_text("#status") == DAMAGED
        for button in ("play", "stop", "flip", "slow"):
            assert page.is_disabled(f"#{button}")


def test_a_weight_that_is_wrong_in_the_file(text_page: Path) -> None:
    """The chip finds it; there is no going on."""

    (manifest,) = re.findall(r'id="manifest">([^<]*)<', text_page.read_text(encoding="utf-8"))
    start = 0
    for memory in json.loads(unpacked(manifest))["memories"]:
        if memory["name"] == "weights":
            break
        start += memory["words"] * memory["groups"] * -(-memory["bits"] // 8)

    def with_a_bit(part: str) -> str:
        data = bytearray(unpacked(part))
        data[start] ^= 1
        return packed(bytes(data))

    with opened(with_part(text_page, "image", with_a_bit)) as page:
        told = play(page, prompt="ab", tokens="5")["told"]
        assert told == "It does not work here: the chip found a fault in its weights."
        for button in ("play", "stop", "flip", "slow"):
            assert page.is_disabled(f"#{button}")


def test_a_browser_without_scripts_or_with_too_few(text_page: Path) -> None:
    text = text_page.read_text(encoding="utf-8")
    path = text_page.with_name("old.html")
    path.write_text(text.replace("<script>", "<script>\ndelete globalThis.DecompressionStream;", 1))
    with opened(path, wait_for="#status.fail") as page:
        told = page.inner_text("#status")
        assert told.startswith("It does not work here: this browser is too old")
    assert "<noscript>" in text

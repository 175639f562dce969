"""A page in headless Chromium: opened from its file, driven as a reader would."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from mmfree.errors import ToolMissing

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


READY = "#play:not([disabled])"


@contextmanager
def opened(
    path: Path, *, width: int = 1280, dark: bool = False, wait_for: str = READY
) -> Iterator[Page]:
    """A page, once its chip is loaded, or something else matches ``wait_for``.

    Nothing may be asked of a network, and nothing may fail.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise ToolMissing("no Chromium on PATH: `make browser` installs it")
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_ARGUMENTS))
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda asked: wrong.extend(_elsewhere(asked.url)))
        page.goto(path.as_uri())
        page.wait_for_selector(wait_for, timeout=30_000)
        yield page
        browser.close()
    assert wrong == []


def _elsewhere(url: str) -> list[str]:
    return [] if url.startswith(("file:", "blob:")) else [url]


def play(page: Page, **fields: str) -> dict[str, Any]:
    """Fill fields in, play, and wait for the end: what was compared, and what the status says."""
    for name, value in fields.items():
        page.fill(f"#{name}", value)
    page.evaluate("document.body.dataset.compared = ''")
    page.click("#play")
    for _ in range(600):
        told = page.inner_text("#status")
        if re.match(r"Done|Stopped|Not played|It does not work", told):
            break
        page.wait_for_timeout(50)
    else:
        raise AssertionError(f"no end: {told}")
    data = page.evaluate("({...document.body.dataset})")
    return {"told": told, **{name: int(value) for name, value in data.items() if value}}

"""Pages: their parts, and that no text becomes markup."""

from __future__ import annotations

import pytest

from mmfree.report.page import html_page, note, table


def test_a_page_is_its_sections_in_order() -> None:
    page = html_page("a <run> & more", [("First", "<p>1</p>"), ("a < b", "<p>2</p>")])
    assert page.startswith('<!doctype html><html lang="en"><head><meta charset="utf-8">')
    assert "<title>mmfree: a &lt;run&gt; &amp; more</title>" in page
    assert "<h1>mmfree: a &lt;run&gt; &amp; more</h1>" in page
    assert page.endswith(
        "<section><h2>First</h2><p>1</p></section><section><h2>a &lt; b</h2><p>2</p></section>"
        "</body></html>\n"
    )


def test_a_note_is_text() -> None:
    assert note("1 < 2") == '<p class="note">1 &lt; 2</p>'


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (("a", "1"), "<td>a</td><td class=n>1</td>"),
        (("a", "1", "x"), "<td>a</td><td class=n>1</td><td>x</td>"),
        (
            ("a", "1", "2", "<x>"),
            "<td>a</td><td class=n>1</td><td class=n>2</td><td>&lt;x&gt;</td>",
        ),
    ],
)
def test_numbers_stand_between_the_words_of_a_table(row: tuple[str, ...], cells: str) -> None:
    assert table([row]) == f"<table><tr>{cells}</tr></table>"


def test_a_table_may_have_a_heading() -> None:
    found = table([("a", "1"), ("b", "2")], ("what", "<n>"))
    assert found == (
        "<table><tr><th>what</th><th>&lt;n&gt;</th></tr><tr><td>a</td><td class=n>1</td></tr>"
        "<tr><td>b</td><td class=n>2</td></tr></table>"
    )

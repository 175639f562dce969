"""Pages: their parts, and that no text becomes markup."""

from __future__ import annotations

import pytest

from mmfree.report.figures import NARROW, WIDE
from mmfree.report.page import figure, html_page, note, table
from mmfree.report.palette import GREEN


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


def rows_in(shown: str) -> str:
    """What a table holds; it scrolls by itself where it is too wide."""
    start, end = '<div class="scroll"><table>', "</table></div>"
    assert shown.startswith(start)
    assert shown.endswith(end)
    return shown.removeprefix(start).removesuffix(end)


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (("a", "1"), '<td>a</td><td class="n">1</td>'),
        (("a", "1", "x"), '<td>a</td><td class="n">1</td><td>x</td>'),
        (
            ("a", "1", "2", "<x>"),
            '<td>a</td><td class="n">1</td><td class="n">2</td><td>&lt;x&gt;</td>',
        ),
    ],
)
def test_numbers_stand_between_the_words_of_a_table(row: tuple[str, ...], cells: str) -> None:
    assert rows_in(table([row])) == f"<tr>{cells}</tr>"


def test_columns_of_words_may_be_named() -> None:
    cells = '<td>a</td><td>b</td><td class="n">1</td>'
    assert rows_in(table([("a", "b", "1")], words={0, 1})) == f"<tr>{cells}</tr>"


def test_a_table_may_have_a_heading() -> None:
    """Above a number it stands where the number stands."""
    found = table([("a", "1"), ("b", "2")], ("what", "<n>"))
    assert rows_in(found) == (
        '<tr><th>what</th><th class="n">&lt;n&gt;</th></tr><tr><td>a</td><td class="n">1</td></tr>'
        '<tr><td>b</td><td class="n">2</td></tr>'
    )


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("0" * 28, ' class="n"'),
        ("0" * 29, ' class="long"'),
        ("twenty-nine letters, in words", ' class="n words"'),
        ("", ' class="n"'),
    ],
)
def test_what_is_too_long_for_a_line_may_break_anywhere(cell: str, kind: str) -> None:
    assert rows_in(table([("a", cell)])) == f"<tr><td>a</td><td{kind}>{cell}</td></tr>"


def test_many_words_keep_a_column_that_can_be_read() -> None:
    few, many = "twenty-eight letters, words.", "twenty-nine letters, in words"
    assert (len(few), len(many)) == (28, 29)
    assert rows_in(table([(few, "1")])).startswith(f"<tr><td>{few}<")
    assert rows_in(table([(many, "1")])).startswith(f'<tr><td class="words">{many}<')


def test_a_figure_is_drawn_for_each_screen_in_its_colours() -> None:
    """Names to which nothing refers go; a colour of the palette becomes the screen's."""
    asked: list[float] = []

    def draw(width: float) -> str:
        asked.append(width)
        return f'<svg id="patch_2"><g id="m1a2"/><g style="fill: {GREEN}; stroke: #123456"/></svg>'

    green = f"var(--c{GREEN[1:]})"
    inside = f'<svg><g id="m1a2"/><g style="fill: {green}; stroke: #123456"/></svg>'
    assert figure(draw) == (
        f'<figure class="wide">{inside}</figure><figure class="narrow">{inside}</figure>'
    )
    assert asked == [WIDE, NARROW]

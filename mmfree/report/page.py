"""Self-contained HTML pages: style, sections, tables, figures, notes.

Readable from a telephone, 390 pixels wide, to a large screen, light or dark: there, tables scroll
inside their section, and a figure that is drawn for the width takes the other one's place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from html import escape

from mmfree.report.figures import NARROW, WIDE
from mmfree.report.palette import FAILED, INK, LINE, MUTED, PANEL, PAPER, PASSED, theme, themed

STYLE = theme() + themed(f"""
body{{font:16px/1.5 system-ui,sans-serif;color:{INK};background:{PAPER};max-width:980px;
margin:2rem auto;padding:0 1rem}}
h1{{font-size:1.6rem;margin-bottom:.2rem;overflow-wrap:anywhere}}
h2{{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid {LINE}}}
.scroll{{overflow-x:auto;margin:.6rem 0 1rem}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}
td,th{{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}}
td.n,th.n{{text-align:right;white-space:nowrap}}
td.long{{overflow-wrap:anywhere;min-width:9rem}}td.words{{min-width:9rem;
white-space:normal}}
.ok{{color:{PASSED};font-weight:600}}.fail{{color:{FAILED};font-weight:600}}
.note{{color:{MUTED};font-size:.9rem;overflow-wrap:anywhere}}
pre{{background:{PANEL};border:1px solid {LINE};padding:.6rem;overflow-x:auto;font-size:.8rem;
line-height:1.35}}
pre.text{{white-space:pre-wrap;overflow-wrap:anywhere}}
figure{{margin:.6rem 0}}svg{{display:block;width:100%;height:auto}}svg text{{fill:{INK}}}
.narrow{{display:none;max-width:480px}}
@media(max-width:860px){{.wide{{display:none}}.narrow{{display:block}}}}
.name{{font:600 13px system-ui,sans-serif;text-anchor:middle}}
.size{{font:12px system-ui,sans-serif;text-anchor:middle}}
.narrow .name{{font-size:11.5px}}.narrow .size{{font-size:10.5px}}
""")
"""Rules of every page."""

_WORDS = 28
"""Letters from which a cell of words takes several lines on a narrow screen."""

_UNUSED_NAME = re.compile(r' id="[^"]*_[0-9]+"')
"""What matplotlib calls a part to which nothing refers: every figure has the same names."""


def html_page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """A page of sections, (title, HTML) each."""
    body = "".join(f"<section><h2>{escape(name)}</h2>{html}</section>" for name, html in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>mmfree:'
        f' {escape(title)}</title><meta name="viewport"'
        f' content="width=device-width,initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>mmfree: {escape(title)}</h1>{body}</body></html>\n"
    )


def note(text: str) -> str:
    """A remark below a figure."""
    return f'<p class="note">{escape(text)}</p>'


def figure(draw: Callable[[float], str]) -> str:
    """A figure, drawn for a wide screen and for a narrow one; the page shows one of them.

    ``draw``: SVG element of a figure of so many inches.
    """
    return "".join(
        f'<figure class="{kind}">{themed(_UNUSED_NAME.sub("", draw(width)))}</figure>'
        for kind, width in (("wide", WIDE), ("narrow", NARROW))
    )


def table(
    rows: Iterable[tuple[str, ...]],
    header: tuple[str, ...] = (),
    *,
    words: Container[int] | None = None,
) -> str:
    """Rows of text.

    ``words``: the columns that are no numbers; otherwise the first and, of more than two, the last.
    """
    lines = [_row(header, "th", words)] if header else []
    lines += [_row(row, "td", words) for row in rows]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _row(row: tuple[str, ...], kind: str, words: Container[int] | None) -> str:
    if words is None:
        words = {0, len(row) - 1} if len(row) > 2 else {0}
    cells = (
        f"<{kind}{_class_of(cell, number=n not in words)}>{escape(cell)}</{kind}>"
        for n, cell in enumerate(row)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _class_of(cell: str, *, number: bool) -> str:
    names = ["n"] if number else []
    if max(map(len, cell.split()), default=0) > _WORDS:
        names = ["long"]
    elif len(cell) > _WORDS:
        names.append("words")
    return f' class="{" ".join(names)}"' if names else ""

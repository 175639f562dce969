"""Self-contained HTML pages: style, sections, tables, notes."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#111827;background:#fff;max-width:980px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}
h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #e5e7eb}
table{border-collapse:collapse;margin:.6rem 0 1rem;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
td.n{text-align:right}.ok{color:#0b6e4f;font-weight:600}.fail{color:#b91c1c;font-weight:600}
.note{color:#4b5563;font-size:.9rem}
pre{background:#f8fafc;border:1px solid #e5e7eb;padding:.6rem;overflow-x:auto;font-size:.8rem;
line-height:1.35}
svg{width:100%;height:auto}.name{font:600 13px system-ui,sans-serif;text-anchor:middle}
.size{font:11.5px system-ui,sans-serif;text-anchor:middle;fill:#374151}
"""


def html_page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """A page of sections, (title, HTML) each."""
    body = "".join(f"<section><h2>{escape(name)}</h2>{html}</section>" for name, html in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>mmfree:'
        f' {escape(title)}</title><meta name="viewport"'
        f' content="width=device-width"><style>{_STYLE}</style></head><body><h1>mmfree:'
        f" {escape(title)}</h1>{body}</body></html>\n"
    )


def note(text: str) -> str:
    """A remark below a figure."""
    return f'<p class="note">{escape(text)}</p>'


def table(rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = ()) -> str:
    """Rows of text; all columns but the first and, of more than two, the last are numbers."""
    lines = (
        ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>"]
        if header
        else []
    )
    for row in rows:
        words = {0, len(row) - 1} if len(row) > 2 else {0}
        cells = (
            f"<td{'' if n in words else ' class=n'}>{escape(cell)}</td>"
            for n, cell in enumerate(row)
        )
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return f"<table>{''.join(lines)}</table>"

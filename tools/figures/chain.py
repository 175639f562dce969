"""The chain from text to chip in one picture, with what a demo found in it.

    python -m tools.figures.chain

Reads runs/addition/demo.json, which `mmfree demo` left, keeps it as
docs/figures/demo_addition.json, and writes docs/figures/chain_light.svg and chain_dark.svg. Every
number in them is the record's.
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path
from typing import Any

from mmfree.errors import InputError
from mmfree.files.atomic import write_atomically
from mmfree.report.palette import ARRAY, DARK, GREEN, INK, LINE, MUTED, PANEL
from mmfree.report.record import RUN_NAME, read_record
from mmfree.training.presets import addition

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
RECORD = FIGURES / "demo_addition.json"
WIDTH, HEIGHT = 760, 492
SMALL = 22
"""Height of the smallest letters: ten pixels where a telephone leaves 358 for the picture."""

_ENDS = 16
"""Digits shown of either end of a number."""

_FAMILIES = {
    "": "system-ui,-apple-system,'Segoe UI',sans-serif",
    "mono": "ui-monospace,Menlo,Consolas,monospace",
}


def draw(record: dict[str, Any], *, dark: bool) -> str:
    """The picture, for a light page or for a dark one.

    ``record``: a demo's, of addition. The page's own colour shows through.

    Raises
    ------
    InputError
        If a check of the demo failed, or it shows no sum.
    """
    failed = [check.name for check in record["checks"] if not check.passed]
    if failed:
        raise InputError(f"the demo failed in {', '.join(failed)}: only what passed is drawn")
    weights = f"{record['weights_per_token']:,}"
    stages = (
        ("text", ("sums of up to", f"{addition().recipe.length} digits")),
        ("model", (f"{weights} times", "-1, 0 or +1")),
        ("tape", ("one file of", "integers")),
        ("chip", (f"{record['lanes']:,} additions", "per cycle")),
    )
    parts = []
    for number, (name, lines) in enumerate(stages):
        parts += _stage(196 * number, name, lines, last=number == len(stages) - 1)
    parts += _sum(record["answers"])
    found = (
        (f"{record['cycles_per_token']:,.0f}", ("cycles per token,", "simulated")),
        ("0", ("bits differ in", f"{record['compared']:,} words")),
        (f"{record['multipliers']:,}", ("multipliers in", "the chip")),
    )
    for number, (value, lines) in enumerate(found):
        parts += _result(128 + 252 * number, value, lines)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="text, model, tape, chip">{"".join(parts)}</svg>\n'
    )
    if dark:
        for color, other in DARK.items():
            svg = svg.replace(f'"{color}"', f'"{other}"')
    return svg


def _stage(x: int, name: str, lines: tuple[str, ...], *, last: bool) -> list[str]:
    """A step of the chain, and the arrow to the next one."""
    parts = [_box(x + 1, 1, 170, 134, ARRAY if last else PANEL)]
    parts.append(_text(x + 86, 42, name, 30, bold=True))
    parts += [_text(x + 86, 82 + 32 * n, line, SMALL) for n, line in enumerate(lines)]
    if not last:
        parts.append(f'<path d="M{x + 175} 60h10v-8l9 16-9 16v-8h-10z" fill="{INK}"/>')
    return parts


def _sum(answers: list[str]) -> list[str]:
    """The first sum of a demo, the middle of its numbers left out."""
    at = next((n for n, line in enumerate(answers) if line.startswith(" +")), None)
    if at is None:
        raise InputError("the demo shows no sum: run the one of addition")
    numbers = [line.strip(" +=") for line in answers[at - 1 : at + 2]]
    digits = len(numbers[0])
    parts = [_box(1, 161, WIDTH - 2, 190, PANEL)]
    parts.append(_text(WIDTH / 2, 196, "the chip adds, one digit after the other:", SMALL))
    for row, (sign, number) in enumerate(zip("\N{NO-BREAK SPACE}+=", numbers, strict=True)):
        # Numbers end below each other; the sum has a digit more.
        start = _ENDS + len(number) - digits
        shown = f"{sign} {number[:start]}...{number[-_ENDS:]}"
        text = _text(WIDTH / 2 + 262, 234 + 32 * row, shown, 24, family="mono", anchor="end")
        parts.append(text.replace(INK, GREEN) if row == 2 else text)
    parts.append(_text(WIDTH / 2, 336, f"{digits} digits, every one of them right", SMALL))
    return parts


def _result(x: int, value: str, lines: tuple[str, ...]) -> list[str]:
    """A figure, and what it is of."""
    parts = [_text(x, 402, value, 42, bold=True, color=GREEN)]
    parts += [_text(x, 440 + 30 * n, line, SMALL, color=MUTED) for n, line in enumerate(lines)]
    return parts


def _box(x: int, y: int, width: int, height: int, fill: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="12" fill="{fill}"'
        f' stroke="{LINE}" stroke-width="2"/>'
    )


def _text(
    x: float,
    y: int,
    words: str,
    size: int,
    *,
    color: str = INK,
    bold: bool = False,
    family: str = "",
    anchor: str = "middle",
) -> str:
    weight = ' font-weight="700"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y}" font-size="{size}" font-family="{_FAMILIES[family]}"{weight}'
        f' text-anchor="{anchor}" fill="{color}">{escape(words)}</text>'
    )


def main() -> None:
    """Keep the record, draw both pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run", type=Path, nargs="?", default=Path("runs/addition"), help="folder of the demo"
    )
    options = parser.parse_args()
    source = options.run / RUN_NAME
    record = read_record(source)
    for name, dark in (("chain_light.svg", False), ("chain_dark.svg", True)):
        write_atomically(FIGURES / name, draw(record, dark=dark).encode())
    write_atomically(RECORD, source.read_bytes())


if __name__ == "__main__":
    main()

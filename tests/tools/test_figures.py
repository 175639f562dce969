"""Figures of the docs: each is what its program draws of the data beside it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from mmfree.errors import InputError
from mmfree.report.palette import DARK
from mmfree.report.record import Check, read_record
from tools.figures import accuracy_against_digits, chain, grokking, scaling

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
PHONE = 358
"""Pixels that a telephone of 390 leaves for a picture."""


def words_of(svg: str) -> list[str]:
    """What is written in a picture; another matplotlib may place it elsewhere."""
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]+)</text>", svg)]


def shown(name: str) -> str:
    return (FIGURES / name).read_text(encoding="utf-8")


def data(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("scaling", lambda: scaling.draw(data(FIGURES / "scaling.json"))),
        ("grokking", lambda: grokking.draw(data(FIGURES / "grokking.json"))),
        (
            "accuracy_against_digits",
            lambda: accuracy_against_digits.draw(
                data(accuracy_against_digits.DATA / "accuracy_against_digits.json")
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_figure_is_of_its_data(name: str, drawn: Any) -> None:
    """Else: run its program again."""
    found = drawn()
    assert words_of(shown(f"{name}.svg")) == words_of(found)
    assert found.count("<path") == shown(f"{name}.svg").count("<path")


def lines_of(module: Any, rows: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """Points of each line that a program draws, (x, y)."""
    seen: list[Figure] = []
    monkeypatch.setattr(module, "svg_of", lambda figure: str(seen.append(figure)))
    module.draw(rows)
    (figure,) = seen
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    return [list(zip(*line.get_data(), strict=True)) for line in lines]


def test_grokking_is_drawn_in_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{"weight_decay": 1.0, "curve": [[25, 0.5, 0.25], [50, 1.0, 0.75]]}]
    lines = lines_of(grokking, found, monkeypatch)
    assert lines == [[(25, 50.0), (50, 100.0)], [(25, 25.0), (50, 75.0)]]


def test_accuracy_is_drawn_in_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each kind, gate and seed."""
    row = {"gate": "hard", "seed": 0, "kind": "chains", "digits": 10, "examples": 8, "exact": 2}
    rows = [row, row | {"digits": 20, "exact": 4}, row | {"kind": "random", "exact": 8}]
    lines = lines_of(accuracy_against_digits, rows, monkeypatch)
    assert [line for line in lines if line] == [[(10, 100.0)], [(10, 25.0), (20, 50.0)]]


@pytest.mark.parametrize("kept", [True, False])
def test_axes_of_scaling_are_whole(kept: bool) -> None:
    """From 0, marks on each; lines of a larger model are darker."""
    rows = data(FIGURES / "scaling.json")
    svg = shown("scaling.svg") if kept else scaling.draw(rows)
    words = words_of(svg)
    assert words.count("0") == 4
    assert words.count("4096") == 4
    assert "d = 64" in words
    assert "d = 2,560" in words
    lines = re.findall(r"fill: none; stroke: #([0-9a-f]{6}); stroke-width: 1.5", svg)
    light = [sum(bytes.fromhex(color)) for color in lines[:7]]
    assert light == sorted(light, reverse=True)
    assert len(set(light)) == 7


RECORD = read_record(chain.RECORD)


@pytest.mark.parametrize("dark", [False, True])
def test_the_chain_is_of_its_demo(dark: bool) -> None:
    assert chain.draw(RECORD, dark=dark) == shown(f"chain_{'dark' if dark else 'light'}.svg")


def test_numbers_in_the_chain_are_the_demos() -> None:
    words = words_of(chain.draw(RECORD, dark=False))
    assert f"{RECORD['weights_per_token']:,} times" in words
    assert f"{RECORD['lanes']:,} additions" in words
    assert f"{RECORD['cycles_per_token']:,.0f}" in words
    assert f"{RECORD['compared']:,} words" in words
    assert words[-3] == f"{RECORD['multipliers']}"
    one, other, total = (text.split(" ")[1] for text in words if "..." in text)
    # Ends of the numbers: the last digits add up, and the first ones but for a carry.
    (first, last), (more, rest) = one.split("..."), other.split("...")
    start, end = total.split("...")
    assert (int(last) + int(rest)) % 10**16 == int(end)
    assert int(start) - int(first) - int(more) in (0, 1)


def test_the_chain_has_letters_that_a_telephone_shows() -> None:
    """Ten pixels; every line within the picture."""
    svg = chain.draw(RECORD, dark=False)
    found = re.findall(
        r'<text x="([\d.]+)" y="(\d+)" font-size="(\d+)" font-family="([^"]*)"[^>]*'
        r'text-anchor="(\w+)"[^>]*>([^<]*)<',
        svg,
    )
    assert len(found) == svg.count("<text")
    for x, y, size, family, anchor, words in found:
        assert float(size) * PHONE / chain.WIDTH >= 10
        width = len(unescape(words)) * float(size) * (0.61 if "mono" in family else 0.56)
        left = float(x) - (width if anchor == "end" else width / 2)
        assert left >= 0, words
        assert left + width <= chain.WIDTH, words
        assert float(size) < float(y) < chain.HEIGHT


def test_the_dark_chain_has_the_dark_colours() -> None:
    light, dark = (
        set(re.findall("#[0-9a-f]{6}", shown(f"chain_{n}.svg"))) for n in ("light", "dark")
    )
    assert dark == {DARK[color] for color in light}


def test_only_what_passed_is_drawn() -> None:
    failed = replace(RECORD["checks"][0], right=0)
    assert isinstance(failed, Check)
    with pytest.raises(InputError, match=f"the demo failed in {failed.name}: only what passed"):
        chain.draw(RECORD | {"checks": [failed]}, dark=False)
    with pytest.raises(InputError, match="the demo shows no sum: run the one of addition"):
        chain.draw(RECORD | {"answers": ["the chip wrote:"]}, dark=False)

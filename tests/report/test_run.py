"""The report: self-contained, from a demo's folder or a checkpoint's."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mmfree.cli import demo
from mmfree.cli.main import main
from mmfree.report.run import write_report
from tests.support.models import SMALL_ADDITION, trained

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Titles of the sections, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open[-1:] == ["h2"]:
            self.titles.append(text)


def check_page(path: Path) -> list[str]:
    """Nothing is loaded from elsewhere, every element ends; returns the sections' titles."""
    text = path.read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#)""", text)
    assert "@import" not in text
    assert "url(http" not in text
    assert "<script" not in text
    page = Page()
    page.feed(text)
    assert page.open == []
    return page.titles


def test_a_demo_writes_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PRESETS", {"addition": lambda: SMALL_ADDITION})
    monkeypatch.setattr(demo, "DIGITS", 4)
    monkeypatch.setattr(demo, "GOLDEN_SUMS", 10)
    assert main(["demo", "--out", str(tmp_path), "--lanes", "16"]) == 1  # it adds wrongly
    titles = check_page(tmp_path / "report.html")
    assert titles == [
        "What was checked",
        "The model",
        "Training",
        "Accuracy against digits",
        "Cycles by segment",
        "Operations per token",
        "The accelerator",
        "Ranges",
    ]
    text = (tmp_path / "report.html").read_text()
    assert "4 rows x 4 columns = 16 additions per cycle" in text
    assert 'class="fail">FAILED' in text
    assert "layer 1 down" in text
    capsys.readouterr()
    out = tmp_path / "other.html"
    assert main(["report", str(tmp_path), "--out", str(out)]) == 0
    assert check_page(out) == titles


def test_a_checkpoint_has_its_curve(tmp_path: Path) -> None:
    path, sections = write_report(trained(SMALL_ADDITION, tmp_path))
    assert check_page(path) == sections == ["Training"]


def test_the_curve_of_grokking_is_drawn(tmp_path: Path) -> None:
    trained(SMALL_ADDITION, tmp_path)
    (tmp_path / "accuracy.csv").write_text("step,training,held_out\n25,0.5,0.1\n50,1.0,0.9\n")
    path, sections = write_report(tmp_path)
    assert sections == ["Training", "Learning the rule"]
    assert "held-out examples" in path.read_text()


def test_nothing_to_report_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "nothing to report" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "not a folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

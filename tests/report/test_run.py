"""The report: self-contained, from a demo's folder or a checkpoint's."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mmfree.cli import demo
from mmfree.cli.main import main
from mmfree.errors import InputError
from mmfree.report.record import Check, read_record
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


RECORD: dict[str, Any] = {
    **dict.fromkeys(("lanes", "cycles_per_token", "lane_utilization"), 1),
    **dict.fromkeys(("multipliers", "simulated_hz", "tokens"), 1),
    "answers": [],
    "design": {},
    "profile": {},
}
"""All of a demo's record but its checks."""


def test_a_check_passes_only_if_all_that_was_due_was_right(tmp_path: Path) -> None:
    """Whatever a record says: the verdict follows from its numbers."""

    def read(*checks: object) -> list[Check]:
        path = tmp_path / "demo.json"
        path.write_text(json.dumps(RECORD | {"checks": checks}))
        found: list[Check] = read_record(path)["checks"]
        return found

    good = Check(name="sums", due=3, right=3, detail="3 of 3")
    bad = Check(name="sums", due=3, right=2, detail="2 of 3")
    none = Check(name="sums", due=0, right=0, detail="0 of 0")
    assert [check.passed for check in (good, bad, none)] == [True, False, False]
    assert read(good.to_dict(), bad.to_dict()) == [good, bad]
    for wrong in (
        bad.to_dict() | {"passed": True},
        none.to_dict() | {"passed": True},
        good.to_dict() | {"passed": 1},
        good.to_dict() | {"due": "3"},
        good.to_dict() | {"more": 1},
        {"name": "sums", "passed": True, "detail": ""},
        [],
    ):
        with pytest.raises(InputError, match=r"demo\.json: .* checks are malformed"):
            read(good.to_dict(), wrong)
    with pytest.raises(InputError, match=r"demo\.json: .* nothing was checked"):
        read()


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

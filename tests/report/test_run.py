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
from mmfree.inference.scoring import TaskResult
from mmfree.report.figures import NARROW, WIDE
from mmfree.report.record import Check, read_record
from mmfree.report.run import write_report
from mmfree.tape.pow2 import Tape, write_tape
from tests.support.below import Below
from tests.support.models import SMALL_ADDITION, trained
from tests.support.verbs.case import SUM_TAPE, TEXT_TAPE
from tests.support.verbs.chips import DESIGN
from tests.support.verbs.models import RANGES, REAL_DATA

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
    assert not re.search(r"""(?:src|href)=["'](?!#|page\.html")""", text)
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
    monkeypatch.setitem(demo.RUNS, "addition", lambda _: (SMALL_ADDITION, []))
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
    assert '<a href="page.html">The chip in a page</a>' in text
    assert b"2 layers of 20 channels" in (tmp_path / "page.html").read_bytes()
    capsys.readouterr()
    out = tmp_path / "other.html"
    assert main(["report", str(tmp_path), "--out", str(out)]) == 0
    assert check_page(out) == titles
    elsewhere = tmp_path / "there" / "report.html"
    elsewhere.parent.mkdir()
    assert main(["report", str(tmp_path), "--out", str(elsewhere)]) == 0
    assert f"mmfree page {tmp_path} --out page.html" in elsewhere.read_text()


RECORD: dict[str, Any] = {
    **dict.fromkeys(("lanes", "cycles_per_token", "lane_utilization"), 1),
    **dict.fromkeys(("multipliers", "simulated_hz", "tokens"), 1),
    "answers": [],
    "sha256": SUM_TAPE.sha256,
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


def test_validation_and_samples_are_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last and the best validation in words; a few of many texts, the last among them."""
    (tmp_path / "metrics.csv").write_text("step,loss,learning_rate\n0,2.5,0.1\n")
    rows = "100,2.0,1.5\n1200,1.5,1.25\n1300,1.75,1.375\n"
    (tmp_path / "validation.csv").write_text(f"step,loss,bits_per_byte\n{rows}")
    samples = [{"step": 1000 * step, "text": f"<text> {step}\nends"} for step in range(1, 11)]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))
    below = Below(monkeypatch)
    below.replace({"mmfree.report.run:training_curve": "<svg/>"})
    path, sections = write_report(tmp_path)
    assert check_page(path) == sections == ["Training", "What it wrote while training"]
    wanted = [(100, 2.0, 1.5), (1200, 1.5, 1.25), (1300, 1.75, 1.375)]
    assert below.asked["training_curve(validation)"] == wanted
    assert below.asked["training_curve 2(validation)"] == wanted
    page = path.read_text()
    assert "1.375 bits per byte at the end, at best 1.250, after step 1,200." in page
    shown = re.findall(
        r'<p class="note">After step ([\d,]+):</p><pre class="text">&lt;text&gt; (\d+)\nends</pre>',
        page,
    )
    assert shown == [("2,000", "2"), ("5,000", "5"), ("7,000", "7"), ("10,000", "10")]


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
    assert "none: no such file or folder; give a tape, a checkpoi" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def cells_of(page: str) -> dict[str, str]:
    """First cell of a row of a table -> the second one."""
    return dict(re.findall(r"<tr><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td></tr>", page))


def test_every_figure_of_a_demo_is_on_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures are replaced, and what they were given is compared."""
    write_tape(SUM_TAPE, tmp_path / "model.tape")
    (tmp_path / "checkpoint").mkdir()
    table = "step,loss,learning_rate\n0,2.5,0.1\n"
    (tmp_path / "checkpoint" / "metrics.csv").write_text(table)
    checks = [
        Check(name="sums & more", due=3, right=3, detail="3 of 3"),
        Check(name="text", due=3, right=2, detail="2 < 3"),
    ]
    record = RECORD | {
        "lanes": 1024,
        "cycles_per_token": 12345.6,
        "lane_utilization": 0.125,
        "multipliers": 0,
        "simulated_hz": 54321.4,
        "tokens": 7,
        "design": DESIGN.to_dict(),
        "profile": {"head": {"beats": 5}},
        "answers": ["1 < 2", "yes"],
        "checks": [check.to_dict() for check in checks],
    }
    (tmp_path / "demo.json").write_text(json.dumps(record))
    below = Below(monkeypatch)
    below.replace(
        {
            f"mmfree.report.run:{name}": f"<svg>{name}</svg>"
            for name in (
                "accuracy_against_digits",
                "cycles_by_segment",
                "operations_per_token",
                "training_curve",
            )
        }
        | {
            "mmfree.report.run:evaluate_task": TaskResult("golden", "a", 1, 200, 50),
            "mmfree.report.run:real_data": REAL_DATA,
            "mmfree.report.run:measure_ranges": RANGES,
        }
    )
    path, _ = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    page = path.read_text()
    check_page(path)
    assert f"<title>mmfree: {tmp_path.name}</title>" in page
    assert (
        '<tr><td class="ok">passed</td><td>sums &amp; more</td><td>3 of 3</td></tr>'
        '<tr><td class="fail">FAILED</td><td>text</td><td>2 &lt; 3</td></tr>'
    ) in page
    assert "<pre>1 &lt; 2\nyes</pre>" in page
    cells = cells_of(page)
    assert (
        cells
        | {
            "lanes": "1,024",
            "cycles per token (simulated, batch 1)": "12,346",
            "lane utilization (simulated)": "12.5 %",
            "multipliers (cells of the RTLIL)": "0",
            "simulation speed, cycles/s (measured)": "54,321",
            "identity (sha256 of the tape)": SUM_TAPE.sha256,
            "hidden size, intermediate size, layers": "16, 24, 1",
            "forget gate": "hard",
            "parameters": "2,848",
            "ternary weights": "2,336",
            "state words": "16",
            "bytes of the tape": f"{(tmp_path / 'model.tape').stat().st_size:,}",
        }
        == cells
    )
    assert below.asked["training_curve(rows)"] == [(0, 2.5, 0.1)]
    assert below.asked["training_curve(validation)"] == [], "it was not measured"
    widths = [below.asked[f"cycles_by_segment{number}(width)"] for number in ("", " 2")]
    assert widths == [WIDE, NARROW]
    assert below.asked["accuracy_against_digits(own)"] == [
        (digits, 0.25) for digits in (10, 30, 100, 300, 1000)
    ]
    assert below.asked["accuracy_against_digits(gate)"] == "hard"
    kinds = {row["kind"] for row in below.asked["accuracy_against_digits(reference)"]}
    assert kinds == {"chains", "random"}
    asked = [
        tuple(
            below.asked[f"evaluate_task{number}({name})"]
            for name in ("name", "digits", "examples", "seed")
        )
        for number in ("", " 2", " 3", " 4", " 5")
    ]
    assert asked == [
        ("addition-chains", digits, examples, 0)
        for digits, examples in ((10, 200), (30, 200), (100, 200), (300, 50), (1000, 20))
    ]
    assert below.asked["cycles_by_segment(profile)"] == {"head": {"beats": 5}}
    assert below.asked["cycles_by_segment(tokens)"] == 7
    counts = below.asked["operations_per_token(counts)"]
    assert list(counts)[:3] == ["ternary additions", "of these, weight not 0", "table reads"]
    zeros = sum(int((m.trits == 0).sum()) for s in SUM_TAPE.segments for m in s.matrices)
    assert list(counts.values())[:3] == [2336, 2336 - zeros, 5 + 2 * 16 + 24 + 10]
    assert counts["products: update state"] == 16
    assert below.asked["real_data(run)"] == tmp_path / "checkpoint"
    assert below.asked["measure_ranges(ids)"] is REAL_DATA.ids
    assert "on 100 positions of real data (numbers; golden model)" in page


def test_what_was_checked_is_the_tape_beside_it(tmp_path: Path) -> None:
    """A record of another one is refused, and the page stays as it is."""
    check = Check(name="sums", due=3, right=3, detail="3 of 3").to_dict()
    (tmp_path / "demo.json").write_text(json.dumps(RECORD | {"checks": [check]}))
    write_tape(TEXT_TAPE, tmp_path / "model.tape")
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(InputError) as caught:
        write_report(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'demo.json'}: checked another tape than model.tape; run it again"
    )
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_model_of_text_has_no_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tape(TEXT_TAPE, tmp_path / "model.tape")
    below = Below(monkeypatch)
    below.replace(
        {
            "mmfree.report.run:real_data": REAL_DATA,
            "mmfree.report.run:measure_ranges": RANGES,
            "mmfree.report.run:operations_per_token": "<svg/>",
        }
    )
    _, sections = write_report(tmp_path)
    assert sections == ["The model", "What it writes", "Operations per token", "Ranges"]
    assert below.asked["real_data(run)"] == tmp_path, "no checkpoint beside it"


@pytest.mark.parametrize(
    ("tape", "shown"),
    [(SUM_TAPE, "<pre>it wrote</pre>"), (TEXT_TAPE, '<pre class="text">it wrote<')],
)
def test_lines_of_a_text_may_break_and_digits_may_not(
    tape: Tape, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tape(tape, tmp_path / "model.tape")
    check = Check(name="text", due=3, right=3, detail="3 of 3").to_dict()
    record = RECORD | {"checks": [check], "answers": ["it wrote"], "sha256": tape.sha256}
    (tmp_path / "demo.json").write_text(json.dumps(record | {"design": DESIGN.to_dict()}))
    Below(monkeypatch).replace(
        dict.fromkeys(
            (f"mmfree.report.run:_{name}" for name in ("model", "digits", "operations", "ranges")),
            "",
        )
        | {"mmfree.report.run:figure": ""}
    )
    path, _ = write_report(tmp_path)
    assert shown in path.read_text()


def test_a_tape_alone_has_a_page_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tape(TEXT_TAPE, tmp_path / "a.tape")
    with pytest.raises(InputError, match="the tape that is read; give another --out"):
        write_report(tmp_path / "a.tape", tmp_path / "a.tape")
    names = ("model", "operations", "ranges")
    Below(monkeypatch).replace({f"mmfree.report.run:_{name}": "" for name in names})
    path, sections = write_report(tmp_path / "a.tape")
    assert path == tmp_path / "a.tape.html"
    assert sections == ["The model", "What it writes", "Operations per token", "Ranges"]
    assert (tmp_path / "a.tape").read_bytes() == TEXT_TAPE.data


def test_a_page_goes_where_it_is_asked_for(tmp_path: Path) -> None:
    """Where the page goes is asked for; the folder's own is not touched."""
    trained(SMALL_ADDITION, tmp_path / "run")
    path, _ = write_report(tmp_path / "run", tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    assert path.exists()
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("field", [name for name in RECORD if name != "checks"])
def test_a_field_of_another_type_is_named(field: str, tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    check = Check(name="sums", due=3, right=3, detail="3 of 3").to_dict()
    good = RECORD | {"checks": [check]}
    for bad in (
        {name: value for name, value in good.items() if name != field},
        good | {field: None},
    ):
        path.write_text(json.dumps(good))
        read_record(path)
        path.write_text(json.dumps(bad))
        with pytest.raises(InputError, match=rf"demo\.json: .*: {field} is missing or malformed"):
            read_record(path)

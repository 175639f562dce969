"""The text of a model of stories: mended, each once, and only what was asked for."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from mmfree.text.sources import SEPARATOR, documents
from tools.stories import text
from tools.stories.text import each_once, mended

LONG = "A story that is long enough to be one, for it has more than a hundred characters in all its"


@pytest.mark.parametrize(
    ("found", "due"),
    [
        ("She said, â€œGo!â€\x9d", 'She said, "Go!"'),
        ("Itâ€™s â€œfineâ€ now", 'It\'s "fine" now'),
        ("“Yes” – ‘no’… a—b", "\"Yes\" - 'no'... a - b"),
        ("  a \t b \r\n\n\n\nc  \n", "a b\n\nc"),
        ("Ã¼ber café â", "über café â"),
    ],
)
def test_text_is_mended(found: str, due: str) -> None:
    assert mended(found) == due


def test_of_two_stories_with_a_long_line_in_common_the_first_is_kept() -> None:
    line = "x" * 60
    stories = [
        f"{LONG} one.\n{line}",
        f"{LONG} two.\n{line}",
        "short",
        f"{LONG} three.\n{line[1:]}",
    ]
    kept = list(each_once([*stories, stories[0]]))
    assert kept == [stories[0], stories[3]]


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["text", *map(str, words)])
    text.main()


def test_stories_of_every_layout_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stories = [f"{LONG} {word}.\n\nThe end of {word}." for word in ("one", "two", "three", "four")]
    marked, plain = tmp_path / "marked.txt", tmp_path / "plain.txt"
    marked.write_text(f"\n{SEPARATOR}\n".join(stories[:2]))
    plain.write_text("\n".join(stories[2:]))
    out = tmp_path / "out.txt"
    run(monkeypatch, marked, plain, "--out", out)
    assert [document.text for document in documents([out])] == stories
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    said = capsys.readouterr().out
    assert said == f"{out}: 4 stories, {out.stat().st_size:,} bytes, sha256 {digest}\n"
    out.unlink()
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, marked, "--out", out, "--sha256", digest)
    assert stopped.value.code == 2
    assert f"not {digest}: nothing written" in capsys.readouterr().err
    assert not out.exists()
    run(monkeypatch, marked, plain, "--out", out, "--sha256", digest)
    for rows in ("3", "a:b", "1:2:0"):
        with pytest.raises(SystemExit):
            run(monkeypatch, marked, "--out", out, "--rows", rows)
        assert "--rows" in capsys.readouterr().err
    (tmp_path / "none.txt").write_text("short")
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "none.txt", "--out", tmp_path / "x.txt")
    assert "no story of 100 characters" in capsys.readouterr().err


def test_rows_of_a_data_set_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfree.text.sources import Document

    stories = [f"{LONG} {number} is its number." for number in range(9)]
    monkeypatch.setattr(text, "documents", lambda _: (Document(story) for story in stories))
    run(monkeypatch, "hf:stories", "--rows", "2:5", "--out", tmp_path / "a.txt")
    kept = (tmp_path / "a.txt").read_text().split(f"\n{SEPARATOR}\n")[:-1]
    assert kept == stories[2:5]

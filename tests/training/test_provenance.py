"""The record of a run's text: what it holds, and that a damaged one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.text.corpus import Corpus
from mmfree.text.loading import load_corpus
from mmfree.training.provenance import (
    PROVENANCE_NAME,
    Provenance,
    read_provenance,
    write_provenance,
)

PLAN = {"steps": 6, "recipe": {"task": "text"}, "sources": [], "field": "text"}
WHOLE = Provenance(
    sources=("/a", "-", "hf:stories"),
    field="story",
    text="a, b",
    digest="12ab",
    held_out=(0, (1 << 32) - 1),
    began=6,
    earlier=(PLAN,),
    teacher="/large",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) is None
    for record in (WHOLE, Provenance()):
        write_provenance(tmp_path, record)
        assert read_provenance(tmp_path) == record


def test_the_names_in_the_file_are_those_of_the_docs(tmp_path: Path) -> None:
    write_provenance(tmp_path, WHOLE)
    assert json.loads((tmp_path / PROVENANCE_NAME).read_text()) == {
        "sources": ["/a", "-", "hf:stories"],
        "field": "story",
        "text": "a, b",
        "digest": "12ab",
        "held_out": [0, 4294967295],
        "began": 6,
        "earlier": [PLAN],
        "teacher": "/large",
    }


def test_a_record_of_an_earlier_version_had_no_teacher(tmp_path: Path) -> None:
    write_provenance(tmp_path, replace(WHOLE, teacher=""))
    path = tmp_path / PROVENANCE_NAME
    data = json.loads(path.read_text())
    del data["teacher"]
    path.write_text(json.dumps(data))
    assert read_provenance(tmp_path) == replace(WHOLE, teacher="")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sources", "/a"),
        ("sources", [1]),
        ("field", None),
        ("text", 3),
        ("digest", 3),
        ("began", True),
        ("began", "6"),
        ("held_out", [True]),
        ("held_out", ["1"]),
        ("held_out", 1),
        ("held_out", [-1]),
        ("held_out", [1 << 32]),
        ("earlier", [[]]),
        ("earlier", {}),
        ("teacher", None),
        ("surplus", 1),
    ],
)
def test_a_field_of_another_kind_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    write_provenance(tmp_path, WHOLE)
    path = tmp_path / PROVENANCE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(InputError, match=r"training\.json: damaged: not what a run says of its"):
        read_provenance(tmp_path)


def test_a_record_has_the_first_4096_tokens_held_out_and_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = load_corpus([])
    record = Provenance.of(
        corpus, [Path("hf:a:b"), Path("c.txt"), Path("-")], "f", began=3, earlier=(PLAN,)
    )
    assert record.sources == ("hf:a:b", str(tmp_path / "c.txt"), "-")
    assert record.held_out == tuple(corpus.validation[:4096].tolist())
    assert (record.field, record.began, record.earlier) == ("f", 3, (PLAN,))
    assert (record.text, record.digest) == ("Python documentation", corpus.digest)
    with pytest.raises(InputError, match="came through a pipe"):
        _ = record.paths
    assert Provenance(sources=("/a", "hf:b")).paths == [Path("/a"), Path("hf:b")]


def test_a_task_has_no_text() -> None:
    record = Provenance.of(None, [], "text", began=3, earlier=(PLAN,))
    assert record == Provenance(began=3, earlier=(PLAN,))


def test_tokens_are_plain_numbers() -> None:
    corpus = Corpus("x", np.arange(9), np.arange(3, dtype=np.uint16), 3)
    assert [type(token) for token in Provenance.of(corpus, [], "f").held_out] == [int] * 3

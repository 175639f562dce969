"""``mmfree evaluate`` of text models: every kind of text, several backends in one table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmfree.cli.main import main
from mmfree.inference.backends import load_backend
from mmfree.inference.places import Place
from mmfree.inference.scoring import TaskResult, TextResult
from mmfree.text.corpus import python_documentation
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer, text_tokenizer
from tests.support.below import Below, Each
from tests.support.command_line import error_of, run_json
from tests.support.files import COMPRESS, fifo
from tests.support.subwords import train_subword


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text, a config file of 400 tokens, shards and a checkpoint."""
    path = tmp_path_factory.mktemp("scores")
    train_subword(path)
    return path


@pytest.fixture
def shards(folder: Path) -> Path:
    return folder / "shards"


@pytest.fixture
def run(folder: Path) -> Path:
    return folder / "run"


def test_bits_per_byte_count_the_bytes_of_the_text(
    run: Path, folder: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The held-out text as shards and as a file, by every backend, in one table."""
    held_out = python_documentation()[54_000:60_000]
    (folder / "held_out.txt").write_bytes(held_out)
    results = run_json(
        capsys, "evaluate", run, "--data", shards, "--backend", "float,fakequant,golden"
    )["results"]
    assert [result["backend"] for result in results] == ["float", "fakequant", "golden"]
    assert results[1]["bits_per_byte"] == results[2]["bits_per_byte"] != results[0]["bits_per_byte"]
    assert {result["bytes"] for result in results} == {6000}
    golden = run_json(
        capsys, "evaluate", run, "--data", folder / "held_out.txt", "--backend", "golden", "--words"
    )
    assert golden["bits_per_byte"] == results[2]["bits_per_byte"]
    nats = golden["bits_per_byte"] * np.log(2) * 6000
    assert golden["token_perplexity"] == pytest.approx(np.exp(nats / golden["tokens"]))
    words = len(held_out.split()) + held_out.count(b"\n") + (not held_out.endswith(b"\n"))
    assert golden["words"] == words
    assert golden["word_perplexity"] == pytest.approx(np.exp(nats / words))
    assert main(["evaluate", str(run), "--data", str(shards), "--backend", "fakequant,golden"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == f"6,000 bytes of text, {results[0]['tokens']:,} tokens"
    assert table[1].split() == ["backend", "bits", "per", "byte", "token", "perplexity"]
    assert [line[:20].strip() for line in table[2:]] == [
        "fakequant",
        "golden",
        "golden - fakequant",
    ]
    assert table[4].split()[3:] == ["+0.0000", "+0.0000"]
    differences = run_json(
        capsys, "evaluate", run, "--data", shards, "--backend", "float,fakequant,golden"
    )["differences"]
    assert [(d["backend"], d["less"]) for d in differences] == [
        ("fakequant", "float"),
        ("golden", "float"),
    ]
    for name in ("bits_per_byte", "token_perplexity"):
        assert differences[1][name] == results[2][name] - results[0][name] != 0
    assert "--words needs the text" in error_of(
        capsys, "evaluate", run, "--data", shards, "--words"
    )


def test_documents_are_scored_without_their_start_tokens(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["one document. " * 9, "another, quite different one. " * 7]
    path = folder / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    result = run_json(capsys, "evaluate", run, "--data", path, "--words")
    tokenizer = text_tokenizer(load_backend(run, "float").tokenizer)
    assert result["tokens"] == sum(len(ids) for ids in tokenizer.encode_texts(texts))
    assert result["bytes"] == len("".join(texts))
    assert result["words"] == sum(len(text.split()) + 1 for text in texts)


def test_multiple_choice_in_one_table(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "questions.jsonl"
    question = {"query": "The statement is", "choices": ["executed", "never", "a cat"], "gold": 0}
    path.write_text((json.dumps(question) + "\n") * 3)
    arguments = ["evaluate", run, "--choices", path]
    results = run_json(capsys, *arguments, "--examples", 2, "--backend", "float,fakequant,golden")[
        "results"
    ]
    assert {result["examples"] for result in results} == {2}
    assert results[1]["accuracy_by_byte"] == results[2]["accuracy_by_byte"]
    assert run_json(capsys, *arguments, "--backend", "golden")["examples"] == 3
    assert main([*map(str, arguments), "--backend", "fakequant,golden"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "3 questions, 33.3 % by chance"
    assert table[-1].split() == ["golden", "-", "fakequant", "+0.0000", "+0.0000"], (
        "no difference of errors"
    )


def test_what_does_not_go_together_is_one_line(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "q.jsonl"
    path.write_text(json.dumps({"query": "x", "choices": ["a", "b"], "gold": 0}) + "\n")
    cases: list[tuple[list[object], str]] = [
        (["--choices", path, "--words"], "--digits and --words do not belong to --choices"),
        (["--choices", path, "--digits", 3], "--digits and --words do not belong to --choices"),
        (["--choices", path, "--task", "parity"], "give --task or --choices, not both"),
        (["--choices", path, "--examples", 0], "--examples must be at least 1, got 0"),
        (
            ["--ranges", "--backend", "float,fakequant"],
            "--ranges: backend float does not show them; use golden or cpu",
        ),
        (["--examples", 3], "--digits and --examples belong to --task"),
    ]
    for options, message in cases:
        assert message in error_of(capsys, "evaluate", run, *options), options


def test_ranges_stand_with_the_golden_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = run_json(capsys, "evaluate", run, "--ranges", "--backend", "fakequant,golden")[
        "results"
    ]
    assert ["ranges" in result for result in results] == [False, True]


def test_data_is_read_in_every_form_that_training_takes(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compressed, in one JSON file, within a field, through a pipe: the same scores."""
    text = python_documentation()[:2000]
    records = [{"meta": {"text": part}} for part in text.decode().split("\n\n")]
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "a.txt.gz").write_bytes(COMPRESS[".gz"](text))
    fifo(tmp_path / "pipe", text)
    plain = [
        run_json(capsys, "evaluate", run, "--data", tmp_path / name, "--words")
        for name in ("a.txt", "a.txt.gz", "pipe")
    ]
    assert plain[0] == plain[1] == plain[2]
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.json.zst").write_bytes(COMPRESS[".zst"](json.dumps(records, indent=1).encode()))
    fifo(tmp_path / "records", lines)
    found = [
        run_json(capsys, "evaluate", run, "--data", tmp_path / name, "--field", "meta.text")
        for name in ("a.jsonl", "a.json.zst", "records")
    ]
    assert found[0] == found[1] == found[2]
    assert found[0]["bytes"] == sum(len(record["meta"]["text"].encode()) for record in records)
    error = error_of(capsys, "evaluate", run, "--data", tmp_path / "a.jsonl")
    assert "a.jsonl, line 1: no field 'text'; found fields ['meta.text']" in error
    (tmp_path / "cut.txt.gz").write_bytes(COMPRESS[".gz"](text)[:-9])
    error = error_of(capsys, "evaluate", run, "--data", tmp_path / "cut.txt.gz")
    assert "cut.txt.gz: damaged, cut off, or no gzip file" in error


def side_by_side(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tokenizer: Any,
    results: list[Any],
) -> tuple[dict[str, Any], list[str]]:
    """JSON and lines of float and golden with the results given."""
    work = "evaluate_task" if isinstance(results[0], TaskResult) else "score_text"
    backends = [SimpleNamespace(name=one.backend, tokenizer=tokenizer) for one in results]
    below = Below(monkeypatch)
    below.replace(
        {
            "mmfree.cli.evaluate:find_model": Place(path=Path("m"), checkpoint=Path("m")),
            "mmfree.cli.evaluate:tokenizer_at": tokenizer,
            "mmfree.cli.evaluate:load_backend": Each(2 * backends),
            f"mmfree.cli.evaluate:{work}": Each(2 * results),
        }
    )
    words = ["evaluate", "m", "--backend", "float,golden"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    values = run_json(capsys, *words)
    asked = [below.asked[f"load_backend{number}(name)"] for number in ("", " 2", " 3", " 4")]
    assert asked == ["float", "golden"] * 2
    return values, lines


def test_differences_are_of_each_score_less_the_first_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A score that is not finite has no difference, and is null in JSON."""
    first = TextResult(
        backend="float",
        bits_per_byte=1.5,
        bytes=4000,
        tokens=1234,
        token_perplexity=10.0,
        words=100,
        word_perplexity=float("inf"),
    )
    other = replace(first, backend="golden", bits_per_byte=1.25, token_perplexity=12.5)
    values, lines = side_by_side(monkeypatch, capsys, ByteTokenizer(), [first, other])
    assert values["differences"] == [
        {"backend": "golden", "less": "float", "bits_per_byte": -0.25, "token_perplexity": 2.5}
    ]
    assert values["results"][0]["word_perplexity"] is None
    assert lines == [
        "4,000 bytes of text, 1,234 tokens",
        "backend                  bits per byte  token perplexity   word perplexity",
        "float                           1.5000           10.0000               inf",
        "golden                          1.2500           12.5000               inf",
        "golden - float                 -0.2500           +2.5000",
    ]


def test_a_task_in_one_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [
        TaskResult("float", "addition", 100, 2000, 1500),
        TaskResult("golden", "addition", 100, 2000, 1750),
    ]
    values, lines = side_by_side(monkeypatch, capsys, AdditionTokenizer(), results)
    assert [result["accuracy"] for result in values["results"]] == [0.75, 0.875]
    assert lines == [
        "addition, 2,000 examples",
        "backend                       accuracy",
        "float                           0.7500",
        "golden                          0.8750",
        "golden - float                 +0.1250",
    ]


@pytest.mark.parametrize("infinite", [0, 1])
def test_what_one_of_two_scores_infinitely_has_no_difference(
    infinite: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [
        TextResult(
            backend=name,
            bits_per_byte=1.5,
            bytes=4000,
            tokens=1234,
            token_perplexity=float("inf") if number == infinite else 10.0,
        )
        for number, name in enumerate(("float", "golden"))
    ]
    values, lines = side_by_side(monkeypatch, capsys, ByteTokenizer(), results)
    assert values["differences"] == [{"backend": "golden", "less": "float", "bits_per_byte": 0}]
    assert lines[-1] == "golden - float                 +0.0000"


@pytest.mark.parametrize("option", [["--data", "x"], ["--choices", "x"], ["--words"]])
def test_a_model_for_a_task_reads_no_text(
    option: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Below(monkeypatch).replace(
        {
            "mmfree.cli.evaluate:find_model": Place(path=Path("m"), tape=Path("m")),
            "mmfree.cli.evaluate:tokenizer_at": AdditionTokenizer(),
        }
    )
    error = error_of(capsys, "evaluate", "m", *option)
    assert error == "mmfree: error: m: a model for addition: use --task"


def test_a_field_needs_its_records(capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(capsys, "evaluate", "m", "--field", "body")
    assert "--field is of the records of --data: give both, or neither" in error

"""Comparing with a Transformer.

Both tuned, both with seeds, resumable, scored as the golden model scores.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmfree.cli.compare
from mmfree.cli.compare import CURVES_NAME
from mmfree.cli.main import main
from mmfree.comparison.contest import held_out_text, score_model
from mmfree.golden.pow2 import Golden
from mmfree.text.loading import load_corpus
from mmfree.training.checkpoint import build_model
from mmfree.training.export import export_tape
from mmfree.training.metrics import METRICS_NAME
from mmfree.training.recipe import ARCHITECTURES, TRAINING_NAME
from tests.support.below import REAL, Below, Each
from tests.support.models import SMALL_ADDITION, SMALL_TEXT
from tests.support.verbs.training import BEST, RUNS

CONFIG = replace(SMALL_TEXT, recipe=replace(SMALL_TEXT.recipe, steps=6))


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    (tmp_path / "data.txt").write_text("a small text, again and again. " * 100)
    data = ["--data", str(tmp_path / "data.txt"), "--out", str(tmp_path / "out")]
    rates = ["--rates", "1e-3", "8e-3", "--baseline-rates", "1e-3", "3e-3", "--seeds", "2"]
    return ["compare", str(tmp_path / "config.json"), *data, *rates]


def values_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def test_both_are_tuned_then_repeated(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    values = values_of(capsys)
    for name in ARCHITECTURES:
        runs = [run for run in values["runs"] if run["architecture"] == name]
        tuned = {run["learning_rate"]: run["bits_per_byte"] for run in runs if run["seed"] == 0}
        assert len(tuned) == 2
        best = values["best"][name]
        assert best["learning_rate"] == min(tuned, key=lambda rate: tuned[rate])
        again = [
            run["bits_per_byte"] for run in runs if run["learning_rate"] == best["learning_rate"]
        ]
        assert len(again) == best["seeds"] == 2
        assert best["bits_per_byte"] == pytest.approx(sum(again) / 2)
        assert best["at_the_edge"]
    assert (
        abs(
            values["best"]["matmul-free"]["parameters"]
            / values["best"]["transformer"]["parameters"]
            - 1
        )
        < 0.02
    )
    curves = (tmp_path / "out" / CURVES_NAME).read_text()
    assert all(word in curves for word in ("tokens", "seconds of training", *ARCHITECTURES))


def test_a_finished_comparison_is_read_again_and_a_cut_one_goes_on(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    first = values_of(capsys)
    assert main(arguments) == 2
    assert "compare.json: exists already; --force" in capsys.readouterr().err
    (tmp_path / "out" / "matmul-free-0.001-seed0" / "result.json").unlink()
    assert main([*arguments, "--force", "--json"]) == 0
    second = values_of(capsys)
    assert [run["bits_per_byte"] for run in second["runs"]] == [
        run["bits_per_byte"] for run in first["runs"]
    ]
    assert main([*arguments, "--force"]) == 0
    text = capsys.readouterr().out
    assert "difference:" in text
    result = next((tmp_path / "out").glob("*/result.json"))
    for damaged in (
        b"[]",
        b"{}",
        result.read_bytes().replace(b'"parameters": ', b'"parameters": 0.'),
    ):
        kept = result.read_bytes()
        result.write_bytes(damaged)
        assert main([*arguments, "--force"]) == 2
        assert f"{result}: must be the result of a run" in capsys.readouterr().err
        result.write_bytes(kept)
    assert "the best rate is the outermost one tried" in text
    (tmp_path / "data.txt").write_text("another text, again and again. " * 100)
    assert main([*arguments, "--force"]) == 2
    assert "the checkpoint was trained on another text" in capsys.readouterr().err


def test_it_says_who_taught(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ["--rates", "1e-3", "--baseline-rates", "1e-3", "--seeds", "1"]
    words = [*arguments[:4], *rates, "--json"]
    assert main([*words, "--out", str(tmp_path / "alone")]) == 0
    assert values_of(capsys)["teacher"] is None
    teacher = tmp_path / "alone" / "transformer-0.001-seed0"
    assert main([*words, "--out", str(tmp_path / "taught"), "--teacher", str(teacher)]) == 0
    values = values_of(capsys)
    assert values["teacher"] == str(teacher)
    assert json.loads((tmp_path / "taught" / "compare.json").read_text()) == values


class Stopped(BaseException):
    """Nothing catches it: as if the process were killed."""


@pytest.mark.parametrize("stage", ["train", "score_model"])
def test_a_comparison_that_stops_in_its_second_run_keeps_the_first(
    stage: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the second has any file, or before its score; the end is as if it had not stopped."""
    speeds = dict.fromkeys(ARCHITECTURES, 1000.0)
    places = {f"mmfree.comparison.contest:{name}": REAL for name in ("train", "score_model")}
    places["mmfree.training.loop:Run._train_step"] = REAL
    words = [*arguments[:4], "--out", "out", "--seeds", "1", "--rates", "1e-3"]
    words += ["--baseline-rates", "1e-3"]

    def contents() -> dict[Path, bytes]:
        # But the state of training: its metadata are in any order.
        return {
            path: path.read_bytes()
            for path in Path("out").rglob("*")
            if path.is_file() and path.name != TRAINING_NAME
        }

    def compare_in(folder: str, results: dict[str, Any]) -> Below:
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        with monkeypatch.context() as patch:
            below = Below(patch)
            below.replace(places | {"mmfree.comparison.contest:_speeds": speeds} | results)
            assert main(words) == 0
        return below

    def steps(below: Below) -> int:
        return sum(name.endswith("(batch)") for name in below.asked)

    assert steps(compare_in("whole", {})) == 2 * 6
    whole = contents()
    with pytest.raises(Stopped):
        compare_in("stopped", {f"mmfree.comparison.contest:{stage}": Each([REAL, Stopped()])})
    names = {f"{path.parent.name}/{path.name}" for path in contents()}
    begun = stage == "score_model"
    assert "matmul-free-0.001-seed0/result.json" in names
    assert ("transformer-0.001-seed0/config.json" in names) is begun
    assert not names & {"transformer-0.001-seed0/result.json", "out/compare.json"}
    below = compare_in("stopped", {})
    assert contents() == whole
    assert steps(below) == (0 if begun else 6), "no step of the first run"
    assert "score_model 2(model)" not in below.asked, "nor its score"


def test_what_cannot_be_trained_is_refused_before_anything_is(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = replace(CONFIG, model=replace(CONFIG.model, hidden_size=33))
    (tmp_path / "config.json").write_text(json.dumps(odd.to_dict()))
    assert main(arguments) == 2
    assert "hidden_size of a transformer must be even" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_config_needs_another_folder(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    other = replace(CONFIG, recipe=replace(CONFIG.recipe, steps=7))
    (tmp_path / "config.json").write_text(json.dumps(other.to_dict()))
    assert main([*arguments, "--force"]) == 2
    assert "a run of another config; give another --out" in capsys.readouterr().err


def test_a_comparison_scores_as_the_golden_model_does(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("a small text, again and again. " * 100)
    corpus = load_corpus([tmp_path / "data.txt"])
    torch.manual_seed(0)
    model = build_model(CONFIG)
    text = held_out_text(CONFIG, corpus)
    assert (text.tokens, text.bytes) == (310, 310)
    golden = Golden(export_tape(model, {"kind": "bytes"}))  # type: ignore[arg-type]
    batch, rows = text.batch, np.arange(len(text.batch.ids))
    state, nats = golden.state(len(rows)), 0.0
    for ids, targets, mask in zip(batch.ids.T, batch.targets.T, batch.mask.T, strict=True):
        logits, state = golden.step(ids, state)
        real = logits.astype(np.float64) / 512
        nats += float((np.log(np.exp(real).sum(axis=1)) - real[rows, targets])[mask].sum())
    assert score_model(model, text).bits_per_byte == pytest.approx(
        nats / math.log(2) / text.bytes, rel=1e-6
    )


def test_evaluate_finds_the_score_of_a_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Documents in shards. What is held out makes two streams, and two windows of this length."""
    documents = [{"text": f"{number} is a number. " * 2} for number in range(700)]
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    (tmp_path / "data.jsonl").write_text(lines)
    shards = tmp_path / "shards"
    assert main(["tokenize", str(tmp_path / "data.jsonl"), "--out", str(shards)]) == 0
    config = replace(CONFIG, recipe=replace(CONFIG.recipe, steps=3, length=1600))
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    capsys.readouterr()
    out = tmp_path / "out"
    rates = ["--rates", "1e-3", "--baseline-rates", "1e-3", "--seeds", "1"]
    arguments = ["compare", str(tmp_path / "config.json"), "--data", str(shards), *rates]
    assert main([*arguments, "--out", str(out), "--json"]) == 0
    compared = values_of(capsys)
    run = compared["runs"][0]
    assert main(["evaluate", run["folder"], "--data", str(shards), "--json"]) == 0
    evaluated = values_of(capsys)
    for name in ("tokens", "bytes"):
        assert evaluated[name] == run[name] == compared[name]
    assert 2 * 1024 <= compared["tokens"] == compared["bytes"] < 3 * 1024
    assert compared["length"] == 1600
    assert evaluated["bits_per_byte"] == pytest.approx(run["bits_per_byte"], rel=1e-6)
    result = Path(run["folder"]) / "result.json"
    text = result.read_text()
    result.write_text(text.replace(f'"tokens": {run["tokens"]}', '"tokens": 7'))
    assert main([*arguments, "--out", str(out), "--force"]) == 2
    assert (
        f"{result}: 7 tokens of {run['bytes']:,} bytes were scored, but {run['tokens']:,} of"
        f" {run['bytes']:,} are held out; remove the file" in capsys.readouterr().err
    )


def test_only_text_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL_ADDITION.to_dict()))
    for extra, message in (
        ((), "a comparison is made on text; task addition is none"),
        (("--seeds", "0"), "--seeds must be at least 1, got 0"),
        (("--rates", "-1"), "--rates must be above 0, got -1"),
        (("--rates", "1e-2", "0.010000000001"), "a rate of matmul-free is given twice: 0.01 0.01"),
        (("--baseline-rates", "1e-2", "2e-2", "1e-2"), "a rate of transformer is given twice"),
        (("--seed", "-3"), "--seed must lie in 0..2^64-1, got -3"),
    ):
        config = "text" if extra else str(tmp_path / "config.json")
        assert main(["compare", config, "--out", str(tmp_path / "out"), *extra]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / METRICS_NAME).exists()


def test_curves_are_of_the_runs_at_the_best_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss of each step over the tokens seen after it; 100 tokens a step here."""
    below = Below(monkeypatch)
    below.replace({"mmfree.report.figures:comparison_curves": REAL})
    runs = [replace(run, folder=str(tmp_path / run.architecture)) for run in RUNS]
    slower = replace(runs[0], learning_rate=0.001, folder=str(tmp_path / "none"))
    for run, losses in zip(runs, ((4.0, 2.0), (5.0, 3.0)), strict=True):
        Path(run.folder).mkdir()
        rows = "".join(f"{step},{loss},0.1\n" for step, loss in enumerate(losses))
        (Path(run.folder) / METRICS_NAME).write_text(f"step,loss,learning_rate\n{rows}")
    assert mmfree.cli.compare._curves([slower, *runs], BEST, 100).startswith("<svg")
    assert below.asked["comparison_curves(runs)"] == [
        ("matmul-free", [100, 200], [4.0, 2.0], 6789.4),
        ("transformer", [100, 200], [5.0, 3.0], 6789.4),
    ]

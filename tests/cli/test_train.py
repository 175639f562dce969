"""What ``mmfree train`` does after training: it scores the checkpoint, and draws the loss."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmfree.cli.main import main
from mmfree.errors import InputError, Stopped
from mmfree.inference.scoring import TaskResult, TextResult
from mmfree.text.corpus import Corpus
from mmfree.text.task_tokenizers import AdditionTokenizer, ModularTokenizer
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.loop import TrainingResult
from mmfree.training.recipe import RunConfig
from tests.support.below import Below, Each
from tests.support.models import SMALL_ADDITION, SMALL_TEXT

CORPUS = Corpus("a.txt", np.arange(90), np.arange(90, 100), 25)
ENDED = TrainingResult(
    step=4, steps=4, loss=1.0, tokens_per_second=1000.4, held_bytes=5, corpus=CORPUS
)


def train(
    monkeypatch: pytest.MonkeyPatch, config: RunConfig, tokenizer: Any, **below: Any
) -> dict[str, Any]:
    """Train nothing into "out"; what is asked for then."""
    found = Below(monkeypatch)
    found.replace(
        {
            "mmfree.training.train:train": below.get("ended", ENDED),
            "mmfree.training.folder:load_config": config,
            "mmfree.report.figures:training_curve": "<svg/>",
            "mmfree.cli.train:load_backend": SimpleNamespace(name="golden", tokenizer=tokenizer),
            "mmfree.cli.train:evaluate_task": Each(below.get("tasks", [])),
            "mmfree.cli.train:evaluate_tokens": below.get("text"),
        }
    )
    Path("out").mkdir()
    Path("out/validation.csv").write_text("step,loss,bits_per_byte\n2,2.25,3.25\n")
    Path("out/metrics.csv").write_text("step,loss,learning_rate\n0,2.5,0.1\n1,2.0,0.1\n")
    if "load" in below:
        monkeypatch.setattr("mmfree.cli.train.load_backend", below["load"])
    options = below.get("options", ["--json"])
    assert main(["train", "addition", "--out", "out", "--force", *options]) == below.get("code", 0)
    return {name: value for name, value in found.asked.items() if not name.startswith("train(")}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_task_is_scored_on_all_its_kinds_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [
        TaskResult("golden", "addition", 100, 200, 150),
        TaskResult("golden", "addition-chains", 100, 100, 0),
    ]
    asked = train(monkeypatch, SMALL_ADDITION, AdditionTokenizer(), tasks=results)
    assert json.loads(capsys.readouterr().out)["accuracy"] == 150 / 300
    assert asked["load_backend(path)"] == Path("out")
    assert asked["load_backend(name)"] == "cpu", "as the chip computes"
    for number, name in ((" ", "addition"), (" 2", "addition-chains")):
        call = f"evaluate_task{number.rstrip()}"
        assert asked[f"{call}(name)"] == name
        assert asked[f"{call}(examples)"] == 200
        assert asked[f"{call}(digits)"] is None
    assert asked["training_curve(rows)"] == [(0, 2.5, 0.1), (1, 2.0, 0.1)]
    assert asked["training_curve(validation)"] == [(2, 2.25, 3.25)]
    assert Path("out/loss.svg").read_text() == "<svg/>"


def test_a_task_of_few_examples_is_scored_on_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [TaskResult("golden", "modular-addition", 1, 5646, 5646)]
    asked = train(monkeypatch, SMALL_ADDITION, ModularTokenizer(), tasks=results)
    assert asked["evaluate_task(examples)"] is None
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1


def test_text_is_scored_on_what_was_held_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = TextResult(
        backend="golden", bits_per_byte=1.75, bytes=25, tokens=10, token_perplexity=3.0
    )
    asked = train(monkeypatch, SMALL_TEXT, ByteTokenizer(), text=result)
    assert asked["evaluate_tokens(tokens)"] is CORPUS.validation
    assert asked["evaluate_tokens(num_bytes)"] == 25
    assert json.loads(capsys.readouterr().out) == {
        "checkpoint": "out",
        "bits_per_byte": 1.75,
        "tokens_per_second": 1000.4,
        "steps": 4,
        "loss": 1.0,
        "held_bytes": 5,
        "best_step": None,
        "replaced_best": None,
        "at_limit": None,
    }


def raising(error: BaseException) -> Any:
    def load(*_: object) -> None:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (Stopped("terminated", signal.SIGTERM), 143)]
)
def test_who_interrupts_the_score_hears_that_all_is_saved(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(monkeypatch, SMALL_TEXT, ByteTokenizer(), load=raising(error), code=code)
    assert capsys.readouterr().err == (
        "mmfree: trained and saved: out; interrupted while it was scored: `mmfree evaluate out`"
        " does that\n"
    )


def test_a_model_that_cannot_be_exported_is_saved_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = InputError("a.weight: too large")
    train(monkeypatch, SMALL_TEXT, ByteTokenizer(), load=raising(error), code=2)
    said = "mmfree: error: trained and saved: out; not scored: a.weight: too large\n"
    assert capsys.readouterr().err == said


def test_an_earlier_best_that_was_replaced_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = replace(ENDED, replaced_best=1200)
    result = TextResult(
        backend="golden", bits_per_byte=1.75, bytes=25, tokens=10, token_perplexity=3.0
    )
    train(monkeypatch, SMALL_TEXT, ByteTokenizer(), ended=ended, text=result, options=[])
    assert "; the earlier" not in (said := capsys.readouterr().out)
    assert ", the earlier best (step 1,200) was replaced: losses on another text" in said
    assert said.count("\n") == 1


def test_the_baseline_is_not_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(SMALL_TEXT, architecture="transformer")
    asked = train(monkeypatch, config, ByteTokenizer())
    assert {name.partition("(")[0] for name in asked} == {"load_config", "training_curve"}
    assert json.loads(capsys.readouterr().out).keys() >= {"loss", "steps", "checkpoint"}


def test_only_the_first_of_several_processes_scores_and_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = train(monkeypatch, SMALL_TEXT, ByteTokenizer(), ended=replace(ENDED, main=False))
    assert asked == {}
    assert not Path("out/loss.svg").exists()
    assert capsys.readouterr().out == ""

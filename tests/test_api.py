"""The functions of the package: the whole chain from Python, as the command line does it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mmfree
from mmfree.errors import InputError
from mmfree.inference.scoring import TaskResult, TextResult
from tests.support.models import SMALL_ADDITION, SMALL_TEXT
from tests.support.published_checkpoints import write_text_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    (folder / "config.json").write_text(json.dumps(SMALL_ADDITION.to_dict()))
    mmfree.train(str(folder / "config.json"), folder / "run", seed=3)
    return folder / "run"


def test_from_a_checkpoint_to_a_chip(run: Path, tmp_path: Path) -> None:
    tape = tmp_path / "a.tape"
    exported = mmfree.export(str(run), str(tape))
    assert exported.tape.sha256 == mmfree.export(run, tape, force=True).tape.sha256
    assert exported.ranges[0].segment == "embedding"
    golden, fakequant = mmfree.load(tape), mmfree.load(run)
    assert (golden.name, fakequant.name) == ("golden", "fakequant")
    answer = mmfree.generate(golden, "12+34")
    assert answer == mmfree.generate(str(run), "12+34") == mmfree.generate(fakequant, "12+34")
    result = mmfree.cosim(tape, prompt="12+34", lanes=16)
    assert result.bit_exact
    assert result.tokens == 7
    scored = mmfree.evaluate(golden, digits=2, examples=5)
    assert isinstance(scored, TaskResult)
    assert (scored.task, scored.examples) == ("addition", 5)
    description = mmfree.verilog(str(tape), tmp_path / "chip", lanes=16)
    assert description["multipliers"] == 0
    with pytest.raises(InputError, match="exists already"):
        mmfree.verilog(tape, tmp_path / "chip", lanes=16)


def test_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL_TEXT.to_dict()))
    (tmp_path / "data.txt").write_text("a small text, again and again. " * 100)
    data = str(tmp_path / "data.txt")
    mmfree.train(str(tmp_path / "config.json"), str(tmp_path / "run"), data=[data])
    score = mmfree.evaluate(tmp_path / "run", data=data)
    assert isinstance(score, TextResult)
    assert 0 < score.bits_per_byte < 8
    held_out = mmfree.evaluate(tmp_path / "run")
    assert isinstance(held_out, TextResult)
    assert held_out.bytes == score.bytes // 10 == 310
    (tmp_path / "data.txt").write_text("another text, again and again. " * 100)
    with pytest.raises(InputError, match="no longer the text that the model was trained on"):
        mmfree.evaluate(tmp_path / "run")
    (tmp_path / "data.txt").write_text("a small text, again and again. " * 100)
    assert len(mmfree.generate(tmp_path / "run", "a ", 5)) <= 5
    exported = mmfree.export(tmp_path / "run", tmp_path / "b.tape", data=data)
    assert exported.tape.arithmetic == "pow2"
    assert exported.source == data
    again = mmfree.export(tmp_path / "run", tmp_path / "c.tape")
    assert again.source == f"{data}, held out in training"
    assert again.tape.sha256 == exported.tape.sha256
    with pytest.raises(InputError, match="--field is of the records of --data"):
        mmfree.export(tmp_path / "run", tmp_path / "d.tape", field="text")


def test_a_published_checkpoint(tmp_path: Path) -> None:
    folder = write_text_checkpoint(tmp_path / "model")
    exported = mmfree.export(folder, tmp_path / "a.tape")
    assert (exported.tape.arithmetic, exported.ranges) == ("absmax", [])
    text = mmfree.generate(tmp_path / "a.tape", "the old", 4)
    assert text == mmfree.generate(mmfree.load(folder, "golden"), "the old", 4)
    with pytest.raises(InputError, match="the accelerator does not have"):
        mmfree.cosim(tmp_path / "a.tape")


def test_what_is_not_there_is_no_attribute() -> None:
    assert {"load", "train", "cosim"} <= set(dir(mmfree))
    with pytest.raises(AttributeError, match="has no attribute 'fly'"):
        mmfree.fly  # noqa: B018

"""Runs that stop in good order, and go on: resumed, or trained further."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

import mmfree.training.loop
from mmfree.errors import InputError, Stopped
from mmfree.files import atomic
from mmfree.files.claim import BusyError
from mmfree.files.compressed import pack_text
from mmfree.files.folders import new_folder
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.text.corpus import Text
from mmfree.text.shard_writing import write_shards
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from mmfree.training.checkpoint import (
    CHECKPOINT_FOLDER,
    CheckpointError,
    build_model,
    load_checkpoint,
    load_config,
    load_training_state,
    write_model,
)
from mmfree.training.metrics import METRICS_NAME, read_rows
from mmfree.training.provenance import HELD_OUT_TOKENS, PROVENANCE_NAME, Provenance, read_provenance
from mmfree.training.recipe import TRAINING_NAME, RunConfig
from mmfree.training.train import train
from tests.support.files import fifo
from tests.support.subwords import bpe
from tests.training.test_train import TINY, TINY_TEXT, same

ROOT = Path(__file__).parents[2]
SHORT = replace(TINY, recipe=replace(TINY.recipe, steps=6, warmup_steps=2))


def steps_of(folder: Path) -> list[int]:
    return [row[0] for row in read_rows(folder / METRICS_NAME)]


def record_of(folder: Path) -> Provenance:
    found = read_provenance(folder)
    assert found is not None
    return found


def text_file(path: Path, seed: int, size: int = 3000) -> Path:
    """Letters at random, with lines."""
    letters = np.random.default_rng(seed).choice(list(b"abcdefgh \n"), size)
    path.write_bytes(letters.astype(np.uint8).tobytes())
    return path


TRAINER = """
import json, sys
from pathlib import Path
import mmfree.training.loop
from mmfree.errors import Stopped
from mmfree.training.recipe import RunConfig
from mmfree.training.train import train
mmfree.training.loop.SAVE_SECONDS = float(sys.argv[3])
try:
    train(RunConfig.from_dict(json.loads(sys.argv[2])), Path(sys.argv[1]), seed=3)
except Stopped as stopped:
    print(stopped)
    sys.exit(128 + stopped.signal)
"""


@contextmanager
def another_run(
    folder: Path, config: RunConfig, save_seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """A process that trains into the folder, for the length of the block at most."""
    arguments = [str(folder), json.dumps(config.to_dict()), str(save_seconds)]
    with subprocess.Popen(
        [sys.executable, "-c", TRAINER, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.005)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(
    number: signal.Signals, tmp_path: Path
) -> None:
    long = replace(TINY, recipe=replace(TINY.recipe, steps=150))
    with another_run(tmp_path / "run", long, save_seconds=0.0) as process:
        wait_for(tmp_path / "run" / METRICS_NAME, process)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    step = load_training_state(tmp_path / "run").step
    assert f"stopped and saved at step {step} of 150; the same command with --resume" in said
    assert steps_of(tmp_path / "run") == list(range(step))
    train(long, tmp_path / "run", resume=True)
    train(long, tmp_path / "whole", seed=3)
    assert same(tmp_path / "run", tmp_path / "whole")


def test_a_stop_is_saved_however_long_the_last_save_is_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mmfree.training.loop.training_batch

    def interrupted(*arguments: object) -> object:
        drawn.append(0)
        if len(drawn) == 4:
            signal.raise_signal(signal.SIGTERM)
        return real(*arguments)  # type: ignore[arg-type]

    drawn: list[int] = []
    monkeypatch.setattr(mmfree.training.loop, "training_batch", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped and saved at step 4 of 6") as caught:
        train(SHORT, tmp_path)
    assert caught.value.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert load_training_state(tmp_path).step == 4


def test_a_second_run_into_the_same_folder_is_refused_before_the_first_has_saved(
    tmp_path: Path,
) -> None:
    long = replace(TINY, recipe=replace(TINY.recipe, steps=10**6))
    with another_run(tmp_path / "run", long, save_seconds=1e9) as process:
        wait_for(tmp_path / ".run.lock", process)
        while not (tmp_path / ".run.lock").read_bytes():
            time.sleep(0.005)
        for options in ({}, {"force": True}, {"resume": True}):
            with pytest.raises(BusyError, match=rf"run: process {process.pid} is writing there"):
                train(TINY, tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()
    train(SHORT, tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_killed_save_leaves_nothing_that_the_next_does_not_remove(tmp_path: Path) -> None:
    tmp_path.joinpath("run").mkdir()
    for name in (f".{TRAINING_NAME}.partial", ".model.safetensors.partial"):
        (tmp_path / "run" / name).write_bytes(b"half of a file")
    train(SHORT, tmp_path / "run")
    assert not [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("half", ["step,loss", "step,loss,learning_rate\n0,5.5,0.1\n1,5.", "0"])
def test_the_half_of_a_line_is_left_out(half: str, tmp_path: Path) -> None:
    path = tmp_path / METRICS_NAME
    path.write_text(half)
    assert read_rows(path) == ([(0, 5.5, 0.1)] if "5.5" in half else [])
    train(SHORT, tmp_path / "run", stop_at=4)
    whole = (tmp_path / "run" / METRICS_NAME).read_bytes()
    (tmp_path / "run" / METRICS_NAME).write_bytes(whole[:-3])
    train(SHORT, tmp_path / "run", resume=True)
    assert steps_of(tmp_path / "run") == [0, 1, 2, 4, 5]


# In the place of others

OWN = [
    "tokenizer.json",
    "training.safetensors",
    "model.safetensors",
    "training.json",
    "metrics.csv",
    "accuracy.csv",
    "loss.svg",
]
"""What a checkpoint holds beside its config."""


@pytest.mark.parametrize("name", OWN)
def test_files_that_are_named_like_ours_are_not_replaced_unasked(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(CheckpointError, match=rf"{name}: in the place of a checkpoint's own file"):
        train(SHORT, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "precious"}
    (tmp_path / "notes").write_text("kept")
    train(SHORT, tmp_path, force=True)
    assert (tmp_path / "notes").read_text() == "kept"


@pytest.mark.parametrize("trained", [True, False])
def test_nothing_of_an_old_run_is_left_under_a_new_config(trained: bool, tmp_path: Path) -> None:
    """A state or a table of another model: whether the new checkpoint has one or not."""
    run = tmp_path / "run"
    train(SHORT, run)
    for name in ("accuracy.csv", "loss.svg", ".training.json.partial", "notes"):
        (run / name).write_text("old")
    other = replace(SHORT, model=replace(SHORT.model, hidden_size=16))
    if trained:
        train(other, run, force=True, stop_at=1)
        own = {"training.safetensors", "training.json", "metrics.csv"}
    else:
        own = set()
        model = build_model(other)
        assert isinstance(model, MatMulFreeLM)
        with new_folder(run, CHECKPOINT_FOLDER, force=True) as folder:
            write_model(folder, other, model, other.tokenizer)
    names = {path.name for path in run.iterdir()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors", "notes"} | own
    assert load_checkpoint(run).config == other


def test_token_shards_are_never_replaced(tmp_path: Path) -> None:
    write_shards(Text.of([text_file(tmp_path / "text", 0)]), ByteTokenizer(), tmp_path / "shards")
    before = {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    for force in (False, True):
        with pytest.raises(CheckpointError, match="holds token shards, which a checkpoint does"):
            train(SHORT, tmp_path / "shards", force=force)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}


def test_a_link_to_nothing_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="link: a link to nothing; a checkpoint is a folder"):
        train(SHORT, tmp_path / "link")
    with pytest.raises(InputError, match="link: exists already"):
        atomic.refuse_to_overwrite(tmp_path / "link", force=False)


@pytest.mark.parametrize("writes", range(12))
def test_force_replaces_a_checkpoint_only_by_a_whole_one(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at any write or renaming: the old checkpoint, or none, or the new one."""
    train(SHORT, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    other = replace(SHORT, recipe=replace(SHORT.recipe, learning_rate=1e-3))
    real, count = os.replace, 0

    def full(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        train(other, tmp_path / "run", force=True, stop_at=2)
    monkeypatch.undo()
    found = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    if writes < 6:
        assert found == before
    else:
        assert "config.json" not in found
        with pytest.raises(CheckpointError, match=r"no checkpoint: config\.json is missing"):
            load_config(tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


# Further


def test_more_steps_come_on_top_with_a_rate_that_rises_anew(tmp_path: Path) -> None:
    train(SHORT, tmp_path)
    more = replace(SHORT, recipe=replace(SHORT.recipe, steps=4, learning_rate=1e-3))
    result = train(more, tmp_path, extend=True)
    assert (result.step, result.steps) == (10, 10)
    rows = read_rows(tmp_path / METRICS_NAME)
    assert [row[0] for row in rows] == list(range(10))
    assert [row[2] for row in rows[6:]] == pytest.approx([5e-4, 7.5e-4, 5e-4, 2.5e-4])
    state = load_training_state(tmp_path)
    assert (state.began, state.step, state.steps) == (6, 10, 10)
    assert load_config(tmp_path) == more
    assert record_of(tmp_path).earlier == (
        {"steps": 6, "recipe": asdict(SHORT.recipe), "sources": [], "field": "text"},
    )
    train(SHORT, tmp_path, extend=True)
    assert [plan["steps"] for plan in record_of(tmp_path).earlier] == [6, 10]


def test_moments_go_on_and_batches_are_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []
    real = mmfree.training.loop.training_batch

    def watched(*arguments: object) -> object:
        batch = real(*arguments)  # type: ignore[arg-type]
        drawn.append(batch.ids.tobytes())
        return batch

    monkeypatch.setattr(mmfree.training.loop, "training_batch", watched)
    train(SHORT, tmp_path)
    train(SHORT, tmp_path, extend=True)
    assert len(set(drawn)) == len(drawn) == 12
    assert {float(m["step"]) for m in load_training_state(tmp_path).moments.values()} == {12.0}


def test_a_further_run_resumes_exactly_and_only_by_its_own_plan(tmp_path: Path) -> None:
    more = replace(SHORT, recipe=replace(SHORT.recipe, steps=8))
    for name in ("whole", "parts"):
        train(SHORT, tmp_path / name)
    train(more, tmp_path / "whole", extend=True)
    train(more, tmp_path / "parts", extend=True, stop_at=9)
    with pytest.raises(CheckpointError, match="made with another config"):
        train(SHORT, tmp_path / "parts", resume=True)
    train(more, tmp_path / "parts", resume=True)
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert steps_of(tmp_path / "parts") == list(range(14))
    assert read_provenance(tmp_path / "parts") == read_provenance(tmp_path / "whole")


@pytest.mark.parametrize("writes", range(1, 8))
def test_a_further_run_that_is_killed_at_its_first_save_is_one_plan_or_the_other(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any file of its first save: whatever the checkpoint says it is, holds."""
    more = replace(SHORT, recipe=replace(SHORT.recipe, steps=8, learning_rate=1e-3))
    train(SHORT, tmp_path / "whole")
    train(more, tmp_path / "whole", extend=True)
    train(SHORT, tmp_path / "run")
    real, count = os.replace, 0

    def killed(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == writes:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(atomic.os, "replace", killed)
    done = False
    try:
        train(more, tmp_path / "run", extend=True, stop_at=10)
        done = True
    except KeyboardInterrupt:
        monkeypatch.undo()
    monkeypatch.undo()
    assert done == (writes > 6), "a save writes six files"
    state = load_training_state(tmp_path / "run")
    if state.step == 6:
        assert train(SHORT, tmp_path / "run", resume=True).step == 6
        train(more, tmp_path / "run", extend=True)
    else:
        with pytest.raises(CheckpointError, match="made with another config"):
            train(SHORT, tmp_path / "run", resume=True)
        train(more, tmp_path / "run", resume=True)
    assert same(tmp_path / "run", tmp_path / "whole")
    assert read_provenance(tmp_path / "run") == read_provenance(tmp_path / "whole")


def test_weights_alone_can_be_trained_further(tmp_path: Path) -> None:
    train(SHORT, tmp_path)
    (tmp_path / TRAINING_NAME).unlink()
    (tmp_path / METRICS_NAME).unlink()
    assert train(SHORT, tmp_path, extend=True).step == 6
    assert {float(m["step"]) for m in load_training_state(tmp_path).moments.values()} == {6.0}


OTHER_TOKENIZER = {"kind": "tokenizers", "data": pack_text(bpe().json.encode() + b" ")}
"""The same tokenizer, written in another way."""


def of_tokenizer(tokenizer: TextTokenizer, data: dict[str, str]) -> RunConfig:
    model = replace(TINY_TEXT.model, vocab_size=tokenizer.vocab_size, head_size=tokenizer.head_size)
    return replace(TINY_TEXT, model=model, subword=data)


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        (
            SHORT,
            replace(SHORT, model=replace(SHORT.model, gate="signed")),
            r"another model: .*'gate': 'hard'}, not .*'gate': 'signed'}; --continue changes",
        ),
        (SHORT, TINY_TEXT, "another task: addition, not text; --continue changes recipe and text"),
        (
            SHORT,
            replace(SHORT, architecture="transformer"),
            "another architecture: matmul-free, not transformer; --continue",
        ),
        (
            of_tokenizer(bpe(), bpe().to_dict()),
            of_tokenizer(bpe(), OTHER_TOKENIZER),
            "another tokenizer; --continue changes recipe and text alone",
        ),
        (TINY_TEXT, of_tokenizer(bpe(), bpe().to_dict()), "another tokenizer; --continue"),
    ],
    ids=["model", "task", "architecture", "tokenizer", "tokenizer of another size"],
)
def test_only_recipe_and_text_may_change(
    first: RunConfig, other: RunConfig, message: str, tmp_path: Path
) -> None:
    run, text = tmp_path / "run", [text_file(tmp_path / "text", 0)]
    train(first, run, stop_at=1, data=text if first.recipe.task == "text" else None)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(CheckpointError, match=f"run: the checkpoint has {message}"):
        train(other, run, extend=True, data=text if other.recipe.task == "text" else None)
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}


def test_there_must_be_something_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint: config\.json is missing"):
        train(SHORT, tmp_path / "none", extend=True)
    assert not (tmp_path / "none").exists()


def test_two_ways_to_go_on_contradict_each_other(tmp_path: Path) -> None:
    for options in (
        {"resume": True, "extend": True},
        {"resume": True, "force": True},
        {"extend": True, "force": True},
    ):
        with pytest.raises(InputError, match=r"--continue trains it further.*give one of them"):
            train(SHORT, tmp_path, **options)


# What it was trained on


def test_a_run_knows_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text_file(tmp_path / "one.txt", 0)
    text_file(tmp_path / "two.txt", 1)
    monkeypatch.chdir(tmp_path)
    train(TINY_TEXT, Path("run"), data=[Path("one.txt")], stop_at=5)
    provenance = record_of(Path("run"))
    assert provenance.sources == (str(tmp_path / "one.txt"),)
    assert bytes(provenance.held_out) == (tmp_path / "one.txt").read_bytes()[-300:]
    monkeypatch.chdir("/")
    with pytest.raises(CheckpointError, match="trained on another text"):
        train(TINY_TEXT, tmp_path / "run", resume=True, data=[tmp_path / "two.txt"])
    assert train(TINY_TEXT, tmp_path / "run", resume=True).step == 12
    train(TINY_TEXT, tmp_path / "whole", data=[tmp_path / "one.txt"])
    assert same(tmp_path / "run", tmp_path / "whole")
    train(TINY_TEXT, tmp_path / "run", extend=True, data=[tmp_path / "two.txt"])
    after = record_of(tmp_path / "run")
    assert after.sources == (str(tmp_path / "two.txt"),)
    assert [plan["sources"] for plan in after.earlier] == [[str(tmp_path / "one.txt")]]
    (tmp_path / "two.txt").unlink()
    with pytest.raises(InputError, match=r"two\.txt: cannot be read: .* --data says where"):
        train(TINY_TEXT, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="--field is of the records of --data: give both"):
        train(TINY_TEXT, tmp_path / "run", resume=True, field="story")


def test_a_run_knows_its_shards_and_its_field(tmp_path: Path) -> None:
    records = [json.dumps({"story": f"a tale of {n} lines " * 3}) for n in range(200)]
    (tmp_path / "a.jsonl").write_text("\n".join(records))
    train(TINY_TEXT, tmp_path / "run", data=[tmp_path / "a.jsonl"], field="story", stop_at=3)
    assert train(TINY_TEXT, tmp_path / "run", resume=True).step == 12
    write_shards(Text.of([tmp_path / "a.jsonl"], "story"), ByteTokenizer(), tmp_path / "shards")
    train(TINY_TEXT, tmp_path / "run2", data=[tmp_path / "shards"], stop_at=3)
    assert train(TINY_TEXT, tmp_path / "run2", resume=True).step == 12
    assert same(tmp_path / "run", tmp_path / "run2")
    held = [record_of(tmp_path / name).held_out for name in ("run", "run2")]
    assert held[0] == held[1]
    assert 0 < len(held[0]) <= HELD_OUT_TOKENS


def test_a_text_that_came_through_a_pipe_is_asked_for_again(tmp_path: Path) -> None:
    text_file(tmp_path / "a.txt", 0)
    pipe = fifo(tmp_path / "pipe", (tmp_path / "a.txt").read_bytes())
    train(TINY_TEXT, tmp_path / "run", data=[pipe], stop_at=3)
    assert record_of(tmp_path / "run").sources == ("-",)
    with pytest.raises(InputError, match="came through a pipe, and is not there any more: give"):
        train(TINY_TEXT, tmp_path / "run", resume=True)
    assert train(TINY_TEXT, tmp_path / "run", resume=True, data=[tmp_path / "a.txt"]).step == 12


def test_a_damaged_record_of_the_text_is_named(tmp_path: Path) -> None:
    train(SHORT, tmp_path, stop_at=2)
    for data in ("[]", "{}", '{"sources": 1}', json.dumps({"sources": [1], "field": "a"})):
        (tmp_path / PROVENANCE_NAME).write_text(data)
        with pytest.raises(InputError, match=r"training\.json: damaged"):
            train(SHORT, tmp_path, resume=True)
    (tmp_path / PROVENANCE_NAME).unlink()
    assert train(SHORT, tmp_path, resume=True).step == 6


def test_a_checkpoint_of_an_earlier_version_resumes(tmp_path: Path) -> None:
    """Without the record of its text, and without what its state says of its plan."""
    train(SHORT, tmp_path / "whole")
    train(SHORT, tmp_path / "run", stop_at=3)
    path = tmp_path / "run" / TRAINING_NAME
    with safe_open(path, framework="pt") as file:
        metadata = {k: v for k, v in file.metadata().items() if k not in ("began", "config")}
    path.write_bytes(save(load(path.read_bytes()), metadata))
    (tmp_path / "run" / PROVENANCE_NAME).unlink()
    with pytest.raises(CheckpointError, match="another config"):
        train(TINY, tmp_path / "run", resume=True)
    train(SHORT, tmp_path / "run", resume=True)
    assert same(tmp_path / "run", tmp_path / "whole")
    assert torch.is_tensor(load_training_state(tmp_path / "run").weights["embedding.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"processes": "2"}, "trained by 2 processes, this run has 1: sums would differ"),
        ({"sharded": "1"}, "was trained sharded: sums would differ; resume with --shard$"),
        ({"seed": "4"}, "trained with seed 4, not 3; leave --seed out"),
        ({"corpus": "12ab"}, "was trained on another text, or on the same in another form"),
        ({"config": "12ab"}, "was made with another config"),
    ],
)
def test_a_state_of_another_run_is_not_resumed(
    changes: dict[str, str], message: str, tmp_path: Path
) -> None:
    train(SHORT, tmp_path, seed=3, stop_at=2)
    path = tmp_path / TRAINING_NAME
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    path.write_bytes(save(load(path.read_bytes()), metadata | changes))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=message):
        train(SHORT, tmp_path, seed=3, resume=True)
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}

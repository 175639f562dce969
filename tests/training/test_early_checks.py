"""What is wrong with a run is found before torch is imported, and the text is read once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import mmfree.training.folder
import mmfree.training.train
from mmfree import api
from mmfree.errors import InputError, ToolMissing
from mmfree.files.claim import BusyError, claimed
from mmfree.training.checkpoint import load_training_state
from mmfree.training.folder import CheckpointError, check_place, prepared
from mmfree.training.presets import PRESETS
from mmfree.training.train import train
from tests.training.test_train import TINY, TINY_TEXT

CALLS = {
    "train textt --out new": "textt: neither a preset",
    "train text --minutes nan --out new": "--minutes must be",
    "train text --resume --force --out run": "give one of them",
    "train text --minutes 1 --resume --out run": "leave it out with --resume",
    "train text --out run": "run: holds a checkpoint already",
    "train text --out a.txt": "a.txt: a file; a checkpoint is a folder",
    "train text --out a.txt/new": "Not a directory",
    "train text --resume --out new": "new: no checkpoint",
    "train text --continue --out half": "training.safetensors: missing; the checkpoint is",
    "train text --width 12 --continue --out run": "the checkpoint has another model",
    "train text --resume --steps 7 --out run": "made with another config",
    "train text --data none.txt --out new": "none.txt: cannot be read",
    "train text --data a.txt --out new": "a.txt: too short",
    "train text --data broken.txt --out new": "broken.txt: not UTF-8",
    "train text --field body --out new": "--field is of the records of --data",
    "train addition --data a.txt --out new": "--data is for text",
    "train addition --tokenizer bytes --out new": "--tokenizer is for text",
    "train text --batch 8 --length 999999999 --out new": "--batch, --length: recipe: length must",
    "train text --teacher none --out new": "none: no checkpoint",
    "train addition --teacher run --out new": "a teacher of task text",
    "train text --teacher run --resume --out run": "a run cannot be its own teacher",
    "train parts.json --out new": "batch_size 4 cannot be cut into 5 parts",
    "train text --shard --out new": "start it with torchrun",
    "train text --layers 0 --out new": "--layers must be",
    "config none.json": "none.json",
    "config text --rate -1": "--rate must be",
}
"""What is wrong, and a part of the line that says so."""

ASK = """
import contextlib, io, json, sys
from mmfree.cli.main import main
found = []
for call in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(call.split())
    heavy = sorted({"torch", "amaranth", "accelerate"} & {*sys.modules})
    found.append([code, said.getvalue(), heavy])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "a.txt").write_text("short")
    (folder / "broken.txt").write_bytes(b"a" * 999 + b"\xff")
    run = replace(TINY_TEXT, recipe=PRESETS["text"]().recipe)
    train(run, folder / "run", stop_at=1)
    (folder / "half").mkdir()
    (folder / "half" / "config.json").write_bytes((folder / "run" / "config.json").read_bytes())
    parts = replace(TINY, recipe=replace(TINY.recipe, accumulate=5))
    (folder / "parts.json").write_text(json.dumps(parts.to_dict()))
    return folder


def test_wrong_calls_are_refused_before_torch_is_imported(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps([*CALLS])],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for (call, words), (code, said, heavy) in zip(
        CALLS.items(), json.loads(done.stdout), strict=True
    ):
        assert (code, heavy) == (2, []), call
        assert words in said, call
        assert said.startswith("mmfree: error: "), call
        assert said.count("\n") == 1, call
    assert not (place / "new").exists()


def options(**changes: object) -> dict[str, object]:
    common = {"data": [], "field": None, "teacher": None, "resume": False, "extend": False}
    return common | {"shard": False, "tensorboard": False} | changes


def test_a_text_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    real = mmfree.training.folder.load_corpus

    def load(*arguments: object, **more: object) -> object:
        reads.append(arguments[0])
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(mmfree.training.folder, "load_corpus", load)
    (tmp_path / "c.json").write_text(json.dumps(TINY_TEXT.to_dict()))
    (tmp_path / "a.txt").write_text("the cat sees a bird. " * 99)
    result = api.train(
        tmp_path / "c.json", tmp_path / "run", data=tmp_path / "a.txt", steps=1, length=9
    )
    assert reads == [[tmp_path / "a.txt"]]
    assert result.corpus is not None
    assert load_training_state(tmp_path / "run").corpus == result.corpus.digest


def test_a_folder_is_claimed_while_the_text_is_read(tmp_path: Path) -> None:
    with prepared(TINY_TEXT, tmp_path / "run", **options()):  # type: ignore[arg-type]
        script = "import sys; from pathlib import Path; from mmfree.files.claim import claimed\n"
        script += "with claimed(Path(sys.argv[1])): pass"
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "run")], capture_output=True, check=False
        )
        assert BusyError.__name__ in done.stderr.decode()
    with claimed(tmp_path / "run"):
        pass


def test_processes_that_join_look_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for asked in ({"shard": True}, {"data": [Path("none.txt")]}):
        given = options(**asked)  # type: ignore[arg-type]
        with prepared(TINY_TEXT, tmp_path / "run", **given) as corpus:
            assert corpus is None
    check_place(tmp_path, resume=True, extend=False, force=False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        check_place(tmp_path, resume=True, extend=False, force=False)
    with (
        pytest.raises(InputError, match="torchrun"),
        prepared(
            TINY_TEXT,
            tmp_path / "run",
            **options(shard=True),  # type: ignore[arg-type]
        ),
    ):
        pass


def test_tensorboard_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmfree.training.folder, "find_spec", lambda name: None)
    with (
        pytest.raises(ToolMissing, match=r"--tensorboard: the package is missing"),
        prepared(
            TINY,
            tmp_path / "run",
            **options(tensorboard=True),  # type: ignore[arg-type]
        ),
    ):
        pass


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    train(TINY, tmp_path, stop_at=1)
    (tmp_path / "training.safetensors").write_bytes(b"\1" * 99)
    with (
        pytest.raises(CheckpointError, match=r"training\.safetensors: damaged"),
        prepared(
            TINY,
            tmp_path,
            **options(resume=True),  # type: ignore[arg-type]
        ),
    ):
        pass

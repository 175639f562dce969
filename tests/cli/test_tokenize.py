"""``mmfree tokenize``, and subword models from text to tape.

Trained, resumed, scored, exported, and read again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmfree.cli.main import main
from mmfree.inference.backends import load_backend
from mmfree.tape.reading import open_pow2_tape
from mmfree.text.corpus import Text
from mmfree.text.loading import load_corpus
from mmfree.text.subword import train_bpe
from mmfree.text.tokenizers import find_tokenizer
from mmfree.training.presets import run_config
from tests.support.command_line import error_of, run_json
from tests.support.files import COMPRESS, fifo
from tests.support.subwords import bpe, train_subword

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text, a config file of 400 tokens, shards and a checkpoint."""
    path = tmp_path_factory.mktemp("corpora")
    train_subword(path)
    return path


@pytest.fixture
def shards(folder: Path) -> Path:
    return folder / "shards"


@pytest.fixture
def run(folder: Path) -> Path:
    return folder / "run"


def test_a_vocabulary_is_learned_from_what_is_for_training(folder: Path, shards: Path) -> None:
    text = Text.of([folder / "text.txt"])
    expected = train_bpe([piece.text for piece in text.pieces() if not piece.held_out], 400)
    assert json.loads((shards / "tokenizer.json").read_text()) == expected.to_dict()
    assert find_tokenizer("bpe:400", text).to_dict() == expected.to_dict()


def test_tokenize_says_what_it_wrote(
    folder: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_json(
        capsys, "tokenize", folder / "text.txt", "--tokenizer", shards, "--out", tmp_path / "again"
    )
    assert values["bytes"] == 60_000
    assert values["vocab_size"] == 400
    assert values["megabytes_per_second"] > 0
    assert values["training_tokens"] > 8 * values["held_out_tokens"] > 0
    inspected = run_json(capsys, "inspect", tmp_path / "again")
    assert inspected == run_json(capsys, "inspect", shards) | {"shards": str(tmp_path / "again")}
    assert {name: inspected[name] for name in ("bytes", "documents", "training_tokens")} == {
        name: values[name] for name in ("bytes", "documents", "training_tokens")
    }
    assert main(["inspect", str(shards)]) == 0
    assert "held out (the last tenth), vocabulary 400" in capsys.readouterr().out


def test_a_checkpoint_carries_its_tokenizer(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads((run / "tokenizer.json").read_text()) == json.loads(
        (shards / "tokenizer.json").read_text()
    )
    entry = json.loads((run / "config.json").read_text())["tokenizer"]
    assert entry["file"] == "tokenizer.json"
    assert load_backend(run, "float").tokenizer.vocab_size == 400
    assert (
        run_json(capsys, "train", run / "config.json", "--data", shards, "--out", run, "--resume")[
            "steps"
        ]
        == 25
    )


def test_training_learns_the_same_from_shards_and_from_text(
    folder: Path, run: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", folder / "text.txt", "--tokenizer", "bpe:400", "--out", tmp_path / "run"]
    values = run_json(capsys, "train", folder / "config.json", *arguments)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        run / "model.safetensors"
    ).read_bytes()
    assert 0 < values["bits_per_byte"] < 8


def test_the_tape_generates_and_shows_ranges(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = folder / "model.tape"
    exported = run_json(capsys, "export", run, "--out", tape)
    assert open_pow2_tape(tape).tokenizer["kind"] == "tokenizers"
    inspected = run_json(capsys, "inspect", tape)["tokenizer"]
    assert inspected["data"].endswith(" characters")
    values = run_json(capsys, "generate", tape, "--prompt", "The value", "--tokens", 12)
    tokenizer = load_backend(tape, "golden").tokenizer
    assert values["text"] == tokenizer.decode(values["ids"])
    assert len(values["ids"]) == 12
    assert run_json(capsys, "evaluate", tape, "--data", folder / "text.txt", "--ranges")["ranges"]
    assert exported["ranges"]


def test_a_tokenizer_that_disagrees_with_the_vocabulary_is_one_error(
    folder: Path, shards: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    out = ["--out", tmp_path / "out"]
    cases: list[tuple[list[object], str]] = [
        (
            ["train", folder / "config.json", *out],
            (
                "config.json: config: task text needs vocab_size 256 and head_size 256, got 400 and"
                " 400; change them"
            ),
        ),
        (
            ["train", folder / "config.json", "--tokenizer", "bpe:300", *out],
            "the tokenizer needs vocab_size 300 and head_size 300, got 400",
        ),
        (
            ["train", "text", "--tokenizer", "bytes", "--data", shards, *out],
            "made with another tokenizer (of 400 ids) than the model's (of 256)",
        ),
        (
            ["train", "text", "--tokenizer", "bpe:300", "--data", shards, *out],
            "holds tokens, from which no vocabulary can be learned",
        ),
        (
            ["train", "text", "--data", shards, folder / "text.txt", *out],
            "a folder of token shards cannot be mixed with other text",
        ),
        (["train", "text", "--data", shards, "--out", run, "--resume"], "made with another config"),
    ]
    for arguments, message in cases:
        assert message in error_of(capsys, *arguments), arguments
    assert not (tmp_path / "out").exists()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    (run / "tokenizer.json").write_text(json.dumps(bpe().to_dict() | {"extra": 1}))
    try:
        assert "tokenizer.json: not the tokenizer of" in error_of(capsys, "evaluate", run)
    finally:
        (run / "tokenizer.json").write_bytes(before["tokenizer.json"])


def test_a_text_shorter_than_a_sequence_is_one_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text("short " * 20)
    message = error_of(
        capsys, "train", "text", "--data", tmp_path / "short.txt", "--out", tmp_path / "out"
    )
    assert (
        "short.txt: too short: 108 tokens for training and 12 held out (a tenth), but a sequence"
        " has 128" in message
    )
    assert not (tmp_path / "out").exists()


def test_a_preset_follows_the_tokenizer(folder: Path, shards: Path) -> None:
    config = run_config("text", gate="sigmoid", data=[shards])
    model = config.model
    assert (model.vocab_size, model.head_size, model.gate) == (400, 400, "sigmoid")
    assert run_config("text").model.vocab_size == 256


def test_the_built_in_text_serves_any_tokenizer() -> None:
    corpus = load_corpus([], bpe())
    assert corpus.validation_bytes == len(load_corpus([]).validation)
    text = bpe().decode(corpus.validation.tolist())
    assert text == load_corpus([]).validation.tobytes().decode()


def test_a_pipe_is_learned_from_and_written(
    folder: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It can be read once, a vocabulary needs it twice, and its size says where it is cut."""
    fifo(tmp_path / "pipe.txt.gz", COMPRESS[".gz"]((folder / "text.txt").read_bytes()))
    command = ["tokenize", tmp_path / "pipe.txt.gz", "--tokenizer", "bpe:400"]
    run_json(capsys, *command, "--out", tmp_path / "out")
    for name in ("shard_00000.bin", "held_out_00000.bin", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (shards / name).read_bytes()


HOLD = """
import sys
from pathlib import Path
from mmfree.files.claim import claimed
with claimed(Path(sys.argv[1])):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_process_writes_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody writes to this pipe: who reads it waits."""
    os.mkfifo(tmp_path / "pipe")
    arguments = [tmp_path / "pipe", "--tokenizer", "bpe:400", "--out", tmp_path / "out"]
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        assert str(tmp_path / "out") in error_of(capsys, "tokenize", *arguments)
        other.communicate("")
    assert other.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_every_text_on_the_command_line_is_unicode(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte that is not UTF-8 comes as half a surrogate pair."""
    assert "not Unicode" in error_of(capsys, "generate", run, "--prompt", "abc\udcff")
    records = tmp_path / "a.jsonl"
    records.write_text('{"text": "x"}\n')
    out = ["--out", tmp_path / "out"]
    cases = [
        (["tokenize", records, "--field", "a\udcff", *out], "no field 'a\\udcff'; found"),
        (["tokenize", "a\udcff.txt", *out], "cannot be read: No such file"),
        (["tokenize", records, "--tokenizer", "a\udcff", *out], "no such file; a tokenizer is"),
        (["tokenize", "hf:a\udcff", *out], "the data set cannot be loaded"),
    ]
    for command, message in cases:
        assert message in error_of(capsys, *command)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]

"""Token shards: what is written is what is read, whole or not at all, and refused when altered."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.text.corpus import Text
from mmfree.text.loading import load_corpus
from mmfree.text.shard_writing import write_shards
from mmfree.text.shards import open_shards, read_tokenizer
from mmfree.text.sources import MANIFEST_NAME, is_shards
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from mmfree.text.windows import training_windows
from tests.support.subwords import LINES, TEXT, bpe, pieces

DOCUMENTS = [f"{line}\n{number}" for number, line in enumerate(LINES)]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "text.txt"


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    path = tmp_path / "text.jsonl"
    path.write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), bpe(), pieces()], ids=lambda t: t.kind)
@pytest.mark.parametrize("source", ["plain", "jsonl"])
def test_shards_hold_what_is_read_without_them(
    tokenizer: TextTokenizer, source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(source)
    manifest = write_shards(
        Text.of([path]), tokenizer, tmp_path / "out", shard_tokens=300, held_out_tokens=50
    )
    shards, memory = (
        open_shards(tmp_path / "out", tokenizer, verify=True),
        load_corpus([path], tokenizer),
    )
    assert np.array_equal(shards.training[np.arange(len(shards.training))], memory.training[:])
    tokens, num_bytes = shards.all_held_out()
    assert np.array_equal(tokens, memory.validation)
    assert num_bytes == memory.validation_bytes
    assert manifest.split == ("tail" if source == "plain" else "hash")
    assert manifest.documents == (1 if source == "plain" else len(DOCUMENTS))
    assert len(manifest.training) > 3 or source == "plain"
    assert sum(s.bytes for s in (*manifest.training, *manifest.validation)) == sum(
        len(text.encode()) for text in ([TEXT] if source == "plain" else DOCUMENTS)
    )


def test_windows_run_across_shards(jsonl: Path, tmp_path: Path) -> None:
    write_shards(Text.of([jsonl]), bpe(), tmp_path / "out", shard_tokens=64)
    shards, memory = open_shards(tmp_path / "out"), load_corpus([jsonl], bpe())
    one = training_windows(np.random.default_rng(1), shards.training, 40, 200, start=bpe().start)
    other = training_windows(np.random.default_rng(1), memory.training, 40, 200, start=bpe().start)
    assert np.array_equal(one.targets, other.targets)
    assert np.array_equal(one.ids, other.ids)
    assert isinstance(shards.training[np.array([0])], np.ndarray)


def test_documents_begin_with_the_start_token(jsonl: Path, tmp_path: Path) -> None:
    write_shards(Text.of([jsonl]), bpe(), tmp_path / "out")
    corpus = open_shards(tmp_path / "out")
    tokens = corpus.training[np.arange(len(corpus.training))].tolist()
    texts = [text for text in bpe().decode(tokens).split("<|endoftext|>") if text]
    held_out = [
        text
        for text in bpe().decode(corpus.all_held_out()[0].tolist()).split("<|endoftext|>")
        if text
    ]
    assert sorted(texts + held_out) == sorted(DOCUMENTS)
    assert 0 < len(held_out) < 40


def test_the_side_of_a_document_depends_on_itself_alone(jsonl: Path, tmp_path: Path) -> None:
    def held_out(path: Path) -> set[str]:
        return {piece.text for piece in Text.of([path]).pieces() if piece.held_out}

    expected = {
        text
        for text in DOCUMENTS
        if int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) < 2**64 / 10
    }
    assert held_out(jsonl) == expected
    half = tmp_path / "half.jsonl"
    half.write_text(
        "".join(reversed(jsonl.read_text(encoding="utf-8").splitlines(keepends=True)[::2])),
        encoding="utf-8",
    )
    assert held_out(half) == expected & set(DOCUMENTS[::2])


def test_the_same_text_gives_the_same_bytes(jsonl: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shards(Text.of([jsonl]), bpe(), tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["held_out_00000.bin", "manifest.json", "shard_00000.bin", "tokenizer.json"]
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        for name in names
    )
    assert open_shards(tmp_path / "a").digest == open_shards(tmp_path / "b").digest
    assert read_tokenizer(tmp_path / "a").to_dict() == bpe().to_dict()


def test_a_text_that_fails_leaves_what_was_there(jsonl: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_shards(Text.of([plain]), bpe(), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with jsonl.open("a") as file:
        file.write('{"body": "no text"}\n')
    with pytest.raises(InputError, match="line 121: no field 'text'"):
        write_shards(Text.of([jsonl]), bpe(), out, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not list(tmp_path.glob(".*")), "no partial folder"
    with pytest.raises(InputError, match="exists already; --force overwrites it"):
        write_shards(Text.of([plain]), bpe(), out)


def test_what_a_killed_run_left_is_replaced(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run cleans nothing up: its partial folder is not a corpus, and is replaced."""
    partial = tmp_path / ".out.new"
    partial.mkdir()
    (partial / "shard_00099.bin").write_bytes(b"half")
    assert not is_shards(partial)
    write_shards(Text.of([plain]), bpe(), tmp_path / "out")
    assert not partial.exists()
    assert not (tmp_path / "out" / "shard_00099.bin").exists()


def test_force_replaces_shards_alone(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds no token shards; --force replaces nothing else"):
        write_shards(Text.of([plain]), bpe(), tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_few_documents_may_leave_a_side_empty(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"text": "a single document"}) + "\n")
    with pytest.raises(
        InputError, match=r"one\.jsonl: 1 documents leave none for (training|validation): give more"
    ):
        write_shards(Text.of([path]), bpe(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_altered_shards_are_named(jsonl: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_shards(Text.of([jsonl]), bpe(), out, shard_tokens=500)
    shard = out / "shard_00001.bin"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(
        InputError,
        match=rf"shard_00001\.bin: it has {len(data) - 1} bytes, not {len(data)}; tokenize again",
    ):
        open_shards(out)
    shard.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    open_shards(out)
    with pytest.raises(InputError, match=r"shard_00001\.bin: altered: its sha256 differs"):
        open_shards(out, verify=True)
    shard.write_bytes(b"\x90\x01" + data[2:])
    corpus, first = open_shards(out), json.loads((out / MANIFEST_NAME).read_text())["training"][0]
    with pytest.raises(InputError, match=r"out: altered: tokens must be below 400, found 400"):
        corpus.training[np.array([first["tokens"]])]
    held_out = out / "held_out_00000.bin"
    held_out.write_bytes(held_out.read_bytes()[:-2] + b"\xff\xff")
    with pytest.raises(
        InputError, match=r"held_out_00000\.bin: altered: tokens must be below 400, found 65535"
    ):
        open_shards(out)
    shard.unlink()
    with pytest.raises(InputError, match=r"shard_00001\.bin: it is missing; tokenize again"):
        open_shards(out)


def test_another_tokenizer_is_refused(plain: Path, tmp_path: Path) -> None:
    write_shards(Text.of([plain]), bpe(), tmp_path / "out")
    with pytest.raises(
        InputError, match=r"made with another tokenizer \(of 400 ids\) than the model's \(of 256\)"
    ):
        load_corpus([tmp_path / "out"])
    (tmp_path / "out" / "tokenizer.json").write_text(json.dumps(pieces().to_dict()))
    with pytest.raises(
        InputError, match=r"tokenizer\.json: not the tokenizer that made the shards"
    ):
        load_corpus([tmp_path / "out"], bpe())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "no manifest of token shards"),
        ({"version": 2}, "version 2, but this mmfree reads 1: tokenize again"),
        ({"dtype": "int8"}, "dtype must be uint16 or uint32, got 'int8'"),
        ({"dtype": None}, "dtype is missing or malformed"),
        ({"training": 3}, "training is missing or malformed"),
        ({"training": [{"file": "x"}]}, "training is malformed; tokenize again"),
        ({"training": []}, "training is malformed; tokenize again"),
        ({"validation": [3]}, "validation is malformed; tokenize again"),
        ({"surplus": 3}, "unknown field 'surplus'; tokenize again"),
        ({"documents": 10**40}, "not valid JSON: the integer 10000000000000000000"),
    ],
)
def test_a_manifest_that_is_none_is_named(
    change: dict[str, object], message: str, plain: Path, tmp_path: Path
) -> None:
    write_shards(Text.of([plain]), bpe(), tmp_path / "out")
    path = tmp_path / "out" / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"manifest\.json: {message}"):
        open_shards(tmp_path / "out")


def test_a_tokenizer_that_does_not_belong_to_its_manifest_is_named(
    plain: Path, tmp_path: Path
) -> None:
    write_shards(Text.of([plain]), bpe(), tmp_path / "out")
    path = tmp_path / "out" / MANIFEST_NAME
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"vocab_size": 401}))
    with pytest.raises(InputError, match="vocab_size must be the tokenizer's 400, got 401"):
        read_tokenizer(tmp_path / "out")
    deep = b"[" * 100_000
    (tmp_path / "out" / "tokenizer.json").write_bytes(deep)
    path.write_text(json.dumps(manifest | {"tokenizer_sha256": hashlib.sha256(deep).hexdigest()}))
    with pytest.raises(InputError, match=r"tokenizer\.json: not valid JSON: nested too deeply"):
        read_tokenizer(tmp_path / "out")


def test_force_replaces_token_shards_alone(plain: Path, tmp_path: Path) -> None:
    """A folder with another manifest, or with more in it than shards, is left as it is."""
    other = tmp_path / "project"
    other.mkdir()
    (other / MANIFEST_NAME).write_text("{}")
    assert not is_shards(other)
    with pytest.raises(InputError, match="holds no token shards; --force replaces nothing else"):
        write_shards(Text.of([plain]), ByteTokenizer(), other, force=True)
    out = tmp_path / "out"
    write_shards(Text.of([plain]), ByteTokenizer(), out)
    (out / "notes.txt").write_text("precious")
    with pytest.raises(
        InputError, match=r"holds notes.txt besides token shards; --force replaces nothing else"
    ):
        write_shards(Text.of([plain]), ByteTokenizer(), out, force=True)
    assert (out / "notes.txt").read_text() == "precious"
    (out / "notes.txt").unlink()
    write_shards(Text.of([plain]), bpe(), out, force=True)
    assert read_tokenizer(out).kind == bpe().kind


def test_a_run_knows_its_tokens_wherever_the_text_was(plain: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.txt"
    moved.write_bytes(plain.read_bytes())
    for name, path in (("a", plain), ("b", moved)):
        write_shards(Text.of([path]), bpe(), tmp_path / name)
    digests = [open_shards(tmp_path / name).digest for name in "ab"]
    assert digests[0] == digests[1]
    moved.write_text(TEXT[::-1], encoding="utf-8")
    write_shards(Text.of([moved]), bpe(), tmp_path / "c")
    assert open_shards(tmp_path / "c").digest != digests[0]

"""Token shards: what is written is what is read, whole or not at all, and refused when altered."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mmfree.errors import InputError
from mmfree.text.corpus import Text
from mmfree.text.loading import load_corpus
from mmfree.text.shard_writing import write_shards
from mmfree.text.shards import open_shards, read_tokenizer
from mmfree.text.sources import MANIFEST_NAME, is_shards
from mmfree.text.subword import JsonTokenizer
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from mmfree.text.windows import training_windows
from tests.support.subwords import LINES, TEXT, bpe, pieces, words

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
    data = kept = shard.read_bytes()
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
    data = held_out.read_bytes()
    held_out.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    shard.write_bytes(kept)
    with pytest.raises(InputError, match=r"held_out_00000\.bin: altered: its sha256 differs"):
        open_shards(out, verify=True)
    held_out.write_bytes(data[:-2])
    with pytest.raises(InputError, match=r"held_out_00000\.bin: it has \d+ bytes, not \d+"):
        open_shards(out)
    held_out.write_bytes(data[:-2] + b"\xff\xff")
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


SHARD = {"file": "shard_00000.bin", "tokens": 1, "bytes": 1, "sha256": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "no manifest of token shards"),
        ({"version": 2}, "version 2, but this mmfree reads 1: tokenize again"),
        ({"dtype": "int8"}, "dtype must be uint16 or uint32, got 'int8'"),
        ({"dtype": None}, "dtype is missing or malformed"),
        ({"training": 3}, "training is missing or malformed"),
        *(
            ({name: value}, f"{name} is missing or malformed")
            for name, value in {
                "tokenizer_sha256": 3,
                "vocab_size": "400",
                "split": None,
                "documents": "1",
                "sources": "a",
                "validation": {},
            }.items()
        ),
        ({"training": [{"file": "x"}]}, "training is malformed; tokenize again"),
        ({"training": []}, "training is malformed; tokenize again"),
        *(
            ({side: [SHARD | change]}, f"{side} is malformed; tokenize again")
            for side in ("training", "validation")
            for change in (
                {"tokens": 0},
                {"bytes": 0},
                {"tokens": True},
                {"bytes": 1.0},
                {"file": 3},
                {"sha256": None},
                {"more": 1},
            )
        ),
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


def write_documents(path: Path, found: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in found))
    return path


def sides(texts: list[str]) -> tuple[list[str], list[str]]:
    """Texts for training, and those held out: by their sha256."""
    held_out = [
        int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) < 2**64 / 10 for text in texts
    ]
    return tuple(  # type: ignore[return-value]
        [text for text, side in zip(texts, held_out, strict=True) if side == wanted]
        for wanted in (False, True)
    )


@pytest.mark.parametrize(
    ("most", "sizes"), [(9, [10, 10, 10]), (10, [10, 10, 10]), (11, [15, 15]), (1, [5] * 6)]
)
def test_a_shard_is_closed_after_the_piece_that_reaches_its_tokens(
    most: int, sizes: list[int], tmp_path: Path
) -> None:
    """Six documents of a start token and four bytes, all in all five tokens."""
    training, held_out = sides([f"{number:03}x" for number in range(60)])
    wanted = training[:6] + held_out[:3]
    path = write_documents(tmp_path / "a.jsonl", wanted)
    found = write_shards(
        Text.of([path]), ByteTokenizer(), tmp_path / "out", shard_tokens=most, held_out_tokens=6
    )
    assert [shard.tokens for shard in found.training] == sizes
    assert [shard.bytes for shard in found.training] == [size * 4 // 5 for size in sizes]
    assert [shard.tokens for shard in found.validation] == [10, 5]
    data = json.loads((tmp_path / "out" / MANIFEST_NAME).read_text())
    names = [f"shard_{number:05}.bin" for number in range(len(sizes))]
    assert [shard["file"] for shard in data["training"]] == names
    assert [shard["file"] for shard in data["validation"]] == [
        "held_out_00000.bin",
        "held_out_00001.bin",
    ]
    read = [(tmp_path / "out" / name).read_bytes() for name in names]
    tokens = b"".join(b"\0" + text.encode() for text in training[:6])
    assert b"".join(read) == np.frombuffer(tokens, dtype=np.uint8).astype("<u2").tobytes()
    for shard, contents in zip(data["training"], read, strict=True):
        assert shard["sha256"] == hashlib.sha256(contents).hexdigest()
    description = (tmp_path / "out" / "tokenizer.json").read_bytes()
    assert {
        name: value for name, value in data.items() if name not in ("training", "validation")
    } == {
        "format": "mmfree token shards",
        "version": 1,
        "tokenizer_sha256": hashlib.sha256(description).hexdigest(),
        "vocab_size": 256,
        "dtype": "uint16",
        "split": "hash",
        "documents": 9,
        "sources": [str(path)],
    }
    assert found.summary() == {
        "vocab_size": 256,
        "documents": 9,
        "bytes": 36,
        "training_tokens": 30,
        "held_out_tokens": 15,
    }
    corpus = open_shards(tmp_path / "out")
    assert (len(corpus.training), corpus.validation.tolist()[:2]) == (30, [0, ord("0")])
    assert (len(corpus.validation), corpus.validation_bytes) == (10, 8)
    assert corpus.all_held_out()[1] == 12


def test_shards_have_the_sizes_of_the_docs() -> None:
    options = inspect.signature(write_shards).parameters
    assert options["shard_tokens"].default == 2**26
    assert options["held_out_tokens"].default == 2**18


@pytest.mark.parametrize(("largest", "dtype", "width"), [(65_534, "<u2", 2), (65_535, "<u4", 4)])
def test_a_token_takes_two_bytes_up_to_65536_ids(
    largest: int, dtype: str, width: int, tmp_path: Path
) -> None:
    """One more id than the largest is the start token's."""
    data = words([])
    data["model"]["vocab"]["z"] = largest
    tokenizer = JsonTokenizer(json.dumps(data))
    assert (tokenizer.start, tokenizer.vocab_size) == (largest + 1, largest + 2)
    texts = ["".join("abz"[n // 3**place % 3] for place in range(5)) for n in range(243)]
    path = write_documents(tmp_path / "a.jsonl", texts)
    manifest = write_shards(Text.of([path]), tokenizer, tmp_path / "out", shard_tokens=100)
    assert (manifest.vocab_size, manifest.dtype) == (largest + 2, f"uint{8 * width}")
    ids = {"a": 0, "b": 1, "z": largest}
    for side, found in zip(("shard", "held_out"), sides(texts), strict=True):
        wanted = [token for text in found for token in (largest + 1, *(ids[c] for c in text))]
        files = sorted((tmp_path / "out").glob(f"{side}_*.bin"))
        stored = np.frombuffer(b"".join(file.read_bytes() for file in files), dtype=dtype)
        assert stored.tolist() == wanted
    corpus, memory = open_shards(tmp_path / "out", tokenizer), load_corpus([path], tokenizer)
    assert corpus.training[np.arange(len(corpus.training))].tolist() == memory.training[:].tolist()
    assert corpus.all_held_out()[0].tolist() == memory.validation.tolist()


def test_places_may_be_of_any_shape_and_order(jsonl: Path, tmp_path: Path) -> None:
    manifest = write_shards(Text.of([jsonl]), bpe(), tmp_path / "out", shard_tokens=64)
    tokens = open_shards(tmp_path / "out").training
    whole = np.concatenate(
        [
            np.frombuffer((tmp_path / "out" / shard.file).read_bytes(), dtype="<u2")
            for shard in manifest.training
        ]
    )
    ends = np.cumsum([shard.tokens for shard in manifest.training])
    edges = np.concatenate([ends[:-1], ends - 1, [0]])
    drawn = np.random.default_rng(0).integers(0, len(whole), 40)
    places = np.concatenate([edges, drawn])[: 2 * (len(edges) // 2 + 10)].reshape(2, -1)
    assert np.array_equal(tokens[places], whole[places])
    assert len(tokens) == len(whole) == ends[-1]


def test_a_piece_without_tokens_leaves_no_shard(tmp_path: Path) -> None:
    """Blanks, of which this tokenizer makes nothing, after a shard that is full."""
    library = Tokenizer(models.WordLevel({"old": 0, "new": 1, "[UNK]": 2}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = JsonTokenizer(library.to_str())
    (tmp_path / "a.txt").write_text("old new " * 20)
    # 180 of the 200 bytes are for training: of this file 19 blanks.
    (tmp_path / "b.txt").write_text(" " * 20 + "old new old new new")
    text = Text.of([tmp_path / "a.txt", tmp_path / "b.txt"])
    manifest = write_shards(text, tokenizer, tmp_path / "out", shard_tokens=40)
    assert [(shard.file, shard.tokens) for shard in manifest.training] == [("shard_00000.bin", 40)]
    assert [(shard.tokens, shard.bytes) for shard in manifest.validation] == [(5, 20)]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.bin")) == [
        "held_out_00000.bin",
        "shard_00000.bin",
    ]
    assert manifest.split == "tail"
    assert manifest.sources == (str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))


def test_a_digest_is_of_tokenizer_and_tokens(tmp_path: Path) -> None:
    """The same tokens by another tokenizer, and the same tokens in another order of shards."""
    path = write_documents(tmp_path / "a.jsonl", list(map(str, range(99))))
    write_shards(Text.of([path]), ByteTokenizer(), tmp_path / "out", shard_tokens=20)
    corpus = open_shards(tmp_path / "out")
    manifest = corpus.manifest
    others = [
        replace(manifest, tokenizer_sha256="x"),
        replace(manifest, training=manifest.training[::-1]),
        replace(manifest, training=manifest.training[:-1]),
    ]
    digests = [replace(corpus, manifest=other).digest for other in others]
    assert len({corpus.digest, *digests}) == 4
    same_text = replace(manifest, sources=("elsewhere",), documents=3)
    assert replace(corpus, manifest=same_text).digest == corpus.digest


def test_shards_of_a_task_are_none(plain: Path, tmp_path: Path) -> None:
    write_shards(Text.of([plain]), ByteTokenizer(), tmp_path / "out")
    description = b'{"kind": "parity"}'
    (tmp_path / "out" / "tokenizer.json").write_bytes(description)
    path = tmp_path / "out" / MANIFEST_NAME
    changes = {"tokenizer_sha256": hashlib.sha256(description).hexdigest(), "vocab_size": 3}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match="a tokenizer of kind parity does not read text; token"):
        read_tokenizer(tmp_path / "out")
    (tmp_path / "out" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json: cannot be read: No such file"):
        read_tokenizer(tmp_path / "out")


def test_a_folder_may_be_empty_and_a_file_may_not_be_one(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: exists already; --force overwrites it"):
        write_shards(Text.of([plain]), ByteTokenizer(), tmp_path / "empty")
    write_shards(Text.of([plain]), ByteTokenizer(), tmp_path / "empty", force=True)
    assert open_shards(tmp_path / "empty").name == str(tmp_path / "empty")
    with pytest.raises(InputError, match=r"text\.txt: exists and holds no token shards"):
        write_shards(Text.of([plain]), ByteTokenizer(), plain, force=True)
    (tmp_path / "empty" / ".empty.lock.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds \.empty\.lock\.txt besides token shards"):
        write_shards(Text.of([plain]), ByteTokenizer(), tmp_path / "empty", force=True)

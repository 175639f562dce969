"""Sources: every format gives its documents, and what cannot be used is named with its place."""

from __future__ import annotations

import gzip
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmfree.text.sources
from mmfree.errors import InputError
from mmfree.text.corpus import Text
from mmfree.text.loading import load_corpus
from mmfree.text.shard_writing import write_shards
from mmfree.text.sources import are_plain, character_start, documents, expand
from mmfree.text.tokenizer import ByteTokenizer
from tests.support.files import COMPRESS, fifo
from tests.support.subwords import LINES, TEXT

TEXTS = ["one\ntwo", "naïve 東京", ""]


def texts(*paths: Path, field: str = "text") -> list[str]:
    return [document.text for document in documents(expand(list(paths)), field)]


def write_jsonl(path: Path, records: list[object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_parquet(path: Path, columns: dict[str, list[object]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_every_format_gives_the_same_documents(tmp_path: Path) -> None:
    jsonl = write_jsonl(tmp_path / "a.jsonl", [{"text": text, "id": 1} for text in TEXTS])
    parquet = write_parquet(tmp_path / "a.parquet", {"id": [1, 2, 3], "text": list(TEXTS)})
    assert texts(jsonl) == texts(parquet) == TEXTS
    renamed = write_parquet(tmp_path / "b.parquet", {"story": list(TEXTS)})
    assert texts(renamed, field="story") == TEXTS
    assert texts(jsonl, jsonl) == TEXTS * 2


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_separated_documents(end: str, tmp_path: Path) -> None:
    """A line of its own parts them, wherever a piece of the file ends; in a line it is text."""
    stories = ["one\n\ntwo <|endoftext|> here", "x" * 9, "three\n<|endoftext|>!", "last\none"]
    text = "\n<|endoftext|>\n".join((*stories[:2], "  ", *stories[2:]))
    (tmp_path / "a.txt").write_bytes(f"{text}\n<|endoftext|>{end}".encode())
    for size in (26, 30, 1 << 18):
        with mock.patch.object(mmfree.text.sources, "PIECE_BYTES", size):
            found = mmfree.text.sources._separated(tmp_path / "a.txt", "text")
            assert [one.text for one in found] == stories
        assert not are_plain([tmp_path / "a.txt"])
    assert texts(tmp_path / "a.txt") == stories
    (tmp_path / "b.txt").write_text("no <|endoftext|> alone\n<|endoftext|> here")
    assert are_plain([tmp_path / "b.txt"])


def test_blank_lines_of_jsonl_are_no_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('\n{"text": "x"}\n  \n{"text": "y"}')
    assert texts(tmp_path / "a.jsonl") == ["x", "y"]


def test_records_may_hold_any_number_beside_their_text(tmp_path: Path) -> None:
    line = f'{{"text": "x", "score": NaN, "id": {10**40}, "limit": 1e999}}\n'
    (tmp_path / "a.jsonl").write_text(line)
    assert texts(tmp_path / "a.jsonl") == ["x"]


def test_a_folder_gives_its_files_sorted_hidden_and_unknown_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    for name in (
        "b.txt",
        "a.md",
        "sub/c.text",
        ".hidden.txt",
        "picture.png",
        "LICENSE",
        ".git/d.txt",
    ):
        (tmp_path / name).write_text(name)
    assert texts(tmp_path) == ["a.md", "b.txt", "sub/c.text"]
    assert are_plain(expand([tmp_path]))
    write_jsonl(tmp_path / "z.jsonl", [{"text": "z"}])
    assert not are_plain(expand([tmp_path]))


@given(st.text(alphabet="ab\n é東🙂", min_size=1, max_size=80), st.integers(8, 13))
def test_pieces_of_a_file_are_the_file(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmfree.text.sources, "PIECE_BYTES", size)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.txt"
            path.write_bytes(text.encode())
            found = list(documents([path]))
    assert "".join(document.text for document in found) == text
    assert [document.continues for document in found] == [False] + [True] * (len(found) - 1)
    assert all(len(document.text.encode()) <= size for document in found)
    assert all(d.text.endswith("\n") or "\n" not in d.text for d in found[:-1])


def test_a_character_is_not_cut() -> None:
    data = "aé東🙂".encode()
    starts = [character_start(data, place) for place in range(len(data))]
    assert starts == [0, *[1] * 2, *[3] * 3, *[6] * 4]


def test_the_offset_of_a_wrong_byte_is_that_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmfree.text.sources, "PIECE_BYTES", 8)
    (tmp_path / "a.txt").write_bytes(b"line one\nline two\ncaf\xe9\n")
    with pytest.raises(
        InputError, match=r"a\.txt: not UTF-8 text: byte 0xe9 at offset 21; convert the file first"
    ):
        texts(tmp_path / "a.txt")


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    cases = {
        "empty.txt": (b"", r"empty\.txt: the file is empty; text is needed"),
        "empty.jsonl": (b"\n", r"empty\.jsonl: the file is empty"),
        "nul.txt": (b"a\0b", r"nul\.txt: document 1 holds a NUL character: not text"),
        "a.jsonl": (
            b'{"text": "x"}\n{"body": "y"}\n',
            r"a\.jsonl, line 2: no field 'text'; found fields \['body'\]",
        ),
        "b.jsonl": (
            b'{"text": "x"}\n\n{"text": 3}\n',
            r"b\.jsonl, line 3: field 'text' must be text, got int",
        ),
        "c.jsonl": (b'{"text": "x"}\n{"text": \n', r"c\.jsonl, line 2: not valid JSON"),
        "d.jsonl": (b'["x"]\n', r"d\.jsonl, line 1: no field 'text'; found no object but list"),
        "e.jsonl": (
            b'{"text": "caf\xe9"}\n',
            r"e\.jsonl, line 1: not valid JSON: 'utf-8' codec can't decode",
        ),
        "f.jsonl": (b"[" * 100_000, r"f\.jsonl, line 1: not valid JSON: nested too deeply"),
        "g.jsonl": (
            b'{"text": "x"}\n{"text": "a\\ud800"}\n',
            r"g\.jsonl, line 2: field 'text': the text is not Unicode: '\\ud800' at character 1",
        ),
        "h.jsonl": (
            b'{"text": "x"}\n{"text": "a\\u0000b"}\n',
            r"h\.jsonl: document 2 holds a NUL character: not text",
        ),
        "a.parquet": (b"PAR1 is not enough", r"a\.parquet: damaged, or no Parquet file"),
        "a.docx": (
            b"x",
            (
                r"a\.docx: unknown suffix '\.docx'; known are \.txt.*\.parquet, all but the last"
                r" also with \.gz, .*; rename plain text to \.txt"
            ),
        ),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=message):
            texts(tmp_path / name)
    with pytest.raises(InputError, match=r"none\.txt: cannot be read: No such file"):
        texts(tmp_path / "none.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: no file of text in this folder; known are"):
        texts(tmp_path / "folder")


def test_parquet_of_other_columns_or_damaged_within_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"body": ["x"], "id": [1]})
    with pytest.raises(InputError, match=r"a\.parquet: no column 'text'; found body, id"):
        texts(path)
    with pytest.raises(
        InputError, match=r"b\.parquet, row 1: field 'text' must be text, got NoneType"
    ):
        texts(write_parquet(tmp_path / "b.parquet", {"text": ["x", None]}))
    # Text that is not UTF-8, and dates that Python has not: the file itself is sound.
    buffers = [pyarrow.py_buffer(data) for data in (b"\0\0\0\0\2\0\0\0", b"\xff\xfe")]
    text = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, *buffers])
    dates = pyarrow.array([2**62], type=pyarrow.timestamp("ms"))
    for column in (text, dates):
        pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "d.parquet")
        with pytest.raises(InputError, match=r"d\.parquet, row 0: column 'text' is damaged"):
            texts(tmp_path / "d.parquet")
    path = write_parquet(
        tmp_path / "c.parquet", {"text": [str(number) * 50 for number in range(500)]}
    )
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xaa" * 396
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"c\.parquet: damaged, or no Parquet file"):
        texts(path)


NAMED = """
import sys
from pathlib import Path
from mmfree.errors import InputError
from mmfree.text.sources import documents
for name in sys.argv[1:]:
    name, _, field = name.partition(" ")
    try:
        print([document.text for document in documents([Path(name)], field or "text")])
    except InputError as error:
        print(error)
"""


def write_media(folder: Path) -> None:
    """A data set whose columns of audio and pictures take packages and media to be decoded."""
    from datasets import Audio, Features, Image, Value

    media = [{"bytes": b"no media", "path": None}]
    columns = {"text": ["heard"], "audio": media, "image": media, "meta": [{"text": "seen"}]}
    features = Features(
        text=Value("string"), audio=Audio(), image=Image(), meta={"text": Value("string")}
    )
    folder.mkdir()
    table = pyarrow.table(columns, schema=features.arrow_schema)
    pyarrow.parquet.write_table(table, folder / "a.parquet")


def test_data_sets_by_name_are_streamed(tmp_path: Path) -> None:
    """In a process that may not go online.

    A local folder takes the place of a repository of the hub: the library reads both alike.
    """
    (tmp_path / "stories").mkdir()
    write_jsonl(tmp_path / "stories" / "train.jsonl", [{"text": "one"}, {"text": "two"}])
    write_jsonl(tmp_path / "stories" / "test.jsonl", [{"text": "three"}])
    for folder, line in {"damaged": "[" * 100_000, "half": '{"text": "\\ud800"}'}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.jsonl").write_text(line + "\n")
    names = ["hf:stories", "hf:stories::test", "hf:stories::none", "hf:nobody/nothing"]
    names += ["hf:damaged", "hf:half"]
    write_media(tmp_path / "media")
    (tmp_path / "nested").mkdir()
    write_jsonl(tmp_path / "nested" / "a.jsonl", [{"meta": {"text": "within"}}])
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text("raise SystemExit\n")
    names += ["hf:media", "hf:media meta.text", "hf:media speech", "media/a.parquet"]
    names += ["hf:nested meta.text", "hf:script", "hf:", "hf:media:other"]
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
    }
    command = [sys.executable, "-c", NAMED, *names]
    finished = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert finished.stderr == ""
    lines = finished.stdout.splitlines()
    assert lines[:2] == ["['one', 'two']", "['three']"]
    assert lines[2].startswith("hf:stories::none: the data set cannot be loaded: ")
    assert lines[3].startswith("hf:nobody/nothing: the data set cannot be loaded: ")
    assert lines[4].startswith("hf:damaged: the data set cannot be loaded: ")
    assert lines[5].startswith("hf:half: the data set cannot be loaded: ")
    assert str(tmp_path / "half" / "train.jsonl") in lines[5], "the file"
    assert "surrogate" in lines[5]
    assert "in row 0" in lines[5]
    assert lines[6:8] == ["['heard']", "['seen']"]
    assert lines[8].startswith("hf:media, example 0: no field 'speech'; found fields ['audio.")
    assert lines[9:11] == ["['heard']", "['within']"]
    assert lines[11].startswith("hf:script: the data set cannot be loaded: Dataset scripts are no")
    assert lines[12] == "hf:: the name is missing: hf:NAME"
    assert lines[13].startswith("hf:media:other: the data set cannot be loaded: ")
    assert len(lines) == len(names), "one line each"


RECORDS = [{"text": text, "meta": {"text": f"within {text}", "n": 1}} for text in TEXTS]

LAYOUTS = {
    ".jsonl": "".join(json.dumps(record) + "\n" for record in RECORDS),
    ".json": json.dumps(RECORDS),
    "-pretty.json": json.dumps(RECORDS, indent=2),
    "-one-after-another.json": "\n".join(json.dumps(record, indent=1) for record in RECORDS),
    "": "".join(json.dumps(record) + "\n" for record in RECORDS),
    "-list": json.dumps(RECORDS, indent=4, ensure_ascii=False),
}
"""End of a file's name -> what it holds. A name without a suffix does not say it."""


@pytest.mark.parametrize("compressed", ["", *COMPRESS])
@pytest.mark.parametrize("ending", LAYOUTS)
def test_every_layout_of_records_gives_the_same_documents(
    ending: str, compressed: str, tmp_path: Path
) -> None:
    data = LAYOUTS[ending].encode()
    path = tmp_path / f"a{ending}{compressed}"
    path.write_bytes(COMPRESS[compressed](data) if compressed else data)
    assert not are_plain(expand([path]))
    assert texts(path) == TEXTS
    assert texts(path, field="meta.text") == [f"within {text}" for text in TEXTS]


def test_a_file_may_be_one_record(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n"text":\n"x"\n}\n')
    assert texts(tmp_path / "a.json") == ["x"]


@pytest.mark.parametrize("text", ["[Chapter 1]\n", '"{', "{{Infobox}}\n", '["a"]', "{", '[{"a'])
def test_text_that_looks_like_records_is_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text)
    assert are_plain(expand([tmp_path / "a"]))
    assert texts(tmp_path / "a") == [text]


@pytest.mark.parametrize("compressed", COMPRESS)
def test_a_compressed_text_is_one_text(compressed: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / f"a.txt{compressed}"
    path.write_bytes(COMPRESS[compressed](b"x" * 99))
    (tmp_path / "sub" / f"b.png{compressed}").write_bytes(b"")
    corpus = load_corpus([tmp_path])
    assert (len(corpus.training), corpus.validation.tobytes()) == (90, b"x" * 9)


@pytest.mark.parametrize("ending", ["", ".txt", ".jsonl", ".jsonl.gz", ".json"])
def test_a_pipe_is_what_it_gives(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as often as a run needs it: to learn a vocabulary, to train, to score."""
    lines = "".join(json.dumps({"text": line}) + "\n" for line in LINES)
    data = (TEXT if ending == ".txt" else lines).encode()
    file, pipe = tmp_path / f"file{ending}", tmp_path / f"pipe{ending}"
    file.write_bytes(gzip.compress(data) if ending == ".jsonl.gz" else data)
    fifo(pipe, file.read_bytes())
    monkeypatch.setattr(mmfree.text.sources, "STANDARD_INPUT", pipe)
    for path in (pipe, pipe, Path("-")):
        found, wanted = load_corpus([path]), load_corpus([file])
        assert found.digest == wanted.digest
        assert found.validation.tobytes() == wanted.validation.tobytes()
        assert found.name == str(pipe)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for name in ("/dev/null", "/dev/zero"):
        with pytest.raises(InputError, match=rf"{name}: a device; text comes from files, folders"):
            expand([Path(name)])
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: a pipe; Parquet is read from its end"):
        expand([tmp_path / "a.parquet"])
    for name in ("a.parquet.gz", "a.tar.gz", "a.png.zst"):
        (tmp_path / name).touch()
        with pytest.raises(InputError, match=rf"{name}: unknown suffix '\.\w+'; known are"):
            expand([tmp_path / name])


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "deep" / "b.txt").write_text("b")
    (tmp_path / "far" / "z.txt").write_text("z")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "data" / "y.txt").symlink_to(tmp_path / "far" / "z.txt")
    assert texts(tmp_path / "data") == ["a", "b", "z", "z"]
    (tmp_path / "again").symlink_to(tmp_path / "data")
    assert texts(tmp_path / "again") == ["a", "b", "z", "z"]


def test_links_that_lead_back_or_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "a.txt").write_text("a")
    loop = tmp_path / "data" / "sub" / "loop"
    for target in (tmp_path / "data", tmp_path, tmp_path / "data" / "sub"):
        loop.symlink_to(target)
        with pytest.raises(InputError, match=r"loop.*: the same folder as .*data.*read twice"):
            expand([tmp_path / "data"])
        loop.unlink()
    twice = tmp_path / "data" / "twice"
    twice.symlink_to(tmp_path / "data" / "sub")
    with pytest.raises(InputError, match=r"twice: the same folder as .*sub, whose text would be"):
        expand([tmp_path / "data"])
    twice.unlink()
    (tmp_path / "data" / "b.jsonl.gz").symlink_to(tmp_path / "none")
    with pytest.raises(InputError, match=r"b\.jsonl\.gz: a link to nothing; remove it"):
        expand([tmp_path / "data"])
    (tmp_path / "data" / "b.jsonl.gz").unlink()
    os.mkfifo(tmp_path / "data" / "c.txt")
    with pytest.raises(InputError, match=r"c\.txt: no file; remove it, or name what is to be"):
        expand([tmp_path / "data"])


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text would be missing. (Root may read every folder, so that the error is made here.)"""
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="closed: cannot be read: Permission denied"):
        expand([tmp_path])


def test_shards_within_a_folder_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    write_shards(Text.of([tmp_path / "a.txt"]), ByteTokenizer(), tmp_path / "shards")
    with pytest.raises(InputError, match=r"shards: a folder of token shards within .*: move it"):
        expand([tmp_path])


def test_fields_within_a_column(tmp_path: Path) -> None:
    within = [{"text": f"within {text}", "n": 1} for text in TEXTS]
    path = write_parquet(tmp_path / "a.parquet", {"meta": within, "id": [1, 2, 3]})
    assert texts(path, field="meta.text") == [f"within {text}" for text in TEXTS]
    both = write_parquet(tmp_path / "b.parquet", {"meta": within, "meta.text": list(TEXTS)})
    assert texts(both, field="meta.text") == TEXTS
    with pytest.raises(InputError, match=r"row 0: no field 'meta\.x'; found fields \['meta\.n', "):
        texts(path, field="meta.x")
    with pytest.raises(InputError, match=r"field 'meta' must be text, got dict"):
        texts(path, field="meta")


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ""])
def test_half_a_character_is_named_with_its_place(suffix: str, tmp_path: Path) -> None:
    data = b'{"meta": {"text": "good"}}\n{"meta": {"text": "bad \\ud83d half"}}\n'
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    with pytest.raises(
        InputError, match=rf"a{suffix}, line 2: field 'meta\.text': the text is not Unicode: '\\ud8"
    ):
        texts(path, field="meta.text")


PLAIN = ["", ".txt", ".text", ".md", ".rst", ".tokens", ".raw"]


@pytest.mark.parametrize("suffix", [*PLAIN, ".jsonl", ".ndjson", ".json", ".parquet"])
def test_suffixes_are_those_of_the_docs(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        write_parquet(path, {"text": list(TEXTS)})
    else:
        path.write_text(TEXT if suffix in PLAIN else LAYOUTS[".jsonl"])
    assert texts(path) == ([TEXT] if suffix in PLAIN else TEXTS)
    assert are_plain(expand([path])) == (suffix in PLAIN)
    if suffix:
        assert expand([tmp_path]) == [path]


def test_rows_of_parquet_are_counted_over_all_batches(tmp_path: Path) -> None:
    column = [f"{number}" for number in range(2500)]
    assert texts(write_parquet(tmp_path / "a.parquet", {"text": list(column)})) == column
    path = write_parquet(tmp_path / "b.parquet", {"text": [*column, None]})
    with pytest.raises(InputError, match=r"b\.parquet, row 2500: field 'text' must be text, got"):
        texts(path)


def test_a_plain_file_is_read_in_pieces_of_256_kib(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * (2**18 + 9))
    assert list(map(len, texts(tmp_path / "a.txt"))) == [2**18 - 1, 10]
    (tmp_path / "a.txt").write_bytes(b"x" * (2**18 - 1))
    assert list(map(len, texts(tmp_path / "a.txt"))) == [2**18 - 1]


def test_a_minus_is_standard_input() -> None:
    assert Path("/dev/stdin") == mmfree.text.sources.STANDARD_INPUT


def test_a_character_has_four_bytes_at_most() -> None:
    """What is no UTF-8 is not searched to its beginning."""
    assert character_start(b"a\x80\x80\x80\x80", 4) == 4
    assert character_start(b"\xf0\x80\x80\x80\x80", 3) == 0
    assert character_start(b"\x80\x80", 1) == 1


def test_errors_that_a_library_logs_are_its_reason_and_later_ones_are_shown_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the place of the library: it logs the file's name, and raises without it."""
    shown: list[str] = []

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    log, handler = logging.getLogger("datasets"), Shown()
    calls: list[tuple[object, ...]] = []

    def load_dataset(*names: object, **options: object) -> object:
        calls.append((*names, *options.values()))
        log.warning("a warning")
        log.error("first")
        log.error("file train.jsonl\nis damaged")
        raise RuntimeError("no reason")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr(log, "handlers", [handler])
    for name in ("hf:a/b", "hf:a/b:c", "hf:a/b:c:test", "hf:a/b::test"):
        with pytest.raises(InputError, match=rf"^{name}: the data set cannot be .*: file train"):
            texts(Path(name))
    assert calls == [
        ("a/b", None, "train", True),
        ("a/b", "c", "train", True),
        ("a/b", "c", "test", True),
        ("a/b", None, "test", True),
    ]
    assert shown == ["a warning"] * 4
    log.error("of another")
    assert shown[-1] == "of another"


def test_a_disk_that_fails_is_no_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"text": list(TEXTS)})

    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", fail)
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read: .*Input/output error"):
        texts(path)

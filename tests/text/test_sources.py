"""Sources: every format gives its documents, and what cannot be used is named with its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmfree.text.sources
from mmfree.errors import InputError
from mmfree.text.sources import are_plain, character_start, documents, expand

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
        "a.parquet": (b"PAR1 is not enough", r"a\.parquet: damaged, or no Parquet file"),
        "a.docx": (
            b"x",
            (
                r"a\.docx: unknown suffix '\.docx'; known are \.txt.*\.parquet; rename plain text"
                r" to \.txt"
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
        with pytest.raises(InputError, match=r"d\.parquet, rows 0\.\.0: column 'text' is damaged"):
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
    try:
        print([document.text for document in documents([Path(name)])])
    except InputError as error:
        print(error)
"""


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
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
    }
    command = [sys.executable, "-c", NAMED, *names]
    output = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    lines = output.splitlines()
    assert lines[:2] == ["['one', 'two']", "['three']"]
    assert lines[2].startswith("hf:stories::none: the data set cannot be loaded: ")
    assert lines[3].startswith("hf:nobody/nothing: the data set cannot be loaded: ")
    assert lines[4].startswith("hf:damaged: the data set cannot be loaded: ")
    assert lines[5].startswith("hf:half: the data set cannot be loaded: ")
    assert len(lines) == 6, "one line each"

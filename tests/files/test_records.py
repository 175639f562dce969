"""Records of JSON: the same in every layout, however the file is cut into blocks."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfree.errors import InputError
from mmfree.files import records
from mmfree.files.records import (
    columns_holding,
    field_names,
    find_field,
    read_json_records,
    read_jsonl,
)

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=4)


def same(one: Any, other: Any) -> bool:
    """Equal, where NaN equals itself."""
    return json.dumps(one) == json.dumps(other)


@settings(deadline=None)
@given(RECORDS, st.sampled_from([None, 1]), st.integers(1, 20), st.booleans())
def test_every_layout_gives_the_records(
    values: list[dict[str, Any]], indent: int | None, block: int, escaped: bool
) -> None:
    dumped = [json.dumps(one, indent=indent, ensure_ascii=escaped) for one in values]
    layouts = [
        json.dumps(values, indent=indent, ensure_ascii=escaped),
        "\n".join(dumped) + "\n",
        "".join(dumped),
        "\ufeff \n[\n" + " ,\n\n".join(dumped) + "\n]\n\n",
    ]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(records, "_BLOCK_BYTES", block)
        path = Path(folder) / "a.json"
        for layout in layouts:
            path.write_bytes(layout.encode("utf-8", "surrogatepass"))
            assert same([value for _, value in read_json_records(path)], values)
        if indent is None:
            path.write_bytes(layouts[1].encode("utf-8", "surrogatepass"))
            assert same([value for _, value in read_jsonl(path)], values)


def test_a_record_begins_on_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('\n{"a":\n1}\n\n{"b": "x\\ny"}{"c": 3}')
    assert list(read_json_records(path)) == [(2, {"a": 1}), (5, {"b": "x\ny"}), (5, {"c": 3})]
    path.write_text('[\n{"a":\n1},\n\n{"b": 2}\n,3]')
    assert list(read_json_records(path)) == [(2, {"a": 1}), (5, {"b": 2}), (6, 3)]
    path.write_text("[\n]\n")
    assert list(read_json_records(path)) == []


def test_a_line_is_counted_whatever_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf1\n\n \t\r\n{"a": NaN}\r\n\n"last"')
    (first, second, third) = read_jsonl(path)
    assert (first, second[0], third) == ((1, 1), 4, (6, "last"))
    path.write_bytes(b"1\n\n{")
    with pytest.raises(InputError, match=r"a\.jsonl, line 3: not valid JSON"):
        list(read_jsonl(path))


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n\n{"a": tru}', "line 3: not valid JSON: Expecting value"),
        (b'[{"a": 1},\n{"a": ', "line 2: not valid JSON: Expecting value"),
        (b'[{"a": 1},\n', "line 2: not valid JSON: the file ends within the list"),
        (b'[{"a": 1},]', "line 1: not valid JSON: Expecting value"),
        (b'[{"a": 1}\n{"a": 2}]', "line 2: not valid JSON: expected a comma or the end of the"),
        (b"[1, 2", "line 1: not valid JSON: expected a comma or the end of the list"),
        (b'[{"a": 1}]\n[2]', "line 2: not valid JSON: something follows the list"),
        (b'{"a": "x', "line 1: not valid JSON: Unterminated string"),
        (b'{"a": "x\ny"}', "line 1: not valid JSON: Invalid control character"),
        (b'{"a": 1}\n{"a": "caf\xe9"}', "not UTF-8 text: byte 0xe9 in the record .* line [12];"),
        (b'{"a": "caf\xc3', "not UTF-8 text: byte 0xc3 in the record that begins at line 1"),
        (b'{"a": ' + b"9" * 5000 + b"}", "line 1: not valid JSON: Exceeds the limit"),
        (b"[" * 100_000, "line 1: not valid JSON: nested too deeply"),
    ],
)
def test_what_is_no_json_is_named_with_its_line(
    data: bytes, message: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_BLOCK_BYTES", block)
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.json(, |: ){message}"):
        list(read_json_records(path))


def test_a_record_without_an_end_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert records.LARGEST_RECORD == 256 << 20
    monkeypatch.setattr(records, "LARGEST_RECORD", 100)
    monkeypatch.setattr(records, "_BLOCK_BYTES", 10)
    path = tmp_path / "a"
    path.write_text('{"a": 1}\n{"a": "' + "x" * 85 + '"}\n{"a": "' + "x" * 300)
    with pytest.raises(InputError, match="line 3: not valid JSON: a record has at most 100 char"):
        list(read_json_records(path))
    with pytest.raises(InputError, match="line 3: a line has at most 100 bytes"):
        list(read_jsonl(path))


def test_a_name_with_a_dot_comes_before_a_field_within() -> None:
    inner = {"text": "inner", "info": {"text": "deep"}, "info.text": "flat"}
    record = {"meta": inner, "meta.text": "outer", "meta.info": {"lang": "de"}, "n": 1}
    assert find_field(record, "meta.text") == "outer"
    assert find_field(record, "meta.info.text") == "flat"
    assert find_field(record, "meta.info.lang") == "de"
    del record["meta.text"], inner["info.text"]
    assert find_field(record, "meta.text") == "inner"
    assert find_field(record, "meta.info.text") == "deep"
    assert find_field(record, "meta.info") == {"lang": "de"}
    for missing in ("text", "n.text", "meta", "meta.", ".text", "meta.text.x", ""):
        if missing != "meta":
            with pytest.raises(KeyError):
                find_field(record, missing)
    with pytest.raises(KeyError):
        find_field(["text"], "text")
    assert field_names({"a": {"b": {"c": 1}, "d": {}}, "e": [{"f": 1}]}) == ["a.b.c", "a.d", "e"]


def test_columns_that_may_hold_a_field() -> None:
    assert columns_holding("meta.text", ["meta", "meta.text"]) == ["meta.text"]
    assert columns_holding("a.b.c", ["a", "b", "a.b", "c"]) == ["a.b", "a"]
    assert columns_holding("text", ["body"]) == []

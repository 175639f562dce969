"""Tapes of published checkpoints.

The format on disk, and that no damaged or forged file is ever read as a model.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfree.contract.absmax import AbsmaxFormats
from mmfree.contract.shape import AbsmaxConfig
from mmfree.published.export import export_published
from mmfree.tape.absmax import AbsmaxTape, tape_fields, write_absmax_tape
from mmfree.tape.container import TapeError, from_24_bits, to_24_bits
from mmfree.tape.reading import open_pow2_tape
from mmfree.tape.tokenizer_section import tokenizer_section
from mmfree.tape.trits import pack_trits
from tests.support.integers.absmax_tapes import TINY, absmax_tape
from tests.support.published_checkpoints import Shape, checkpoint_tensors, write_checkpoint
from tests.support.subwords import sentencepiece_model

SHAPE = Shape(vocab_size=6, hidden_size=5, intermediate_size=7, num_layers=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("tape")
    write_checkpoint(folder, SHAPE, checkpoint_tensors(SHAPE), intermediate_size=7)
    export_published(folder, folder / "a.tape")
    return (folder / "a.tape").read_bytes()


def manifest_of(data: bytes) -> Any:
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[16 : 16 + size])


def forge(
    data: bytes,
    manifest: Any = None,
    change: tuple[int, bytes] | None = None,
    rest: bytes | None = None,
) -> bytes:
    """Another manifest, other bytes at an offset after it, or another payload.

    Under a digest that holds.
    """
    size = struct.unpack_from("<I", data, 12)[0]
    text = data[16 : 16 + size]
    if manifest is not None:
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    payload = bytearray(data[16 + size : -32] if rest is None else rest)
    if change is not None:
        payload[change[0] : change[0] + len(change[1])] = change[1]
    body = data[:12] + struct.pack("<I", len(text)) + text + bytes(payload)
    return body + hashlib.sha256(body).digest()


def offset_of(name: str) -> int:
    """Where a field begins, after the manifest."""
    offset = 0
    for field in tape_fields(
        AbsmaxConfig(vocab_size=6, hidden_size=5, intermediate_size=7, num_layers=2)
    ):
        if field.name == name:
            return offset
        offset += field.num_bytes
    raise AssertionError(name)


def opened(data: bytes, folder: Path) -> AbsmaxTape:
    (folder / "b.tape").write_bytes(data)
    return AbsmaxTape(folder / "b.tape")


def error_of(data: bytes, folder: Path) -> str:
    with pytest.raises(TapeError) as error:
        opened(data, folder)
    assert str(error.value).startswith(f"{folder / 'b.tape'}: ")
    return str(error.value)


def same_gains(data: bytes, offset: int, gains: np.ndarray[Any, Any]) -> int:
    """Whether they are there, three bytes each; where they end."""
    for value in gains:
        assert int.from_bytes(data[offset : offset + 3], "little", signed=True) == value
        offset += 3
    return offset


def test_format_on_disk_is_that_of_the_text(data: bytes, tmp_path: Path) -> None:
    """docs/tape.md, version 2: prefix, manifest, then every field in its order, digest."""
    assert data[:12] == b"MMFTAPE\0" + struct.pack("<I", 2)
    assert set(manifest_of(data)) == {
        "arithmetic",
        "revision",
        "config",
        "formats",
        "tokenizer",
        "embedding_fb",
    }
    tape = opened(data, tmp_path)
    assert (tape.num_bytes, tape.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    offset = 16 + struct.unpack_from("<I", data, 12)[0]
    values = np.frombuffer(data, "<i4", 4096, offset)
    rises = np.frombuffer(data, "<u2", 4096, offset + 4 * 4096)
    assert (values[0], values[-1] + rises[-1]) == (1 << 23, (1 << 24) - 2)
    assert np.array_equal(values[:-1] + rises[:-1], values[1:])
    offset += 6 * 4096
    scale = np.frombuffer(data, "<u2", 6, offset)
    rows = np.frombuffer(data, "i1", 30, offset + 12).reshape(6, 5)
    assert (np.abs(rows).max(axis=1) >= 126).all()
    assert scale.max() > 1 << 15
    offset += 12 + 30
    bounds = [
        int.from_bytes(data[place : place + 3], "little") for place in range(offset, offset + 30, 3)
    ]
    assert not any(bounds[:5])
    assert all(0 < bound <= 1 << 20 for bound in bounds[5:])
    assert tape.array("lower_bounds").ravel().tolist() == bounds
    offset += 30
    for segment in tape.segments:
        assert struct.unpack_from("<2i", data, offset) == segment.offset
        offset += 8
        if segment.norm is not None:
            assert struct.unpack_from("<i", data, offset) == (segment.norm.fraction_bits,)
            offset = same_gains(data, offset + 4, segment.norm.values)
        for matrix in segment.matrices:
            constants = struct.unpack_from("<3i", data, offset)
            assert constants == (matrix.gain.fraction_bits, matrix.mantissa, matrix.exponent)
            offset += 12
            offset = same_gains(data, offset, matrix.gain.values)
            packed = pack_trits(matrix.trits()).tobytes()
            assert data[offset : offset + len(packed)] == packed
            offset += len(packed)
    assert data[offset:] == hashlib.sha256(data[:offset]).digest()


def test_kinds_of_segments(data: bytes, tmp_path: Path) -> None:
    tape = opened(data, tmp_path)
    assert [segment.name for segment in tape.segments][3:6] == [
        "layer 0 down",
        "layer 1 gates",
        "layer 1 output",
    ]
    assert [[m.role for m in s.matrices] for s in tape.segments[:4]] == [
        ["i", "f", "g"],
        ["o"],
        ["gate_up"],
        ["down"],
    ]
    assert (tape.segments[2].matrices[0].rows, tape.segments[3].fan_in) == (14, 7)
    assert tape.num_ternary_weights == 2 * (4 * 25 + 3 * 35) + 30
    assert tape.trit_bytes == sum(
        -(-m.rows * m.fan_in // 5) for s in tape.segments for m in s.matrices
    )


def test_any_damage_is_an_error(data: bytes, tmp_path: Path) -> None:
    """Flipped bits all over, and cuts."""
    for offset in (*range(60), *range(60, len(data), 97), len(data) - 1):
        error_of(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :], tmp_path)
    for length in (0, 7, 15, 16, 40, len(data) // 2, len(data) - 1):
        error_of(data[:length], tmp_path)
    assert "checksum mismatch" in error_of(data + b"x", tmp_path)
    assert "not a tape" in error_of(b"hello, this is no tape", tmp_path)
    assert "tape version 1, but this mmfree reads 2: export the model again" in error_of(
        data[:8] + b"\1" + data[9:], tmp_path
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("arithmetic",), "pow2", "arithmetic must be 'absmax', got 'pow2'"),
        (
            ("revision",),
            1,
            "revision 1 of the arithmetic absmax, but this mmfree plays 2: export the model again",
        ),
        (("revision",), "2", "revision '2' of the arithmetic absmax, but this mmfree plays 2"),
        (("config", "num_layers"), 3, r"the manifest asks for \d+ bytes, the file has \d+"),
        (("config", "hidden_size"), 5.0, r"hidden_size must be an integer in 1\.\.65535, got 5\.0"),
        (("config", "gate"), "hard", "manifest is malformed: TypeError"),
        (("formats", "forget_fb"), 23, r"formats\.forget_fb must be an integer in 8\.\.22, got 23"),
        (
            ("formats", "residual_fb"),
            40,
            r"formats\.residual_fb must be an integer in 8\.\.24, got 40",
        ),
        (("embedding_fb",), 10, r"embedding_fb must lie in 11\.\.40, got 10"),
        (("embedding_fb",), None, "embedding_fb must lie"),
        (("tokenizer",), [], "tokenizer: expected an object, got list"),
        (
            ("tokenizer",),
            {"kind": "tokenizers", "data": "AAAA"},
            "tokenizer: kind tokenizers needs form .* export the model again",
        ),
        (
            ("tokenizer",),
            {"kind": "tokenizers", "form": "file", "bytes": 3},
            r"the manifest asks for \d+ bytes, the file has \d+",
        ),
        (("extra",), 1, "not canonical"),
    ],
)
def test_forged_manifests(
    path: tuple[str, ...], value: Any, message: str, data: bytes, tmp_path: Path
) -> None:
    manifest = manifest_of(data)
    place = manifest
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "b.tape").write_bytes(forge(data, manifest))
    with pytest.raises(TapeError, match=message):
        AbsmaxTape(tmp_path / "b.tape")


@pytest.mark.parametrize(
    "text",
    [
        lambda manifest: json.dumps(dict(reversed(manifest.items())), separators=(",", ":")),
        lambda manifest: json.dumps(manifest, sort_keys=True),
        lambda manifest: json.dumps(manifest, sort_keys=True, separators=(",", ":")) + " ",
        lambda manifest: json.dumps(
            manifest | {"config": manifest["config"] | {"eos_token_id": [3, 2]}},
            sort_keys=True,
            separators=(",", ":"),
        ),
    ],
    ids=["order of keys", "blanks", "a blank at the end", "order of ids"],
)
def test_another_writing_of_the_same_manifest_is_refused(
    text: Any, data: bytes, tmp_path: Path
) -> None:
    """A model has one tape, and one identity."""
    written = text(manifest_of(data)).encode()
    size = struct.unpack_from("<I", data, 12)[0]
    body = data[:12] + struct.pack("<I", len(written)) + written + data[16 + size : -32]
    assert "not canonical" in error_of(body + hashlib.sha256(body).digest(), tmp_path)


def test_what_people_are_shown_worked_by_hand(tmp_path: Path) -> None:
    """Of ``layer 1 down``: 3 rows of 2, in two codes of which four trits are padding."""
    trits = np.array([[1, 0], [-1, 0], [0, 1]], dtype=np.int8)
    changes = {
        "layer 1 down/down/trits": pack_trits(trits),
        "layer 1 down/down/constants": [5, 3 << 22, -20],
    }
    tape = absmax_tape(tmp_path, changes)
    matrix = tape.segments[7].matrices[0]
    assert (tape.segments[7].name, matrix.rows, matrix.fan_in) == ("layer 1 down", 3, 2)
    assert np.array_equal(matrix.trits(), trits)
    assert matrix.zeros() == 0.5
    # c * 2^e = absmean * sqrt(fan-in) / 127 = 12.
    assert matrix.absmean == pytest.approx(12 * 127 / 2**0.5)
    assert matrix.constants == {
        "multiplier": 3 << 22,
        "exponent": -20,
        "absmean": matrix.absmean,
    }
    assert matrix.gain.fraction_bits == 5
    assert tape.segments[7].norm is None
    assert tape.segments[4].norm is not None
    # Of each layer 4 matrices of 3 x 3, one of 4 x 3, one of 3 x 2; the head is 4 x 3.
    assert tape.trit_bytes == 2 * (4 * 2 + 3 + 2) + 3
    assert tape.num_ternary_weights == 2 * (4 * 9 + 12 + 6) + 12
    assert tape.describe_tokenizer() == {"kind": "none", "bytes": 0}
    assert (tape.start, tape.end_ids) == (None, ())
    ended = replace(TINY, bos_token_id=1, eos_token_id=[3, 2])
    tape = absmax_tape(tmp_path, {}, config=ended)
    assert (tape.start, tape.end_ids) == (1, (2, 3))


@pytest.mark.parametrize("value", [None, 3, -1.5, "x", {}, [1], True])
def test_a_manifest_of_anything_is_a_tape_error_or_a_canonical_tape(
    value: Any, data: bytes, tmp_path: Path
) -> None:
    """Every field in turn, those of config and formats too, replaced or removed."""
    manifest = manifest_of(data)
    fields = [(key,) for key in manifest] + [
        (key, inner) for key in ("config", "formats") for inner in manifest[key]
    ]
    accepted = set()
    for path in fields:
        for remove in (False, True):
            changed = json.loads(json.dumps(manifest))
            place = changed if len(path) == 1 else changed[path[0]]
            if remove:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            try:
                opened(forge(data, changed), tmp_path)
            except TapeError:
                continue
            assert not remove
            accepted.add(path[-1])
    assert accepted <= {"tokenizer", "bos_token_id", "eos_token_id"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "sigmoid/values",
            struct.pack("<i", -1),
            r"sigmoid: values must lie in 0\.\.16777215, got -1",
        ),
        (
            "sigmoid/rises",
            b"\x00\x80",
            r"sigmoid: rises must lie in 0\.\.32767, got 32768",
        ),
        (
            "layer 1 down/offset",
            struct.pack("<2i", 1 << 22, -40),
            r"layer 1 down: mantissa of the offset must lie in 8388608\.\.16777215, got 4194304",
        ),
        ("lower_bounds", b"\x01\x00\x10", r"lower_bounds: must lie in 0\.\.1048576, got 1048577"),
        ("lower_bounds", b"\xff\xff\xff", r"lower_bounds: must lie in 0\.\.1048576, got -1"),
        (
            "layer 0 gates/norm_fb",
            struct.pack("<i", 39),
            r"layer 0 gates: fraction bits of a gain must lie in -14\.\.38, got 39",
        ),
        (
            "layer 1 glu/gate_up/constants",
            struct.pack("<3i", 20, 1, 0),
            r"layer 1 glu, matrix gate_up: mantissa must lie in",
        ),
        (
            "head/head/constants",
            struct.pack("<3i", 20, 1 << 23, 17),
            r"head, matrix head: exponent must lie in -64\.\.16, got 17",
        ),
    ],
)
def test_contents_are_checked(
    field: str, value: bytes, message: str, data: bytes, tmp_path: Path
) -> None:
    (tmp_path / "b.tape").write_bytes(forge(data, change=(offset_of(field), value)))
    with pytest.raises(TapeError, match=message):
        AbsmaxTape(tmp_path / "b.tape")


def test_codes_are_checked_when_they_are_decoded(data: bytes, tmp_path: Path) -> None:
    tape = opened(forge(data, change=(offset_of("layer 0 down/down/trits"), b"\xff")), tmp_path)
    with pytest.raises(
        TapeError, match="layer 0 down, matrix down: weights: byte 255 is no code of 5 trits"
    ):
        tape.segments[3].matrices[0].trits()


def with_tokenizer(data: bytes, entry: dict[str, Any], section: bytes) -> bytes:
    """The tape, with another entry of the manifest and a section after it."""
    size = struct.unpack_from("<I", data, 12)[0]
    return forge(
        data, manifest_of(data) | {"tokenizer": entry}, rest=section + data[16 + size : -32]
    )


def test_a_tokenizer_stands_behind_the_manifest(data: bytes, tmp_path: Path) -> None:
    entry, section = tokenizer_section({"kind": "sentencepiece", "data": sentencepiece_model()})
    tape = opened(with_tokenizer(data, entry, section), tmp_path)
    assert tape.tokenizer == {"kind": "sentencepiece", "data": sentencepiece_model()}
    assert (
        tape.tokenizer_bytes
        == len(section)
        == tape.num_bytes
        - len(data)
        - len(json.dumps(entry, separators=(",", ":")))
        + len('{"kind":"none"}')
    )
    plain = opened(data, tmp_path)
    assert (plain.tokenizer, plain.tokenizer_bytes) == ({"kind": "none"}, 0)


@pytest.mark.parametrize("kind", ["sentencepiece", "tokenizers"])
@pytest.mark.parametrize(
    ("section", "message"),
    [
        (b"no bzip2", "cannot be unpacked"),
        (bz2.compress(bytes(100))[:-1], "cannot be unpacked: the compressed data is cut off"),
        (bz2.compress(bytes((1 << 26) + 1)), "cannot be unpacked: more than 67,108,864 bytes"),
        (bz2.compress(b"123"), "a column is cut off"),
    ],
)
def test_a_damaged_tokenizer_is_one_error(
    kind: str, section: bytes, message: str, data: bytes, tmp_path: Path
) -> None:
    """When the tape is opened: not first when it is to play."""
    entry = {"kind": kind, "form": "columns", "bytes": len(section)}
    assert f"tokenizer: its section is damaged: {message}" in error_of(
        with_tokenizer(data, entry, section), tmp_path
    )


def test_a_tape_of_the_first_revision_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    """Its manifest names none, and it has other fields."""
    manifest = manifest_of(data)
    del manifest["revision"]
    assert error_of(forge(data, manifest, rest=b"other"), tmp_path).endswith(
        "revision 1 of the arithmetic absmax, but this mmfree plays 2: export the model again"
    )


def test_what_is_for_models_trained_here_does_not_take_them(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.tape"
    path.write_bytes(data)
    with pytest.raises(TapeError, match=r"b\.tape: a tape of absmax arithmetic .*trained here"):
        open_pow2_tape(path)


def test_a_tape_that_is_not_finished_never_appears(tmp_path: Path) -> None:
    config = AbsmaxConfig(vocab_size=6, hidden_size=5, intermediate_size=7, num_layers=1)
    with (
        pytest.raises(AssertionError, match="the tape is not complete"),
        write_absmax_tape(
            tmp_path / "a.tape", config, {"kind": "none"}, 20, AbsmaxFormats()
        ) as writer,
    ):
        writer.write("sigmoid/values", np.zeros(4096, dtype=np.int32))
    with (
        pytest.raises(AssertionError, match="sigmoid/values is next, not lower_bounds"),
        write_absmax_tape(tmp_path / "a.tape", config, {"kind": "none"}, 20) as writer,
    ):
        writer.write("lower_bounds", np.zeros((1, 5), dtype=np.int32))
    assert not list(tmp_path.iterdir())


@given(st.lists(st.integers(-(1 << 23), (1 << 23) - 1), min_size=1, max_size=9))
def test_24_bits(values: list[int]) -> None:
    data = to_24_bits(np.array(values, dtype=np.int32))
    assert from_24_bits(data).tolist() == values
    assert [
        int.from_bytes(data[3 * j : 3 * j + 3], "little", signed=True) for j in range(len(values))
    ] == values

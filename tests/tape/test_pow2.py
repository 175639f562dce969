"""The tape: round trips, identity, and no damaged or forged file is ever read as a model."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import pickle
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfree.contract.pow2 import GATES, Formats
from mmfree.files.compressed import pack_text
from mmfree.tape.container import TapeError
from mmfree.tape.pow2 import Matrix, Tape, decode_tape, write_tape
from mmfree.tape.reading import open_pow2_tape
from mmfree.tape.trits import pack_trits, unpack_trits
from tests.support.random_tapes import random_tape

SHAPE: dict[str, Any] = {
    "hidden_size": 5,
    "intermediate_size": 7,
    "num_layers": 2,
    "vocab_size": 6,
    "head_size": 3,
}


def small_tape(seed: int = 0, gate: str = "hard") -> Tape:
    return random_tape(np.random.default_rng(seed), gate=gate, **SHAPE)


TAPE = small_tape()
DATA = TAPE.data


def forge(manifest: Any, rest: bytes | None = None, text: bytes | None = None) -> bytes:
    """A tape with another manifest and a checksum that holds."""
    size = struct.unpack_from("<I", DATA, 12)[0]
    if text is None:
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    body = DATA[:12] + struct.pack("<I", len(text)) + text
    body += DATA[16 + size : -32] if rest is None else rest
    return body + hashlib.sha256(body).digest()


def manifest_of(data: bytes = DATA) -> Any:
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[16 : 16 + size])


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    for gate in GATES:
        tape = small_tape(1, gate)
        write_tape(tape, tmp_path / "a.tape")
        again = open_pow2_tape(tmp_path / "a.tape")
        assert again.config == tape.config
        assert again.data == tape.data
        assert again.sha256 == hashlib.sha256((tmp_path / "a.tape").read_bytes()).hexdigest()
        for one, other in zip(tape.segments, again.segments, strict=True):
            assert one.name == other.name
            for a, b in zip(one.matrices, other.matrices, strict=True):
                assert (a.role, a.multiplier, a.exponent) == (b.role, b.multiplier, b.exponent)
                assert np.array_equal(a.trits, b.trits)
                assert (a.bias is None) == (b.bias is None)
                assert a.bias is None or np.array_equal(a.bias, b.bias)
        for name in ("embedding", "sigmoid", "silu"):
            assert np.array_equal(getattr(tape, name), getattr(again, name))


def test_format_on_disk_is_that_of_the_text() -> None:
    """docs/tape.md, byte by byte: prefix, manifest, tables, biases, embedding, trits, digest."""
    assert DATA[:8] == b"MMFTAPE\0"
    version, size = struct.unpack_from("<II", DATA, 8)
    assert version == 1
    offset = 16 + size
    for table in (TAPE.sigmoid, TAPE.silu):
        assert np.array_equal(np.frombuffer(DATA, "<i2", 256, offset), table)
        offset += 512
    for segment in TAPE.segments:
        for matrix in segment.matrices:
            if matrix.bias is not None:
                assert np.array_equal(np.frombuffer(DATA, "<i2", 5, offset), matrix.bias)
                offset += 10
    assert np.array_equal(np.frombuffer(DATA, "i1", 30, offset).reshape(6, 5), TAPE.embedding)
    offset += 30
    for segment in TAPE.segments:
        for matrix in segment.matrices:
            trits = [int(t) for t in matrix.trits.ravel()]
            trits += [0] * (-len(trits) % 5)
            for first in range(0, len(trits), 5):
                code = sum((t + 1) * 3**j for j, t in enumerate(trits[first : first + 5]))
                assert DATA[offset] == code
                offset += 1
    assert DATA[offset:] == hashlib.sha256(DATA[:offset]).digest()


def test_any_flipped_bit_is_an_error() -> None:
    """Every bit of the file, one at a time."""
    for bit in range(8 * len(DATA)):
        damaged = bytearray(DATA)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TapeError):
            decode_tape(bytes(damaged))


@given(st.integers(0, len(DATA) - 1))
def test_any_truncation_is_an_error(length: int) -> None:
    with pytest.raises(TapeError):
        decode_tape(DATA[:length])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(TapeError):
        decode_tape(data)
    with pytest.raises(TapeError):
        decode_tape(DATA + data + b"x")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a JSON value."""
    found = [path] if path else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


PLACES = [path for path in places(manifest_of()) if path[0] != "tokenizer"]


@settings(max_examples=400)
@given(path=st.sampled_from(PLACES), value=JSON_VALUES, remove=st.booleans())
def test_a_forged_manifest_is_an_error_or_a_valid_tape(
    path: tuple[Any, ...], value: Any, remove: bool
) -> None:
    """Never another exception, whatever the manifest says; and what is accepted is canonical."""
    manifest = manifest_of()
    place = manifest
    for key in path[:-1]:
        place = place[key]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    data = forge(manifest)
    try:
        tape = decode_tape(data)
    except TapeError:
        return
    assert tape.data == data
    for segment in tape.segments:
        assert all(type(m.multiplier) is int and type(m.exponent) is int for m in segment.matrices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "manifest is malformed"),
        (b"\xff\xfe", "manifest is malformed"),
        (b"{}", "manifest is malformed: KeyError"),
        (b"[]", "manifest is malformed: TypeError"),
        (json.dumps(manifest_of(), sort_keys=True).encode(), "not canonical"),
        (
            json.dumps(dict(reversed(manifest_of().items())), separators=(",", ":")).encode(),
            "not canonical",
        ),
    ],
)
def test_a_malformed_manifest_is_one_clear_error(text: bytes, message: str) -> None:
    with pytest.raises(TapeError, match=message):
        decode_tape(forge(None, text=text))


@pytest.mark.parametrize("kind", ["tokenizers", "sentencepiece"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "data must be text, got int"),
        (None, "data must be text, got NoneType"),
        ("AAA", "data is damaged: cannot be unpacked: not base64"),
        (
            pack_text(bytes(100))[:-4],
            "data is damaged: cannot be unpacked: the compressed data is cut off",
        ),
        (
            base64.b64encode(zlib.compress(bytes((1 << 26) + 1))).decode(),
            "data is damaged: cannot be unpacked: more than 67,108,864 bytes",
        ),
    ],
    ids=["number", "nothing", "text", "cut off", "too much"],
)
def test_damaged_data_of_a_tokenizer_is_one_clear_error(kind: str, data: Any, message: str) -> None:
    manifest = manifest_of() | {"tokenizer": {"kind": kind, "data": data}}
    with pytest.raises(TapeError, match=f"^tokenizer: {message}"):
        decode_tape(forge(manifest))
    manifest["tokenizer"]["data"] = pack_text(b"any")
    assert decode_tape(forge(manifest)).tokenizer == manifest["tokenizer"]


def test_another_shape_than_that_of_the_config_is_named() -> None:
    for key, value in (("kind", "output"), ("layer", 1), ("fan_in", 6)):
        manifest = manifest_of()
        manifest["segments"][0][key] = value
        with pytest.raises(TapeError, match="the segments do not follow from the config"):
            decode_tape(forge(manifest))
    manifest = manifest_of()
    manifest["segments"].append(manifest["segments"][-1])
    with pytest.raises(TapeError, match="the segments do not follow from the config"):
        decode_tape(forge(manifest))
    manifest = manifest_of()
    manifest["segments"][2]["matrices"].reverse()
    with pytest.raises(TapeError, match=r"layer 0 glu has matrices \['up', 'gate'\], not"):
        decode_tape(forge(manifest))
    manifest = manifest_of()
    manifest["segments"][2]["matrices"][0]["rows"] = 6
    with pytest.raises(TapeError, match="not canonical"):
        decode_tape(forge(manifest))


def test_formats_are_part_of_a_tape() -> None:
    """Limits follow from them: 9 - a - fb lies in -5..13, sigmoid entries in 0..2^forget_fb."""
    formats = Formats(
        residual_fb=8, index_fb=3, gate_sigmoid_fb=3, gate_hard_fb=5, forget_fb=9, state_fb=10
    )
    sigmoid = np.full(256, 512, np.int16)
    tape = replace(TAPE, formats=formats, sigmoid=sigmoid)
    again = decode_tape(tape.data)
    assert (again.formats, again.sha256) == (formats, tape.sha256)
    assert tape.sha256 != replace(TAPE, sigmoid=TAPE.sigmoid).sha256
    with pytest.raises(TapeError, match=r"entries must lie in 0\.\.256"):
        replace(TAPE, sigmoid=sigmoid)
    segment = TAPE.segments[0]
    first = replace(segment.matrices[0], exponent=12)
    changed = replace(segment, matrices=(first, *segment.matrices[1:]))
    with pytest.raises(TapeError, match=r"exponent must lie in -7\.\.11, got 12"):
        replace(TAPE, formats=formats, segments=(changed, *TAPE.segments[1:]))


def test_data_left_over_or_missing_is_an_error() -> None:
    size = struct.unpack_from("<I", DATA, 12)[0]
    rest = DATA[16 + size : -32]
    with pytest.raises(
        TapeError, match=f"the manifest asks for {len(DATA)} bytes, the file has {len(DATA) + 1}"
    ):
        decode_tape(forge(manifest_of(), rest=rest + b"y"))
    with pytest.raises(
        TapeError, match=f"asks for {len(DATA)} bytes, the file has {len(DATA) - 1}"
    ):
        decode_tape(forge(manifest_of(), rest=rest[:-1]))


def test_weights_that_are_no_code_are_an_error() -> None:
    size = struct.unpack_from("<I", DATA, 12)[0]
    rest = DATA[16 + size : -32]
    with pytest.raises(TapeError, match="byte 243 is no code of 5 trits"):
        decode_tape(forge(manifest_of(), rest=rest[:-1] + bytes([243])))


def test_another_version_is_named() -> None:
    other = DATA[:8] + struct.pack("<I", 2) + DATA[12:]
    with pytest.raises(
        TapeError, match=r"tape version 2, but this mmfree reads 1: export the model again"
    ):
        decode_tape(other)


def test_a_token_shift_is_minor_version_1(tmp_path: Path) -> None:
    """Said only with one, so every other tape is what it was; a later version is named."""
    assert "minor_version" not in manifest_of()
    tape = random_tape(np.random.default_rng(0), gate="hard", token_shift=2, **SHAPE)
    manifest = manifest_of(tape.data)
    assert manifest["minor_version"] == 1
    assert manifest["config"] == {**TAPE.config.to_dict(), "token_shift": 2}
    write_tape(tape, tmp_path / "a.tape")
    assert open_pow2_tape(tmp_path / "a.tape").config == tape.config
    for forged, message in (
        ({**manifest_of(), "minor_version": 1}, "not canonical"),
        ({**manifest_of(), "minor_version": 2}, r"tape version 1\.2, but .* up to 1\.1: install a"),
        ({**manifest_of(), "minor_version": None}, r"tape version 1\.None"),
        ({name: value for name, value in manifest.items() if name[0] != "m"}, "not canonical"),
    ):
        with pytest.raises(TapeError, match=message):
            decode_tape(forge(forged))


def test_files_that_are_no_tapes_are_named(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match=r"none\.tape: no such file"):
        open_pow2_tape(tmp_path / "none.tape")
    with pytest.raises(TapeError, match="a folder, not a tape file"):
        open_pow2_tape(tmp_path)
    (tmp_path / "text").write_text("hello, this is no tape at all")
    with pytest.raises(TapeError, match="text: not a tape: it does not begin with MMFTAPE"):
        open_pow2_tape(tmp_path / "text")
    (tmp_path / "cut").write_bytes(DATA[:-1])
    with pytest.raises(TapeError, match="cut: checksum mismatch: the tape is truncated or altered"):
        open_pow2_tape(tmp_path / "cut")


@given(st.lists(st.integers(-1, 1), min_size=1, max_size=23))
def test_trits_survive_packing(values: list[int]) -> None:
    trits = np.array([values], dtype=np.int8)
    packed = pack_trits(trits)
    assert len(packed) == -(-len(values) // 5)
    assert np.array_equal(unpack_trits(packed, trits.shape), trits)


def test_padding_of_a_matrix_must_be_zero() -> None:
    with pytest.raises(TapeError, match="padding"):
        unpack_trits(np.array([242], dtype=np.uint8), (1, 4))


def change_matrix(**changes: Any) -> Tape:
    """The tape with another first matrix of its first segment (i)."""
    segment = TAPE.segments[0]
    matrices = (replace(segment.matrices[0], **changes), *segment.matrices[1:])
    return replace(TAPE, segments=(replace(segment, matrices=matrices), *TAPE.segments[1:]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"multiplier": 127},
            r"layer 0 gates, matrix i: multiplier must lie in 128\.\.256, got 127",
        ),
        ({"multiplier": 200.0}, r"multiplier must be an integer, got 200\.0"),
        ({"exponent": True}, "exponent must be an integer, got True"),
        ({"exponent": 11}, r"exponent must lie in -8\.\.10, got 11"),
        ({"exponent": -9}, r"exponent must lie in -8\.\.10, got -9"),
        (
            {"codes": np.full(5, 243, np.uint8)},
            "layer 0 gates, matrix i: weights: byte 243 is no code",
        ),
        ({"fan_in": 4}, "matrix i: expected 5 x 5 weights, got 5 x 4"),
        ({"rows": 4}, "matrix i: expected 5 x 5 weights, got 4 x 5"),
        ({"role": "g"}, "roles"),
        ({"bias": np.zeros(5, np.int16)}, "only f carries a bias"),
        ({"codes": [121] * 5}, r"codes: expected uint8 \(5,\), got list"),
        ({"codes": np.zeros(4, np.uint8)}, r"codes: expected uint8 \(5,\), got uint8 \(4,\)"),
    ],
)
def test_contents_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TapeError, match=message):
        change_matrix(**change)


@pytest.mark.parametrize(
    ("trits", "message"),
    [
        (np.full((5, 5), 2, np.int8), r"trits must be -1, 0 or \+1"),
        ([[0] * 5] * 5, r"trits: expected int8 \(5, 5\), got list"),
        (np.zeros((5, 5), np.int16), r"expected int8 \(5, 5\), got int16 \(5, 5\)"),
    ],
)
def test_trits_are_checked(trits: Any, message: str) -> None:
    with pytest.raises(TapeError, match=message):
        TAPE.segments[0].matrices[0].with_trits(trits)


def test_a_tape_that_was_read_can_be_copied_and_sent(tmp_path: Path) -> None:
    write_tape(TAPE, tmp_path / "a.tape")
    for tape in (TAPE, open_pow2_tape(tmp_path / "a.tape"), decode_tape(DATA)):
        assert pickle.loads(pickle.dumps(tape)).data == DATA
        assert copy.deepcopy(tape).sha256 == TAPE.sha256


def test_a_tape_stays_what_it_was_when_another_file_takes_its_place(tmp_path: Path) -> None:
    """What is read of it later, too."""
    path = tmp_path / "a.tape"
    write_tape(TAPE, path)
    tape = open_pow2_tape(path)
    tape.let_go()
    write_tape(small_tape(3), path)
    assert tape.data == DATA
    for one, other in zip(TAPE.segments, tape.segments, strict=True):
        for a, b in zip(one.matrices, other.matrices, strict=True):
            assert np.array_equal(a.trits, b.trits)
    changed = replace(tape, embedding_shift=tape.embedding_shift ^ 1)
    assert changed.sha256 != tape.sha256
    assert changed.num_bytes == len(changed.data)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (None, "matrix f: only f carries a bias, and it must"),
        (np.zeros(4, np.int16), r"matrix f: bias: expected int16 \(5,\), got int16 \(4,\)"),
        (np.zeros(5, np.int32), r"matrix f: bias: expected int16 \(5,\), got int32 \(5,\)"),
    ],
)
def test_the_bias_is_checked(bias: Any, message: str) -> None:
    segment = TAPE.segments[4]
    i, f, g = segment.matrices
    changed = replace(segment, matrices=(i, replace(f, bias=bias), g))
    with pytest.raises(TapeError, match=f"segment layer 1 gates, {message}"):
        replace(TAPE, segments=(*TAPE.segments[:4], changed, *TAPE.segments[5:]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding_shift": 9}, r"embedding_shift must lie in 0\.\.8, got 9"),
        ({"sigmoid": np.full(256, 257, np.int16)}, r"entries must lie in 0\.\.256"),
        ({"silu": np.zeros(255, np.int16)}, r"tables\.silu: expected int16 \(256,\)"),
        (
            {"embedding": np.zeros((6, 5), np.int16)},
            r"embedding: expected int8 \(6, 5\), got int16",
        ),
        ({"tokenizer": []}, "tokenizer: expected an object"),
        ({"segments": TAPE.segments[:-1]}, "config asks for 9 segments, got 8"),
        ({"segments": TAPE.segments[::-1]}, "expected gates of layer 0 here"),
    ],
)
def test_the_whole_is_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TapeError, match=message):
        replace(TAPE, **change)


def test_identity_changes_with_any_part() -> None:
    other = change_matrix(multiplier=128 + (TAPE.segments[0].matrices[0].multiplier - 127) % 129)
    assert other.sha256 != TAPE.sha256
    assert small_tape().sha256 == TAPE.sha256


def test_matrix_sizes() -> None:
    matrix = Matrix.of(np.zeros((2, 3), np.int8), role="i", multiplier=128, exponent=0)
    assert (matrix.rows, matrix.fan_in) == (2, 3)
    assert TAPE.num_ternary_weights == TAPE.config.num_ternary_weights
    # Of each layer 4 matrices of 25 and 3 of 35 trits; the head has 15.
    assert TAPE.trit_bytes == 2 * (4 * 5 + 3 * 7) + 3
    assert TAPE.num_bytes == len(DATA)
    assert (TAPE.start, TAPE.describe_tokenizer()) == (None, {"kind": "none"})
    long = replace(TAPE, tokenizer={"kind": "tokenizers", "data": pack_text(bytes(range(256)))})
    assert re.fullmatch(r"\d+ characters", long.describe_tokenizer()["data"])
    assert matrix.constants == {"multiplier": 128, "exponent": 0}
    assert (matrix.zeros(), matrix.with_trits(np.eye(4, dtype=np.int8)).zeros()) == (1.0, 0.75)


@pytest.mark.parametrize("tokenizer", [{}, {"kind": 3}, {"kind": None}])
def test_a_tokenizer_without_a_kind_is_refused(tokenizer: dict[str, Any]) -> None:
    with pytest.raises(TapeError, match="tokenizer: kind must be text"):
        decode_tape(forge(manifest_of() | {"tokenizer": tokenizer}))

"""Records of vector writes: as they are in the file, and as whole vectors."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from sim.tracing.writes import (
    SOURCES,
    TAPS,
    TapValue,
    Write,
    read_writes,
    stored_bits,
    tap_values,
)
from tests.support.sim.shapes import ABSMAX_ODD, ODD


def record(
    vector: str, group: int, values: list[int], keep: int, *, cycle: int = 0, segment: int = 0
) -> bytes:
    """A group's record, written as tap_recorder.cpp does: whole words of 32 bits."""
    width = len(values)
    head = struct.pack("<Qiii", cycle, TAPS.index(vector), segment, group)
    mask = keep.to_bytes(-(-width // 32) * 4, "little")
    data = b"".join(value.to_bytes(2, "little", signed=True) for value in values)
    return head + mask + data.ljust(-(-len(data) // 4) * 4, b"\xff")


@pytest.mark.parametrize("width", [1, 2, 4, 32, 64])
def test_records_are_read_as_they_are_written(width: int, tmp_path: Path) -> None:
    values = list(range(-width, 0))
    keep = (1 << width) - 1 ^ (1 << width - 1 if width > 1 else 0)
    records = [
        record("logits", 3, values, keep, cycle=1 << 40, segment=7),
        record("state", 0, [-32768] * width, 1, cycle=5),
    ]
    (tmp_path / "taps.bin").write_bytes(b"".join(records))
    kept = values[: max(1, width - 1)]
    assert read_writes(tmp_path / "taps.bin", width, 16).each() == [
        *(
            Write(cycle=1 << 40, segment=7, vector="logits", index=3 * width + lane, value=value)
            for lane, value in enumerate(kept)
        ),
        Write(cycle=5, segment=0, vector="state", index=0, value=-32768),
    ]


def test_a_file_without_records_has_no_writes(tmp_path: Path) -> None:
    (tmp_path / "taps.bin").write_bytes(b"")
    writes = read_writes(tmp_path / "taps.bin", 4, 16)
    assert writes.each() == []
    assert writes.vector("state", np.arange(3)) is None
    assert writes.vector("state", np.arange(0)) is not None


WHOLE = [("u", 0, [1, 2]), ("state", 2, [3, 4]), ("state", 0, [5, 6]), ("u", 1, [7, 8])]


def vector(tmp_path: Path, groups: list[tuple[str, int, list[int]]]) -> list[int] | None:
    """Elements 5, 4, 0 and 1 of the state."""
    (tmp_path / "taps.bin").write_bytes(
        b"".join(record(name, group, values, 3) for name, group, values in groups)
    )
    found = read_writes(tmp_path / "taps.bin", 2, 16).vector("state", np.array([5, 4, 0, 1]))
    return None if found is None else found.tolist()


def test_a_vector_is_put_together_whatever_the_order(tmp_path: Path) -> None:
    assert vector(tmp_path, WHOLE) == [4, 3, 5, 6]
    assert vector(tmp_path, WHOLE[::-1]) == [4, 3, 5, 6]


@pytest.mark.parametrize(
    "groups",
    [
        [*WHOLE, ("state", 2, [3, 4])],
        [group for group in WHOLE if group[1] != 2],
        [*WHOLE, ("state", 1, [0, 0])],
        [*WHOLE, ("state", 900, [0, 0])],
        [("u", *group[1:]) for group in WHOLE],
    ],
    ids=["twice", "missing", "between", "beyond", "elsewhere"],
)
def test_no_vector_is_made_of_anything_but_each_element_once(
    groups: list[tuple[str, int, list[int]]], tmp_path: Path
) -> None:
    assert vector(tmp_path, groups) is None


def test_the_recorder_is_there() -> None:
    assert [source.name for source in SOURCES] == ["tap_recorder.sv", "tap_recorder.cpp"]
    assert all(source.is_file() for source in SOURCES)


def test_what_taps_of_the_arithmetics_show() -> None:
    """Values of 16 bits; or of 32, and what is cut as a number without a sign."""
    assert set(tap_values(ODD.design()).values()) == {TapValue(16, signed=True)}
    assert stored_bits(ODD.design()) == 16
    design = ABSMAX_ODD.design()
    shown = tap_values(design)
    assert list(shown) == list(TAPS)
    assert shown.pop("u") == TapValue(36, signed=False)
    assert set(shown.values()) == {TapValue(32, signed=True)}
    assert stored_bits(design) == 64
    data = (1 << 35 | 5) << 36 | (1 << 36) - 1
    assert [TapValue(36, signed=False).of(data, lane) for lane in (0, 1)] == [2**36 - 1, 2**35 + 5]
    data = 0x8000_0000 << 32 | 0x7FFF_FFFF
    assert [TapValue(32, signed=True).of(data, lane) for lane in (0, 1)] == [2**31 - 1, -(2**31)]


@pytest.mark.parametrize("width", [1, 2, 33])
def test_records_of_64_bits(width: int, tmp_path: Path) -> None:
    values = [(1 << 36) - 1 - lane for lane in range(width - 1)] + [-(1 << 31)]
    head = struct.pack("<Qiii", 9, TAPS.index("u"), 2, 4)
    mask = ((1 << width) - 1).to_bytes(-(-width // 32) * 4, "little")
    data = b"".join(value.to_bytes(8, "little", signed=True) for value in values)
    (tmp_path / "taps.bin").write_bytes((head + mask + data) * 2)
    writes = read_writes(tmp_path / "taps.bin", width, 64)
    assert writes.values.tolist() == values * 2
    assert writes.indices.tolist() == [4 * width + lane for lane in range(width)] * 2

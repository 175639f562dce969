"""The writes of a chip's vectors: each as a record, and all of a token's as ``tap_recorder`` keeps
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TAPS = ("x", "u", "state", "logits")
"""The vectors, by their ports' names; in records by their numbers."""

SOURCES = tuple(Path(__file__).with_name(f"tap_recorder.{kind}") for kind in ("sv", "cpp"))
"""What is compiled with a chip whose writes are recorded."""

RECORDS_NAME = "taps.bin"
"""File of the working folder with the last token's writes, as soon as the token has its answer."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """One element written: when, in which entry of the segment table, where, and what."""

    cycle: int
    segment: int
    vector: str
    index: int
    value: int


@dataclass(frozen=True)
class Writes:
    """Elements written, in the order of the writes: a column for each field of ``Write``.

    ``vectors``: numbers in TAPS.
    """

    cycles: NDArray[np.int64]
    segments: NDArray[np.int64]
    vectors: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: NDArray[np.int16]

    def each(self) -> list[Write]:
        """One by one."""
        columns = (self.cycles, self.segments, self.vectors, self.indices, self.values)
        return [
            Write(cycle=cycle, segment=segment, vector=TAPS[vector], index=index, value=value)
            for cycle, segment, vector, index, value in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]

    def vector(self, name: str, places: NDArray[np.int64]) -> NDArray[np.int16] | None:
        """The elements of a vector by their indices, int16 [n] for ``places`` [n], all different.

        None unless each was written once, and nothing besides.
        """
        of_vector = self.vectors == TAPS.index(name)
        indices, values = self.indices[of_vector], self.values[of_vector]
        due = np.zeros(max(places.max(initial=-1), indices.max(initial=-1)) + 1, dtype=np.int64)
        due[places] = 1
        if not np.array_equal(np.bincount(indices, minlength=len(due)), due):
            return None
        vector = np.zeros(len(due), dtype=np.int16)
        vector[indices] = values
        return vector[places]


def read_writes(path: Path, width: int) -> Writes:
    """The writes of the last token from the file of a recorder of groups of ``width`` values."""
    records = np.fromfile(path, dtype=_record(width))
    flags = np.ascontiguousarray(records["keep"]).view(np.uint8)
    flags = flags.reshape(len(records), -(-width // 32) * 4)
    kept = np.unpackbits(flags, axis=1, count=width, bitorder="little")
    group, lane = np.nonzero(kept)
    of = records[group]
    return Writes(
        cycles=of["cycle"].astype(np.int64),
        segments=of["segment"].astype(np.int64),
        vectors=of["vector"].astype(np.int64),
        indices=of["group"].astype(np.int64) * width + lane,
        values=records["data"][group, lane],
    )


def _record(width: int) -> np.dtype[Any]:
    """A group's record (``tap_recorder.cpp``): its bits and its values take whole 32-bit words."""
    return np.dtype(
        [
            ("cycle", "<u8"),
            ("vector", "<i4"),
            ("segment", "<i4"),
            ("group", "<i4"),
            ("keep", "<u4", (-(-width // 32),)),
            ("data", "<i2", (-(-width // 2) * 2,)),
        ]
    )

"""The writes of a chip's vectors: each as a record, and all of a token's as ``tap_recorder`` keeps
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.design import Design
from mmfree.contract.absmax import CUT_BITS, CUT_EXPONENT_BITS

TAPS = ("x", "u", "state", "logits")
"""The vectors, by their ports' names; in records by their numbers."""

SOURCES = tuple(Path(__file__).with_name(f"tap_recorder.{kind}") for kind in ("sv", "cpp"))
"""What is compiled with a chip whose writes are recorded."""

RECORDS_NAME = "taps.bin"
"""File of the working folder with the last token's writes, as soon as the token has its answer."""


@dataclass(frozen=True)
class TapValue:
    """How a tap shows a value: in ``bits``, a number that may be negative if it is ``signed``."""

    bits: int
    signed: bool

    def of(self, data: int, lane: int) -> int:
        """The value in one of P lanes of a tap's data."""
        value = data >> self.bits * lane & (1 << self.bits) - 1
        return value - (1 << self.bits) if self.signed and value >> self.bits - 1 else value


def tap_values(design: Design) -> dict[str, TapValue]:
    """What each of TAPS shows.

    In absmax u is cut when it is written: sign, exponent and mantissa as one number
    (docs/arithmetic_absmax.md, 3).
    """
    values = dict.fromkeys(TAPS, TapValue(design.value_bits, signed=True))
    if design.arithmetic == "absmax":
        values["u"] = TapValue(CUT_BITS + CUT_EXPONENT_BITS + 1, signed=False)
    return values


def stored_bits(design: Design) -> int:
    """Bits of a value in the records of a design: 16 or 64, the same for all of its taps."""
    return 16 if max(value.bits for value in tap_values(design).values()) <= 16 else 64


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
    values: NDArray[np.int64]

    def each(self) -> list[Write]:
        """One by one."""
        columns = (self.cycles, self.segments, self.vectors, self.indices, self.values)
        return [
            Write(cycle=cycle, segment=segment, vector=TAPS[vector], index=index, value=value)
            for cycle, segment, vector, index, value in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]

    def vector(self, name: str, places: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The elements of a vector by their indices, int64 [n] for ``places`` [n], all different.

        None unless each was written once, and nothing besides.
        """
        of_vector = self.vectors == TAPS.index(name)
        indices, values = self.indices[of_vector], self.values[of_vector]
        due = np.zeros(max(places.max(initial=-1), indices.max(initial=-1)) + 1, dtype=np.int64)
        due[places] = 1
        if not np.array_equal(np.bincount(indices, minlength=len(due)), due):
            return None
        vector = np.zeros(len(due), dtype=np.int64)
        vector[indices] = values
        return vector[places]


def read_writes(path: Path, width: int, bits: int) -> Writes:
    """The writes of the last token from the file of a recorder.

    It has groups of ``width`` values of ``bits`` bits each (``stored_bits``).
    """
    records = np.fromfile(path, dtype=_record(width, bits))
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
        values=records["data"][group, lane].astype(np.int64),
    )


def _record(width: int, bits: int) -> np.dtype[Any]:
    """A group's record (``tap_recorder.cpp``): its bits and its values take whole 32-bit words."""
    return np.dtype(
        [
            ("cycle", "<u8"),
            ("vector", "<i4"),
            ("segment", "<i4"),
            ("group", "<i4"),
            ("keep", "<u4", (-(-width // 32),)),
            ("data", f"<i{bits // 8}", (-(-width * bits // 32) * 32 // bits,)),
        ]
    )

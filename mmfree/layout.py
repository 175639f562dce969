"""From a tape to the memory image that one design plays: a pure function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmfree.design import KIND_CODES, WEIGHT_BITS, Design, weight_words
from mmfree.formats import GATES, ROLES
from mmfree.tape import Segment, Tape


class LayoutError(ValueError):
    """A tape does not fit a design."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """Contents of a design's memories, one row of an array (or one int) per word.

    Attributes
    ----------
    weights
        uint8 [words, lanes * 2 / 8 rounded up]: little-endian bytes of a word; lane (r, c) has bits 2 (r C + c) and up.
    headers
        Entries of the segment table as integers (fields: Design.header_fields).
    embedding
        int8 [tiles * embedding_rows, C]; word t of row v stands at t * embedding_rows + v.
    biases
        int16 [words, P], in the order of use.
    tables
        int16 [512]: the sigmoid at 0..255, SiLU at 256..511, each at n & 255 for index n.
    """

    weights: NDArray[np.uint8]
    headers: tuple[int, ...]
    embedding: NDArray[np.int8]
    biases: NDArray[np.int16]
    tables: NDArray[np.int16]

    def memory_files(self) -> dict[str, str]:
        """Memory name -> contents in hexadecimal, one word a line."""
        return {
            "weights": _hex_lines(self.weights),
            "headers": "".join(f"{word:x}\n" for word in self.headers),
            "embedding": _hex_lines(self.embedding),
            "biases": _hex_lines(self.biases),
            "tables": _hex_lines(self.tables[:, None]),
        }


def layout(tape: Tape, design: Design) -> Image:
    """Arrange a tape for a design.

    Raises
    ------
    LayoutError
        If the tape exceeds a limit of the design; the message names the limit and both sizes.
    """
    _check_fit(tape, design)
    return Image(
        weights=_weights(tape, design),
        headers=tuple(_headers(tape, design)),
        embedding=_embedding(tape, design),
        biases=_biases(tape, design),
        tables=_tables(tape),
    )


def _check_fit(tape: Tape, design: Design) -> None:
    config = tape.config
    d, i = config.hidden_size, config.intermediate_size
    if tape.formats != design.formats:
        raise LayoutError("the tape's formats are not the design's: generate a design for this tape")
    needed = {
        "max_width": max(d, i),
        "max_rows": max(d, i, config.head_size),
        "weight_words": weight_words(tape, design.rows, design.columns),
        "header_words": 1 + len(tape.segments),
        "embedding_rows": config.vocab_size,
        "embedding_width": d,
        "bias_words": gate_words(tape, design),
        "state_words": gate_words(tape, design),
    }
    for name, need in needed.items():
        if need > (limit := getattr(design, name)):
            raise LayoutError(
                f"the tape needs {name} of {need}, but the design has {limit}: generate a larger design"
            )


def gate_words(tape: Tape, design: Design) -> int:
    """Words of P values that a tape's state takes; row blocks are padded to whole blocks."""
    blocks = -(-tape.config.hidden_size // design.rows)
    return tape.config.num_layers * blocks * design.groups_per_block


def _weights(tape: Tape, design: Design) -> NDArray[np.uint8]:
    parts = []
    word_bytes = -(-design.lanes * WEIGHT_BITS // 8)
    for segment in tape.segments:
        parts.append(_segment_weights(segment, design))
        parts.append(np.zeros((1, word_bytes), dtype=np.uint8))  # the segment's check word
    return np.concatenate(parts)


def _segment_weights(segment: Segment, design: Design) -> NDArray[np.uint8]:
    """Row blocks of the matrices in turn; within a block, tile after tile."""
    rows, columns = design.rows, design.columns
    height, fan_in = segment.matrices[0].trits.shape
    blocks, tiles = -(-height // rows), -(-fan_in // columns)
    trits = np.zeros((len(segment.matrices), blocks * rows, tiles * columns), dtype=np.int8)
    for index, matrix in enumerate(segment.matrices):
        trits[index, :height, :fan_in] = matrix.trits
    # [matrix, block, row, tile, column] -> [block, matrix, tile, row, column]
    words = trits.reshape(-1, blocks, rows, tiles, columns).transpose(1, 0, 3, 2, 4)
    codes = words.reshape(-1, rows * columns).astype(np.uint8) & 3
    bits = np.stack([codes & 1, codes >> 1], axis=-1).reshape(len(codes), -1)
    return np.packbits(bits, axis=1, bitorder="little")


def _headers(tape: Tape, design: Design) -> Iterator[int]:
    d = tape.config.hidden_size
    shape = _vector_fields(d, design)
    yield _pack_header(design, kind=KIND_CODES["embedding"], base0=tape.embedding_shift, **shape)
    for segment in tape.segments:
        height = segment.matrices[0].rows
        blocks = -(-height // design.rows)
        values = {
            "kind": KIND_CODES[segment.kind],
            "last": int(segment is tape.segments[-1]),
            "gate": GATES.index(tape.config.gate),
            "blocks": blocks,
            "tail_rows": height - (blocks - 1) * design.rows,
            **_vector_fields(segment.fan_in, design),
        }
        for index, matrix in enumerate(segment.matrices):
            role = ROLES[matrix.role]
            values[f"multiplier{index}"] = matrix.multiplier
            values[f"base{index}"] = role.shift_base(matrix.exponent, tape.config.gate, tape.formats)
        yield _pack_header(design, **values)


def _vector_fields(width: int, design: Design) -> dict[str, int]:
    tiles = -(-width // design.columns)
    return {"tiles": tiles, "tail": width - (tiles - 1) * design.columns}


def _pack_header(design: Design, **values: int) -> int:
    word, offset = 0, 0
    for name, bits in design.header_fields:
        word |= (values.get(name, 0) & ((1 << bits) - 1)) << offset
        offset += bits
    return word


def _embedding(tape: Tape, design: Design) -> NDArray[np.int8]:
    rows, d = tape.embedding.shape
    padded = np.zeros(
        (design.embedding_rows, design.embedding_tiles * design.columns), dtype=np.int8
    )
    padded[:rows, :d] = tape.embedding
    tiles = padded.reshape(design.embedding_rows, design.embedding_tiles, design.columns)
    return np.ascontiguousarray(tiles.transpose(1, 0, 2)).reshape(-1, design.columns)


def _biases(tape: Tape, design: Design) -> NDArray[np.int16]:
    height = -(-tape.config.hidden_size // design.rows) * design.rows
    parts = []
    for segment in tape.segments:
        for matrix in segment.matrices:
            if matrix.bias is not None:
                padded = np.zeros(height, dtype=np.int16)
                padded[: matrix.rows] = matrix.bias
                parts.append(padded)
    return np.concatenate(parts).reshape(-1, design.post_width)


def _tables(tape: Tape) -> NDArray[np.int16]:
    # Entry j of a tape's table is for index j - 128; the chip addresses it by the index's low bits.
    return np.concatenate([np.roll(tape.sigmoid, -128), np.roll(tape.silu, -128)])


def _hex_lines(words: NDArray[np.generic]) -> str:
    """One word a line: the elements of a row, first element in the low bits."""
    little = np.ascontiguousarray(words.astype(words.dtype.newbyteorder("<")))
    data = little.view(np.uint8).reshape(len(words), -1)
    return "".join(row[::-1].tobytes().hex() + "\n" for row in data)

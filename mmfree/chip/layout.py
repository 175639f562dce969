"""From a tape to the memory image of one design: a pure function."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, pack_header
from mmfree.chip.image import Image, constant_words
from mmfree.chip.memory_map import (
    CHECK_BITS,
    LoadedShape,
    group_bits,
    loaded_shape,
    page_words,
    word_bits,
)
from mmfree.chip.sizing import image_weight_words
from mmfree.chip.weight_codes import find_code
from mmfree.contract.pow2 import GATES, ROLES, VALUE_BITS
from mmfree.errors import InputError
from mmfree.tape.pow2 import Tape


class LayoutError(InputError):
    """A tape that does not fit a design."""


def layout(tape: Tape, design: Design) -> Image:
    """The image of a tape in a design's memories.

    Raises
    ------
    LayoutError
        If the tape exceeds a limit of the design, or the design has other formats or value_bits;
        the message names the limit and both sizes.
    """
    _check_fit(tape, design)
    words = {
        "weights": list(
            arrange_weights(
                [[matrix.trits for matrix in segment.matrices] for segment in tape.segments], design
            )
        ),
        "headers": list(_headers(tape, design)),
        "embedding": _row_words(_embedding(tape, design)),
        "biases": _row_words(_biases(tape, design)),
        "tables": _row_words(_tables(tape)[:, None]),
        **constant_words(),
    }
    return Image(
        design=design,
        words={
            name: _with_parity(values, loaded_shape(design, name)) for name, values in words.items()
        },
    )


def _with_parity(words: list[int], shape: LoadedShape) -> list[int]:
    return [shape.with_parity(word) for word in words]


def check_value_bits(design: Design) -> None:
    """Refuse a design whose values are not those of docs/arithmetic.md.

    Raises
    ------
    LayoutError
        If there is no tape for values of this width; the message names both widths.
    """
    if design.value_bits != VALUE_BITS:
        raise LayoutError(
            f"the design has value_bits of {design.value_bits}, but docs/arithmetic.md has"
            f" {VALUE_BITS}: generate a design with value_bits of {VALUE_BITS}"
        )


def _check_fit(tape: Tape, design: Design) -> None:
    check_value_bits(design)
    config = tape.config
    d, i = config.hidden_size, config.intermediate_size
    if tape.formats != design.formats:
        raise LayoutError(
            "the tape's formats are not the design's: generate a design for this tape"
        )
    needed = {
        "max_width": max(d, i),
        "max_rows": max(d, i, config.head_size),
        "weight_words": image_weight_words(config, design.rows, design.columns),
        "header_words": 1 + len(tape.segments),
        "embedding_rows": config.vocab_size,
        "embedding_width": d,
        "bias_words": gate_words(tape, design),
        "state_words": gate_words(tape, design),
    }
    for name, need in needed.items():
        if need > (limit := getattr(design, name)):
            raise LayoutError(
                f"the tape needs {name} of {need}, but the design has {limit}: generate a larger"
                " design"
            )


def gate_words(tape: Tape, design: Design) -> int:
    """Words of P values that a tape's gate biases take, and its state: whole row blocks."""
    blocks = -(-tape.config.hidden_size // design.rows)
    return tape.config.num_layers * blocks * design.groups_per_block


def arrange_weights(segments: Iterable[list[NDArray[np.int8]]], design: Design) -> Iterator[int]:
    """Words of the weight memory for the matrices [rows, fan-in] of every segment, each followed by
    the segment's check word.
    """
    for matrices in segments:
        words = _segment_weights(matrices, design)
        yield from (int.from_bytes(word.tobytes(), "little") for word in words)
        yield check_word(words, design)


def _segment_weights(matrices: list[NDArray[np.int8]], design: Design) -> NDArray[np.uint8]:
    """Words of a segment's weights, uint8 [words, word bytes], little-endian.

    The matrices' row blocks take turns; within a block tile follows tile.
    """
    rows, columns = design.rows, design.columns
    height, fan_in = matrices[0].shape
    blocks, tiles = -(-height // rows), -(-fan_in // columns)
    weights = np.zeros((len(matrices), blocks * rows, tiles * columns), dtype=np.int8)
    for index, matrix in enumerate(matrices):
        weights[index, :height, :fan_in] = matrix
    # [matrix, block, row, tile, column] -> [block, matrix, tile, row, column]
    words = weights.reshape(-1, blocks, rows, tiles, columns).transpose(1, 0, 3, 2, 4)
    groups = words.reshape(-1, design.group_rows * columns)
    bits = np.zeros((len(groups), group_bits(design)), dtype=np.uint8)
    packed = find_code(design.weight_code).pack(groups)
    bits[:, : packed.shape[1]] = packed
    return np.packbits(bits.reshape(-1, word_bits(design)), axis=1, bitorder="little")


def check_word(words: NDArray[np.uint8], design: Design) -> int:
    """The check word of a segment (docs/accelerator.md).

    Its words [n, bytes] are folded to 32 bits and XORed to pages, over which CRC-32 is taken.
    """
    bits = np.unpackbits(words, axis=1, count=word_bits(design), bitorder="little")
    groups = bits.reshape(len(words), design.num_groups, group_bits(design))
    padding = [(0, 0), (0, 0), (0, -group_bits(design) % CHECK_BITS)]
    parts = np.pad(groups, padding).reshape(len(words), -1, CHECK_BITS)
    folds = np.packbits(np.bitwise_xor.reduce(parts, axis=1), axis=1, bitorder="little").view(
        "<u4"
    )[:, 0]
    starts = np.arange(0, len(folds), page_words(design))
    return zlib.crc32(np.bitwise_xor.reduceat(folds, starts).astype("<u4").tobytes())


def _headers(tape: Tape, design: Design) -> Iterator[int]:
    tiles, tail = _vector_words(tape.config.hidden_size, design)
    yield pack_header(
        design,
        kind=KIND_CODES["embedding"],
        tiles=tiles,
        tail=tail,
        base=[tape.embedding_shift],
    )
    for segment in tape.segments:
        height = segment.matrices[0].rows
        blocks = -(-height // design.rows)
        tiles, tail = _vector_words(segment.fan_in, design)
        bases = [
            ROLES[matrix.role].shift_base(matrix.exponent, tape.config.gate, tape.formats)
            for matrix in segment.matrices
        ]
        yield pack_header(
            design,
            kind=KIND_CODES[segment.kind],
            last=int(segment is tape.segments[-1]),
            gate=GATES.index(tape.config.gate),
            tiles=tiles,
            tail=tail,
            blocks=blocks,
            tail_rows=height - (blocks - 1) * design.rows,
            multiplier=[matrix.multiplier for matrix in segment.matrices],
            base=bases,
        )


def _vector_words(width: int, design: Design) -> tuple[int, int]:
    """Words of a vector, and elements in the last one."""
    tiles = -(-width // design.columns)
    return tiles, width - (tiles - 1) * design.columns


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


def _row_words(rows: NDArray[np.generic]) -> list[int]:
    """A word for each row: its elements, the first in the low bits."""
    little = np.ascontiguousarray(rows.astype(rows.dtype.newbyteorder("<")))
    return [int.from_bytes(row.tobytes(), "little") for row in little]

"""From a tape to the memory image of one design: a pure function."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, pack_header
from mmfree.chip.image import Image, Words, constant_words
from mmfree.chip.memory_map import (
    CHECK_BITS,
    LoadedShape,
    group_bits,
    loaded_memories,
    loaded_shape,
    page_words,
)
from mmfree.chip.sizing import stream_words
from mmfree.chip.weight_codes import find_code
from mmfree.contract.pow2 import GATES, ROLES, VALUE_BITS
from mmfree.errors import InputError
from mmfree.tape.pow2 import Matrix, Tape

_PART_WEIGHTS = 1 << 20
"""Weights, padding included, that are packed at a time: more take no less time, and more memory."""


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
    check_fit(tape, design)
    held = loaded_memories(design)
    words: dict[str, Sequence[int]] = {}
    if "weights" in held:
        words["weights"] = arrange_weights(
            [[matrix.trits for matrix in segment.matrices] for segment in tape.segments], design
        )
    words["headers"] = _with_parity(_headers(tape, design), loaded_shape(design, "headers"))
    if "embedding" in held:
        words["embedding"] = _row_words(_embedding(tape, design))
    if "biases" in held:
        words["biases"] = _row_words(_biases(tape, design))
    words["tables"] = _row_words(_tables(tape)[:, None])
    for name, values in constant_words().items():
        words[name] = _with_parity(values, loaded_shape(design, name))
    return Image(design=design, words=words)


def _with_parity(words: Iterable[int], shape: LoadedShape) -> list[int]:
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


def check_fit(tape: Tape, design: Design) -> None:
    """Refuse a tape that exceeds a limit of a design, as ``layout`` does."""
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
        "weight_words": stream_words(config, design),
        "header_words": 1 + len(tape.segments),
        "embedding_rows": config.vocab_size,
        "embedding_width": d,
        "bias_words": (
            gate_words(tape, design) // (1 if design.external is None else config.num_layers)
        ),
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


def arrange_weights(segments: Iterable[list[NDArray[np.int8]]], design: Design) -> Words:
    """Words of the weight memory for the matrices [rows, fan-in] of every segment, each followed by
    the segment's check word.
    """
    parts = []
    for matrices in segments:
        words = list(weight_words(matrices, design))
        parts += [*words, check_row(check_word(words, page_words(design)), design)]
    return Words(np.concatenate(parts), group_bits(design))


def weight_words(matrices: list[NDArray[np.int8]], design: Design) -> Iterator[NDArray[np.uint8]]:
    """Words of a segment's weights, in parts: uint8 [words, groups, bytes of a share].

    The matrices' row blocks take turns; within a block tile follows tile.
    """
    rows, columns = design.rows, design.columns
    height, fan_in = matrices[0].shape
    blocks, tiles = -(-height // rows), -(-fan_in // columns)
    code, share_bytes = find_code(design.weight_code), -(-group_bits(design) // 8)
    at_once = max(1, _PART_WEIGHTS // (len(matrices) * rows * tiles * columns))
    for start in range(0, blocks, at_once):
        count = min(at_once, blocks - start)
        padded = np.zeros((len(matrices), count * rows, tiles * columns), dtype=np.int8)
        for index, matrix in enumerate(matrices):
            part = matrix[start * rows : (start + count) * rows]
            padded[index, : len(part), :fan_in] = part
        # [matrix, block, row, tile, column] -> [block, matrix, tile, row, column]
        words = padded.reshape(-1, count, rows, tiles, columns).transpose(1, 0, 3, 2, 4)
        packed = code.pack(words.reshape(-1, design.group_rows * columns))
        shares = np.zeros((len(packed), share_bytes), dtype=np.uint8)
        shares[:, : packed.shape[1]] = packed
        yield shares.reshape(-1, design.num_groups, share_bytes)


def check_word(parts: Iterable[NDArray[np.uint8]], page: int) -> int:
    """The check word of a sequence of words (docs/accelerator.md).

    ``parts``: uint8 [words, shares, bytes of a share], one after another. The parts of 32 bits of
    all shares are XORed to one, and ``page`` words to a page; CRC-32 is taken over the pages.
    """
    folds = np.concatenate([_fold(part) for part in parts])
    starts = np.arange(0, len(folds), page)
    return zlib.crc32(np.bitwise_xor.reduceat(folds, starts).tobytes())


def _fold(shares: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """XOR of the parts of 32 bits of every word."""
    words, size = len(shares), shares.shape[2]
    if padding := -size % (CHECK_BITS // 8):
        shares = np.pad(shares, [(0, 0), (0, 0), (0, padding)])
    pieces = np.ascontiguousarray(shares).reshape(words, -1).view("<u4")
    fold = pieces[:, 0].copy()
    for number in range(1, pieces.shape[1]):
        fold ^= pieces[:, number]
    return fold


def check_row(value: int, design: Design) -> NDArray[np.uint8]:
    """A word that holds a check word, uint8 [1, groups, bytes of a share]."""
    row = np.zeros((1, design.num_groups, -(-group_bits(design) // 8)), dtype=np.uint8)
    row[0, 0, : CHECK_BITS // 8] = list(value.to_bytes(CHECK_BITS // 8, "little"))
    return row


def _headers(tape: Tape, design: Design) -> Iterator[int]:
    tiles, tail = _vector_words(tape.config.hidden_size, design)
    yield pack_header(
        design,
        kind=KIND_CODES["embedding"],
        tiles=tiles,
        tail=tail,
        base=[tape.embedding_shift],
    )
    for segment, following in zip(tape.segments, [*tape.segments[1:], None], strict=True):
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
            parameters=int(following is not None and following.kind == "gates"),
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
    layers = [
        gate_biases(matrix, design)
        for segment in tape.segments
        for matrix in segment.matrices
        if matrix.bias is not None
    ]
    return np.concatenate(layers).reshape(-1, design.post_width)


def gate_biases(matrix: Matrix, design: Design) -> NDArray[np.int16]:
    """The biases of a matrix, padded with zeros to whole row blocks."""
    assert matrix.bias is not None
    padded = np.zeros(-(-matrix.rows // design.rows) * design.rows, dtype=np.int16)
    padded[: matrix.rows] = matrix.bias
    return padded


def _tables(tape: Tape) -> NDArray[np.int16]:
    # Entry j of a tape's table is for index j - 128; the chip addresses it by the index's low bits.
    return np.concatenate([np.roll(tape.sigmoid, -128), np.roll(tape.silu, -128)])


def _row_words(rows: NDArray[np.generic]) -> Words:
    """A word for each row: its elements, the first in the low bits, and the parity above them."""
    little = np.ascontiguousarray(rows.astype(rows.dtype.newbyteorder("<")))
    elements = little.view(np.uint8).reshape(len(rows), -1)
    words = np.empty((len(rows), 1, elements.shape[1] + 1), dtype=np.uint8)
    words[:, 0, :-1] = elements
    words[:, 0, -1] = np.bitwise_count(np.bitwise_xor.reduce(elements, axis=1)) & 1
    return Words(words, 8 * elements.shape[1] + 1)

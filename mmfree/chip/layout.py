"""From a tape to the memory image of one design: a pure function."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.contents import absmax, pow2
from mmfree.chip.contents.entries import Contents, Entry
from mmfree.chip.design import ARITHMETICS, Design
from mmfree.chip.header import KIND_CODES, pack_header
from mmfree.chip.image import Image, Words, constant_words
from mmfree.chip.memory_map import (
    CHECK_BITS,
    SCALE_BITS,
    group_bits,
    loaded_memories,
    loaded_shape,
    page_words,
    parameter_bits,
    parameters_per_share,
    parameters_per_word,
    row_words,
)
from mmfree.chip.records import Record, records
from mmfree.chip.sizing import stream_words
from mmfree.chip.weight_codes import find_code
from mmfree.contract.absmax import DEFAULT_ABSMAX_FORMATS
from mmfree.contract.shape import AnyConfig
from mmfree.errors import InputError
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import AnyTape

_PART_WEIGHTS = 1 << 20
"""Weights, padding included, that are packed at a time: more take no less time, and more memory."""

_SCALE_BYTES = SCALE_BITS // 8


class LayoutError(InputError):
    """A tape that does not fit a design."""


def layout(tape: AnyTape, design: Design) -> Image:
    """The image of a tape in a design's memories.

    Raises
    ------
    LayoutError
        If the tape is of the other arithmetic or exceeds a limit of the design, or the design has
        other formats or value_bits; the message names the limit and both sizes.
    """
    check_fit(tape, design)
    held, contents, table = loaded_memories(design), contents_of(tape), records(tape.config, design)
    words: dict[str, Sequence[int]] = {}
    if "weights" in held:
        parts = list(stream(contents, table, design))
        words["weights"] = Words(np.concatenate(parts), group_bits(design))
    words["headers"] = _with_parity(_headers(contents, table, design), design, "headers")
    if "embedding" in held:
        words["embedding"] = _row_words(_embedding(contents, design))
    if "biases" in held:
        words["biases"] = _row_words(_biases(contents, table, design))
    words["tables"] = _with_parity(contents.tables, design, "tables")
    for name, values in constant_words(design).items():
        words[name] = _with_parity(values, design, name)
    return Image(design=design, words=words)


def _with_parity(words: Iterable[int], design: Design, memory: str) -> list[int]:
    shape = loaded_shape(design, memory)
    return [shape.with_parity(word) for word in words]


def contents_of(tape: AnyTape) -> Contents:
    """What a tape puts into the memories of a chip of its arithmetic."""
    return pow2.contents_of(tape) if isinstance(tape, Tape) else absmax.contents_of(tape)


def check_value_bits(design: Design) -> None:
    """Refuse a design whose values are not those of its arithmetic.

    Raises
    ------
    LayoutError
        If there is no tape for values of this width; the message names both widths.
    """
    if design.value_bits != (bits := ARITHMETICS[design.arithmetic]):
        raise LayoutError(
            f"the design has value_bits of {design.value_bits}, but docs/arithmetic.md has"
            f" {bits}: generate a design with value_bits of {bits}"
        )


def check_fit(tape: AnyTape, design: Design) -> None:
    """Refuse a tape that does not fit a design, as ``layout`` does."""
    if tape.arithmetic != design.arithmetic:
        raise LayoutError(
            f"the tape's arithmetic is {tape.arithmetic}, but the design's is {design.arithmetic}:"
            " generate a design for this tape"
        )
    check_value_bits(design)
    config = tape.config
    d, i = config.hidden_size, config.intermediate_size
    if tape.formats not in (design.formats, DEFAULT_ABSMAX_FORMATS):
        raise LayoutError(
            "the tape's formats are not the design's: generate a design for this tape"
        )
    if isinstance(tape, Tape) and tape.config.token_shift != design.token_shift:
        raise LayoutError(
            f"the tape's token_shift is {tape.config.token_shift}, the design's"
            f" {design.token_shift}: generate a design for this tape"
        )
    a_layer = design.arithmetic == "absmax" or design.external is not None
    needed = {
        "max_width": max(d, i),
        "max_rows": max(d, i, config.head_size),
        "weight_words": stream_words(config, design),
        "header_words": 1 + len(tape.segments),
        "embedding_rows": config.vocab_size,
        "embedding_width": d,
        "bias_words": gate_words(config, design) // (config.num_layers if a_layer else 1),
        "state_words": gate_words(config, design),
    }
    for name, need in needed.items():
        if need > (limit := getattr(design, name)):
            raise LayoutError(
                f"the tape needs {name} of {need}, but the design has {limit}: generate a larger"
                " design"
            )


def gate_words(config: AnyConfig, design: Design) -> int:
    """Words of P values that a model's gate biases or lower bounds take, and its h: whole row
    blocks.
    """
    blocks = -(-config.hidden_size // design.rows)
    return config.num_layers * blocks * design.groups_per_block


def state_words(config: AnyConfig, design: Design) -> int:
    """Words of P values, the first of a bank, that hold a model's state."""
    if not design.token_shift:
        return gate_words(config, design)
    return design.state_words + 2 * config.num_layers * design.shift_groups


def state_places(config: AnyConfig, design: Design) -> NDArray[np.int64]:
    """Where a chip keeps the words of a state [L, w]: elements of its bank, P to a word."""
    width = design.post_width
    layers = np.arange(config.num_layers)[:, None]
    layer_words = gate_words(config, design) // config.num_layers
    h = layers * layer_words * width + np.arange(config.hidden_size)
    if not design.token_shift:
        return h
    # In the order of use: what the gates of a layer read, and then its glu.
    kept = design.shift_groups * width
    by_gates = design.state_words * width + 2 * layers * kept + np.arange(design.token_shift)
    return np.concatenate([by_gates, h, by_gates + kept], axis=1)


def stream(contents: Contents, table: list[Record], design: Design) -> Iterator[NDArray[np.uint8]]:
    """The words of a pass, record after record, in parts: uint8 [words, groups, bytes of a share].

    ``table``: the records of the design (``records``).
    """
    entries = contents.entries
    for number, (entry, record) in enumerate(zip(entries, table, strict=True)):
        if not record.words:
            continue
        words = list(weight_words(entry.trits(), design))
        if record.own_gains:
            gains = _gains_of(entries[1], record.tiles * design.columns, design)
            words.append(_parameter_words(gains, record.own_gains, design))
        if record.bounds:
            bounds = _bounds_of(entries[number + 1], table[number + 1], design)
            words.append(_parameter_words(bounds, record.bounds, design))
        if record.gains:
            rows = table[number + 1].blocks * design.rows
            gains = _gains_of(entries[number + 2], rows, design)
            words.append(_parameter_words(gains, record.gains, design))
        yield from checked(words, design)


def checked(words: list[NDArray[np.uint8]], design: Design) -> Iterator[NDArray[np.uint8]]:
    """Words in parts, and their check word."""
    yield from words
    yield check_row(check_word(words, page_words(design)), design)


def _gains_of(entry: Entry, elements: int, design: Design) -> NDArray[np.int32]:
    """The gains of a vector of so many ``elements``, padding included, in the order of use: group
    by group of P, in each turn by turn.
    """
    assert entry.gains is not None
    padded = np.zeros((elements, entry.gains.shape[1]), dtype=np.int32)
    padded[: len(entry.gains)] = entry.gains
    groups = padded.reshape(-1, design.post_width, padded.shape[1])
    return groups.transpose(0, 2, 1).reshape(-1)


def _bounds_of(entry: Entry, record: Record, design: Design) -> NDArray[np.int32]:
    """The biases or lower bounds of a segment, padded with zeros to whole row blocks."""
    assert entry.bounds is not None
    padded = np.zeros(record.blocks * design.rows, dtype=np.int32)
    padded[: len(entry.bounds)] = entry.bounds
    return padded


def _parameter_words(values: NDArray[np.int32], words: int, design: Design) -> NDArray[np.uint8]:
    """Words of parameters, uint8 [words, groups, bytes of a share]; what is left is zeros."""
    size, used = parameter_bits(design) // 8, parameters_per_share(design)
    padded = np.zeros(words * parameters_per_word(design), dtype="<i4")
    padded[: len(values)] = values
    low_bytes = padded.view(np.uint8).reshape(-1, 4)[:, :size]
    shares = np.zeros((words, design.num_groups, -(-group_bits(design) // 8)), dtype=np.uint8)
    shares[:, :, : used * size] = low_bytes.reshape(words, design.num_groups, used * size)
    return shares


def arrange_weights(segments: Iterable[list[NDArray[np.int8]]], design: Design) -> Words:
    """Words of a weight memory without parameters, for the matrices [rows, fan-in] of every
    segment, each followed by the segment's check word.
    """
    parts: list[NDArray[np.uint8]] = []
    for matrices in segments:
        parts += checked(list(weight_words(matrices, design)), design)
    return Words(np.concatenate(parts), group_bits(design))


def weight_words(matrices: list[NDArray[np.int8]], design: Design) -> Iterator[NDArray[np.uint8]]:
    """Words of a segment's weights, in parts: uint8 [words, groups, bytes of a share].

    The matrices' row blocks take turns; within a block tile follows tile.
    """
    if not matrices:
        return
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


def _headers(contents: Contents, table: list[Record], design: Design) -> Iterator[int]:
    for entry, record in zip(contents.entries, table, strict=True):
        blocks, is_segment = record.blocks, entry.kind != "embedding"
        yield pack_header(
            design,
            kind=KIND_CODES[entry.kind],
            last=int(record is table[-1]),
            parameters=int(is_segment and record.bounds > 0),
            turns=max(1, record.turns).bit_length() - 1,
            own_gains=record.own_gains,
            bounds=record.bounds,
            gains=record.gains,
            tiles=record.tiles,
            tail=record.width - (record.tiles - 1) * design.columns,
            blocks=blocks,
            tail_rows=record.height - (blocks - 1) * design.rows if is_segment else 0,
            **entry.fields,
        )


def embedding_rows(contents: Contents, design: Design, start: int, stop: int) -> NDArray[np.uint8]:
    """Rows of the embedding, uint8 [rows, row_words, C]: the scale, if there are scales, then the
    elements.
    """
    elements = contents.embedding[start:stop]
    rows = np.zeros((len(elements), row_words(design) * design.columns), dtype=np.uint8)
    first = 0
    if contents.scales is not None:
        scales = contents.scales[start:stop].astype("<u2").view(np.uint8)
        rows[:, :_SCALE_BYTES] = scales.reshape(-1, _SCALE_BYTES)
        first = design.columns
    rows[:, first : first + elements.shape[1]] = elements.view(np.uint8)
    return rows.reshape(len(rows), -1, design.columns)


def _embedding(contents: Contents, design: Design) -> NDArray[np.uint8]:
    rows = embedding_rows(contents, design, 0, len(contents.embedding))
    words = np.zeros((rows.shape[1], design.embedding_rows, design.columns), dtype=np.uint8)
    words[:, : len(rows)] = rows.transpose(1, 0, 2)
    return words.reshape(-1, design.columns)


def _biases(contents: Contents, table: list[Record], design: Design) -> NDArray[np.int16]:
    layers = [
        _bounds_of(entry, record, design).astype(np.int16)
        for entry, record in zip(contents.entries, table, strict=True)
        if entry.bounds is not None
    ]
    return np.concatenate(layers).reshape(-1, design.post_width)


def _row_words(rows: NDArray[np.generic]) -> Words:
    """A word for each row: its elements, the first in the low bits, and the parity above them."""
    little = np.ascontiguousarray(rows.astype(rows.dtype.newbyteorder("<")))
    elements = little.view(np.uint8).reshape(len(rows), -1)
    words = np.empty((len(rows), 1, elements.shape[1] + 1), dtype=np.uint8)
    words[:, 0, :-1] = elements
    words[:, 0, -1] = np.bitwise_count(np.bitwise_xor.reduce(elements, axis=1)) & 1
    return Words(words, 8 * elements.shape[1] + 1)

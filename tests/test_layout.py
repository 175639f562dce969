"""Layout: a tape's image, read back word by word as docs/accelerator.md describes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mmfree.config import ModelConfig
from mmfree.design import KIND_CODES, Design, design_for
from mmfree.formats import ROLES
from mmfree.golden import ternary_product
from mmfree.layout import Image, LayoutError, gate_words, layout
from mmfree.tape import Segment, Tape
from tests.random_tapes import random_tape

CONFIG = ModelConfig(
    vocab_size=9, head_size=5, hidden_size=20, intermediate_size=37, num_layers=2, gate="sigmoid"
)
TAPE = random_tape(np.random.default_rng(3), **CONFIG.to_dict())
LANES = (4, 16, 64, 512)


def lane_weights(word: NDArray[np.uint8], design: Design) -> NDArray[np.int32]:
    """The weights of a word of the image, [R, C]: lane (r, c) has bits 2 (r C + c) and up; 1 is +1, 3 is -1."""
    bits = int.from_bytes(word.tobytes(), "little")
    codes = [bits >> 2 * lane & 3 for lane in range(design.lanes)]
    values = np.array([{0: 0, 1: 1, 3: -1}[code] for code in codes], dtype=np.int32)
    return values.reshape(design.rows, design.columns)


def play_segment(
    words: Iterator[NDArray[np.uint8]], segment: Segment, q: NDArray[np.int32], design: Design
) -> list[NDArray[np.int32]]:
    """Accumulators of a segment, as an array of this design would sum them up."""
    rows, columns = design.rows, design.columns
    height = segment.matrices[0].rows
    blocks, tiles = -(-height // rows), -(-segment.fan_in // columns)
    padded = np.zeros(tiles * columns, dtype=np.int32)
    padded[: segment.fan_in] = q
    sums = np.zeros((len(segment.matrices), blocks * rows), dtype=np.int32)
    for block in range(blocks):
        for matrix in range(len(segment.matrices)):
            for tile in range(tiles):
                part = padded[tile * columns : (tile + 1) * columns]
                weights = lane_weights(next(words), design)
                sums[matrix, block * rows : (block + 1) * rows] += weights @ part
    assert not next(words).any(), "the word for the check is zero"
    assert not sums[:, height:].any(), "rows of padding hold no weights"
    return list(sums[:, :height])


@pytest.mark.parametrize("lanes", LANES)
def test_image_holds_the_weights_in_the_order_of_use(lanes: int) -> None:
    """One tape at several lane counts: the same sums."""
    design = design_for(TAPE, lanes)
    image = layout(TAPE, design)
    assert len(image.weights) == design.weight_words
    words = iter(image.weights)
    rng = np.random.default_rng(lanes)
    for segment in TAPE.segments:
        q = rng.integers(-128, 128, segment.fan_in).astype(np.int32)
        for matrix, sums in zip(segment.matrices, play_segment(words, segment, q, design), strict=True):
            assert np.array_equal(sums, ternary_product(matrix.trits, q))
    assert next(words, None) is None


def unpack_header(word: int, design: Design) -> dict[str, int]:
    values, offset = {}, 0
    for name, bits in design.header_fields:
        values[name] = word >> offset & ((1 << bits) - 1)
        offset += bits
        if name.startswith("base") and values[name] >> (bits - 1):
            values[name] -= 1 << bits
    assert word >> offset == 0
    return values


@pytest.mark.parametrize("lanes", LANES)
def test_segment_table(lanes: int) -> None:
    design = design_for(TAPE, lanes)
    entries = [unpack_header(word, design) for word in layout(TAPE, design).headers]
    assert len(entries) == 1 + len(TAPE.segments)
    first = entries[0]
    assert first["kind"] == KIND_CODES["embedding"]
    assert first["base0"] == TAPE.embedding_shift
    assert (first["tiles"] - 1) * design.columns + first["tail"] == 20
    for entry, segment in zip(entries[1:], TAPE.segments, strict=True):
        assert entry["kind"] == KIND_CODES[segment.kind]
        assert entry["last"] == (segment.kind == "head")
        assert entry["gate"] == 0
        assert (entry["tiles"] - 1) * design.columns + entry["tail"] == segment.fan_in
        assert 1 <= entry["tail"] <= design.columns
        assert (entry["blocks"] - 1) * design.rows + entry["tail_rows"] == segment.matrices[0].rows
        assert 1 <= entry["tail_rows"] <= design.rows
        for index, matrix in enumerate(segment.matrices):
            assert entry[f"multiplier{index}"] == matrix.multiplier
            expected = ROLES[matrix.role].shift_base(matrix.exponent, "sigmoid")
            assert entry[f"base{index}"] == expected


@pytest.mark.parametrize("lanes", LANES)
def test_embedding_biases_and_tables(lanes: int) -> None:
    design = design_for(TAPE, lanes)
    image = layout(TAPE, design)
    for token in range(CONFIG.vocab_size):
        row = np.concatenate(
            [image.embedding[t * design.embedding_rows + token] for t in range(design.embedding_tiles)]
        )
        assert np.array_equal(row[:20], TAPE.embedding[token])
        assert not row[20:].any()
    biases = image.biases.reshape(CONFIG.num_layers, -1)
    for layer, bias in enumerate(biases):
        matrix = TAPE.segments[4 * layer].matrices[1]
        assert matrix.bias is not None
        assert np.array_equal(bias[:20], matrix.bias)
    assert len(image.biases) == gate_words(TAPE, design)
    for n in range(-128, 128):
        assert image.tables[n & 255] == TAPE.sigmoid[n + 128]
        assert image.tables[256 + (n & 255)] == TAPE.silu[n + 128]


def read_hex(text: str) -> list[int]:
    return [int(line, 16) for line in text.splitlines()]


def test_memory_files_hold_the_image() -> None:
    design = design_for(TAPE, 16)
    image = layout(TAPE, design)
    files = image.memory_files()
    assert sorted(files) == ["biases", "embedding", "headers", "tables", "weights"]
    assert read_hex(files["headers"]) == list(image.headers)
    assert read_hex(files["weights"]) == [int.from_bytes(w.tobytes(), "little") for w in image.weights]
    assert read_hex(files["tables"]) == [int(v) & 0xFFFF for v in image.tables]
    word = read_hex(files["biases"])[0]
    width = design.post_width
    values = [(word >> 16 * i & 0xFFFF) for i in range(width)]
    assert values == [int(v) & 0xFFFF for v in image.biases[0]]
    word = read_hex(files["embedding"])[1]
    assert [word >> 8 * c & 0xFF for c in range(design.columns)] == [
        int(v) & 0xFF for v in image.embedding[1]
    ]


def test_layout_is_a_pure_function() -> None:
    design = design_for(TAPE, 16)
    one, other = layout(TAPE, design), layout(TAPE, design)
    assert one.memory_files() == other.memory_files()


def test_a_smaller_tape_fits_a_larger_design() -> None:
    larger = random_tape(
        np.random.default_rng(0), **{**CONFIG.to_dict(), "hidden_size": 40, "intermediate_size": 80}
    )
    image: Image = layout(TAPE, design_for(larger, 16))
    assert len(image.weights) <= design_for(larger, 16).weight_words


@pytest.mark.parametrize(
    "limit",
    ["max_width", "max_rows", "weight_words", "header_words", "embedding_rows", "embedding_width", "bias_words", "state_words"],
)
def test_a_tape_that_is_too_large_is_refused_by_name(limit: str) -> None:
    design = design_for(TAPE, 16)
    need = getattr(design, limit)
    small = replace(design, **{limit: need - 1})
    message = f"the tape needs {limit} of {need}, but the design has {need - 1}: generate a larger design"
    with pytest.raises(LayoutError, match=message):
        layout(TAPE, small)


def test_lane_count_does_not_change_what_a_tape_is() -> None:
    before = TAPE.sha256
    layout(TAPE, design_for(TAPE, 64))
    fresh: Tape = random_tape(np.random.default_rng(3), **CONFIG.to_dict())
    assert fresh.sha256 == before

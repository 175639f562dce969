"""Layout: a tape's image, read back word by word as docs/accelerator.md describes it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import mmfree.chip.layout
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.header import KIND_CODES, MATRICES_PER_SEGMENT, header_fields
from mmfree.chip.image import Image, Words
from mmfree.chip.layout import LayoutError, gate_words, layout, state_places
from mmfree.chip.memory_map import (
    LOAD_BITS,
    LOADED_MEMORIES,
    chip_memories,
    group_bits,
    loaded_memories,
    loaded_shape,
    weight_memories,
    word_bits,
)
from mmfree.chip.sizing import design_for, design_for_memory, design_of_array
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.contract.pow2 import GATES, ROLES, Formats, gumbel_table, reciprocal_root_table
from mmfree.contract.shape import ModelConfig
from mmfree.golden.pow2 import ternary_product
from mmfree.tape.pow2 import Segment, Tape
from tests.support.random_tapes import random_tape
from tests.support.sim.shapes import SPARE

CONFIG = ModelConfig(
    vocab_size=9, head_size=5, hidden_size=20, intermediate_size=37, num_layers=2, gate="sigmoid"
)
TAPE = random_tape(np.random.default_rng(3), **CONFIG.to_dict())
CODES = sorted(WEIGHT_CODES)
DESIGNS = [
    *(design_for(TAPE, lanes) for lanes in (4, 16, 64, 512)),
    *(design_of_array(CONFIG, *array) for array in ((5, 4, 1), (6, 2, 2), (20, 8, 4), (7, 16, 1))),
    # Larger than the tape in all but the words of weights.
    replace(
        design_of_array(CONFIG, 8, 2, 2),
        max_width=70,
        max_rows=90,
        header_words=12,
        embedding_rows=13,
        embedding_width=33,
        bias_words=50,
        state_words=60,
    ),
]


def of_designs(test: Callable[..., None]) -> Callable[..., None]:
    """A test of each of DESIGNS."""
    return pytest.mark.parametrize(
        "design", DESIGNS, ids=lambda design: f"{design.rows} x {design.columns}"
    )(test)


def lane_weights(word: int, design: Design) -> NDArray[np.int32]:
    """The weights of a word of the image, [R, C]: lane (r, c) of a group is number r C + c of its
    share.
    """
    code = WEIGHT_CODES[design.weight_code]
    trits_of = {number: trits for trits, number in code.codes.items()}
    lanes = design.group_rows * design.columns
    rows = []
    for share in shares(word, design):
        codes = [
            share >> n & ((1 << code.bits) - 1) for n in range(0, code.word_bits(lanes), code.bits)
        ]
        assert share >> code.word_bits(lanes) == 0
        values = np.array([trit for number in codes for trit in trits_of[number]], dtype=np.int32)
        assert not values[lanes:].any()
        rows.append(values[:lanes].reshape(design.group_rows, design.columns))
    return np.concatenate(rows)


def shares(word: int, design: Design) -> list[int]:
    """The shares of the groups of rows in a word."""
    bits = group_bits(design)
    assert word < 1 << word_bits(design)
    return [
        word >> group * bits & ((1 << bits) - 1)
        for group in range(design.rows // design.group_rows)
    ]


def fold(word: int, design: Design) -> int:
    """XOR of the parts of 32 bits of each group's share."""
    folded = 0
    for share in shares(word, design):
        while share:
            folded, share = folded ^ share & 0xFFFFFFFF, share >> 32
    return folded


def check_of(words: list[int], design: Design) -> int:
    """CRC-32 over the pages of a segment: docs/accelerator.md, word by word."""
    pages, size = b"", max(4, 4096 // word_bits(design))
    for start in range(0, len(words), size):
        page = 0
        for word in words[start : start + size]:
            page ^= fold(word, design)
        pages += page.to_bytes(4, "little")
    return zlib.crc32(pages)


def play_segment(
    words: Iterator[int], segment: Segment, q: NDArray[np.int32], design: Design, seen: list[int]
) -> list[NDArray[np.int32]]:
    """Accumulators of a segment, as an array of this design would sum them up.

    The words of its weights are put on to ``seen``.
    """
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
                seen.append(next(words))
                weights = lane_weights(seen[-1], design)
                sums[matrix, block * rows : (block + 1) * rows] += weights @ part
    assert not sums[:, height:].any(), "rows of padding hold no weights"
    return list(sums[:, :height])


@pytest.mark.parametrize("at_once", [1, 1 << 20])
@pytest.mark.parametrize("code", CODES)
@of_designs
def test_image_holds_the_weights_in_the_order_of_use(
    design: Design, code: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tape in several arrays and in every code: the same sums; packed a row block at a time, or
    all.
    """
    monkeypatch.setattr(mmfree.chip.layout, "_PART_WEIGHTS", at_once)
    design = replace(design, weight_code=code)
    weights = layout(TAPE, design).words["weights"]
    assert len(weights) == design.weight_words
    assert max(weights).bit_length() <= word_bits(design)
    words = iter(weights)
    rng = np.random.default_rng(design.lanes)
    for segment in TAPE.segments:
        q = rng.integers(-128, 128, segment.fan_in).astype(np.int32)
        seen: list[int] = []
        found = play_segment(words, segment, q, design, seen)
        assert next(words) == check_of(seen, design)
        for matrix, sums in zip(segment.matrices, found, strict=True):
            assert np.array_equal(sums, ternary_product(matrix.trits, q))
    assert next(words, None) is None


def unpack_header(word: int, design: Design) -> dict[str, list[int]]:
    values: dict[str, list[int]] = {}
    for field in header_fields(design):
        numbers = []
        for _ in range(field.count):
            number = word & ((1 << field.bits) - 1)
            negative = field.signed and number >> (field.bits - 1)
            numbers.append(number - (1 << field.bits if negative else 0))
            word >>= field.bits
        values[field.name] = numbers
    assert word == 0
    return values


def without_parity(image: Image, name: str) -> list[int]:
    """Words of a memory, each checked for an even number of ones."""
    bits = loaded_shape(image.design, name).bits
    assert all(word.bit_count() % 2 == 0 and word < 2 << bits for word in image.words[name])
    return [word & ((1 << bits) - 1) for word in image.words[name]]


def elements(words: list[int], bits: int, count: int) -> NDArray[np.int64]:
    """Signed elements of words, [words, count], the first in the low bits."""
    half = 1 << (bits - 1)
    rows = [[((w >> bits * n & (2 * half - 1)) ^ half) - half for n in range(count)] for w in words]
    return np.array(rows)


@of_designs
def test_segment_table(design: Design) -> None:
    words = without_parity(layout(TAPE, design), "headers")
    entries = [unpack_header(word, design) for word in words]
    assert len(entries) == 1 + len(TAPE.segments)
    first = entries[0]
    assert first["kind"] == [KIND_CODES["embedding"]]
    assert first["base"] == [TAPE.embedding_shift, 0, 0]
    assert (first["tiles"][0] - 1) * design.columns + first["tail"][0] == 20
    for entry, segment in zip(entries[1:], TAPE.segments, strict=True):
        matrices = segment.matrices
        ((tiles,), (tail,), (blocks,), (tail_rows,)) = (
            entry[name] for name in ("tiles", "tail", "blocks", "tail_rows")
        )
        assert entry["kind"] == [KIND_CODES[segment.kind]]
        assert entry["last"] == [segment.kind == "head"]
        assert entry["gate"] == [0]
        assert (tiles - 1) * design.columns + tail == segment.fan_in
        assert 1 <= tail <= design.columns
        assert (blocks - 1) * design.rows + tail_rows == matrices[0].rows
        assert 1 <= tail_rows <= design.rows
        missing = [0] * (MATRICES_PER_SEGMENT - len(matrices))
        assert entry["multiplier"] == [*(matrix.multiplier for matrix in matrices), *missing]
        bases = (ROLES[matrix.role].shift_base(matrix.exponent, "sigmoid") for matrix in matrices)
        assert entry["base"] == [*bases, *missing]


@pytest.mark.parametrize("gate", GATES)
def test_every_entry_names_the_gate(gate: str) -> None:
    """But the embedding's; by its place among the gates, which decides the format of f, too."""
    tape = random_tape(np.random.default_rng(3), **{**CONFIG.to_dict(), "gate": gate})
    design = design_for(tape, 16)
    entries = [
        unpack_header(word, design) for word in without_parity(layout(tape, design), "headers")
    ]
    number = {"sigmoid": 0, "hard": 1, "signed": 2}[gate]
    assert [entry["gate"] for entry in entries] == [[0], *[[number]] * len(tape.segments)]
    f = tape.segments[0].matrices[1]
    assert entries[1]["base"][1] == 9 - f.exponent - (4 if gate == "sigmoid" else 6)


def test_a_tape_of_other_formats_is_refused() -> None:
    other = replace(TAPE, formats=Formats(state_fb=10))
    with pytest.raises(LayoutError, match="the tape's formats are not the design's: generate a de"):
        layout(other, design_for(TAPE, 16))


def test_a_tape_of_another_token_shift_is_refused() -> None:
    tape = random_tape(np.random.default_rng(1), **CONFIG.to_dict(), token_shift=3)
    for one, other in ((TAPE, tape), (tape, TAPE)):
        shifts = [each.config.token_shift for each in (one, other)]
        message = "the tape's token_shift is {}, the design's {}: generate a design for this tape"
        with pytest.raises(LayoutError, match=message.format(*shifts)):
            layout(one, design_for(other, 16))


@of_designs
def test_every_word_of_a_state_has_a_place_of_its_own(design: Design) -> None:
    """h in whole row blocks, as it was without a token shift, and then what that keeps."""
    plain = state_places(CONFIG, design)
    blocks = -(-CONFIG.hidden_size // design.rows) * design.rows
    assert plain.tolist() == [
        [layer * blocks + channel for channel in range(CONFIG.hidden_size)]
        for layer in range(CONFIG.num_layers)
    ]
    for shift in (1, 3, CONFIG.hidden_size):
        config = replace(CONFIG, token_shift=shift)
        shifted = replace(design, token_shift=shift)
        places = state_places(config, shifted)
        assert places.shape == (CONFIG.num_layers, config.state_width)
        assert len(np.unique(places)) == places.size
        assert places.max() < shifted.kept_words * design.post_width
        assert np.array_equal(places[:, shift : shift + CONFIG.hidden_size], plain)
        kept = np.concatenate([places[:, :shift], places[:, -shift:]], axis=1)
        assert kept.min() == design.state_words * design.post_width
        # Each vector begins a word; they follow one another in the order of use.
        firsts = kept.reshape(-1, shift)[:, 0]
        assert (firsts % design.post_width == 0).all()
        assert set(np.diff(firsts)) == {-(-shift // design.post_width) * design.post_width}


@pytest.mark.parametrize("sizes", [(20, 9, 5), (9, 20, 5), (9, 8, 21)])
def test_a_tape_fits_the_smallest_design_of_its_shape(sizes: tuple[int, int, int]) -> None:
    """Whichever of its sizes is the largest; and no smaller one."""
    d, i, head = sizes
    config = replace(CONFIG, hidden_size=d, intermediate_size=i, head_size=head)
    tape = random_tape(np.random.default_rng(1), **config.to_dict())
    design = design_for(tape, 16)
    image = layout(tape, design)
    assert len(image.words["weights"]) == design.weight_words
    assert len(image.words["biases"]) == design.bias_words
    assert len(image.words["headers"]) == design.header_words
    for limit, need in (("max_width", max(d, i)), ("max_rows", max(sizes))):
        with pytest.raises(LayoutError, match=f"the tape needs {limit} of {need}, but"):
            layout(tape, replace(design, **{limit: need - 1}))


@of_designs
def test_embedding_biases_and_tables(design: Design) -> None:
    image = layout(TAPE, design)
    embedding = elements(without_parity(image, "embedding"), 8, design.columns)
    for token in range(CONFIG.vocab_size):
        row = np.concatenate(
            [embedding[t * design.embedding_rows + token] for t in range(design.embedding_tiles)]
        )
        assert np.array_equal(row[:20], TAPE.embedding[token])
        assert not row[20:].any()
    words = without_parity(image, "biases")
    assert len(words) == gate_words(CONFIG, design)
    biases = elements(words, 16, design.post_width).reshape(CONFIG.num_layers, -1)
    for layer, bias in enumerate(biases):
        matrix = TAPE.segments[4 * layer].matrices[1]
        assert matrix.bias is not None
        assert np.array_equal(bias[:20], matrix.bias)
    tables = elements(without_parity(image, "tables"), 16, 1)[:, 0]
    for n in range(-128, 128):
        assert tables[n & 255] == TAPE.sigmoid[n + 128]
        assert tables[256 + (n & 255)] == TAPE.silu[n + 128]
    gumbel = without_parity(image, "gumbel")
    assert [((g ^ 8192) - 8192) for g in gumbel] == gumbel_table().tolist()
    assert without_parity(image, "reciprocal_root") == reciprocal_root_table().tolist()


def test_memory_files_hold_the_image() -> None:
    image = layout(TAPE, design_for(TAPE, 16))
    files = image.memory_files()
    assert sorted(files) == sorted(image.memories()) == sorted(chip_memories(image.design))
    for name, text in files.items():
        assert [int(line, 16) for line in text.splitlines()] == image.memories()[name]


@of_designs
def test_the_chip_has_a_weight_memory_for_each_group_of_rows(design: Design) -> None:
    image = layout(TAPE, design)
    memories = image.memories()
    weights = [memories.pop(name) for name in weight_memories(design)]
    assert [list(word) for word in zip(*weights, strict=True)] == [
        shares(word, design) for word in image.words["weights"]
    ]
    assert memories == {name: words for name, words in image.words.items() if name != "weights"}
    empty = replace(image, words={"biases": [1]})
    assert empty.memories() == {"biases": [1]}


@of_designs
def test_writes_of_the_load_port_put_every_word_together(design: Design) -> None:
    design = replace(design, weight_code="1.6")
    image = layout(TAPE, design)
    found = {name: [0] * len(words) for name, words in image.words.items()}
    for memory, word, part, value in image.writes():
        name = LOADED_MEMORIES[memory]
        shape = loaded_shape(design, name)
        assert part < shape.parts
        assert value < 1 << shape.part_bits <= 1 << LOAD_BITS
        found[name][word] |= value << part * shape.part_bits
    assert found == image.words


@pytest.mark.parametrize("lines", [3, 1 << 16])
def test_packed_words_are_a_list_of_integers(lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in their text, which has no leading zeros, some words at a time."""
    monkeypatch.setattr(mmfree.chip.image, "_LINES", lines)
    values = [0, 1, 0x1234_5678_9ABC_DEF0, (1 << 66) - 1, 1 << 33, 15, 16]
    words = Words.of(values, 33, shares=2)
    assert words == values == list(words)
    assert words[2] == values[2]
    assert words[-1] == 16
    assert words[1:3] == values[1:3]
    with pytest.raises(IndexError):
        words[7]
    assert words.share(1) == [value >> 33 for value in values]
    low = words.share(0)
    assert low.lines() == "".join(f"{value & (1 << 33) - 1:x}\n" for value in values)
    words[-2] ^= 1 << 65
    assert words[5] == 15 | 1 << 65
    assert words != values
    assert words == [*values[:5], 15 | 1 << 65, 16]
    assert words != values[:6]
    assert words != Words.of(list(words), 66)[:-1]
    assert Words.of(values, 66) == Words.of(values, 33, shares=2)
    assert Words.of([], 4).lines() == ""
    assert words != 3


def test_a_list_in_the_place_of_packed_words_gives_the_same_files() -> None:
    """Experiments and tests put one there."""
    image = layout(TAPE, DESIGNS[5])
    lists = replace(image, words={name: list(words) for name, words in image.words.items()})
    assert lists == image
    assert lists.memory_files() == image.memory_files()
    assert list(lists.writes()) == list(image.writes())
    assert [w for w in image.writes() if w[:2] == (0, 3)] == list(
        image.word_writes("weights", 3, image.words["weights"][3])
    )


@pytest.mark.parametrize("name", ["axi64", "axi128x4"])
def test_with_an_external_memory_the_chip_holds_the_rest(name: str) -> None:
    """Headers and tables; the words of its tables are those of block RAM."""
    external = find_memory(name)
    assert external is not None
    design = design_for_memory(CONFIG, external)
    image, block = layout(TAPE, design), layout(TAPE, DESIGNS[0])
    assert tuple(image.words) == loaded_memories(design)
    for table in ("tables", "reciprocal_root", "gumbel"):
        assert image.words[table] == block.words[table]
    entries = [unpack_header(word, design) for word in without_parity(image, "headers")]
    assert [entry.pop("parameters") for entry in entries] == [
        [int(after)] for after in (0, 0, 0, 0, 1, 0, 0, 0, 0, 0)
    ]
    same = replace(DESIGNS[0], rows=design.rows, columns=design.columns)
    assert entries == [
        unpack_header(word, same) for word in without_parity(layout(TAPE, same), "headers")
    ]
    assert set(image.memory_files()) == set(chip_memories(design))


def test_layout_is_a_pure_function() -> None:
    design = design_for(TAPE, 16)
    one, other = layout(TAPE, design), layout(TAPE, design)
    assert one.memory_files() == other.memory_files()


def test_a_smaller_tape_fits_a_larger_design() -> None:
    larger = random_tape(
        np.random.default_rng(0), **{**CONFIG.to_dict(), "hidden_size": 40, "intermediate_size": 80}
    )
    image: Image = layout(TAPE, design_for(larger, 16))
    assert len(image.words["weights"]) <= design_for(larger, 16).weight_words


@pytest.mark.parametrize("limit", SPARE)
def test_a_tape_that_is_too_large_is_refused_by_name(limit: str) -> None:
    design = design_for(TAPE, 16)
    need = getattr(design, limit)
    small = replace(design, **{limit: need - 1})
    message = (
        f"the tape needs {limit} of {need}, but the design has {need - 1}: generate a larger design"
    )
    with pytest.raises(LayoutError, match=message):
        layout(TAPE, small)


@pytest.mark.parametrize("bits", [17, 32])
def test_a_design_of_other_values_is_refused(bits: int) -> None:
    """Until there is an arithmetic for them."""
    design = replace(design_for(TAPE, 16), value_bits=bits)
    message = f"the design has value_bits of {bits}, but docs/arithmetic.md has 16: generate"
    with pytest.raises(LayoutError, match=message):
        layout(TAPE, design)


def test_lane_count_does_not_change_what_a_tape_is() -> None:
    before = TAPE.sha256
    layout(TAPE, design_for(TAPE, 64))
    fresh: Tape = random_tape(np.random.default_rng(3), **CONFIG.to_dict())
    assert fresh.sha256 == before

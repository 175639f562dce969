"""The image of a published checkpoint's tape, read back word by word as docs/accelerator.md
describes it: in block RAM and in an external memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mmfree.chip.layout
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.header import KIND_CODES
from mmfree.chip.layout import LayoutError, layout
from mmfree.chip.memory_image import EMBEDDING, write_memory_image
from mmfree.chip.memory_map import (
    chip_memories,
    group_bits,
    loaded_memories,
    row_bytes,
    row_words,
)
from mmfree.chip.records import records
from mmfree.chip.sizing import design_for, design_for_memory, design_of_array, stream_words
from mmfree.contract.absmax import AbsmaxFormats
from mmfree.contract.pow2 import gumbel_table
from mmfree.contract.shape import AbsmaxConfig
from mmfree.golden.pow2 import ternary_product
from mmfree.tape.absmax import AbsmaxSegment, AbsmaxTape
from mmfree.tape.pow2 import Matrix, Segment
from tests.chip.test_layout import (
    TAPE,
    check_of,
    elements,
    play_segment,
    shares,
    unpack_header,
    without_parity,
)
from tests.chip.test_memory_image import words_of
from tests.support.integers.absmax_tapes import absmax_tape, random_absmax_tape
from tests.support.sim.shapes import SPARE

CONFIG = AbsmaxConfig(vocab_size=9, hidden_size=20, intermediate_size=37, num_layers=2)


def design_of(memory: str, config: AbsmaxConfig = CONFIG) -> Design:
    """The smallest design with this memory that plays a model."""
    external = find_memory(memory)
    assert external is not None
    return design_for_memory(config, external)


BLOCK = [
    *(
        design_of_array(CONFIG, *array, code)
        for array, code in (
            ((2, 2, 1), "2"),
            # Five parameters would fit a word, of which P = 4 takes four.
            ((4, 16, 4), "2"),
            ((6, 2, 2), "1.67"),
            # Three groups of rows: only with four parameters of each are whole P in a word.
            ((12, 4, 4), "2"),
            ((20, 16, 1), "1.6"),
        )
    ),
    # Larger than the tape in all.
    replace(
        design_of_array(CONFIG, 8, 4, 2),
        max_width=70,
        max_rows=90,
        weight_words=4000,
        header_words=12,
        embedding_rows=13,
        embedding_width=33,
        bias_words=50,
        state_words=60,
    ),
]
EXTERNAL = [
    *(design_of(name) for name in ("axi64", "axi64x4", "axi128x2", "axi512")),
    replace(design_of("axi64x2"), max_width=70, bias_words=300, weight_words=1000),
]
of_designs = pytest.mark.parametrize(
    "design", [*BLOCK, *EXTERNAL], ids=lambda d: f"{d.rows} x {d.columns}, {d.memory}"
)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> AbsmaxTape:
    return random_absmax_tape(tmp_path_factory.mktemp("tape"), CONFIG, 3, wild=True)


def stream_of(tape: AbsmaxTape, design: Design, folder: Path) -> list[int]:
    """The words of a pass."""
    if design.external is None:
        return list(layout(tape, design).words["weights"])
    return words_of(write_memory_image(tape, design, folder / "memory.bin"), design)


def parameters_of(
    words: Iterator[int], count: int, design: Design, seen: list[int]
) -> NDArray[np.int64]:
    """``count`` parameters of 24 bits: the words that hold them, and nothing else in these."""
    fitting = group_bits(design) // 24
    groups, lanes = design.num_groups, design.post_width
    each = max(n for n in range(1, fitting + 1) if n * groups % lanes == 0)
    values: list[int] = []
    while len(values) < count:
        seen.append(next(words))
        for share in shares(seen[-1], design):
            numbers = [share >> 24 * n & 0xFFFFFF for n in range(each)]
            assert share >> 24 * each == 0
            values += [number - (number >> 23 << 24) for number in numbers]
    assert not any(values[count:])
    return np.array(values[:count])


def as_the_array_has_it(segment: AbsmaxSegment) -> Segment:
    """With gate and up as two matrices."""
    halves = 2 if segment.kind == "glu" else 1
    trits = [half for m in segment.matrices for half in np.split(m.trits(), halves)]
    matrices = (Matrix.of(each, role="i", multiplier=128, exponent=0) for each in trits)
    return Segment(kind=segment.kind, layer=segment.layer, matrices=tuple(matrices))


def check_gains(
    words: Iterator[int], segment: AbsmaxSegment, padded: int, design: Design, seen: list[int]
) -> None:
    """The gains of the vector that a segment reads: group by group, matrix by matrix, the norm."""
    gains = [matrix.gain.values for matrix in segment.matrices]
    if segment.norm is not None:
        gains.append(segment.norm.values)
    turns, lanes = len(gains), design.post_width
    found = parameters_of(words, turns * padded, design, seen).reshape(-1, turns, lanes)
    for turn, expected in enumerate(gains):
        values = found[:, turn].reshape(-1)
        assert np.array_equal(values[: len(expected)], expected)
        assert not values[len(expected) :].any()


@pytest.mark.parametrize("at_once", [1, 1 << 20])
@of_designs
def test_the_stream_holds_what_the_chip_reads_before_it_is_needed(
    design: Design,
    at_once: int,
    tape: AbsmaxTape,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the first segment the gains of x, the lower bounds of its gates, and the gains of what
    they write; then each segment's weights, and what the next one needs.
    """
    monkeypatch.setattr(mmfree.chip.layout, "_PART_WEIGHTS", at_once)
    stream = stream_of(tape, design, tmp_path)
    assert len(stream) == stream_words(CONFIG, design)
    words, rng, segments = iter(stream), np.random.default_rng(1), tape.segments
    bounds = tape.array("lower_bounds")
    heights = [as_the_array_has_it(segment).matrices[0].rows for segment in segments]

    def for_the_next(number: int, seen: list[int]) -> None:
        """What the segment of this number needs, if there is one."""
        if number == len(segments):
            return
        padded = -(-heights[number] // design.rows) * design.rows
        if (layer := segments[number].layer) is not None and segments[number].kind == "gates":
            found = parameters_of(words, padded, design, seen)
            assert np.array_equal(found[:20], bounds[layer])
            assert not found[20:].any()
        if number + 1 < len(segments):
            check_gains(words, segments[number + 1], padded, design, seen)

    seen: list[int] = []
    tiles = -(-20 // design.columns)
    check_gains(words, segments[0], tiles * design.columns, design, seen)
    for_the_next(0, seen)
    assert next(words) == check_of(seen, design)
    for number, segment in enumerate(segments):
        played = as_the_array_has_it(segment)
        q, seen = rng.integers(-127, 128, segment.fan_in).astype(np.int32), []
        found = play_segment(words, played, q, design, seen)
        for matrix, sums in zip(played.matrices, found, strict=True):
            assert np.array_equal(sums, ternary_product(matrix.trits, q))
        for_the_next(number + 1, seen)
        assert next(words) == check_of(seen, design)
    assert next(words, None) is None


@of_designs
def test_segment_table(design: Design, tape: AbsmaxTape) -> None:
    entries = [
        unpack_header(word, design) for word in without_parity(layout(tape, design), "headers")
    ]
    table = records(CONFIG, design)
    assert len(entries) == len(table) == 1 + len(tape.segments)
    names = ("own_gains", "bounds", "gains", "tiles", "blocks")
    for entry, record in zip(entries, table, strict=True):
        assert [entry[name] for name in names] == [[getattr(record, name)] for name in names]
    first = entries[0]
    assert first["kind"] == first["last"] == first["blocks"] == first["tail_rows"] == [0]
    assert first["base"] == [tape.embedding_fb - 18, 0, 0]
    assert first["turns"] == [2]
    assert (first["tiles"][0] - 1) * design.columns + first["tail"][0] == 20
    # log2 of the gains of what the segment writes: 2 of w, 2 of x for glu, 1, 4 or 2 of x.
    turns = [1, 1, 0, 2, 1, 1, 0, 1, 0]
    for entry, segment, turn in zip(entries[1:], tape.segments, turns, strict=True):
        played = as_the_array_has_it(segment)
        count, height = len(played.matrices), played.matrices[0].rows
        ((tiles,), (tail,), (blocks,), (tail_rows,)) = (
            entry[name] for name in ("tiles", "tail", "blocks", "tail_rows")
        )
        assert entry["kind"] == [KIND_CODES[segment.kind]]
        assert entry["last"] == [segment.kind == "head"]
        assert entry["turns"] == [turn]
        assert (tiles - 1) * design.columns + tail == segment.fan_in
        assert (blocks - 1) * design.rows + tail_rows == height
        # 18 fraction bits of x, 40 of products; 20 of what is written, 18 of x, 16 of logits.
        read = 40 if segment.kind in ("output", "down") else 18
        written = {"gates": 20, "glu": 20, "output": 18, "down": 18, "head": 16}[segment.kind]
        matrices = [m for m in segment.matrices for _ in range(count // len(segment.matrices))]
        missing = [0] * (3 - count)
        assert entry["multiplier"] == [*(m.mantissa for m in matrices), *missing]
        bases = [read + m.gain.fraction_bits - m.exponent - written for m in matrices]
        assert entry["base"] == [*bases, *missing]
        assert (*entry["offset"], *entry["offset_exponent"]) == segment.offset
        norm_fb = 0 if segment.norm is None else segment.norm.fraction_bits
        assert entry["square_exponent"] == [-36 - 2 * (read + norm_fb)]


def test_numbers_at_their_limits_fit_a_header(tmp_path: Path) -> None:
    """Every exponent at both ends of its range."""
    for fb, exponent, offset in ((-14, 16, -96), (38, -64, 0)):
        fields: dict[str, Any] = {}
        for kind, roles in (("gates", "ifg"), ("output", "o"), ("head", ["head"])):
            name = kind if kind == "head" else f"layer 0 {kind}"
            fields |= {f"{name}/offset": [(1 << 24) - 1, offset], f"{name}/norm_fb": fb}
            constants = [fb, (1 << 24) - 1, exponent]
            fields |= {f"{name}/{role}/constants": constants for role in roles}
        tape = absmax_tape(tmp_path, fields, embedding_fb=11 if fb < 0 else 40)
        design = design_for(tape, 4)
        entries = [
            unpack_header(w, design) for w in without_parity(layout(tape, design), "headers")
        ]
        assert entries[0]["base"][0] == (-7 if fb < 0 else 22)
        assert entries[2]["base"][0] == 40 + fb - exponent - 18
        assert entries[-1]["square_exponent"] == [-36 - 2 * (18 + fb)]


def scaled_row(words: list[bytes], design: Design) -> tuple[int, NDArray[np.int8]]:
    """The scale and the elements of a row."""
    assert len(words) == row_words(design)
    assert not any(words[0][2:])
    return int.from_bytes(words[0][:2], "little"), np.frombuffer(b"".join(words[1:]), np.int8)


@pytest.mark.parametrize("design", BLOCK, ids=lambda d: f"{d.rows} x {d.columns}")
def test_rows_tables_and_noise_in_block_ram(design: Design, tape: AbsmaxTape) -> None:
    image = layout(tape, design)
    words = [w.to_bytes(design.columns, "little") for w in without_parity(image, "embedding")]
    for token in range(CONFIG.vocab_size):
        row = [words[t * design.embedding_rows + token] for t in range(row_words(design))]
        scale, found = scaled_row(row, design)
        assert scale == tape.array("embedding/scale")[token]
        assert np.array_equal(found[:20], tape.array("embedding/rows")[token])
        assert not found[20:].any()
    assert not any(any(words[t]) for t in range(len(words)) if t % design.embedding_rows > 8)
    tables = without_parity(image, "tables")
    assert [word & 0xFFFFFF for word in tables] == tape.array("sigmoid/values").tolist()
    assert [word >> 24 for word in tables] == tape.array("sigmoid/rises").tolist()
    gumbel = elements(without_parity(image, "gumbel"), 14, 1)[:, 0]
    assert np.array_equal(gumbel, gumbel_table())
    assert tuple(image.words) == loaded_memories(design)
    assert set(image.memory_files()) == set(chip_memories(design))


@pytest.mark.parametrize("rows_at_once", [2, 1 << 10])
@pytest.mark.parametrize("design", EXTERNAL, ids=lambda d: d.memory)
def test_rows_of_an_external_memory_begin_with_their_scale(
    design: Design,
    rows_at_once: int,
    tape: AbsmaxTape,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the check word covers it."""
    monkeypatch.setattr(mmfree.chip.memory_image, "_ROWS", rows_at_once)
    image = write_memory_image(tape, design, tmp_path / "memory.bin")
    data, size = image.path.read_bytes(), design.columns
    offset = image.region(EMBEDDING).offset
    for token in range(CONFIG.vocab_size):
        row = data[offset + token * row_bytes(design) :][: row_bytes(design)]
        beats = [row[n * size : (n + 1) * size] for n in range(row_words(design))]
        scale, found = scaled_row(beats, design)
        assert scale == tape.array("embedding/scale")[token]
        assert np.array_equal(found[:20], tape.array("embedding/rows")[token])
        folds = [
            np.bitwise_xor.reduce(np.frombuffer(b"".join(beats[n : n + 4]), dtype="<u4"))
            for n in range(0, len(beats), 4)
        ]
        after = row[size * len(beats) :]
        assert int.from_bytes(after[:4], "little") == zlib.crc32(np.array(folds).tobytes())
        assert not any(after[4:])
    assert tuple(layout(tape, design).words) == loaded_memories(design)


def test_a_tape_of_the_other_arithmetic_is_refused_by_name(
    tape: AbsmaxTape, tmp_path: Path
) -> None:
    own, other = design_for(tape, 16), design_for(TAPE, 16)
    message = "the tape's arithmetic is absmax, but the design's is pow2: generate a design for th"
    with pytest.raises(LayoutError, match=message):
        layout(tape, other)
    with pytest.raises(LayoutError, match="the tape's arithmetic is pow2, but the design's is abs"):
        layout(TAPE, own)
    with pytest.raises(LayoutError, match="the tape's arithmetic is pow2"):
        write_memory_image(TAPE, design_of("axi64"), tmp_path / "memory.bin")
    assert not list(tmp_path.iterdir())


def test_other_formats_are_refused(tmp_path: Path) -> None:
    """Also those with which every number of the tape would be in range."""
    other = absmax_tape(tmp_path, {}, formats=AbsmaxFormats(logit_fb=15))
    with pytest.raises(LayoutError, match="the tape's formats are not the design's: generate a de"):
        layout(other, design_for(other, 16))


@pytest.mark.parametrize("limit", SPARE)
@pytest.mark.parametrize("memory", ["block", "axi64"])
def test_a_tape_that_is_too_large_is_refused_by_name(
    limit: str, memory: str, tape: AbsmaxTape
) -> None:
    design = design_for(tape, 16) if memory == "block" else design_of(memory)
    need = getattr(design, limit)
    message = f"the tape needs {limit} of {need}, but the design has {need - 1}: generate a larger"
    with pytest.raises(LayoutError, match=message):
        layout(tape, replace(design, **{limit: need - 1}))

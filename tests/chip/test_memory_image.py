"""The image in an external memory, read back as docs/accelerator.md describes it, and refused where
it is another one or not all there.
"""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmfree.chip.layout
import mmfree.chip.memory_image
from mmfree.chip.design import Design
from mmfree.chip.external_memory import PAGE_BYTES, find_memory
from mmfree.chip.folder import design_sha256
from mmfree.chip.layout import LayoutError
from mmfree.chip.memory_image import (
    EMBEDDING,
    MAGIC,
    MemoryImage,
    check_capacity,
    image_regions,
    read_memory_image,
    write_memory_image,
)
from mmfree.chip.memory_map import parameter_words, row_bytes, weight_memories
from mmfree.chip.sizing import design_for_memory, stream_words
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.golden.pow2 import ternary_product
from mmfree.tape.pow2 import Tape
from tests.chip.test_layout import CONFIG, TAPE, check_of, play_segment
from tests.support.random_tapes import random_tape


def design_of(memory: str, config: ModelConfig = CONFIG) -> Design:
    """The smallest design with this memory that plays a model."""
    external = find_memory(memory)
    assert external is not None
    return design_for_memory(config, external)


DESIGNS = [
    *(design_of(name) for name in ("axi64", "axi64x4", "axi128x2", "axi512", "axi256x8")),
    # Larger than the tape in all that a tape may fall short of.
    replace(
        design_of("axi64x2"),
        max_width=70,
        max_rows=90,
        weight_words=1000,
        header_words=12,
        embedding_rows=13,
        embedding_width=33,
        bias_words=300,
        state_words=300,
    ),
]
of_designs = pytest.mark.parametrize(
    "design", DESIGNS, ids=lambda design: f"{design.memory}, {design.weight_words} words"
)


def words_of(image: MemoryImage, design: Design) -> list[int]:
    """The words of a pass: the beats of the weight ports side by side."""
    external = design.external
    assert external is not None
    data = image.path.read_bytes()
    beats = []
    for region in image.regions[:-1]:
        content = data[region.offset : region.offset + region.num_bytes]
        size = external.port_bytes
        beats.append([content[n : n + size] for n in range(0, len(content), size)])
    return [int.from_bytes(b"".join(word), "little") for word in zip(*beats, strict=True)]


@pytest.mark.parametrize("at_once", [1, 1 << 20])
@of_designs
def test_the_stream_is_records_with_what_the_chip_reads(
    design: Design, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in the order of use; the biases of a layer before its first segment; check words."""
    monkeypatch.setattr(mmfree.chip.layout, "_PART_WEIGHTS", at_once)
    image = write_memory_image(TAPE, design, tmp_path / "memory.bin")
    stream = words_of(image, design)
    assert len(stream) == image.words == stream_words(CONFIG, design)
    words, rng = iter(stream), np.random.default_rng(1)

    def parameters_of(layer: int, words: Iterator[int], seen: list[int]) -> None:
        taken = [next(words) for _ in range(parameter_words(design))]
        seen += taken
        size = design.num_groups * design.columns
        data = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in taken), dtype="<i2")
        bias = TAPE.segments[4 * layer].matrices[1].bias
        assert bias is not None
        assert np.array_equal(data[: len(bias)], bias)
        assert not data[len(bias) :].any()

    seen: list[int] = []
    parameters_of(0, words, seen)
    assert next(words) == check_of(seen, design)
    for number, segment in enumerate(TAPE.segments):
        q, seen = rng.integers(-128, 128, segment.fan_in).astype(np.int32), []
        found = play_segment(words, segment, q, design, seen)
        for matrix, sums in zip(segment.matrices, found, strict=True):
            assert np.array_equal(sums, ternary_product(matrix.trits, q))
        if segment.kind == "down" and (layer := number // 4 + 1) < CONFIG.num_layers:
            parameters_of(layer, words, seen)
        assert next(words) == check_of(seen, design)
    assert next(words, None) is None


@pytest.mark.parametrize("rows_at_once", [2, 1 << 10])
@of_designs
def test_a_row_of_the_embedding_has_a_check_word_of_its_own(
    design: Design, rows_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tiles, then CRC-32 of their XOR four by four, the last ones fewer, then zeros."""
    monkeypatch.setattr(mmfree.chip.memory_image, "_ROWS", rows_at_once)
    image = write_memory_image(TAPE, design, tmp_path / "memory.bin")
    region, data = image.region(EMBEDDING), (tmp_path / "memory.bin").read_bytes()
    assert region == image.regions[-1]
    assert image.rows == CONFIG.vocab_size
    for token in range(image.rows):
        row = data[region.offset + token * row_bytes(design) :][: row_bytes(design)]
        tiles = [
            row[n * design.columns : (n + 1) * design.columns]
            for n in range(design.embedding_tiles)
        ]
        elements = np.frombuffer(b"".join(tiles), dtype=np.int8)
        assert np.array_equal(elements[:20], TAPE.embedding[token])
        assert not elements[20:].any()
        folds = [
            np.bitwise_xor.reduce(np.frombuffer(b"".join(tiles[n : n + 4]), dtype="<u4"))
            for n in range(0, len(tiles), 4)
        ]
        after = row[design.embedding_tiles * design.columns :]
        assert int.from_bytes(after[:4], "little") == zlib.crc32(np.array(folds).tobytes())
        assert not any(after[4:])
    assert region.num_bytes == image.rows * row_bytes(design)


@of_designs
def test_regions_are_pages_apart_and_all_else_is_zeros(design: Design, tmp_path: Path) -> None:
    image = write_memory_image(TAPE, design, tmp_path / "memory.bin")
    data = image.path.read_bytes()
    assert [region.name for region in image.regions] == [*weight_memories(design), EMBEDDING]
    assert len(data) == image.file_bytes
    assert image.file_bytes % PAGE_BYTES == 0
    prefix = struct.Struct("<8sII")
    magic, version, table_bytes = prefix.unpack(data[: prefix.size])
    assert (magic, version) == (MAGIC, 1) == (b"MMFIMAGE", 1)
    table = json.loads(data[prefix.size :][:table_bytes])
    assert table["memory"] == design.memory
    assert (table["words"], table["rows"]) == (image.words, image.rows)
    assert table["regions"] == [vars(region) for region in image.regions]
    end = prefix.size + table_bytes
    for region in image.regions:
        assert region.offset % PAGE_BYTES == 0
        assert 0 <= region.offset - end < PAGE_BYTES
        assert not any(data[end : region.offset])
        end = region.offset + region.num_bytes
    assert 0 <= len(data) - end < PAGE_BYTES
    assert not any(data[end:])


def test_an_image_is_read_as_it_was_written(tmp_path: Path) -> None:
    design, path = DESIGNS[1], tmp_path / "memory.bin"
    image = write_memory_image(TAPE, design, path)
    assert image.design_sha256 == design_sha256(design)
    assert image.tape_sha256 == TAPE.sha256
    assert read_memory_image(path, design) == image
    assert read_memory_image(path, design, TAPE.sha256) == image
    before = path.read_bytes()
    assert write_memory_image(TAPE, design, path) == image
    assert path.read_bytes() == before
    assert [other.name for other in tmp_path.iterdir()] == ["memory.bin"]


def test_the_widest_memory_has_a_table_of_one_page(tmp_path: Path) -> None:
    design = design_of("axi512x32")
    image = write_memory_image(TAPE, design, tmp_path / "memory.bin")
    assert len(image.regions) == 33
    assert read_memory_image(image.path, design) == image
    # The offsets of the largest memory have twelve digits.
    regions, file_bytes = image_regions(design, 1 << 29, 1 << 20)
    assert file_bytes > 1 << 40
    large = replace(image, words=1 << 29, rows=1 << 20, regions=regions, file_bytes=file_bytes)
    assert len(mmfree.chip.memory_image._table(large, design)) + 16 <= PAGE_BYTES


def test_a_tape_that_does_not_fit_writes_nothing(tmp_path: Path) -> None:
    words = DESIGNS[0].weight_words
    design = replace(DESIGNS[0], weight_words=words - 1)
    with pytest.raises(LayoutError, match=f"the tape needs weight_words of {words}, but the des"):
        write_memory_image(TAPE, design, tmp_path / "memory.bin")
    assert not list(tmp_path.iterdir())


def test_the_stream_is_never_in_memory_whole(tmp_path: Path) -> None:
    """A record at a time: ten times the layers take as much memory."""
    peaks = {}
    for layers in (2, 20):
        config = replace(CONFIG, hidden_size=256, intermediate_size=512, num_layers=layers)
        tape = random_tape(np.random.default_rng(0), **config.to_dict())
        design = design_of("axi64", config)
        assert tape.sha256
        tracemalloc.start()
        image = write_memory_image(tape, design, tmp_path / "memory.bin")
        peaks[layers] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert image.file_bytes > 500_000
    assert peaks[20] < 1.2 * peaks[2]


def other_tape() -> Tape:
    return random_tape(np.random.default_rng(4), **CONFIG.to_dict())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An image of TAPE for DESIGNS[1]."""
    return write_memory_image(TAPE, DESIGNS[1], tmp_path / "memory.bin").path


def refused(path: Path, says: str, tape: str | None = None) -> None:
    with pytest.raises(InputError, match=says) as error:
        read_memory_image(path, DESIGNS[1], tape)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(": write the image again with `mmfree verilog`")


def test_an_image_of_another_design_or_tape_is_refused(path: Path) -> None:
    other = other_tape().sha256
    refused(path, f"of another tape: {TAPE.sha256[:12]}, required {other[:12]}", other)
    changed = replace(DESIGNS[1], embedding_rows=10)
    write_memory_image(TAPE, changed, path)
    got, required = (design_sha256(design)[:12] for design in (changed, DESIGNS[1]))
    refused(path, f"of another design: {got}, required {required}")


@pytest.mark.parametrize("left", [1, PAGE_BYTES, PAGE_BYTES + 1, 20 * PAGE_BYTES])
def test_a_truncated_image_is_refused(path: Path, left: int) -> None:
    data = path.read_bytes()
    left = min(left, len(data) - 1)
    path.write_bytes(data[:left])
    if left < PAGE_BYTES:
        refused(path, "not an image: it does not begin with MMFIMAGE")
    else:
        refused(path, f"truncated: {left:,} bytes, required {len(data):,}")


def test_a_longer_image_is_refused(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data + b"\0")
    refused(path, f"longer than its table says: {len(data) + 1:,} bytes, required {len(data):,}")


def altered(path: Path, **fields: Any) -> None:
    """Write other values into the table."""
    data, prefix = path.read_bytes(), struct.Struct("<8sII")
    _, _, table_bytes = prefix.unpack(data[: prefix.size])
    table = json.loads(data[prefix.size :][:table_bytes]) | fields
    table = {name: value for name, value in table.items() if value is not None}
    text = json.dumps(table).encode()
    head = prefix.pack(MAGIC, 1, len(text)) + text
    path.write_bytes(head.ljust(PAGE_BYTES, b"\0") + data[PAGE_BYTES:])


def test_regions_that_do_not_follow_from_the_table_are_refused(path: Path) -> None:
    image = read_memory_image(path, DESIGNS[1])
    altered(path, words=image.words + 1)
    says = f"its regions are not those of {image.words + 1:,} words and 9 rows"
    refused(path, says)
    altered(path, words=image.words, rows=10)
    refused(path, f"its regions are not those of {image.words:,} words and 10 rows")
    altered(path, rows=9, regions=[vars(region) for region in image.regions[:-1]])
    refused(path, "its regions are not those of")
    altered(path, regions=[vars(region) for region in image.regions])
    assert read_memory_image(path, DESIGNS[1]) == image


def test_what_is_no_image_is_refused(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(b"\0" + data)
    refused(path, "not an image: it does not begin with MMFIMAGE")
    path.write_bytes(b"")
    refused(path, "not an image")
    path.write_bytes(data[:8] + b"\2" + data[9:])
    refused(path, "an image of version 2, but this mmfree reads 1")
    path.write_bytes(data[:8])
    refused(path, "an image of version 0, but")
    refused(tmp_path / "none.bin", "no such file")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "cannot be read (.*directory)")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"words": "12"}, "its table: words must be of type int, got '12'"),
        ({"words": True}, "its table: words must be of type int, got True"),
        ({"regions": {}}, "its table: regions must be of type list, got {}"),
        ({"tape_sha256": 5}, "its table: tape_sha256 must be of type str, got 5"),
        ({"rows": None}, "its table: missing field 'rows'"),
        ({"more": 1}, "its table: unknown field 'more'"),
    ],
)
def test_a_damaged_table_is_refused(path: Path, fields: dict[str, Any], says: str) -> None:
    altered(path, **fields)
    with pytest.raises(InputError, match=says):
        read_memory_image(path, DESIGNS[1])


def test_a_table_that_is_no_json_is_refused(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:16] + b"[" + data[17:])
    with pytest.raises(InputError, match="its table: not valid JSON"):
        read_memory_image(path, DESIGNS[1])
    # A size that the file does not have is not allocated.
    path.write_bytes(data[:12] + b"\xff\xff\xff\xff" + data[16:])
    with pytest.raises(InputError, match="its table: not valid JSON"):
        read_memory_image(path, DESIGNS[1])


def test_a_memory_that_is_too_small_is_refused_by_how_much(path: Path) -> None:
    image = read_memory_image(path, DESIGNS[1])
    assert image.file_bytes == 24_576
    check_capacity(image, 24_576)
    says = (
        f"{path}: the image has 0.025 MB, the memory 0.025 MB: 0.001 MB too small; use a larger"
        " memory or a smaller model"
    )
    with pytest.raises(InputError, match=f"^{says}$"):
        check_capacity(image, 24_575)
    large = replace(image, file_bytes=2_103_665_664)
    says = r"the image has 2,103\.666 MB, the memory 64\.000 MB: 2,039\.666 MB too small"
    with pytest.raises(InputError, match=says):
        check_capacity(large, 64_000_000)

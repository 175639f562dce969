"""External memories: names, the arrays that they feed, and what of an image they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmfree.chip.external_memory import (
    GROUP_ROWS,
    MAX_PORTS,
    PORT_BITS,
    ROW_BYTES,
    ExternalMemory,
    find_memory,
    split_capacity,
)
from mmfree.chip.memory_map import (
    BUS_FAULTS,
    LOADED_MEMORIES,
    chip_memories,
    fault_memories,
    group_bits,
    loaded_memories,
    parameter_words,
    row_beats,
    row_bytes,
)
from mmfree.chip.sizing import (
    design_for_memory,
    design_for_model,
    image_weight_words,
    stream_words,
)
from mmfree.chip.weight_codes import find_code
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError

LARGE = ModelConfig(
    vocab_size=32000,
    head_size=32000,
    hidden_size=1024,
    intermediate_size=2816,
    num_layers=24,
    gate="sigmoid",
)
"""The 370M shape."""

SMALL = ModelConfig(vocab_size=9, head_size=5, hidden_size=20, intermediate_size=37, num_layers=2)


def memory(name: str) -> ExternalMemory:
    found = find_memory(name)
    assert found is not None
    return found


@pytest.mark.parametrize("port_bits", PORT_BITS)
@pytest.mark.parametrize("ports", [1, 2, 4, MAX_PORTS])
def test_a_port_feeds_a_group_of_rows_with_all_its_bits(port_bits: int, ports: int) -> None:
    external = ExternalMemory(port_bits=port_bits, ports=ports)
    assert find_memory(external.name) == external
    for config in (SMALL, LARGE):
        design = design_for_memory(config, external)
        assert design.external == external
        assert (design.num_groups, design.group_rows) == (ports, GROUP_ROWS)
        assert group_bits(design) == port_bits
        assert find_code(design.weight_code).word_bits(GROUP_ROWS * design.columns) == port_bits
        assert design.lanes == external.lanes == 5 * ports * port_bits // 8


def test_names() -> None:
    assert [memory(name).name for name in ("axi64", "axi64x1", "axi128x4")] == [
        "axi64",
        "axi64",
        "axi128x4",
    ]
    assert find_memory("block") is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ddr4", "memory 'ddr4' is unknown: block, or axi and the width of a port"),
        ("axi", "memory 'axi' is unknown"),
        ("axi128x", "is unknown"),
        ("AXI128", "is unknown"),
        ("axi-64", "is unknown"),
        ("axi٤", "is unknown"),
        (None, "memory None is unknown"),
        (["axi64"], "is unknown"),
        ("axi96", "a port of 96 bits does not divide into bytes of five rows"),
        ("axi1024", "a port of 1024 bits does not divide"),
        ("axi128x3", "must be a power of two in 1..32, got 3"),
        ("axi128x0", "must be a power of two in 1..32, got 0"),
        ("axi128x64", "must be a power of two in 1..32, got 64"),
    ],
)
def test_other_names_are_refused(name: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        find_memory(name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rows": 16}, "rows must be 20 for axi128x4, got 16"),
        ({"columns": 32}, "columns must be 16 for axi128x4, got 32"),
        ({"weight_code": "2"}, "weight_code must be 1.6 for axi128x4, got 2"),
        ({"memory": "axi128x2"}, "rows must be 10 for axi128x2, got 20"),
        ({"memory": "axi48"}, "design: memory axi48: a port of 48 bits"),
        ({"memory": 5}, "design: memory 5 is unknown"),
    ],
)
def test_a_design_is_that_of_its_memory(changes: dict[str, object], says: str) -> None:
    design = design_for_memory(LARGE, memory("axi128x4"))
    with pytest.raises(InputError, match=says):
        replace(design, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "config", "post_width"),
    [
        ("axi64", LARGE, 1),
        ("axi128x4", LARGE, 2),
        ("axi512x8", LARGE, 8),
        ("axi128x4", SMALL, 4),
        # P values are no more than a beat holds.
        ("axi64x32", SMALL, 4),
        ("axi512", SMALL, 1),
    ],
)
def test_post_width_divides_the_rows_and_a_beat(
    name: str, config: ModelConfig, post_width: int
) -> None:
    assert design_for_memory(config, memory(name)).post_width == post_width


def test_what_the_chip_holds_and_what_the_memory() -> None:
    block, external = design_for_model(SMALL, 64), design_for_memory(SMALL, memory("axi128x2"))
    assert loaded_memories(block) == LOADED_MEMORIES
    assert loaded_memories(external) == ("headers", "tables", "reciprocal_root", "gumbel")
    assert chip_memories(external) == loaded_memories(external)
    assert fault_memories(block) == LOADED_MEMORIES
    assert fault_memories(external) == LOADED_MEMORIES + BUS_FAULTS


def test_words_of_a_pass() -> None:
    """Weights and check words as in block RAM, the biases of each layer, and record 0's check."""
    design = design_for_memory(LARGE, memory("axi128x4"))
    # 1,024 rows in blocks of 20 are 52: 1,040 biases of 2 bytes, in words of 64 bytes.
    assert design.bias_words == 1040 // 2
    assert parameter_words(design) == 33
    words = image_weight_words(LARGE, 20, 16)
    assert stream_words(LARGE, design) == words + 24 * 33 + 1 == design.weight_words
    block = design_for_model(LARGE, 256)
    assert stream_words(LARGE, block) == image_weight_words(LARGE, block.rows, block.columns)


def test_rows_of_the_embedding() -> None:
    """Tiles, a check word, and padding to pieces of 64 bytes."""
    for name, beats, size in (("axi64", 129, 1088), ("axi128x4", 65, 1088), ("axi512", 17, 1088)):
        design = design_for_memory(LARGE, memory(name))
        assert (row_beats(design), row_bytes(design)) == (beats, size)
        assert row_bytes(design) % ROW_BYTES == 0
    assert row_bytes(design_for_memory(SMALL, memory("axi128"))) == 64


@pytest.mark.parametrize(
    ("text", "name", "size"),
    [
        ("axi64", "axi64", None),
        ("axi128x4:64M", "axi128x4", 64_000_000),
        ("axi64:1", "axi64", 1),
        ("axi64:3K", "axi64", 3_000),
        ("axi64:2G", "axi64", 2_000_000_000),
        ("block", "block", None),
    ],
)
def test_a_size_may_follow_a_memory(text: str, name: str, size: int | None) -> None:
    assert split_capacity(text) == (name, size)


@pytest.mark.parametrize("size", ["", "0", "0M", "64m", "64MB", "1.5G", "-1", "M", "1:2"])
def test_what_follows_and_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(InputError, match=f"^memory axi64:{size}: a size is a number of"):
        split_capacity(f"axi64:{size}")


def test_block_ram_has_no_size_of_its_own() -> None:
    with pytest.raises(InputError, match="memory block:64M: block RAM has the image's size"):
        split_capacity("block:64M")

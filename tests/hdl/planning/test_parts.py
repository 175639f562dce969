"""Facts about parts: complete, with sources, and the same as where else they stand."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

import sim.power.coefficients
from hdl.planning.memories import LARGEST_PART_BITS
from hdl.planning.parts import (
    BLOCK_RAM_BITS,
    LABELS,
    MODELS,
    PARTS,
    PEERS,
    Fact,
    find_part,
    known_parts,
    known_peers,
    peers_of,
)
from mmfree.chip.external_memory import MAX_PORTS, PORT_BITS
from mmfree.cli.parser import build_parser
from mmfree.errors import InputError
from mmfree.inference.shapes import SHAPES
from sim.power.coefficients import load_quantities

WITH_MEMORY = {name: memory for name, part in known_parts().items() for memory in part.memories}


def tables_of(value: object) -> Iterator[dict[str, Any]]:
    """Every table of a file that has a source, however deep."""
    if isinstance(value, dict):
        if "source" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from tables_of(inner)


@pytest.mark.parametrize("path", [PARTS, PEERS], ids=lambda path: path.name)
def test_every_fact_has_a_label_and_a_source(path: Any) -> None:
    tables = list(tables_of(tomllib.loads(path.read_text(encoding="utf-8"))))
    assert len(tables) >= 7
    for table in tables:
        assert table["label"] in LABELS, table
        assert len(table["source"]) >= 9, table


def test_every_number_of_a_memory_is_a_fact() -> None:
    table = tomllib.loads(PARTS.read_text(encoding="utf-8"))
    for entry in table["parts"].values():
        for memory in entry.get("memories", []):
            for name in ("ports", "capacity", "peak", "controller"):
                assert {"label", "source"} <= set(memory[name]), name
            assert all(set(rate) == {"value", "label", "source"} for rate in memory["rates"])
    for device in table["devices"].values():
        assert {"label", "source"} <= set(device["capacity"])


def test_what_power_knows_of_a_part_is_the_same() -> None:
    """Its cells; sim/power/technology has a file for each family, hdl may not read it."""
    theirs = sim.power.coefficients.known_parts()
    for part in known_parts().values():
        known = theirs[part.device]
        assert part.family == known.family
        assert part.capacity.items() <= known.capacity.items(), part.name
        assert part.device_name.split()[0] in known.device


def test_what_a_bit_of_each_memory_costs_is_known() -> None:
    kinds = load_quantities("memories", "memories")
    assert {memory.kind for memory in WITH_MEMORY.values()} <= set(kinds)


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_a_memory_can_be_read(name: str) -> None:
    memory = WITH_MEMORY[name]
    assert set(memory.port_bits) <= set(PORT_BITS)
    assert 1 <= memory.most_ports <= MAX_PORTS
    assert memory.most_ports & (memory.most_ports - 1) == 0
    assert 0 < memory.rates[-1].value <= memory.rates[0].value <= memory.peak.value
    assert memory.capacity_bytes % 4096 == 0
    assert set(memory.sources) == {"ports", "controller"}


def test_parts_and_their_order() -> None:
    assert list(known_parts()) == [
        *("ecp5-25", "ecp5-45", "ecp5-85", "ulx3s-85f", "ecpix-5", "orangecrab"),
        *("kv260", "u250", "u280"),
    ]
    boards = {name for name, part in known_parts().items() if part.memories}
    assert boards == {"ulx3s-85f", "ecpix-5", "orangecrab", "kv260", "u250", "u280"}
    clocks = {part.name: part.clock for part in known_parts().values() if part.family != "ecp5"}
    assert all(clock is not None and clock.label == "A" for clock in clocks.values())
    assert all(part.clock is None for part in known_parts().values() if part.family == "ecp5")


def test_the_help_names_every_part() -> None:
    (verbs,) = (action for action in build_parser(["fit"])._actions if action.dest == "verb")
    assert isinstance(verbs.choices, dict)
    (option,) = (action for action in verbs.choices["fit"]._actions if action.dest == "part")
    assert option.default == "all"
    for name in known_parts():
        assert name.removeprefix("ecp5") in str(option.help), name


def test_the_largest_part_is_the_one_that_is_named() -> None:
    assert max(part.block_ram_bits for part in known_parts().values()) == LARGEST_PART_BITS
    assert find_part("ecp5-85").block_ram_bits == 208 * 18 * 1024
    assert {part.family for part in known_parts().values()} == set(BLOCK_RAM_BITS)


def test_a_part_that_is_not_known_is_named_with_its_neighbour() -> None:
    with pytest.raises(InputError, match=r"^--part must be one of .*'u251'; did you mean u2[58]0"):
        find_part("u251")
    assert find_part("u250").name == "u250"


def test_fewer_ports_than_channels_have_a_share_of_the_rate() -> None:
    (memory,) = find_part("u250").memories
    rate = memory.rates[0]
    assert [memory.available(ports, rate) / rate.value for ports in (1, 2, 4, 8)] == [
        *(0.25, 0.5, 1, 1)
    ]


def test_peers_are_of_parts_and_models_that_are_known() -> None:
    assert set(MODELS) == set(SHAPES)
    for peer in known_peers():
        assert peer.part in known_parts()
        assert peer.tokens_per_second > 0
        assert peer.excludes
        if peer.model in SHAPES:
            config = SHAPES[peer.model]
            head = config.head_size * config.hidden_size
            weights = config.num_ternary_weights
            assert peer.weights in (weights, weights - head), peer.name
            assert peer.full_name == peer.name


def test_peers_are_compared_with_the_same_model_or_one_of_about_its_size() -> None:
    def names(part: str, model: str, weights: float) -> list[str]:
        return [peer.full_name for peer in peers_of(find_part(part), model, int(weights))]

    assert names("kv260", "370m", 341e6) == ["matmulfree_KRIA"]
    assert names("kv260", "2.7b", 2.62e9) == ["bitnet-kv260 (BitNet 2B)"]
    assert names("kv260", "my.json", 1.044e9) == ["bitnet-kv260 (BitNet 2B)"]
    assert names("kv260", "my.json", 1.043e9) == []
    assert names("kv260", "my.json", 4.175e9) == ["bitnet-kv260 (BitNet 2B)"]
    assert names("kv260", "my.json", 4.176e9) == []
    assert names("u250", "my.json", 341e6) == [], "of another model of the family: only its own"
    assert names("u280", "370m", 341e6) == ["TerEffic, on two cards"]


def test_what_peers_publish() -> None:
    """Figures as docs/alternatives.md and the sources have them."""
    found = {
        (peer.name, peer.model): (peer.tokens_per_second, peer.streams) for peer in known_peers()
    }
    assert found == {
        ("matmulfree_KRIA", "370m"): (30.6, "1"),
        ("bitnet-kv260", "BitNet 2B"): (18.57, "1"),
        ("Ternip", "370m"): (86.42, "1 of 43"),
        ("Ternip", "1.3b"): (23.7, "1 of 41"),
        ("Ternip", "2.7b"): (14.2, "1 of 29"),
        ("TerEffic, on two cards", "370m"): (16300.0, "1"),
        ("TerEffic, HBM", "2.7b"): (727.0, "all 16"),
    }


def test_a_fact_as_json() -> None:
    assert Fact(value=1.5, label="K", source="a book").to_dict() == {
        "value": 1.5,
        "label": "K",
        "source": "a book",
    }

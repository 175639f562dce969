"""Reads of words that are written at the same edge: what RTLIL says of them, and what Yosys builds for it."""

from __future__ import annotations

import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.audit import ecp5_cells
from hdl.block_memory import BlockMemory
from hdl.rtlil_memories import allow_collisions


class Memories(wiring.Component):
    """``first``: one read port; ``second``: two write ports, and a read port that is transparent for the first of them."""

    def __init__(self) -> None:
        super().__init__(
            {
                "address": In(10),
                "place": In(10),
                "data": In(9),
                "enable": In(2),
                "read": Out(9).array(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = first = memory.Memory(shape=unsigned(9), depth=1024, init=[])
        m.submodules.second = second = memory.Memory(shape=unsigned(9), depth=1024, init=[])
        writes = [first.write_port(), second.write_port(), second.write_port()]
        reads = [first.read_port(), second.read_port(transparent_for=[writes[1]])]
        for n, write in enumerate(writes):
            m.d.comb += [
                write.addr.eq(self.place ^ n),
                write.data.eq(self.data),
                write.en.eq(self.enable[n // 2]),
            ]
        for n, read in enumerate(reads):
            m.d.comb += [read.addr.eq(self.address), self.read[n].eq(read.data)]
        return m


def masks(text: str) -> dict[str, tuple[str, str]]:
    """Memory -> (transparency, collisions) of its read port."""
    found = re.findall(
        r'\$memrd_v2.*?MEMID "\\\\(\S+)".*?TRANSPARENCY_MASK (\S+).*?COLLISION_X_MASK (\S+)',
        text,
        re.DOTALL,
    )
    return {name: (transparent, collisions) for name, transparent, collisions in found}


def test_read_ports_of_the_named_memories_alone_change() -> None:
    text = str(rtlil.convert(Memories(), emit_src=False))
    assert masks(text) == {"first": ("1'0", "1'0"), "second": ("2'01", "2'00")}
    changed = allow_collisions(text, ["first"])
    assert masks(changed) == {"first": ("1'0", "1'1"), "second": ("2'01", "2'00")}
    differing = [a for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert len(differing) == 1


def test_a_transparent_read_port_stays_so() -> None:
    text = allow_collisions(str(rtlil.convert(Memories(), emit_src=False)), ["first", "second"])
    assert masks(text) == {"first": ("1'0", "1'1"), "second": ("2'01", "2'10")}


def test_the_last_part_of_a_path_names_a_memory() -> None:
    cell = """  cell $memrd_v2 $1
    parameter \\MEMID "\\\\lanes.weights"
    parameter \\TRANSPARENCY_MASK 2'00
    parameter \\COLLISION_X_MASK 2'00
  end
"""
    assert "COLLISION_X_MASK 2'11" in allow_collisions(cell, ["weights"])
    with pytest.raises(ValueError, match="no read port of the memories eights"):
        allow_collisions(cell, ["eights"])


def test_a_memory_that_is_not_there_is_named() -> None:
    text = str(rtlil.convert(Memories(), emit_src=False))
    with pytest.raises(
        ValueError, match="no read port of the memories firs, third: give the names"
    ):
        allow_collisions(text, ["first", "third", "firs"])


def test_yosys_keeps_no_old_words_beside_the_block_ram() -> None:
    memory = BlockMemory("words", part_bits=9, parts=1, depth=1024)
    text = str(rtlil.convert(memory, name="top", emit_src=False))
    kept = ecp5_cells({"top.il": text}, "top")
    assert kept["LUT4"] >= 9
    relaxed = ecp5_cells({"top.il": allow_collisions(text, ["words"])}, "top")
    assert relaxed == {"DP16KD": 1, "TRELLIS_FF": 9}

# amaranth: UnusedElaboratable=no
"""RTLIL with initial values only where some were given."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.accelerator import Accelerator
from hdl.array.ternary_array import TernaryArray
from hdl.fabric.technology import Technology
from hdl.memory.block_memory import BlockMemory
from hdl.toolchain import netlist
from hdl.toolchain.netlist import AmaranthFormatError, component_rtlil
from mmfree.chip.layout import layout
from tests.support.sim.shapes import ODD

INITIAL = re.compile(r"  cell \$meminit_v2 .*?\n  end\n\n", re.DOTALL)
VALUES = re.compile(r"connect \\DATA \d+'([01]*)\n")
NAME = re.compile(r'parameter \\MEMID "\\\\(\w+)"')


def as_amaranth(component: Any, technology: Technology = Technology.GENERIC) -> str:
    return str(rtlil.convert(component, name="top", emit_src=False, platform=technology))


class Words(wiring.Component):
    """A memory of Amaranth's own, which begins with ``init``."""

    def __init__(self, init: list[int]) -> None:
        self._init = init
        super().__init__({"address": In(2), "data": Out(6), "write": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = memory.Memory(shape=6, depth=4, init=self._init)
        read, write = words.read_port(), words.write_port()
        m.d.comb += [
            read.addr.eq(self.address),
            self.data.eq(read.data),
            write.addr.eq(self.address),
            write.en.eq(self.write),
        ]
        return m


def test_what_has_no_memory_is_as_amaranth_writes_it() -> None:
    """Line by line: this is what a new version of Amaranth must not change unseen."""
    design = ODD.design()
    text = component_rtlil(TernaryArray(design), "top", Technology.GENERIC)
    assert text == as_amaranth(TernaryArray(design))
    assert "memory" not in text


@pytest.mark.parametrize("technology", list(Technology))
def test_a_chip_is_as_amaranth_writes_it_but_for_initial_values(technology: Technology) -> None:
    """On the ECP5, where large memories are cells, those that are in LUTs."""
    design = ODD.design()
    text = component_rtlil(Accelerator(design), "top", technology)
    whole = as_amaranth(Accelerator(design), technology)
    given, all_given = INITIAL.findall(text), INITIAL.findall(whole)
    assert len(given) < len(all_given)
    assert given == [cell for cell in all_given if "1" in VALUES.findall(cell)[0]]
    assert INITIAL.sub("", text) == INITIAL.sub("", whole)


def test_memories_keep_the_words_of_an_image() -> None:
    """Also where all of them are 0, as biases may be."""
    design = ODD.design()
    image = layout(ODD.tape(1, wild=False), design)
    image.words["biases"] = [0] * len(image.words["biases"])
    text = component_rtlil(Accelerator(design, image), "top", Technology.GENERIC)
    assert set(image.memories()) == {NAME.findall(cell)[0] for cell in INITIAL.findall(text)}


def block(**sizes: Any) -> BlockMemory:
    return BlockMemory("words", **({"part_bits": 18, "parts": 8, "depth": 4} | sizes))


@pytest.mark.parametrize(
    ("component", "initialised"),
    [
        (lambda: Words([]), 0),
        (lambda: Words([0, 0]), 0),
        (lambda: Words([0, 5]), 1),
        (block, 0),
        (lambda: block(init=[0]), 1),
        (lambda: block(init=[7]), 1),
    ],
    ids=["none", "zeros", "values", "block", "block of zeros", "block of values"],
)
def test_values_that_were_given_stay(component: Any, initialised: int) -> None:
    text = component_rtlil(component(), "top", Technology.GENERIC)
    assert len(INITIAL.findall(text)) == initialised
    if initialised:
        whole = INITIAL.findall(as_amaranth(component()))
        assert INITIAL.findall(text) == whole


def test_a_memory_of_many_bits_takes_no_time() -> None:
    """Amaranth takes a microsecond per bit of 0: here a minute and a half."""
    began = time.process_time()
    text = component_rtlil(block(depth=700_000), "top", Technology.GENERIC)
    assert time.process_time() - began < 10
    assert len(text) < 100_000


def test_another_amaranth_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which writes memories elsewhere."""
    monkeypatch.delattr(netlist._ModuleEmitter, "emit_memory")
    says = "0 memories must have initial values in RTLIL, got 1: Amaranth's back end has changed;"
    with pytest.raises(AmaranthFormatError, match=re.escape(says)):
        component_rtlil(block(), "top", Technology.GENERIC)

"""No multiplier in RTLIL and after ECP5 synthesis; each audit is shown to notice one."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import hdl.toolchain.audit
from hdl.accelerator import Accelerator
from hdl.arithmetic.noise import Noise
from hdl.arithmetic.product import Product
from hdl.toolchain.audit import (
    ECP5_DSP_CELLS,
    FORBIDDEN_CELLS,
    cells_by_block,
    ecp5_cells,
    forbidden_cells,
    luts,
    ram_blocks,
)
from hdl.toolchain.emit import TOP, convert_rtlil, write_verilog
from hdl.toolchain.families import FAMILIES
from mmfree.chip.external_memory import find_memory
from mmfree.chip.folder import VERILOG_NAME
from mmfree.chip.memory_map import row_bytes
from mmfree.chip.sizing import design_for_memory
from tests.support.sim.shapes import ADDITION, FAST_SHAPES, ODD, SLOW_SHAPES, Shape


class Multiplier(wiring.Component):
    """o = a * b: what the accelerator must not hold."""

    def __init__(self) -> None:
        super().__init__({"a": In(signed(12)), "b": In(signed(12)), "o": Out(signed(24))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.a * self.b)
        return m


class Drawn(wiring.Component):
    """A block whose port is a vector of fields, read from a memory of its own."""

    def __init__(self) -> None:
        super().__init__({"take": In(1), "keep": In(2), "o": Out(20)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.noise = noise = Noise(2)
        m.d.comb += [noise.take.eq(self.take), noise.keep.eq(self.keep)]
        m.d.comb += noise.temperature.eq(self.keep)
        m.d.sync += self.o.eq(noise.entry[0] ^ noise.entry[1])
        return m


@cache
def rtlil_of(shape: Shape) -> str:
    return convert_rtlil(Accelerator(shape.design()))


@pytest.mark.parametrize("shape", [*FAST_SHAPES, *SLOW_SHAPES], ids=lambda shape: shape.name)
def test_accelerator_holds_no_multiplying_cell(shape: Shape) -> None:
    text = rtlil_of(shape)
    assert forbidden_cells(text) == []
    assert text.count("cell $add ") > shape.lanes, "the audit sees the cells"


@pytest.mark.parametrize("memory", ["axi64", pytest.param("axi128x4", marks=pytest.mark.slow)])
def test_nor_does_one_with_an_external_memory(memory: str) -> None:
    """Rows of 1,088 bytes: a row's address is its number times a constant, by additions."""
    external = find_memory(memory)
    assert external is not None
    config = replace(ODD.config, hidden_size=1024)
    design = design_for_memory(config, external)
    assert row_bytes(design) == 1088
    text = convert_rtlil(Accelerator(design))
    assert forbidden_cells(text) == []
    assert text.count("cell $add ") > design.lanes


def test_a_multiplier_is_noticed_in_rtlil() -> None:
    text = rtlil.convert(Multiplier(), name="product", emit_src=False)
    (found,) = forbidden_cells(text)
    assert found.startswith("$mul ")


@pytest.mark.parametrize("cell", ["$mul", "$div", "$mod", "$macc", "$macc_v2", "$pow"])
def test_every_forbidden_kind_is_noticed_in_the_accelerator(cell: str) -> None:
    """One addition of the real design is replaced."""
    text = rtlil_of(ODD).replace("cell $add ", f"cell {cell} ", 1)
    assert len(forbidden_cells(text)) == 1


@pytest.mark.parametrize("line", ["cell $mul", "cell $mul $1 # product", "cells $mul $1"])
def test_a_cell_that_is_not_understood_does_not_pass(line: str) -> None:
    message = f"RTLIL: a cell must be `cell TYPE NAME`, got `{line}`"
    with pytest.raises(ValueError, match=re.escape(message)):
        forbidden_cells(f"module \\top\n  cell $add $1\n  end\n  {line}\n  end\nend\n")


def test_a_text_without_cells_does_not_pass() -> None:
    with pytest.raises(ValueError, match="there is no cell to look at"):
        forbidden_cells("module \\top\nend\n")


def test_a_multiplier_becomes_a_dsp_block() -> None:
    """So synthesis would show a multiplier if there were one."""
    text = rtlil.convert(Multiplier(), name="product", emit_src=False)
    cells = ecp5_cells({"product.il": text}, "product")
    assert cells["MULT18X18D"] == 1


def test_a_product_unit_becomes_luts_alone() -> None:
    unit = Product(signed(12), signed(12))
    cells = ecp5_cells({"unit.il": rtlil.convert(unit, name="unit", emit_src=False)}, "unit")
    assert not ECP5_DSP_CELLS & set(cells)
    assert luts(cells) == cells["LUT4"] + 2 * cells["CCU2C"]


@pytest.mark.parametrize("cell", sorted(FORBIDDEN_CELLS))
def test_every_cell_that_multiplies_or_divides_is_forbidden(cell: str) -> None:
    text = f"module \\top\n  cell $add $1\n  end\n  cell {cell} \\x.y$2\n  end\nend\n"
    assert forbidden_cells(text) == [f"{cell} \\x.y$2"]
    kinds = {"$mul", "$div", "$divfloor", "$mod", "$modfloor", "$pow", "$macc", "$macc_v2", "$fma"}
    assert kinds == FORBIDDEN_CELLS


def test_cells_are_counted_as_their_kinds_by_hand() -> None:
    """LUT4-equivalents: a carry cell is two; block RAMs of any width."""
    cells = {"LUT4": 5, "CCU2C": 7, "DP16KD": 2, "PDPW16KD": 3, "PFUMX": 11, "TRELLIS_FF": 13}
    assert luts(cells) == 5 + 2 * 7
    assert ram_blocks(cells) == 5
    assert luts({}) == ram_blocks({}) == 0


STATISTICS = {
    "modules": {
        "\\top": {"num_cells_by_type": {"LUT4": 1, "\\top.a$7": 2, "\\top.b": 1}},
        "\\top.a$7": {"num_cells_by_type": {"LUT4": 3, "\\inner": 2}},
        "\\top.b": {"num_cells_by_type": {"\\inner": 1, "TRELLIS_FF": 4}},
        "\\inner": {"num_cells_by_type": {"LUT4": 5, "CCU2C": 1}},
    }
}


def test_blocks_hold_what_their_own_blocks_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Block a twice, in each of which are two of the inner ones."""
    asked: list[Any] = []

    def synthesize(files: dict[str, str], synthesis: str, before: Any = ()) -> dict[str, Any]:
        asked.append((files, synthesis, before[1:]))
        return STATISTICS

    monkeypatch.setattr(hdl.toolchain.audit, "_synthesize", synthesize)
    assert cells_by_block("TEXT", "top", "synth_x -a", before=["setattr"]) == {
        "a": {"LUT4": 3 + 2 * 5, "CCU2C": 2},
        "b": {"LUT4": 5, "CCU2C": 1, "TRELLIS_FF": 4},
        "top": {"LUT4": 1},
    }
    cells_by_block("TEXT", "top")
    assert asked == [
        ({"top.il": "TEXT"}, "synth_x -a -top top", ("setattr",)),
        ({"top.il": "TEXT"}, "synth_ecp5 -noflatten -top top", ()),
    ]


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_blocks_with_ports_of_several_fields_are_mapped_apart(family: str) -> None:
    text = rtlil.convert(Drawn(), name=TOP, emit_src=False)
    found = cells_by_block(text, TOP, FAMILIES[family].synthesis)
    assert set(found) == {"noise", "top"}
    area = FAMILIES[family].area(found["noise"])
    assert area.luts > 100
    assert area.flip_flops > 127, "its registers"


@pytest.mark.slow
@pytest.mark.parametrize("shape", [ADDITION, ODD], ids=lambda shape: shape.name)
def test_ecp5_synthesis_of_the_whole_holds_no_dsp_block(
    shape: Shape, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("verilog")
    write_verilog(shape.design(), folder, shape.tape(1, wild=False))
    files = {
        path.name: path.read_text() for path in folder.iterdir() if path.suffix in (".v", ".hex")
    }
    assert VERILOG_NAME in files
    cells = ecp5_cells(files, TOP)
    assert not ECP5_DSP_CELLS & set(cells), cells
    # The array alone is 8 LUT4-equivalents and more per lane: nothing was optimised away.
    assert luts(cells) > 8 * shape.lanes
    assert cells["DP16KD"] > 0

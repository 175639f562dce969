"""Product units of a chip: which, of how many bits, how often used, and how large."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import signed, unsigned

import hdl.toolchain.products
from hdl.accelerator import Accelerator
from hdl.arithmetic.product import Product
from hdl.arithmetic.square import Square
from hdl.fabric.technology import Technology
from hdl.toolchain.emit import convert_rtlil
from hdl.toolchain.products import product_units
from hdl.toolchain.ultrascale_audit import ultrascale_area
from mmfree.chip.sizing import design_for
from tests.support.sim.shapes import ABSMAX_ODD, ODD

TAPE = ODD.tape(1, wild=False)
"""d = 20, I = 37, one layer, head of 5 rows."""

UNITS = {
    # All rows of all matrices: i, f, g, o, gate, up, down, head; sums of 9 bits and 6 of width 37.
    "requantize": (15, 9, 3 * 20 + 20 + 2 * 37 + 20 + 5),
    # Each element of the five vectors that are normalized.
    "square": (8, 8, 20 + 20 + 20 + 37 + 20),
    # Each of the eight matrices.
    "scale": (9, 8, 8),
    "update_state": (17, 9, 20),
    # SiLU of the state's and of the gate's channels, and the noise of each row.
    "gated_product": (16, 9, 20 + 37 + 5),
}


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    """Of 8 x 8 lanes; it is converted, because Amaranth warns of what is made for nothing."""
    made = Accelerator(design_for(TAPE, 64))
    convert_rtlil(made)
    return made


def test_units_of_a_tape_by_hand(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdl.toolchain.products, "_unit_luts", lambda parameters: 1)
    design = accelerator.design
    assert (design.post_width, design.columns) == (4, 8)
    units = {unit.use: unit for unit in product_units(accelerator, TAPE)}
    found = {use: (u.a_bits, u.b_bits, u.uses_per_token) for use, u in units.items()}
    assert found == UNITS
    counts = {use: unit.count for use, unit in units.items()}
    width = design.post_width
    assert counts == {
        "requantize": width,
        "square": 4,
        "scale": 1,
        "update_state": width,
        "gated_product": width,
    }
    without = product_units(accelerator)
    assert {unit.uses_per_token for unit in without} == {None}
    assert [unit.use for unit in without] == list(UNITS)
    unit = units["scale"].to_dict()
    assert unit["operands"] == "multiplier * reciprocal root"
    assert (unit["count"], unit["luts_each"]) == (1, 1)


ABSMAX_UNITS = {
    "embedding": (8, 16, 1, 20),
    # Each element of what gates (three gains, and the norm's), output and glu (two), down (one) and
    # the head (two) read, in two layers of d = 20 and I = 37, and of 7 words.
    "gain": (28, 24, 1, 2 * (4 * 20 + 2 * 20 + 2 * 20 + 37) + 2 * 20),
    "square": (18, 18, 1, 2 * (2 * 20 + 2 * 20 + 2 * 20 + 37) + 2 * 20),
    # Constant and largest element of each matrix (gate and up are two), and the epsilon of a norm.
    "scale": (31, 31, 1, 2 * (2 * (3 + 1 + 2 + 1) + 3) + 2 + 1),
    "requantize": (15, 24, 1, 2 * (5 * 20 + 2 * 37) + 7),
    "interpolate": (15, 12, 2, 2 * (3 * 20 + 37)),
    # SiLU of i, h' and gate; and f.
    "silu": (32, 25, 2, 2 * (2 * 20 + 37) + 2 * 20),
    "update_state": (33, 21, 1, 2 * 20),
    "gated_product": (32, 32, 1, 2 * (20 + 37) + 7),
}
"""Use -> bits of the operands, units for a value per cycle, and products of a token."""


def test_units_of_a_published_checkpoint_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdl.toolchain.products, "_unit_luts", lambda unit: 1)
    made = Accelerator(ABSMAX_ODD.design())
    convert_rtlil(made)
    units = product_units(made, ABSMAX_ODD.tape(tmp_path, 1))
    found = {u.use: (u.a_bits, u.b_bits, u.count, u.uses_per_token) for u in units}
    assert found == ABSMAX_UNITS
    assert [unit.use for unit in product_units(made)] == list(ABSMAX_UNITS)


def test_the_size_of_a_unit_is_its_own(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LUTs, and two for each carry cell, of the unit itself in the ECP5's cells."""
    sizes = {"requantize": 10, "square": 20, "scale": 30, "update_state": 40, "gated_product": 50}
    same = {
        "requantize": Product(signed(15), unsigned(9), 28),
        "square": Square(),
        "scale": Product(unsigned(9), unsigned(8), 7),
        "update_state": Product(signed(17), unsigned(9), 8),
        "gated_product": Product(signed(16), signed(9), 6),
    }
    texts = {
        rtlil.convert(block, name="product", emit_src=False, platform=Technology.ECP5): sizes[use]
        for use, block in same.items()
    }

    def cells(files: dict[str, str], top: str) -> dict[str, int]:
        assert top == "product"
        return {"LUT4": texts[files["product.il"]], "CCU2C": 3, "PFUMX": 7}

    monkeypatch.setattr(hdl.toolchain.products, "ecp5_cells", cells)
    hdl.toolchain.products._unit_luts.cache_clear()
    found = {unit.use: unit.luts_each for unit in product_units(accelerator)}
    hdl.toolchain.products._unit_luts.cache_clear()
    assert found == {use: size + 6 for use, size in sizes.items()}


def test_area_on_the_ultrascale_by_hand() -> None:
    """Each kind of distributed RAM takes its own number of LUTs."""
    cells = {"LUT1": 1, "LUT6": 2, "LUT6_2": 4, "INV": 8, "MUXF7": 99, "SRL16E": 3, "SRLC32E": 5}
    cells |= {"RAM32M": 1, "RAM64X1S": 1, "RAM64X1D": 1, "RAM128X1S": 1, "RAM256X1D": 1}
    cells |= {"RAM32M16": 1, "RAM512X1S": 1, "CARRY8": 7, "DSP48E2": 2}
    cells |= {"FDRE": 1, "FDSE": 2, "FDCE": 4, "FDPE": 8, "LDCE": 16}
    rams = 4 + 1 + 2 + 2 + 8 + 8 + 8
    assert ultrascale_area(cells) == {
        "lut": 15,
        "shift_register_lut": 8,
        "ram_lut": rams,
        "total_lut": 15 + 8 + rams,
        "carry8": 7,
        "flip_flops": 15,
        "dsp": 2,
    }
    assert set(ultrascale_area({}).values()) == {0}

"""Inventory of the shift-and-add product units of a design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Shape
from amaranth.lib import wiring

from hdl.absmax.norm.scalars import Scalars
from hdl.absmax.parts import AbsmaxParts
from hdl.accelerator import Accelerator
from hdl.arithmetic.product import Product
from hdl.arithmetic.square import Square
from hdl.arithmetic.unsigned_square import UnsignedSquare
from hdl.fabric.technology import Technology
from hdl.pow2.parts import Pow2Parts
from hdl.toolchain.audit import ecp5_cells, luts
from mmfree.chip.design import Design
from mmfree.chip.memory_map import SCALE_BITS
from mmfree.contract.absmax import SCALAR_BITS, SQUARE_BITS
from mmfree.tape.operations import count_operations
from mmfree.tape.reading import AnyTape

_SHARED = {"noise": "gated_product", "forget_gate": "silu"}
"""Use of products -> the use whose units make them."""


@dataclass(frozen=True, kw_only=True)
class ProductUnit:
    """A kind of product unit.

    ``use``: what it is for. ``count``: how many there are. ``luts_each``: LUT4-equivalents
    (ECP5, Yosys estimate). ``uses_per_token``: products that they make of a tape (None without a
    tape; products of padding are not counted).
    """

    use: str
    operands: str
    a_bits: int
    b_bits: int
    count: int
    luts_each: int
    uses_per_token: int | None

    def to_dict(self) -> dict[str, str | int | None]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class _Units:
    """Units of one kind: ``kind(*arguments)`` makes one."""

    operands: str
    a_bits: int
    b_bits: int
    count: int
    kind: type[wiring.Component]
    arguments: tuple[Any, ...]

    @classmethod
    def of(cls, operands: str, units: Sequence[Product]) -> _Units:
        """Products."""
        a_bits, a_signed, b_bits, b_signed, addend_bits = units[0].parameters
        shapes = Shape(a_bits, a_signed), Shape(b_bits, b_signed)
        return cls(operands, a_bits, b_bits, len(units), Product, (*shapes, addend_bits))


def product_units(accelerator: Accelerator, tape: AnyTape | None = None) -> list[ProductUnit]:
    """Every product unit of an accelerator."""
    parts = accelerator.parts
    if isinstance(parts, AbsmaxParts):
        groups = _absmax_units(parts, accelerator.design)
    else:
        assert isinstance(parts, Pow2Parts)
        groups = _pow2_units(parts)
    uses: dict[str, int] = {}
    for use, count in (count_operations(tape).products if tape is not None else {}).items():
        use = _SHARED.get(use, use)
        uses[use] = uses.get(use, 0) + count
    return [
        ProductUnit(
            use=use,
            operands=units.operands,
            a_bits=units.a_bits,
            b_bits=units.b_bits,
            count=units.count,
            luts_each=_unit_luts((units.kind, units.arguments)),
            uses_per_token=uses.get(use),
        )
        for use, units in groups.items()
    ]


def _pow2_units(parts: Pow2Parts) -> dict[str, _Units]:
    """By use."""
    post, norm = parts.post, parts.rms_norm
    square_bits = norm.squares[0].a.shape().width
    return {
        "requantize": _Units.of("accumulator * scale", post.requantize.products),
        "square": _Units("q * q", square_bits, square_bits, len(norm.squares), Square, ()),
        "scale": _Units.of("multiplier * reciprocal root", [norm.scaler]),
        "update_state": _Units.of("(c -+ h) * (256 - |f|)", post.products.update_state.products),
        "gated_product": _Units.of(
            "SiLU * operand, Gumbel noise * temperature", post.products.gated_product.products
        ),
    }


def _absmax_units(parts: AbsmaxParts, design: Design) -> dict[str, _Units]:
    """By use. The scalar unit, which also divides and takes roots, is one of them."""
    post, width = parts.post, design.post_width
    gates, products = post.gates, post.products
    return {
        "embedding": _Units(
            "element * scale of its row",
            *(8, SCALE_BITS, width),
            *(Product, (Shape(SCALE_BITS), Shape(8, signed=True), 0)),
        ),
        "gain": _Units.of("element * gain", parts.gain_unit.products),
        "square": _Units(
            "element * element", SQUARE_BITS, SQUARE_BITS, width, UnsignedSquare, (SQUARE_BITS,)
        ),
        "scale": _Units(
            "scalar * scalar, a bit at a time", SCALAR_BITS, SCALAR_BITS, 1, Scalars, (design,)
        ),
        "requantize": _Units.of("accumulator * factor", post.requantize.products),
        "interpolate": _Units.of(
            "rise of the sigmoid * part of a step",
            [*gates.sigmoid.products, *products.sigmoid.products],
        ),
        "silu": _Units.of(
            "x * sigmoid, (1 - bound) * sigmoid", [*gates.products, *products.silu_products]
        ),
        "update_state": _Units.of("(c - h) * (1 - f)", products.update_state.products),
        "gated_product": _Units.of(
            "SiLU * operand, Gumbel noise * temperature", products.gated_products
        ),
    }


@lru_cache
def _unit_luts(unit: tuple[type[wiring.Component], tuple[Any, ...]]) -> int:
    """LUT4-equivalents of a unit, by what makes it."""
    kind, arguments = unit
    made = kind(*arguments)
    text = rtlil.convert(made, name="product", emit_src=False, platform=Technology.ECP5)
    return luts(ecp5_cells({"product.il": text}, "product"))

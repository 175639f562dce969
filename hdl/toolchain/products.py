"""Inventory of the shift-and-add product units of a design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

from amaranth.back import rtlil
from amaranth.hdl import Shape

from hdl.accelerator import Accelerator
from hdl.arithmetic.product import Product
from hdl.arithmetic.square import Square
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import ecp5_cells, luts
from mmfree.tape.operations import count_operations
from mmfree.tape.pow2 import Tape


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


def product_units(accelerator: Accelerator, tape: Tape | None = None) -> list[ProductUnit]:
    """Every product unit of an accelerator."""
    post, norm = accelerator.blocks.post, accelerator.blocks.rms_norm
    groups: dict[str, tuple[str, Sequence[Product | Square]]] = {
        "requantize": ("accumulator * scale", post.requantize.products),
        "square": ("q * q", norm.squares),
        "scale": ("multiplier * reciprocal root", [norm.scaler]),
        "update_state": ("(c -+ h) * (256 - |f|)", post.products.update_state.products),
        "gated_product": (
            "SiLU * operand, Gumbel noise * temperature",
            post.products.gated_product.products,
        ),
    }
    uses = dict(count_operations(tape).products) if tape is not None else {}
    if "noise" in uses:
        uses["gated_product"] += uses.pop("noise")
    return [
        ProductUnit(
            use=use,
            operands=operands,
            a_bits=units[0].a.shape().width,
            b_bits=units[0].b.shape().width
            if isinstance(units[0], Product)
            else units[0].a.shape().width,
            count=len(units),
            luts_each=_unit_luts(units[0].parameters if isinstance(units[0], Product) else None),
            uses_per_token=uses.get(use),
        )
        for use, (operands, units) in groups.items()
    ]


@lru_cache
def _unit_luts(parameters: tuple[int, bool, int, bool, int] | None) -> int:
    """LUT4-equivalents of a Product with these parameters; None: of a Square."""
    unit: Product | Square
    if parameters is None:
        unit = Square()
    else:
        a_bits, a_signed, b_bits, b_signed, addend_bits = parameters
        unit = Product(Shape(a_bits, a_signed), Shape(b_bits, b_signed), addend_bits)
    text = rtlil.convert(unit, name="product", emit_src=False, platform=Technology.ECP5)
    return luts(ecp5_cells({"product.il": text}, "product"))

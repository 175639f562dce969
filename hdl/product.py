"""Shift-and-add product: the only place where two variables are multiplied."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Shape, ShapeLike, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


def num_terms(b_shape: ShapeLike, addend_bits: int) -> int:
    """Terms of the sum: one per bit of b, and the addend."""
    return Shape.cast(b_shape).width + (addend_bits > 0)


class Product(wiring.Component):
    """o = a * b + addend, by adding a shifted to each set bit of b.

    A tree of two-input adders with a register behind each level; the sign bit of a signed b enters by subtraction.

    Ports: ``a``, ``b`` (the shapes given), ``addend`` (unsigned, if addend_bits > 0), ``o`` (exact, signed).
    Latency ``latency`` = ceil(log2(terms)); one result per cycle; never stalls; no reset, the caller carries a valid flag.
    """

    def __init__(self, a_shape: ShapeLike, b_shape: ShapeLike, addend_bits: int = 0) -> None:
        self._a_shape, self._b_shape = Shape.cast(a_shape), Shape.cast(b_shape)
        self._addend_bits = addend_bits
        a_range, b_range = (1 << s.width for s in (self._a_shape, self._b_shape))
        # Bound of |a * b| + addend, whatever the signs.
        out_bits = (a_range * b_range + (1 << addend_bits)).bit_length() + 1
        ports: dict[str, Any] = {
            "a": In(self._a_shape),
            "b": In(self._b_shape),
            "o": Out(signed(out_bits)),
        }
        if addend_bits:
            ports["addend"] = In(addend_bits)
        super().__init__(ports)
        self.latency = max(1, (num_terms(b_shape, addend_bits) - 1).bit_length())

    @property
    def parameters(self) -> tuple[int, bool, int, bool, int]:
        """Width and sign of a and of b, and the addend's bits."""
        a, b = self._a_shape, self._b_shape
        return a.width, a.signed, b.width, b.signed, self._addend_bits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Bits of b from the top, so that a sign bit stands first.
        bits = reversed(range(self._b_shape.width))
        terms: list[Value] = [Mux(self.b[j], self.a, 0) << j for j in bits]
        if self._addend_bits:
            terms.append(Value.cast(self.addend))
        sums = _add_neighbours(terms)
        if self._b_shape.signed:
            sums[0] = terms[1] - terms[0]
        sums = _register(m, sums)
        while len(sums) > 1:
            sums = _register(m, _add_neighbours(sums))
        m.d.comb += self.o.eq(sums[0])
        return m


def _add_neighbours(terms: list[Value]) -> list[Value]:
    pairs = (terms[i : i + 2] for i in range(0, len(terms), 2))
    return [pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs]


def _register(m: Module, sums: list[Value]) -> list[Value]:
    registers: list[Value] = []
    for total in sums:
        register = Signal(total.shape(), reset_less=True)
        m.d.sync += register.eq(total)
        registers.append(register)
    return registers

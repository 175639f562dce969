"""Shift-and-add product: the only place where two variables are multiplied."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.gated_adder import gated_pair
from hdl.fabric.technology import technology_of


def num_terms(b_shape: ShapeLike, addend_bits: int) -> int:
    """Terms of the sum: one per bit of b, and the addend."""
    return Shape.cast(b_shape).width + (addend_bits > 0)


def product_latency(b_shape: ShapeLike, addend_bits: int = 0) -> int:
    """Cycles from operands to their product."""
    return max(1, (num_terms(b_shape, addend_bits) - 1).bit_length())


class Product(wiring.Component):
    """o = a * b + addend, by adding a shifted to each set bit of b.

    A tree of two-input adders with a register after each level; the sign bit of a signed b enters
    by subtraction. The adders of the first level also make the partial products (``gated_pair``).

    Ports::

        a       in   a_shape    factor, of any sign
        b       in   b_shape    factor, of any sign; each of its bits is a term of the sum
        addend  in   uintN      a term more; only if addend_bits > 0
        o       out  signed(N)  the exact sum, latency cycles later

    The latency is ceil(log2(terms)), at least 1. New operands every cycle; never stalls; no reset:
    the caller carries a valid flag.
    """

    def __init__(self, a_shape: ShapeLike, b_shape: ShapeLike, addend_bits: int = 0) -> None:
        self._a_shape, self._b_shape = Shape.cast(a_shape), Shape.cast(b_shape)
        self._addend_bits = addend_bits
        a_range, b_range = (1 << s.width for s in (self._a_shape, self._b_shape))
        # Bound of |a * b| + addend, whatever the signs.
        out_bits = (a_range * b_range + (1 << addend_bits)).bit_length() + 1
        ports: dict[str, Any] = {"a": In(self._a_shape), "b": In(self._b_shape)}
        if addend_bits:
            ports["addend"] = In(addend_bits)
        super().__init__(ports | {"o": Out(signed(out_bits))})
        self.latency = product_latency(b_shape, addend_bits)

    @property
    def parameters(self) -> tuple[int, bool, int, bool, int]:
        """Width and sign of a and of b, and the addend's bits."""
        a, b = self._a_shape, self._b_shape
        return a.width, a.signed, b.width, b.signed, self._addend_bits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology = technology_of(platform)
        # Cycle 0: two partial products to a first sum: a at neighbouring weights. From the top bit
        # down, so that a sign bit is the high one of its pair.
        weights = list(reversed(range(self._b_shape.width)))
        sums: list[_Term] = []
        for n in range(0, len(weights) - 1, 2):
            high, low = weights[n], weights[n + 1]
            subtract = self._b_shape.signed and n == 0
            pair = gated_pair(m, technology, self.a, self.b[low], self.b[high], subtract=subtract)
            sums.append((pair, low))
        if len(weights) % 2:
            assert len(weights) > 1 or not self._b_shape.signed
            sums.append((Mux(self.b[0], self.a, 0), 0))
        if self._addend_bits:
            addend = (Value.cast(self.addend), 0)
            sums.append(addend if len(weights) % 2 == 0 else _add(sums.pop(), addend))
        m.d.comb += self.o.eq(add_terms(m, sums))
        return m


_Term = tuple[Value, int]
"""A summand and its weight, a power of two."""


def add_terms(m: Module, terms: list[tuple[Value, int]]) -> Value:
    """The sum of values, each shifted up by its weight.

    They pass a register, and then a level of the tree of sums in each cycle.
    """
    sums = _register(m, terms)
    while len(sums) > 1:
        pairs = (sums[n : n + 2] for n in range(0, len(sums), 2))
        sums = _register(m, [_add(*pair) if len(pair) == 2 else pair[0] for pair in pairs])
    ((total, weight),) = sums
    return total << weight


def _add(one: _Term, other: _Term) -> _Term:
    """Their sum; bits of the lower summand that the other does not reach bypass the adder."""
    (high, weight), (low, low_weight) = sorted((one, other), key=lambda term: -term[1])
    reach = weight - low_weight
    above = low[reach:].as_signed() if low.shape().signed else low[reach:]
    summed = above + high
    total = Cat(low[:reach], summed)
    return (total.as_signed() if summed.shape().signed else total), low_weight


def _register(m: Module, sums: list[_Term]) -> list[_Term]:
    registers: list[_Term] = []
    for total, weight in sums:
        register = Signal(total.shape(), reset_less=True)
        m.d.sync += register.eq(total)
        registers.append((register, weight))
    return registers

"""The sigmoid: a straight line between neighbouring entries of a table."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.adder import add_with_carry, negate_if
from hdl.arithmetic.gated_adder import gated_sum
from hdl.arithmetic.product import Product, product_latency
from hdl.fabric.pipeline import Timed
from hdl.fabric.technology import technology_of
from hdl.memory.loaded_memory import LATENCY as TABLE_LATENCY
from mmfree.contract.absmax import DEFAULT_ABSMAX_FORMATS, SIGMOID_FB, SIGMOID_STEP_FB

Z_BITS = 32
"""Signed width of what comes from a matrix, of SiLU of it, and of a state."""

SIGMOID_BITS = SIGMOID_FB + 1
"""Width of a sigmoid, 0..2^24."""

RISE_BITS = 15

PAIR = data.StructLayout({"value": SIGMOID_FB, "rise": RISE_BITS})
"""A word of the table: the sigmoid of j / 256, and by how much that of (j + 1) / 256 is higher."""

_STEP_BITS = DEFAULT_ABSMAX_FORMATS.activation_fb - SIGMOID_STEP_FB
_INDEX_BITS = 12
_RANGE_BITS = _INDEX_BITS + _STEP_BITS

TABLE_PAIRS = 1 << _INDEX_BITS

INDEX_LATENCY = 1
"""Cycles from a value to its word's address; the word comes TABLE_LATENCY cycles later."""

_ANSWERED = INDEX_LATENCY + TABLE_LATENCY
_ADDEND_BITS = SIGMOID_FB + _STEP_BITS
_DRAWN = _ANSWERED + product_latency(unsigned(_STEP_BITS), _ADDEND_BITS)

LATENCY = _DRAWN + 1


class Sigmoid(wiring.Component):
    """sigmoid(z) for P lanes (docs/arithmetic_absmax.md, 9).

    value + rnd(rise * part, 12) for |z| = (j, part) below 16, 1 from there on; 1 minus that of |z|
    for z < 0.

    Ports::

        z        in   P x int32  values, 20 fraction bits
        address  out  P x 12     j, INDEX_LATENCY = 1 cycle after z
        pair     in   P x PAIR   word j of the table, TABLE_LATENCY = 2 cycles after address
        o        out  P x 25     0..2^24, LATENCY = 8 cycles after z

    New operands every cycle; never stalls; no reset.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        super().__init__(
            {
                "z": In(data.ArrayLayout(signed(Z_BITS), width)),
                "address": Out(data.ArrayLayout(unsigned(_INDEX_BITS), width)),
                "pair": In(data.ArrayLayout(PAIR, width)),
                "o": Out(data.ArrayLayout(unsigned(SIGMOID_BITS), width)),
            }
        )
        self.products = [
            Product(unsigned(RISE_BITS), unsigned(_STEP_BITS), addend_bits=_ADDEND_BITS)
            for _ in range(width)
        ]
        self.latency = LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology = technology_of(platform)
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            z, pair = self.z[p], self.pair[p]
            # Cycle 0: the magnitude, up to 2^31.
            magnitude = Signal(Z_BITS, reset_less=True, name=f"magnitude_{p}")
            m.d.sync += magnitude.eq(add_with_carry(Const(0), negate_if(z[-1], z), z[-1]))
            negative = Timed(m, z[-1], last=_DRAWN)
            # Cycle INDEX_LATENCY: the table is asked.
            m.d.comb += self.address[p].eq(magnitude[_STEP_BITS:_RANGE_BITS])
            beyond = Timed(m, magnitude[_RANGE_BITS:].any(), first=INDEX_LATENCY, last=_DRAWN)
            part = Timed(m, magnitude[:_STEP_BITS], first=INDEX_LATENCY, last=_ANSWERED)
            # Cycle _ANSWERED: value and rise are there; value, a half and the product are added up.
            half = Const(1 << (_STEP_BITS - 1), _STEP_BITS)
            m.d.comb += [
                product.a.eq(pair.rise),
                product.b.eq(part.at(_ANSWERED)),
                product.addend.eq(Cat(half, pair.value)),
            ]
            # Cycle _DRAWN: that of |z|; 2^24 - it for z < 0, and 2^24 or 0 beyond the table.
            minus, past = negative.at(_DRAWN), beyond.at(_DRAWN)
            total = gated_sum(
                m,
                technology,
                Cat(Const(0, SIGMOID_FB), minus ^ past),
                product.o[_STEP_BITS:][:SIGMOID_BITS],
                bits=SIGMOID_BITS + 1,
                enable=~past,
                negative=minus,
                carry=minus & ~past,
            )
            m.d.sync += self.o[p].eq(total)
        return m

"""Noise: Gumbel-distributed random numbers, by which the largest logit becomes a draw from softmax."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.adder import count_ones
from hdl.loaded_memory import LoadedMemory, load_write
from hdl.pipeline import delay
from hdl.product import Product
from mmfree.design import LoadedShape
from mmfree.formats import NOISE_INDEX_BITS, TEMPERATURE_FB, TEMPERATURE_MAX, gumbel_table

REGISTERS = data.StructLayout({"a": 64, "b": 63})
"""The two shift registers; neither may be 0."""

NOISE_BITS = 16
"""Signed width of the noise: |255 * 7453| / 64 < 2^15."""

TEMPERATURE_BITS = TEMPERATURE_MAX.bit_length()
_WORD_BITS = 2 * NOISE_INDEX_BITS
_GUMBEL = LoadedShape(14, 2 << NOISE_INDEX_BITS)


class Noise(wiring.Component):
    """Noise for P rows: rnd(temperature * gumbel, 6) (docs/arithmetic.md, 14).

    Ports: ``take`` (P rows are used; the registers move on, unless the temperature is 0), ``keep`` (P flags, from the lowest up: only kept rows draw a word; fewer than
    P from one group on to the end of a token, and then P cycles without ``take`` follow); ``temperature`` (steady while a token is played); ``restart`` with ``repeat``: a
    token begins, from where the last one ended, or from where it began; ``seed_enable``, ``seed``: sets the registers (while no token is played).
    ``o`` (P int16), ``latency`` = 7 cycles after ``take``; ``load``: of the table; ``wrong``: parity of an entry that was used. One group per cycle; never stalls. After reset the registers hold 1.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self.table = LoadedMemory(
            "gumbel",
            _GUMBEL,
            reads=width,
            registered=True,
            contents=[int(value) & ((1 << _GUMBEL.bits) - 1) for value in gumbel_table()],
        )
        super().__init__(
            {
                "take": In(1),
                "keep": In(width),
                "temperature": In(TEMPERATURE_BITS),
                "restart": In(1),
                "repeat": In(1),
                "seed_enable": In(1),
                "seed": In(REGISTERS),
                "o": Out(data.ArrayLayout(signed(NOISE_BITS), width)),
                "load": In(load_write(_GUMBEL)),
                "wrong": Out(1),
            }
        )
        self.products = [
            Product(signed(_GUMBEL.bits), unsigned(TEMPERATURE_BITS), addend_bits=TEMPERATURE_FB)
            for _ in range(width)
        ]
        self.latency = 3 + self.products[0].latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = self.table
        wiring.connect(m, wiring.flipped(self.load), table.load)
        words = self._draw(m)
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            upper, lower = words[p][NOISE_INDEX_BITS:], words[p][:NOISE_INDEX_BITS]
            # Cycle 0: address; the uppermost quantile has finer ones.
            address = Signal(NOISE_INDEX_BITS + 1, reset_less=True, name=f"address_{p}")
            m.d.sync += address.eq(Mux(upper.all(), Cat(lower, Const(1, 1)), upper))
            # Cycles 1, 2: table and its output register.
            m.d.comb += [
                getattr(table, f"address_{p}").eq(address),
                product.a.eq(getattr(table, f"data_{p}")),
                product.b.eq(self.temperature),
                product.addend.eq(1 << (TEMPERATURE_FB - 1)),
                self.o[p].eq(product.o >> TEMPERATURE_FB),
            ]
        drawn = Mux(self.take & (self.temperature != 0), self.keep, 0)
        wrong = Cat(getattr(table, f"wrong_{p}") for p in range(self._width))
        m.d.comb += self.wrong.eq((delay(m, drawn, 3, reset=True) & wrong).any())
        return m

    def _draw(self, m: Module) -> list[Value]:
        """Words of the P rows taken in this cycle, and the registers behind them."""
        registers = Signal(REGISTERS, init={"a": 1, "b": 1})
        before = Signal(REGISTERS, init={"a": 1, "b": 1})
        steps = [(registers.a, registers.b)]
        for p in range(self._width):
            step = Signal(REGISTERS, name=f"step_{p}")
            m.d.comb += Cat(step.a, step.b).eq(Cat(*_advance(*steps[-1])))
            steps.append((step.a, step.b))
        # Of a last, partial group as many words count as rows: one after another, when nothing else is drawn.
        left = Signal(range(self._width + 1))
        draws = self.take & (self.temperature != 0)
        with m.If(draws & self.keep.all()):
            m.d.sync += registers.eq(Cat(*steps[-1]))
        with m.Elif(draws & self.keep.any()):
            m.d.sync += left.eq(count_ones(self.keep))
        with m.Elif(left != 0):
            m.d.sync += [registers.eq(Cat(*steps[1])), left.eq(left - 1)]
        with m.If(self.restart & self.repeat):
            m.d.sync += registers.eq(before)
        with m.Elif(self.restart):
            m.d.sync += before.eq(registers)
        with m.If(self.seed_enable):
            m.d.sync += [registers.eq(self.seed), before.eq(self.seed)]
        return [(a[:_WORD_BITS] + b[:_WORD_BITS])[:_WORD_BITS] for a, b in steps[1:]]


def _advance(a: Value, b: Value) -> tuple[Value, Value]:
    """The registers, 20 bits further: each new bit from old ones alone."""
    kept_a, kept_b = 64 - _WORD_BITS, 63 - _WORD_BITS
    new_a = a[kept_a:] ^ a[kept_a - 1 : -1] ^ a[kept_a - 3 : -3] ^ a[kept_a - 4 : -4]
    new_b = b[kept_b:] ^ b[kept_b - 1 : -1]
    return Cat(new_a, a[:kept_a]), Cat(new_b, b[:kept_b])

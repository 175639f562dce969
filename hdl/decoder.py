"""Weight decoder: from the code of the image to two bits per lane."""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mmfree.weight_codes import WEIGHT_CODES, Trits

_VALUES = (0, 1, -1)


class Decoder(wiring.Component):
    """Words of a weight code (mmfree/weight_codes.py) to R C codes of 2 bits: 0, 1, 3 for 0, +1, -1.

    Ports: ``word``; ``o``, ``LATENCY`` = 1 cycle later. One word per cycle; never stalls; no reset.
    """

    LATENCY = 1

    def __init__(self, lanes: int, code: str) -> None:
        self._lanes, self._code = lanes, WEIGHT_CODES[code]
        super().__init__({"word": In(self._code.word_bits(lanes)), "o": Out(2 * lanes)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        code = self._code
        decode = {"2": _two_bit, "1.67": _three_in_five, "1.6": _five_in_eight}[code.name]
        groups = [
            decode(m, self.word[g * code.bits :][: code.bits])
            for g in range(-(-self._lanes // code.group))
        ]
        m.d.sync += self.o.eq(Cat(groups)[: 2 * self._lanes])
        return m


def _two_bit(m: Module, code: Value) -> Value:
    return code


def _three_in_five(m: Module, code: Value) -> Value:
    return _look_up(m, code, tuple(itertools.product(_VALUES, repeat=3)))


def _five_in_eight(m: Module, code: Value) -> Value:
    ninth = code[5:].all()
    triple = Signal(5)
    m.d.comb += triple.eq(Mux(ninth, code[:5], code[3:]))
    pairs = tuple(itertools.product(_VALUES, repeat=2))
    pair = _look_up(m, Cat(code[:3], ninth), (*pairs[:8], *[pairs[8]] * 8))
    return Cat(_look_up(m, triple, tuple(itertools.product(_VALUES, repeat=3))), pair)


def _look_up(m: Module, number: Value, entries: tuple[Trits, ...]) -> Signal:
    """Two bits per trit of ``entries[number]``."""
    value = Signal(2 * len(entries[0]))
    with m.Switch(number):
        for index, trits in enumerate(entries):
            with m.Case(index):
                m.d.comb += value.eq(sum((t & 3) << 2 * place for place, t in enumerate(trits)))
    return value

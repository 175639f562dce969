"""Weight decoder: from the code of the image to two bits per lane."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mmfree.weight_codes import WEIGHT_CODES


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
        decode = {"2": _two_bit, "1.67": _triple, "1.6": _five_in_eight}[code.name]
        groups = [
            decode(self.word[g * code.bits :][: code.bits])
            for g in range(-(-self._lanes // code.group))
        ]
        m.d.sync += self.o.eq(Cat(groups)[: 2 * self._lanes])
        return m


# Each trit is (nonzero, negative). Equations, not tables: a table would be made as a ROM, of ten times the LUTs.


def _two_bit(code: Value) -> Value:
    return code


def _triple(code: Value) -> Value:
    first, second, last = code[0:2], code[2:4], code[4]
    first_marks = first[1] & ~first[0]
    second_marks = second[1] & ~second[0]
    return Cat(
        second_marks | Mux(first_marks, last, first[0]),
        second_marks | first[1] & first[0],
        Mux(second_marks, first[0], second[0]),
        Mux(second_marks, first.all(), second.all()),
        first_marks | second_marks | last,
        first_marks | second_marks,
    )


def _five_in_eight(code: Value) -> Value:
    pair, triple = code[:3], code[3:]
    ninth = triple[4] & triple[3] & ~triple[2]
    marks = pair[1] & ~pair[0]
    return Cat(
        _triple(Cat(triple[:2], Mux(ninth, pair, triple[2:]))),
        ninth | Mux(marks, pair[2], pair[0]),
        ninth | pair[:2].all(),
        ninth | marks | pair[2],
        ninth | marks,
    )

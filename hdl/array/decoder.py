"""Weight decoder: from the code of the image to two bits per lane."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_bits
from mmfree.chip.weight_codes import find_code


class Decoder(wiring.Component):
    """Words of a weight code (mmfree/chip/weight_codes.py) to two bits for each lane of a group.

    The two bits are 0, 1, 3 for 0, +1, -1. Codes of 2 bits, and int8 weights, pass as they are.

    Ports::

        words  in   G x shares      of the source: that of group g g cycles after the first's
        o      out  G x lane codes  for the array, LATENCY cycles later

    One word of each group per cycle; never stalls; no reset.
    """

    LATENCY = 1

    def __init__(self, design: Design) -> None:
        self._lanes, self._code = design.group_rows * design.columns, find_code(design.weight_code)
        self._groups, self._lane_bits = design.num_groups, design.lane_bits
        super().__init__(
            {
                "words": In(data.ArrayLayout(unsigned(group_bits(design)), self._groups)),
                "o": Out(data.ArrayLayout(unsigned(self._lane_bits * self._lanes), self._groups)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        code = self._code
        decode = {"1.67": _triple, "1.6": _five_in_eight}.get(code.name, _as_it_is)
        for group in range(self._groups):
            word = self.words[group]
            trits = [
                decode(word[n : n + code.bits])
                for n in range(0, code.word_bits(self._lanes), code.bits)
            ]
            m.d.sync += self.o[group].eq(Cat(trits)[: self._lane_bits * self._lanes])
        return m


# Each trit is (nonzero, negative). Equations, not tables: synthesis can make a table a ROM of ten
# times the LUTs (docs/log.md).


def _as_it_is(code: Value) -> Value:
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

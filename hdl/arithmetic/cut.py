"""Cut: the highest bits of integers, each with its own exponent."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import Timed
from hdl.payloads import CUT


def cut_latency(bits: int) -> int:
    """Cycles from integers of ``bits`` bits to what they are cut to."""
    return 1 + (bits - 1).bit_length()


class Cut(wiring.Component):
    """The highest bits of a magnitude and its bit length (docs/arithmetic_absmax.md, 3).

    Ports::

        value  in   P x signed(N)  integers
        o      out  P x layout     what they are cut to, ``cut_latency(N)`` cycles later

    ``layout``: CUT, or one with the same fields of other widths. Bits below the mantissa are
    dropped; of 0 all fields are 0. The latency is 6 for 17 to 32 bits, 7 for up to 64. New operands
    every cycle; never stalls; no reset.
    """

    def __init__(self, bits: int, width: int, layout: data.StructLayout = CUT) -> None:
        self._bits, self._layout = bits, layout
        assert bits < 1 << layout["exponent"].width, "the exponent holds every bit length"
        super().__init__(
            {
                "value": In(data.ArrayLayout(signed(bits), width)),
                "o": Out(data.ArrayLayout(layout, width)),
            }
        )
        self.latency = cut_latency(bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, mantissa_bits = self._bits, self._layout["mantissa"].width
        for p, (value, o) in enumerate(zip(self.value, self.o, strict=True)):
            # Cycle 0: the magnitude. That of the lowest integer has the highest bit set.
            rest = Signal(bits, reset_less=True, name=f"magnitude_{p}")
            m.d.sync += rest.eq((value ^ value[-1].replicate(bits)).as_unsigned() + value[-1])
            negative = Timed(m, value[-1], last=self.latency - 1).at(self.latency - 1)
            # From cycle 1 on: shifted up if the highest bits are 0, half as many in each cycle. A
            # level per cycle: of two at a time, synthesis makes half as many LUTs again. Only bits
            # that can still come into the mantissa are kept.
            zeros = []
            for cycle in range(1, self.latency):
                shift = 1 << self.latency - 1 - cycle
                kept = min(bits, mantissa_bits + shift - 1)
                zero = ~rest[-shift:].any()
                shifted = Mux(zero, Cat(Const(0, shift), rest)[:-shift], rest)[-kept:]
                zeros.append(Timed(m, zero, first=cycle, last=self.latency - 1))
                if cycle == self.latency - 1:
                    # With the last one, the bit length.
                    found = shifted[-1]
                    length = bits - Cat(level.at(cycle) for level in reversed(zeros))
                    m.d.sync += [
                        o.mantissa.eq(Cat(Const(0, mantissa_bits - kept), shifted)),
                        o.exponent.eq(Mux(found, length, 0)),
                        o.negative.eq(negative & found),
                    ]
                else:
                    rest = Signal(kept, reset_less=True, name=f"rest_{p}_{cycle}")
                    m.d.sync += rest.eq(shifted)
        return m

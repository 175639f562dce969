"""Quantizer: elements with exponents of their own to int8, relative to the vector's largest."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.gated_adder import gated_sum
from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.payloads import CUT
from mmfree.contract.absmax import CUT_BITS

QUOTIENT_BITS = 7
_DIVIDED = 3
"""Cycle in which elements are aligned, and their division begins."""

LATENCY = _DIVIDED + 2 + (QUOTIENT_BITS - 1) + 1

_REACH = 16
"""Columns that a copy of the divisor drives: one step of each."""


class Quantizer(wiring.Component):
    """q = sign * floor((254 a + M) / (2 M)), C elements at a time (docs/arithmetic_absmax.md, 7).

    M is the mantissa of the vector's largest element by magnitude, a that of the element, aligned
    to it. A division without restoring: seven steps, each adds or subtracts M. The first is

        127 a + floor(M / 2) - 64 M = floor(127 (2 a - M) / 2)

    and 127 times is 128 times less once. An element that is shifted by more than 8 is less than
    M / 254, which becomes 0.

    Ports::

        element  in   C x CUT   elements of a vector
        dropped  in   C         flags: an element counts as 0
        largest  in   CUT       the vector's largest by magnitude; with element
        q        out  C x int8  -127..127, LATENCY = 12 cycles after element

    One word per cycle, each with another ``largest``; never stalls; no reset.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        super().__init__(
            {
                "element": In(data.ArrayLayout(CUT, columns)),
                "dropped": In(columns),
                "largest": In(CUT),
                "q": Out(data.ArrayLayout(signed(8), columns)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology = technology_of(platform)
        divisors = self._divisors(m, technology)
        for c in range(self._columns):
            own = [of_cycle[c // _REACH] for of_cycle in divisors]
            element = self.element[c]
            aligned = _align(m, element, self.largest.exponent, self.dropped[c])
            complement = Cat(_divide(m, technology, aligned, own), Const(0, 1)).as_signed()
            # Cycle LATENCY - 1: the quotient is 127 - complement; with its sign.
            negative = delay(m, element.negative, LATENCY - 1)
            m.d.sync += self.q[c].eq(
                gated_sum(
                    m,
                    technology,
                    Const(-128, 8),
                    complement,
                    bits=8,
                    negative=~negative,
                    carry=negative,
                )
            )
        return m

    def _divisors(self, m: Module, technology: Technology) -> list[list[Value]]:
        """In each cycle of the division M, later -M; a copy for _REACH columns each."""
        # The mantissa of a largest element that is not 0 has its highest bit set. As if it had,
        # where it is 0: all elements are 0 then, and so is what they give.
        mantissa = Cat(self.largest.mantissa[:-1], Const(1, 2)).as_signed()
        first = delay(m, mantissa, _DIVIDED - 1)
        whole = copies(m, technology, first, -(-self._columns // _REACH))
        bits = CUT_BITS + 1
        of_cycle = [
            whole,
            [copies(m, technology, (-value)[:bits].as_signed(), 1)[0] for value in whole],
        ]
        for _ in range(QUOTIENT_BITS - 1):
            of_cycle.append([copies(m, technology, last, 1)[0] for last in of_cycle[-1]])
        return of_cycle


def rounds_to_nothing(shift: Value) -> Value:
    """An element counts as 0 because of its shift: more than 8, or less than 0."""
    return shift[4:].any() | (shift[3] & shift[:3].any())


def _align(
    m: Module, element: data.View[data.StructLayout], exponent: Value, dropped: Value
) -> Value:
    """The mantissa, shifted right to ``exponent``, in cycle _DIVIDED."""
    # Cycle 0: by how much. Below 0 there are only elements that are dropped.
    shift = Signal(len(exponent) + 1, reset_less=True)
    m.d.sync += shift.eq(exponent - element.exponent)
    mantissa, gone = delay(m, element.mantissa, 1), delay(m, dropped, 1)
    # Cycle 1: by 4 or 8, or by more than is left of it.
    gone |= rounds_to_nothing(shift)
    coarse = Signal(CUT_BITS, reset_less=True)
    shifted = Mux(shift[3], mantissa >> 8, Mux(shift[2], mantissa >> 4, mantissa))
    m.d.sync += coarse.eq(Mux(gone, 0, shifted))
    # Cycle 2: by 0 to 3.
    ones = delay(m, shift[:2], 1)
    twos = Mux(ones[1], coarse >> 2, coarse)
    fine = Signal(CUT_BITS, reset_less=True)
    m.d.sync += fine.eq(Mux(ones[0], twos >> 1, twos))
    return fine


def _divide(m: Module, technology: Technology, a: Value, divisors: list[Value]) -> Value:
    """Complement of the quotient's bits, in cycle LATENCY - 1.

    ``divisors``: M in cycle _DIVIDED, and -M from then on.
    """
    bits = CUT_BITS + 1
    # Cycle _DIVIDED: -d = M - 2 a.
    opposite = Signal(signed(bits), reset_less=True)
    m.d.sync += opposite.eq(divisors[0] - (a << 1))
    # Cycle _DIVIDED + 1: floor(127 d / 2) = floor((-d + 128 d) / 2). Of the dividend, ``rest`` has
    # the bits that no step has reached yet; those of the quotient follow them.
    remainder = Signal(signed(bits), reset_less=True)
    rest = Signal(QUOTIENT_BITS - 1, reset_less=True)
    m.d.sync += [
        remainder.eq((opposite >> QUOTIENT_BITS) - opposite),
        rest.eq(opposite[1:QUOTIENT_BITS]),
    ]
    # A step in each of the next cycles: M is added to what is negative, and else subtracted.
    for divisor in divisors[2:]:
        negative, twice = remainder[-1], Cat(rest[-1], remainder[:-1]).as_signed()
        total = gated_sum(m, technology, twice, divisor, bits=bits, negative=negative)
        following = Cat(negative, rest[:-1])
        remainder = Signal(signed(bits), reset_less=True)
        rest = Signal(QUOTIENT_BITS - 1, reset_less=True)
        m.d.sync += [remainder.eq(total), rest.eq(following)]
    return Cat(remainder[-1], rest)

"""Sums of squares of cut elements, exact: bins by exponent, added up when they are read."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.gated_adder import gated_sum
from hdl.arithmetic.unsigned_square import UnsignedSquare, square_latency
from hdl.fabric.pipeline import Timed, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.payloads import CUT, values_layout
from mmfree.chip.design import Design
from mmfree.contract.absmax import CUT_BITS, CUT_EXPONENT_BITS, SCALAR_BITS, SQUARE_BITS

_FINE_BITS = 4
"""Low bits of an exponent that a square is shifted by; the others are the number of its bin."""

_SPAN = 2 << _FINE_BITS
"""Binary places from a bin to the next."""

_BINS = 6
"""Exponents are below 88."""

_PLACE_BITS = CUT_EXPONENT_BITS - _FINE_BITS + 1
"""Of a bin in the memory: its number, and which vector it is of."""

_SHIFTED = 1 + square_latency(SQUARE_BITS) + 2
LATENCY = _SHIFTED + 2
"""Cycles from an element until its square is in the sum."""

_STEP = 4
"""Cycles in which a bin is read and added."""


def sum_bits(design: Design) -> int:
    """Bits of a bin: as many squares as a vector has elements, each at most 2^66."""
    most = max(design.max_width, design.embedding_width)
    return 2 * SQUARE_BITS + 2 * ((1 << _FINE_BITS) - 1) + most.bit_length()


def read_cycles(design: Design) -> int:
    """Cycles from ``start`` to the sum: bins, then shifts to the highest bit of the mantissa."""
    lowest = 2 * SQUARE_BITS - 1
    return 1 + _STEP * _BINS * design.post_width + sum_bits(design) - lowest


class SquareGroup(wiring.Signature):
    """P cut elements to be squared, seen from their writer; those of padding are 0.

    Members::

        valid    out  1        there are some
        of_base  out  1        of the base, not of what the segment's vector is scaled by
        element  out  P x CUT  the elements
    """

    def __init__(self, design: Design) -> None:
        elements = values_layout(design, design.post_width, CUT)
        super().__init__({"valid": Out(1), "of_base": Out(1), "element": Out(elements)})


class SumRead(wiring.Signature):
    """A read of a sum of squares as a scalar, seen from the reader.

    Members::

        start     out  1         read it
        of_base   out  1         of the base; with start
        clear     out  1         both sums become 0; nothing is read any more
        mantissa  in   31        ``read_cycles`` after start, until the next; 0: the sum is 0
        exponent  in   signed 9  likewise; the sum is mantissa * 2^(exponent - 36)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": Out(1),
                "of_base": Out(1),
                "clear": Out(1),
                "mantissa": In(SCALAR_BITS),
                "exponent": In(signed(9)),
            }
        )


class SquareBins(wiring.Component):
    """Sums of r^2 * 2^(2 (E mod 16)) by E / 16, where r is an element's mantissa in 18 bits.

    Each sum is in two halves, of which the upper one is added a cycle later.

    Ports::

        valid    in   1    an element comes
        of_base  in   1    it belongs to the base
        element  in   CUT  the element
        clear    in   1    all bins are empty
        reading  in   1    nothing is added; the bin at ``place`` is read
        place    in   4    number of the bin, and 8 for the base's; stable for 4 cycles
        carried  in   W    added to it as it is read; otherwise 0. Stable likewise
        used     out  1    that bin is not empty
        total    out  W    its sum with what is carried, 3 cycles after both

    One element per cycle; never stalls. After reset all bins are empty.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        super().__init__(
            {
                "valid": In(1),
                "of_base": In(1),
                "element": In(CUT),
                "clear": In(1),
                "reading": In(1),
                "place": In(_PLACE_BITS),
                "carried": In(bits),
                "used": Out(1),
                "total": Out(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, technology = self._bits, technology_of(platform)
        exponents = Timed(m, self.element.exponent, last=_SHIFTED)
        base = Timed(m, self.of_base, last=_SHIFTED)
        valid = Timed(m, self.valid, last=_SHIFTED, reset=True)
        # Cycle 0: rounded. 2^18 itself has a bit of its own.
        drop = CUT_BITS - SQUARE_BITS
        rounded = Signal(SQUARE_BITS + 1, reset_less=True)
        mantissa = self.element.mantissa
        m.d.sync += rounded.eq(mantissa[drop:] + mantissa[drop - 1])
        # Cycle 1 and on: the square.
        m.submodules.square = square = UnsignedSquare(SQUARE_BITS)
        m.d.comb += square.a.eq(rounded[:SQUARE_BITS])
        squared = Cat(square.o, delay(m, rounded[SQUARE_BITS], square.latency))
        # Cycle _SHIFTED - 2: shifted by up to 6. A cycle later: by multiples of 8. While bins are
        # read no square is here, and what is carried takes its place.
        fine = Signal(len(squared) + 6, reset_less=True)
        coarse = Signal(len(squared) + 2 * ((1 << _FINE_BITS) - 1))
        addend = Signal(bits, reset_less=True)
        m.d.sync += fine.eq(_shifted(squared, exponents.at(_SHIFTED - 2)[:2], 2))
        with m.If(~valid.at(_SHIFTED - 2)):
            m.d.sync += fine.eq(0)
        m.d.comb += coarse.eq(_shifted(fine, exponents.at(_SHIFTED - 1)[2:_FINE_BITS], 8))
        m.d.sync += addend.eq(coarse | self.carried)
        # Cycle _SHIFTED: the lower half of the sum. A cycle later: the upper one.
        number = Cat(exponents.at(_SHIFTED)[_FINE_BITS:], base.at(_SHIFTED))
        at = Signal(_PLACE_BITS)
        begun = Signal(1 << _PLACE_BITS)
        here = Signal()
        m.d.comb += [
            at.eq(Mux(self.reading, self.place, number)),
            here.eq(begun.bit_select(at, 1)),
            self.used.eq(here),
        ]
        adds = Signal()
        m.d.comb += adds.eq(valid.at(_SHIFTED) & ~self.reading)
        for n in range(1 << _PLACE_BITS):
            with m.If(adds & (at == n)):
                m.d.sync += begun[n].eq(1)
        with m.If(self.clear):
            m.d.sync += begun.eq(0)
        low = _add_to(m, technology, "low", at, addend[: bits // 2], here, Const(0, 1), adds)
        high = _add_to(
            m,
            technology,
            "high",
            delay(m, at, 1),
            delay(m, addend[bits // 2 :], 1),
            delay(m, here, 1),
            delay(m, low[-1], 1),
            delay(m, adds, 1, reset=True),
        )
        # Cycle LATENCY: both.
        half = len(low) - 1
        m.d.sync += self.total.eq(Cat(delay(m, low[:half], 1), high[: bits - half]))
        return m


def _shifted(value: Value, number: Value, unit: int) -> Value:
    """``value`` shifted up by 0 to 3 units.

    By ``Mux``: 0 stays 0 even in a simulator that knows of undefined numbers, which those of
    elements that do not count are.
    """
    none, one, two, three = (Cat(Const(0, n * unit), value) for n in range(4))
    return Mux(number[1], Mux(number[0], three, two), Mux(number[0], one, none))


def _add_to(
    m: Module,
    technology: Technology,
    name: str,
    place: Value,
    addend: Value,
    used: Value,
    carry: Value,
    enable: Value,
) -> Value:
    """Add to a word of a memory, or begin it; returns the sum and its carry, in the same cycle."""
    words = memory.Memory(
        shape=len(addend), depth=1 << len(place), init=[], attrs={"ram_style": "distributed"}
    )
    m.submodules[name] = words
    write, read = words.write_port(), words.read_port(domain="comb")
    total = Signal(len(addend) + 1, name=f"{name}_sum")
    m.d.comb += [
        read.addr.eq(place),
        total.eq(
            gated_sum(
                m,
                technology,
                Cat(addend, Const(0, 1)),
                Cat(read.data, Const(0, 1)),
                bits=len(total),
                enable=used,
                carry=carry,
            )
        ),
        write.addr.eq(place),
        write.data.eq(total[:-1]),
        write.en.eq(enable),
    ]
    return total


class Squares(wiring.Component):
    """Two exact sums of squares, of P elements at a time, each read as a scalar.

    Of elements M 2^(E - 28), the sum of r^2 2^(2 E - 36) with r = floor(M / 2^10 + 1/2); of a
    scalar's mantissa the highest 31 bits of the exact sum (docs/arithmetic_absmax.md, 5).

    Ports::

        group  in  SquareGroup  elements
        read   in  SumRead      the sums; not while elements come, or in LATENCY cycles after one

    One group per cycle; never stalls. After reset both sums are 0.
    """

    def __init__(self, design: Design) -> None:
        self._bits = sum_bits(design)
        super().__init__({"group": In(SquareGroup(design)), "read": In(SumRead())})
        self.lanes = [SquareBins(self._bits) for _ in range(design.post_width)]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, last_lane = self._bits, len(self.lanes) - 1
        place = Signal(_PLACE_BITS)
        lane = Signal(range(max(2, len(self.lanes))))
        phase = Signal(range(_STEP))
        reading = Signal()
        carried = Signal(bits)
        total = Signal(bits)
        seen = Signal()
        read = self.read
        for n, bins in enumerate(self.lanes):
            m.submodules[f"bins_{n}"] = bins
            m.d.comb += [
                bins.valid.eq(self.group.valid),
                bins.of_base.eq(self.group.of_base),
                bins.element.eq(self.group.element[n]),
                bins.clear.eq(read.clear),
                bins.reading.eq(reading),
                bins.place.eq(place),
                bins.carried.eq(carried),
            ]
        summed = Array(bins.total for bins in self.lanes)[lane]
        used = seen | Array(bins.used for bins in self.lanes)[lane]
        ends_bin = lane == last_lane
        m.d.comb += [
            read.mantissa.eq(total[-SCALAR_BITS:]),
        ]
        with m.If(reading):
            m.d.sync += phase.eq(phase + 1)
            with m.If(phase == _STEP - 1):
                # What a bin and those below it give is carried into the next one; of the highest
                # bin that is not empty it is the sum.
                m.d.sync += [
                    carried.eq(Mux(ends_bin, summed >> _SPAN, summed)),
                    seen.eq(used & ~ends_bin),
                    lane.eq(Mux(ends_bin, 0, lane + 1)),
                ]
                with m.If(ends_bin):
                    m.d.sync += place[:-1].eq(place[:-1] + 1)
                    with m.If(used):
                        m.d.sync += [
                            total.eq(summed),
                            read.exponent.eq(Cat(Const(0, 5), place[:-1]) + bits - SCALAR_BITS),
                        ]
                    with m.If(place[:-1] == _BINS - 1):
                        m.d.sync += [reading.eq(0), carried.eq(0)]
        with m.Elif(~total[-1]):
            m.d.sync += [total.eq(total << 1), read.exponent.eq(read.exponent - 1)]
        with m.If(read.start):
            m.d.sync += [
                reading.eq(1),
                place.eq(Cat(Const(0, _PLACE_BITS - 1), read.of_base)),
                lane.eq(0),
                phase.eq(0),
                seen.eq(0),
                carried.eq(0),
                total.eq(0),
            ]
        with m.If(read.clear):
            m.d.sync += [reading.eq(0), carried.eq(0)]
        return m

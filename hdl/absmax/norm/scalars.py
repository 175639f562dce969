"""Scalars: from two sums of squares and the largest elements to a factor for each matrix."""

from __future__ import annotations

import enum
import math

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.norm.largest import largest_levels
from hdl.absmax.norm.squares import LATENCY as SQUARES_LATENCY
from hdl.absmax.norm.squares import SumRead, read_cycles
from hdl.arithmetic.gated_adder import gated_sum
from hdl.arithmetic.reciprocal_root import LATENCY as ROOT_LATENCY
from hdl.arithmetic.reciprocal_root import ReciprocalRoot
from hdl.fabric.pipeline import delay
from hdl.fabric.technology import Technology, technology_of
from hdl.interface import CurrentSegment, NormScale
from hdl.payloads import CUT, EARLY, FACTOR_BITS, GATES_KIND, OUTPUT_KIND
from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, MATRICES_PER_SEGMENT
from mmfree.contract.absmax import CONSTANT_BITS, CUT_BITS, PROJECTION_EPS, SCALAR_BITS

_EPS, _EPS_EXPONENT = math.frexp(PROJECTION_EPS)
_EPS_MANTISSA = math.floor(_EPS * 2**SCALAR_BITS)
_EPS_EXPONENT -= SCALAR_BITS

_BASE_EXPONENT, _OUTPUT_BASE_EXPONENT = -36 - 2 * 18, -36 - 2 * 20
"""Exponents of the sum of squares of a base: of x with 18 fraction bits, of g with 20."""

_EXPONENT_BITS = 12

MOST_SHIFT = 62
"""Largest shift of a product with a factor: it makes all 0."""


def start_cycles(design: Design) -> int:
    """Cycles from a segment's load until all squares of its vector are in the sums.

    Its last ones come a cycle after the vector's last write.
    """
    return EARLY - largest_levels(design) + SQUARES_LATENCY


def norm_latency(design: Design) -> int:
    """Cycles from a segment's load until ``done``."""
    read = read_cycles(design)
    base = read + max(read, SCALAR_BITS + 3)
    sums = 2 * (SCALAR_BITS + 3) + 1
    factors = MATRICES_PER_SEGMENT * (CONSTANT_BITS + CUT_BITS + 7)
    return start_cycles(design) + 1 + base + sums + ROOT_LATENCY + factors


class _State(enum.IntEnum):
    """What is done, in the order in which it is."""

    IDLE = 0
    READ_BASE = 1
    MULTIPLY_EPS = 2
    CUT_EPS = 3
    READ_SUM = 4
    COMPARE = 5
    ALIGN = 6
    ADD = 7
    CUT_SUM = 8
    HALVE = 9
    HALVE_EVEN = 10
    ROOT = 11
    TAKE_ROOT = 12
    MULTIPLY_CONSTANT = 13
    CUT_CONSTANT = 14
    TAKE_PRODUCT = 15
    MULTIPLY_LARGEST = 16
    CUT_LARGEST = 17
    STORE = 18


class _Datapath:
    """What the states work on.

    ``p`` is added to by steps, and each halves it: p = (p + x * bit) / 2, ``below`` being the bit
    that this drops. So a product with the bits of a number, from the lowest up, leaves its highest
    bits; an addition is one step, and a shift down is one with a bit of 0. A cut shifts up by one
    where the highest bit is 0.

    ``x``: the multiplicand, or a summand. ``number``: a flag for each bit of the multiplier, of
    which that of the next one is set. ``exponent``: of p; ``x_exponent``: of x. ``distance``: left
    to align a summand, x if ``x_is_smaller``, or p. ``second``: the second sum is made.
    ``dropped``: bits that a factor lost less than usual. ``steps``, ``cuts``, ``clears``: what p
    does in this cycle.
    """

    def __init__(self, design: Design) -> None:
        exponent = signed(_EXPONENT_BITS)
        self.state = Signal(range(len(_State)))
        self.left = Signal(range(max(read_cycles(design), ROOT_LATENCY)))
        self.matrix = Signal(range(MATRICES_PER_SEGMENT))
        self.number = Signal(SCALAR_BITS + 1, init=1)
        self.x, self.p = Signal(SCALAR_BITS), Signal(SCALAR_BITS)
        self.bit, self.below = Signal(), Signal()
        self.exponent, self.x_exponent = Signal(exponent), Signal(exponent)
        self.distance, self.x_is_smaller = Signal(exponent), Signal()
        self.second = Signal()
        self.dropped = Signal(signed(3))
        self.steps, self.cuts, self.clears = Signal(), Signal(), Signal()

    @property
    def normal(self) -> Value:
        """The highest bit of p is set: a cut leaves it as it is."""
        return self.p[-1]

    def elaborate(self, m: Module, technology: Technology) -> None:
        total = Signal(SCALAR_BITS + 1)
        summands = (Cat(value, Const(0, 1)) for value in (self.p, self.x))
        m.d.comb += total.eq(gated_sum(m, technology, *summands, bits=len(total), enable=self.bit))
        with m.If(self.steps):
            m.d.sync += [self.p.eq(total[1:]), self.below.eq(total[0])]
        with m.Elif(self.cuts & ~self.normal):
            m.d.sync += self.p.eq(Cat(self.below, self.p[:-1]))
        with m.If(self.clears):
            m.d.sync += [self.p.eq(0), self.below.eq(0), self.number.eq(1)]

    def next_bit(self, multiplier: Value) -> Value:
        """With flags in place of a binary number, a LUT takes two bits."""
        return (multiplier & self.number[: len(multiplier)]).any()

    def multiply(self, m: Module, next_bit: Value, bits: int, following: _State) -> None:
        """Each bit of the multiplier comes a cycle before its step."""
        m.d.comb += self.steps.eq(~self.number[0])
        m.d.sync += [self.bit.eq(next_bit), self.number.eq(self.number << 1)]
        with m.If(self.number[bits]):
            m.d.sync += self.state.eq(following)


class Scalars(wiring.Component):
    """F and shift of each matrix, by a serial unit (docs/arithmetic_absmax.md, 4, 6 and 8).

    Ports::

        segment  in   CurrentSegment  its constants; load: another vector begins
        largest  in   3 x CUT         the largest element of each vector, stable
        sums     out  SumRead         the sums of squares
        scale    out  NormScale       done ``norm_latency`` cycles after load

    The sums are cleared when they have been read, and when a token begins. Factors of matrices
    that the segment does not have are anything. After reset the scale is not done.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        super().__init__(
            {
                "segment": In(CurrentSegment(design)),
                "largest": In(data.ArrayLayout(CUT, MATRICES_PER_SEGMENT)),
                "sums": Out(SumRead()),
                "scale": Out(NormScale(design)),
            }
        )
        self.root = ReciprocalRoot()
        self.latency = norm_latency(design)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.root = root = self.root
        path = _Datapath(self._design)
        path.elaborate(m, technology_of(platform))
        m.d.comb += root.divisor.eq(path.p)
        m.d.sync += path.left.eq(path.left - 1)
        with m.Switch(path.state):
            self._begin(m, path)
            self._scale_base(m, path)
            self._add(m, path)
            self._take_root(m, path)
            self._multiply(m, path)
        self._store(m, path)
        with m.If(self.segment.load):
            m.d.sync += self.scale.done.eq(0)
        # A pass that failed may have left something.
        embedding = self.segment.header.kind == KIND_CODES["embedding"]
        with m.If(delay(m, self.segment.load, 1, reset=True) & embedding):
            m.d.comb += self.sums.clear.eq(1)
            m.d.sync += path.state.eq(_State.IDLE)
        return m

    def _begin(self, m: Module, path: _Datapath) -> None:
        starts = delay(m, self.segment.load, start_cycles(self._design), reset=True)
        with m.Case(_State.IDLE):
            m.d.sync += path.left.eq(read_cycles(self._design) - 1)
            m.d.comb += self.sums.of_base.eq(1)
            with m.If(starts & (self.segment.header.kind != KIND_CODES["embedding"])):
                m.d.comb += self.sums.start.eq(1)
                m.d.sync += path.state.eq(_State.READ_BASE)

    def _scale_base(self, m: Module, path: _Datapath) -> None:
        """p = EPS * S_b; meanwhile the other sum is read."""
        sums, header = self.sums, self.segment.header
        with m.Case(_State.READ_BASE):
            own = Mux(header.kind == OUTPUT_KIND, _OUTPUT_BASE_EXPONENT, _BASE_EXPONENT)
            m.d.comb += path.clears.eq(1)
            m.d.sync += [
                path.x.eq(sums.mantissa),
                path.exponent.eq(sums.exponent + own + (_EPS_EXPONENT + SCALAR_BITS)),
            ]
            with m.If(path.left == 0):
                m.d.comb += sums.start.eq(1)
                m.d.sync += [
                    path.left.eq(read_cycles(self._design) - 1),
                    path.state.eq(_State.MULTIPLY_EPS),
                ]
        with m.Case(_State.MULTIPLY_EPS):
            eps = Const(_EPS_MANTISSA, SCALAR_BITS)
            path.multiply(m, path.next_bit(eps), SCALAR_BITS, _State.CUT_EPS)
        with m.Case(_State.CUT_EPS):
            m.d.comb += path.cuts.eq(1)
            m.d.sync += [
                path.exponent.eq(path.exponent - ~path.normal),
                path.state.eq(_State.READ_SUM),
            ]
        with m.Case(_State.READ_SUM):
            m.d.sync += [
                path.x.eq(sums.mantissa),
                path.x_exponent.eq(sums.exponent + header.square_exponent),
                path.second.eq(0),
            ]
            with m.If(path.left == 0):
                m.d.comb += sums.clear.eq(1)
                m.d.sync += path.state.eq(_State.COMPARE)

    def _add(self, m: Module, path: _Datapath) -> None:
        """p = p + x: first the sums, then with the offset."""
        header = self.segment.header
        with m.Case(_State.COMPARE):
            distance = Signal.like(path.distance)
            x_is_smaller = Signal()
            m.d.comb += [
                distance.eq(path.x_exponent - path.exponent),
                # A scalar 0 is the smaller one, whatever its exponent is.
                x_is_smaller.eq(~path.x[-1] | (path.normal & distance[-1])),
            ]
            m.d.sync += [
                path.distance.eq(distance),
                path.x_is_smaller.eq(x_is_smaller),
                path.exponent.eq(Mux(x_is_smaller, path.exponent, path.x_exponent)),
                path.bit.eq(0),
                path.number.eq(1),
                path.state.eq(_State.ALIGN),
            ]
        with m.Case(_State.ALIGN):
            m.d.sync += path.number.eq(path.number << 1)
            with m.If(path.distance != 0):
                m.d.sync += path.distance.eq(path.distance + Mux(path.distance[-1], 1, -1))
                m.d.comb += path.steps.eq(~path.x_is_smaller)
                with m.If(path.x_is_smaller):
                    m.d.sync += path.x.eq(path.x >> 1)
            with m.If(path.number[SCALAR_BITS - 1]):
                m.d.sync += [path.bit.eq(1), path.state.eq(_State.ADD)]
        with m.Case(_State.ADD):
            m.d.comb += path.steps.eq(1)
            m.d.sync += [path.exponent.eq(path.exponent + 1), path.state.eq(_State.CUT_SUM)]
        with m.Case(_State.CUT_SUM):
            surplus = SCALAR_BITS - CONSTANT_BITS
            m.d.comb += path.cuts.eq(1)
            m.d.sync += [
                path.exponent.eq(path.exponent - ~path.normal),
                path.x.eq(header.offset << surplus),
                path.x_exponent.eq(header.offset_exponent - surplus),
                path.bit.eq(0),
                path.second.eq(1),
                path.state.eq(Mux(path.second, _State.HALVE, _State.COMPARE)),
            ]

    def _take_root(self, m: Module, path: _Datapath) -> None:
        """p becomes m >> r, and the root is made of it; the exponent stays."""
        with m.Case(_State.HALVE):
            m.d.comb += path.steps.eq(1)
            m.d.sync += path.state.eq(_State.HALVE_EVEN)
        with m.Case(_State.HALVE_EVEN):
            m.d.comb += [path.steps.eq(~path.exponent[0]), self.root.start.eq(1)]
            m.d.sync += [path.left.eq(ROOT_LATENCY - 2), path.state.eq(_State.ROOT)]
        with m.Case(_State.ROOT):
            m.d.sync += path.matrix.eq(0)
            with m.If(path.left == 0):
                m.d.sync += path.state.eq(_State.TAKE_ROOT)

    def _multiply(self, m: Module, path: _Datapath) -> None:
        """p = C' * R', cut, and that times M', cut: for each matrix."""
        header, root = self.segment.header, self.root.root
        with m.Case(_State.TAKE_ROOT):
            # Of 2^24, the only root of 25 bits, the highest bit is that of the others.
            m.d.comb += path.clears.eq(1)
            mantissa = Cat(root[:-2], root[-1] | root[-2])
            m.d.sync += [
                path.x.eq(mantissa << SCALAR_BITS - len(mantissa)),
                path.dropped.eq(-root[-1]),
                path.state.eq(_State.MULTIPLY_CONSTANT),
            ]
        with m.Case(_State.MULTIPLY_CONSTANT):
            bits = [path.next_bit(constant) for constant in header.multiplier]
            path.multiply(m, Array(bits)[path.matrix], CONSTANT_BITS, _State.CUT_CONSTANT)
        with m.Case(_State.CUT_CONSTANT):
            m.d.comb += path.cuts.eq(1)
            m.d.sync += [
                path.dropped.eq(path.dropped + ~path.normal),
                path.state.eq(_State.TAKE_PRODUCT),
            ]
        with m.Case(_State.TAKE_PRODUCT):
            m.d.comb += path.clears.eq(1)
            m.d.sync += [path.x.eq(path.p), path.state.eq(_State.MULTIPLY_LARGEST)]
        with m.Case(_State.MULTIPLY_LARGEST):
            bits = [path.next_bit(one.mantissa) for one in self.largest]
            path.multiply(m, Array(bits)[self._vector(path)], CUT_BITS, _State.CUT_LARGEST)
        with m.Case(_State.CUT_LARGEST):
            m.d.comb += path.cuts.eq(1)
            m.d.sync += [
                path.dropped.eq(path.dropped + ~path.normal),
                path.state.eq(_State.STORE),
            ]
        with m.Case(_State.STORE):
            m.d.sync += [path.matrix.eq(path.matrix + 1), path.state.eq(_State.TAKE_ROOT)]
            with m.If(path.matrix == MATRICES_PER_SEGMENT - 1):
                m.d.sync += [self.scale.done.eq(1), path.state.eq(_State.IDLE)]

    def _vector(self, path: _Datapath) -> Value:
        """Which of the vectors the matrix reads: only gates have one for each."""
        return Mux(self.segment.header.kind == GATES_KIND, path.matrix, 0)

    def _store(self, m: Module, path: _Datapath) -> None:
        """The factor of a matrix, and its shift.

        The exponents of root, constant and largest element, and what the products dropped, add up
        to base + floor(e / 2) + 15 - E, e being the exponent under the root.
        """
        bits = signed(_EXPONENT_BITS)
        of_root, of_largest, shift = Signal(bits), Signal(bits), Signal(bits)
        # Arrays, not indices of the views: Amaranth makes the latter with $mul cells.
        bases = Array(base for base in self.segment.header.base)
        exponents = Array(one.exponent for one in self.largest)
        # All but ``dropped`` is there long before it is needed.
        m.d.sync += [
            of_root.eq(bases[path.matrix] + (path.exponent >> 1) + 15),
            of_largest.eq(of_root - exponents[self._vector(path)]),
        ]
        above = shift[6:].any() | shift[:6].all()
        m.d.comb += shift.eq(of_largest + path.dropped)
        for n in range(MATRICES_PER_SEGMENT):
            with m.If((path.state == _State.STORE) & (path.matrix == n)):
                m.d.sync += [
                    self.scale.multipliers[n].eq(path.p[SCALAR_BITS - FACTOR_BITS :]),
                    self.scale.shifts[n].eq(Mux(shift[-1], 0, Mux(above, MOST_SHIFT, shift))),
                ]

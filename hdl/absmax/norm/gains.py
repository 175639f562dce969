"""Gain unit: elements times the gains of the matrices that read them, and of the norm between."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.norm.elements import Elements, vector_words
from hdl.absmax.norm.largest import largest_levels
from hdl.absmax.norm.squares import SquareGroup
from hdl.arithmetic.cut import Cut, cut_latency
from hdl.arithmetic.product import Product, product_latency
from hdl.fabric.pipeline import Timed
from hdl.interface import GroupWrite
from hdl.memory.parameters import LATENCY as GAIN_LATENCY
from hdl.memory.parameters import ParameterRead
from hdl.payloads import CUT, EARLY, vector_groups
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT
from mmfree.contract.absmax import CUT_BITS, CUT_EXPONENT_BITS, GAIN_BITS

GAIN = data.StructLayout({"mantissa": GAIN_BITS, "exponent": 5, "negative": 1})
"""A gain as its highest bits: all of them."""

_MULTIPLIED = 1 + GAIN_LATENCY + cut_latency(GAIN_BITS)
_PRODUCT = _MULTIPLIED + product_latency(GAIN_BITS)
LATENCY = _PRODUCT + 1
"""Cycles, counted from the arrival of a group, of its first turn: its elements meet their gains;
the products are there; they are written.
"""

TURN_BITS = 2


class GainUnit(wiring.Component):
    """v = cut(M * gain * 2^e) of each element, in T turns (docs/arithmetic_absmax.md, 3).

    T is 4 for a vector that three matrices read, then the norm; 2 for one matrix and the norm; 1
    for one matrix alone. Products for matrices are written, each in its slot; that for the norm is
    squared, and so is the base; where there is no norm, the base alone, in place of such a product.

    Ports::

        elements     in   Elements       groups of P elements: cycle 0 of each
        turns        in   2              log2 T, stable while groups come
        gains        out  ParameterRead  P gains for each turn, from the cycle after a group on
        write        out  GroupWrite     v, LATENCY + turn cycles after its group
        slot         out  2              the matrix that v is for, with write
        squares      out  SquareGroup    as long after it: u in the last turn, base in the first
        vector_done  out  1              EARLY - ``largest_levels`` cycles before the last write

    Groups of padding meet gains, but are not written. A group per T cycles; never stalls. After
    reset nothing is in progress.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        self._early = EARLY - largest_levels(design)
        super().__init__(
            {
                "elements": In(Elements(design)),
                "turns": In(TURN_BITS),
                "gains": Out(ParameterRead(design)),
                "write": Out(GroupWrite(design, vector_groups(design, vector_words(design)), CUT)),
                "slot": Out(range(MATRICES_PER_SEGMENT)),
                "squares": Out(SquareGroup(design)),
                "vector_done": Out(1),
            }
        )
        width = design.post_width
        self.cut = Cut(GAIN_BITS, width, GAIN)
        self.products = [Product(CUT_BITS, GAIN_BITS) for _ in range(width)]
        assert self.products[0].latency == _PRODUCT - _MULTIPLIED

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.cut = cut = self.cut
        last_turn = Signal(TURN_BITS)
        m.d.comb += last_turn.eq((1 << self.turns) - 1)
        busy, turn, held = self._turns(m, last_turn)
        one_turn = last_turn == 0
        kept = held.keep.any()
        # Cycle 1: a turn begins. Its gain comes, and is shifted up, while its elements wait.
        for_norm = ~one_turn & (turn == last_turn)
        writes = Timed(m, busy & ~for_norm & kept, first=1, last=LATENCY, reset=True)
        squared = Timed(m, busy & (for_norm | (turn == 0)), first=1, last=LATENCY, reset=True)
        of_base = Timed(m, ~for_norm & ~one_turn, first=1, last=LATENCY)
        takes_base = Timed(m, ~for_norm, first=1, last=_PRODUCT)
        last = busy & held.end & (turn == Mux(one_turn, 0, last_turn - 1))
        slot = Timed(m, turn, first=1, last=LATENCY)
        group = Timed(m, self._place(turn, held.group), first=1, last=LATENCY)
        ended = Timed(m, last, first=1, last=LATENCY + max(0, -self._early), reset=True)
        value = Timed(m, held.value, first=1, last=_MULTIPLIED)
        base = Timed(m, held.base, first=1, last=_PRODUCT)
        m.d.comb += [
            self.gains.next.eq(busy),
            cut.value.eq(self.gains.values),
            self.write.enable.eq(writes.at(LATENCY)),
            self.write.group.eq(group.at(LATENCY)),
            self.write.keep.eq(~0),
            self.slot.eq(slot.at(LATENCY)),
            self.squares.valid.eq(squared.at(LATENCY)),
            self.squares.of_base.eq(of_base.at(LATENCY)),
            self.vector_done.eq(ended.at(LATENCY - self._early)),
        ]
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            # Cycle _MULTIPLIED: elements and gains.
            x, gain = value.at(_MULTIPLIED)[p], cut.o[p]
            m.d.comb += [product.a.eq(x.mantissa), product.b.eq(gain.mantissa)]
            # One less than the bit length of the product, or the length itself.
            length = Signal(CUT_EXPONENT_BITS, reset_less=True, name=f"length_{p}")
            m.d.comb += length.eq(x.exponent + gain.exponent - 1)
            length = Timed(m, length, first=_MULTIPLIED, last=_PRODUCT)
            negative = Timed(m, x.negative ^ gain.negative, first=_MULTIPLIED, last=_PRODUCT)
            # Cycle _PRODUCT: the highest bit of two is set, unless a factor is 0.
            top = CUT_BITS + GAIN_BITS - 1
            high, found = product.o[top], product.o[top] | product.o[top - 1]
            v = self.write.data[p]
            m.d.sync += [
                v.mantissa.eq(
                    Mux(
                        high,
                        product.o[top + 1 - CUT_BITS : top + 1],
                        product.o[top - CUT_BITS : top],
                    )
                ),
                v.exponent.eq(Mux(found, length.at(_PRODUCT) + high, 0)),
                v.negative.eq(found & negative.at(_PRODUCT)),
            ]
            own = Signal(CUT, reset_less=True, name=f"own_{p}")
            m.d.sync += own.eq(base.at(_PRODUCT)[p])
            takes = Signal(name=f"takes_{p}", reset_less=True)
            m.d.sync += takes.eq(takes_base.at(_PRODUCT))
            m.d.comb += self.squares.element[p].eq(Mux(takes, own, v))
        return m

    def _turns(
        self, m: Module, last_turn: Signal
    ) -> tuple[Signal, Signal, data.View[data.StructLayout]]:
        """(a turn is in progress, its number, the group); padding of a group is 0."""
        elements = self.elements
        layout = data.StructLayout(
            {
                "end": 1,
                "group": elements.group.shape(),
                "keep": self._design.post_width,
                "value": elements.value.shape(),
                "base": elements.base.shape(),
            }
        )
        held = Signal(layout, reset_less=True)
        busy = Signal()
        turn = Signal(TURN_BITS)
        with m.If(elements.valid):
            m.d.sync += [
                busy.eq(1),
                turn.eq(0),
                held.end.eq(elements.end),
                held.group.eq(elements.group),
                held.keep.eq(elements.keep),
                held.value.eq(elements.value),
                held.base.eq(elements.base),
            ]
            for p in range(self._design.post_width):
                with m.If(~elements.keep[p]):
                    m.d.sync += [held.value[p].eq(0), held.base[p].eq(0)]
        with m.Elif(turn == last_turn):
            m.d.sync += busy.eq(0)
        with m.Else():
            m.d.sync += turn.eq(turn + 1)
        return busy, turn, held

    def _place(self, turn: Value, group: Value) -> Value:
        """Number of a group in the memory, in the slot of the turn."""
        design = self._design
        span = design.embedding_tiles * design.columns // design.post_width
        return group + Array(n * span for n in range(MATRICES_PER_SEGMENT))[turn]

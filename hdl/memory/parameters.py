"""Gains and lower bounds, which come with the words of weights and are read in order."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.memory.block_memory import MAX_PART_BITS, BlockMemory
from hdl.payloads import PARAMETER, TAKE
from mmfree.chip.design import Design
from mmfree.chip.memory_map import (
    PARAMETER_BITS,
    group_bits,
    most_gains,
    parameter_words,
    parameters_per_share,
    words_of_parameters,
)

LATENCY = 4
"""Cycles from ``next`` to the P parameters that it asks for."""

CHOICES = 4
"""Parameters that are chosen from in one cycle."""

_STORED_BITS = PARAMETER_BITS + 1


def share_parts(design: Design) -> tuple[int, int]:
    """How a group's parameters of a word are kept: parts, and bits of a part."""
    bits = _STORED_BITS * parameters_per_share(design)
    parts = -(-bits // MAX_PART_BITS)
    return parts, -(-bits // parts)


def gain_words(design: Design) -> int:
    """Most words of gains that the elements of one vector take."""
    return words_of_parameters(design, most_gains(design))


class ParameterRead(wiring.Signature):
    """Parameters, P at a time and in order, seen from the reader.

    Members::

        next    out  1               the next P are wanted
        values  in   P x signed(24)  they, LATENCY = 4 cycles after next
    """

    def __init__(self, design: Design) -> None:
        values = data.ArrayLayout(signed(PARAMETER_BITS), design.post_width)
        super().__init__({"next": Out(1), "values": In(values)})


class ParameterBuffer(wiring.Component):
    """Parameters of ``banks`` segments, at most ``depth`` words each, written and read in order.

    A word of the stream holds parameters from the lowest bit of each share on, 24 bits each. Each
    is kept with a parity bit, because they may wait here for a long time.

    Ports::

        words         in   G x shares     of the source: that of group g comes g cycles later
        write         in   1              they are parameters for this buffer, with the first share
        bank          in   range(banks)   where they go, with write
        clear         in   1              the next word that is written is a bank's first
        begin         in   1              the next P that are read are a bank's first
        begin_bank    in   range(banks)   which one's, with begin
        read          in   ParameterRead  P parameters
        parity_error  out  1              of some that were read, LATENCY + 1 cycles after next

    One word per cycle, without back-pressure; one read per cycle. A share may be read from the
    second cycle after it came. After reset the parameters are undefined.
    """

    def __init__(self, design: Design, name: str, *, depth: int, banks: int) -> None:
        self._design, self._depth, self._banks = design, depth, banks
        parts, part_bits = share_parts(design)
        self.memories = tuple(
            BlockMemory(f"{name}_{group}", part_bits=part_bits, parts=parts, depth=banks * depth)
            for group in range(design.num_groups)
        )
        super().__init__(
            {
                "words": In(data.ArrayLayout(unsigned(group_bits(design)), design.num_groups)),
                "write": In(1),
                "bank": In(range(max(2, banks))),
                "clear": In(1),
                "begin": In(1),
                "begin_bank": In(range(max(2, banks))),
                "read": In(ParameterRead(design)),
                "parity_error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, count = self._design.post_width, parameters_per_share(self._design)
        # Cycle g: the share of group g, and where it goes. Cycle g + 1: with its parities.
        number = Signal(range(self._depth + 1))
        with m.If(self.clear):
            m.d.sync += number.eq(0)
        with m.Elif(self.write):
            m.d.sync += number.eq(number + 1)
        place = Signal(range(self._banks * self._depth))
        m.d.comb += place.eq(number + self._base(self.bank))
        # Reading, cycle 0: the word and the P in it that come next.
        word = Signal.like(place)
        choices = count * self._design.num_groups // width
        choice = Signal(range(max(2, choices)))
        ends_word = choice == choices - 1
        with m.If(self.begin):
            m.d.sync += [word.eq(self._base(self.begin_bank)), choice.eq(0)]
        with m.Elif(self.read.next):
            m.d.sync += [choice.eq(Mux(ends_word, 0, choice + 1)), word.eq(word + ends_word)]
        stored: list[Value] = []
        for group, memory in enumerate(self.memories):
            m.submodules[memory.name] = memory
            share = self.words[group]
            values = [share[n * PARAMETER_BITS :][:PARAMETER_BITS] for n in range(count)]
            enables = len(memory.write.enable)
            m.d.comb += [
                memory.write.address.eq(delay(m, place, group + 1)),
                memory.write.data.eq(delay(m, Cat(Cat(v, v.xor()) for v in values), 1)),
                memory.write.enable.eq(
                    delay(m, self.write, group + 1, reset=True).replicate(enables)
                ),
                memory.read[0].address.eq(word),
            ]
            # Cycle 2: the memory has answered.
            answer = memory.read[0].data
            stored += [answer[n * _STORED_BITS :][:_STORED_BITS] for n in range(count)]
        chosen = _choose(
            m,
            [Cat(stored[n : n + width]) for n in range(0, len(stored), width)],
            delay(m, choice, 2),
        )
        # Cycle LATENCY: P parameters. A cycle later: whether they are right.
        wrong: Value = Const(0)
        for p in range(width):
            one = chosen[p * _STORED_BITS :][:_STORED_BITS]
            m.d.comb += self.read.values[p].eq(one[:PARAMETER_BITS].as_signed())
            wrong |= one.xor()
        m.d.sync += self.parity_error.eq(wrong & delay(m, self.read.next, LATENCY, reset=True))
        return m

    def _base(self, bank: Value) -> Value:
        """First word of a bank."""
        return Mux(bank, self._depth, 0) if self._banks > 1 else Const(0)


class Parameters(wiring.Component):
    """The gains and the lower bounds of absmax, each kept from its record to the segment after it.

    Gains have two banks: those of a segment are read while those of the next come.

    Ports::

        words         in   G x shares     of the source: that of group g comes g cycles later
        taken         in   TAKE           what they are, with the first group's share
        parameter     in   PARAMETER      likewise: parameters, and which
        restart       in   1              a token begins
        load          in   1              another segment begins; the next parameters are its own
        number        in   1              the lowest bit of its number, from the cycle after load on
        gains         in   ParameterRead  gains of the elements that a segment writes
        bounds        in   ParameterRead  lower bounds of a layer
        parity_error  out  1              of some that were read, LATENCY + 1 cycles after next

    As of ParameterBuffer. Nothing may be read in the cycle after ``load``.
    """

    def __init__(self, design: Design) -> None:
        self.gains_buffer = ParameterBuffer(design, "gains", depth=gain_words(design), banks=2)
        self.bounds_buffer = ParameterBuffer(
            design, "bounds", depth=parameter_words(design), banks=1
        )
        self.memories = self.gains_buffer.memories + self.bounds_buffer.memories
        super().__init__(
            {
                "words": In(data.ArrayLayout(unsigned(group_bits(design)), design.num_groups)),
                "taken": In(TAKE),
                "parameter": In(PARAMETER),
                "restart": In(1),
                "load": In(1),
                "number": In(1),
                "gains": In(ParameterRead(design)),
                "bounds": In(ParameterRead(design)),
                "parity_error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gains, m.submodules.bounds = self.gains_buffer, self.bounds_buffer
        gains, bounds = self.gains_buffer, self.bounds_buffer
        wiring.connect(m, wiring.flipped(self.gains), gains.read)
        wiring.connect(m, wiring.flipped(self.bounds), bounds.read)
        begins = delay(m, self.load, 1, reset=True)
        ends = self.taken.check | self.restart
        m.d.comb += [
            gains.words.eq(self.words),
            gains.write.eq(self.parameter.gain),
            gains.bank.eq(self.parameter.bank),
            # Lower bounds come before the gains of the same segment, and after its own.
            gains.clear.eq(ends | self.parameter.bound),
            gains.begin.eq(begins),
            gains.begin_bank.eq(self.number),
            bounds.words.eq(self.words),
            bounds.write.eq(self.parameter.bound),
            bounds.clear.eq(ends),
            bounds.begin.eq(begins),
            self.parity_error.eq(gains.parity_error | bounds.parity_error),
        ]
        return m


def _choose(m: Module, values: list[Value], number: Value) -> Value:
    """One of the values, two cycles after its number: of CHOICES in the first, then of the rest."""
    low = (CHOICES - 1).bit_length()
    parts = []
    for n in range(0, len(values), CHOICES):
        part = Signal(len(values[0]), reset_less=True, name=f"part_{n}")
        m.d.sync += part.eq(Array(values[n : n + CHOICES])[number[:low]])
        parts.append(part)
    chosen = Signal(len(values[0]), reset_less=True)
    m.d.sync += chosen.eq(Array(parts)[delay(m, number, 1)[low:]])
    return chosen

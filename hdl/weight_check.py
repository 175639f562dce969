"""Check of the weights: every segment's words against the check word behind them, in every pass."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.crc import Algorithm
from amaranth.lib.wiring import In, Out

from hdl.pipeline import delay
from mmfree.design import CHECK_BITS, Design

LATENCY = 3
"""Cycles from a check word to ``done``."""

_CRC32 = Algorithm(
    crc_width=32,
    polynomial=0x04C11DB7,
    initial_crc=0xFFFFFFFF,
    reflect_input=True,
    reflect_output=True,
    xor_output=0xFFFFFFFF,
)


class WeightCheck(wiring.Component):
    """Pages of 4,096 bits folded to 32 by XOR, and CRC-32 over the folded pages (docs/accelerator.md).

    Ports: ``word``, with ``valid`` (a word of weights), ``last`` (the segment's last), or ``check`` (its check word); ``restart`` (a token begins: forget what was
    under way). ``done`` LATENCY = 3 cycles after a check word, with ``fault``: it does not agree. One word per cycle; never stalls. After reset nothing is under way.
    """

    def __init__(self, design: Design) -> None:
        self._word_bits, self._page_words = design.word_bits, design.page_words
        super().__init__(
            {
                "word": In(design.word_bits),
                "valid": In(1),
                "last": In(1),
                "check": In(1),
                "restart": In(1),
                "done": Out(1),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = _CRC32(data_width=CHECK_BITS).create()
        # Cycle 0: a word becomes 32 bits.
        filled = Cat(self.word, Const(0, -self._word_bits % CHECK_BITS))
        parts: list[Value] = [filled[i : i + CHECK_BITS] for i in range(0, len(filled), CHECK_BITS)]
        fold = Signal(CHECK_BITS, reset_less=True)
        while len(parts) > 1:
            pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
            parts = [pair[0] ^ pair[1] if len(pair) == 2 else pair[0] for pair in pairs]
        m.d.sync += fold.eq(parts[0])
        valid, last, check = (delay(m, flag, 1, reset=True) for flag in (self.valid, self.last, self.check))
        # Cycle 1: words become pages.
        page, words = Signal(CHECK_BITS), Signal(range(self._page_words))
        ends = last | (words == self._page_words - 1)
        m.d.comb += [crc.data.eq(page ^ fold), crc.valid.eq(valid & ends)]
        with m.If(valid):
            m.d.sync += [page.eq(page ^ fold), words.eq(words + 1)]
            with m.If(ends):
                m.d.sync += [page.eq(0), words.eq(0)]
        # Cycle 1 of the check word, which is at least the cycle 2 of the last page.
        wrong = Signal()
        m.d.sync += wrong.eq(check & (fold != crc.crc))
        m.d.comb += crc.start.eq(check | self.restart)
        with m.If(self.restart):
            m.d.sync += [page.eq(0), words.eq(0)]
        m.d.sync += self.fault.eq(wrong)
        m.d.comb += self.done.eq(delay(m, check, 2, reset=True))
        return m

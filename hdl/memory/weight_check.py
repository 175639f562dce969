"""Check of what is read in order: words against the check word after them, in every pass."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.crc import Algorithm
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.payloads import TAKE
from mmfree.chip.design import Design
from mmfree.chip.memory_map import CHECK_BITS, PAGE_WORDS, group_bits, page_words

_CRC32 = Algorithm(
    crc_width=32,
    polynomial=0x04C11DB7,
    initial_crc=0xFFFFFFFF,
    reflect_input=True,
    reflect_output=True,
    xor_output=0xFFFFFFFF,
)


_CRC_CYCLES = 2 * PAGE_WORDS + 2
"""Cycles that the CRC takes for two pages, of which the second arrives right after the first."""


CHECK_DISTANCE = _CRC_CYCLES - 1
"""Cycles from a check word to the next segment's first word, at least.

That word may be a whole page, and enters the CRC three cycles after it was folded: not before the
verdict (docs/log.md).
"""


def check_latency(groups: int) -> int:
    """Cycles from a check word to its verdict."""
    return groups + 3 + _CRC_CYCLES


class StreamCheck(wiring.Component):
    """CRC-32 over pages of words, each folded to 32 bits by XOR (docs/accelerator.md, Checks).

    A word has ``groups`` shares of ``bits`` bits, a page ``page`` words, at least PAGE_WORDS.

    Ports::

        words    in   G x shares  of the source: that of group g comes g cycles after the first's
        taken    in   TAKE        what it is, with the first group's share
        restart  in   1           a token begins: drop the segment in progress
        done     out  1           a segment is checked: ``latency`` cycles after its check word
        fault    out  1           its check word does not agree; with done

    One word per cycle. Never stalls: every page has at least as many words as the CRC takes cycles
    for it, except a segment's last, which the check word follows. The first word after a check word
    comes CHECK_DISTANCE cycles later or more. After reset no segment is in progress.
    """

    def __init__(self, bits: int, groups: int, page: int) -> None:
        assert page >= PAGE_WORDS
        self._groups, self._page = groups, page
        self.latency = check_latency(groups)
        super().__init__(
            {
                "words": In(data.ArrayLayout(unsigned(bits), groups)),
                "taken": In(TAKE),
                "restart": In(1),
                "done": Out(1),
                "fault": Out(1),
            }
        )

    @classmethod
    def of_weights(cls, design: Design) -> StreamCheck:
        """That of a design's words of weights, over pages of 4,096 bits."""
        return cls(group_bits(design), design.num_groups, page_words(design))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        groups, size = self._groups, self._page
        m.submodules.crc = crc = _CRC32(data_width=8).create()
        # Cycles g and g + 1: the share of group g becomes 32 bits, to which it adds the fold of the
        # groups before, which is a cycle old.
        fold: Value | None = None
        for group in range(groups):
            own = _fold(m, self.words[group])
            folded = Signal(CHECK_BITS, reset_less=True, name=f"fold_{group}")
            m.d.sync += folded.eq(own if fold is None else own ^ fold)
            fold = folded
        assert fold is not None
        valid, last, check = (
            delay(m, flag, 1 + groups, reset=True)
            for flag in (self.taken.word, self.taken.last, self.taken.check)
        )
        # Cycle G + 1: the fold of a word; words become pages.
        page = Signal(CHECK_BITS)
        words = Signal(range(size))
        ends = last | (words == size - 1)
        whole = Signal(CHECK_BITS, reset_less=True)
        arrived = Signal()
        m.d.sync += [whole.eq(page ^ fold), arrived.eq(valid & ends)]
        with m.If(valid):
            m.d.sync += [page.eq(page ^ fold), words.eq(words + 1)]
            with m.If(ends):
                m.d.sync += [page.eq(0), words.eq(0)]
        # Cycle G + 2 on: a page goes into the CRC byte by byte. A segment's last page, which may be
        # short, can arrive while the page before is still shifted in, and waits.
        left = Signal(range(PAGE_WORDS + 1))
        shifting = Signal(CHECK_BITS, reset_less=True)
        waiting = Signal(CHECK_BITS, reset_less=True)
        waits = Signal()
        idle = left <= 1
        m.d.comb += [crc.data.eq(shifting[:8]), crc.valid.eq(left != 0)]
        with m.If(left != 0):
            m.d.sync += [left.eq(left - 1), shifting.eq(shifting[8:])]
        with m.If(arrived & ~idle):
            m.d.sync += [waiting.eq(whole), waits.eq(1)]
        with m.Elif(idle & (arrived | waits)):
            m.d.sync += [left.eq(PAGE_WORDS), shifting.eq(Mux(waits, waiting, whole)), waits.eq(0)]
        # Cycle G + 1 + _CRC_CYCLES of a check word, which may come right after the last page: the
        # CRC holds every page.
        checked = delay(m, check, _CRC_CYCLES, reset=True)
        expected = Signal(CHECK_BITS, reset_less=True)
        with m.If(check):
            m.d.sync += expected.eq(fold)
        differs = Signal(4)
        # Two cycles more: by bytes, then their OR.
        m.d.sync += differs.eq(
            Cat((expected[n : n + 8] != crc.crc[n : n + 8]) for n in range(0, CHECK_BITS, 8))
        )
        m.d.comb += crc.start.eq(delay(m, checked | self.restart, 1, reset=True))
        with m.If(self.restart):
            m.d.sync += [page.eq(0), words.eq(0), left.eq(0), waits.eq(0)]
        m.d.sync += [self.fault.eq(differs.any()), self.done.eq(delay(m, checked, 1, reset=True))]
        return m


def _fold(m: Module, word: Value) -> Value:
    """XOR of a word's parts of 32 bits, one cycle later."""
    filled = Cat(word, Const(0, -len(word) % CHECK_BITS))
    parts: list[Value] = [filled[n : n + CHECK_BITS] for n in range(0, len(filled), CHECK_BITS)]
    while len(parts) > 1:
        pairs = [parts[n : n + 2] for n in range(0, len(parts), 2)]
        parts = [pair[0] ^ pair[1] if len(pair) == 2 else pair[0] for pair in pairs]
    return delay(m, parts[0], 1)

"""Noise of the Gumbel distribution, which makes the largest logit a draw from softmax."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.adder import count_ones
from hdl.fabric.pipeline import delay
from hdl.memory.loaded_memory import LATENCY as TABLE_LATENCY
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from hdl.payloads import REGISTERS, TEMPERATURE_BITS
from mmfree.chip.memory_map import LoadedShape
from mmfree.contract.pow2 import NOISE_INDEX_BITS, gumbel_table

_WORD_BITS = 2 * NOISE_INDEX_BITS
LATENCY = 5 + TABLE_LATENCY
"""Cycles from ``take`` to the entries."""

NOISE_BITS = 14
"""Signed width of an entry."""

_GUMBEL = LoadedShape(NOISE_BITS, 2 << NOISE_INDEX_BITS)


class Noise(wiring.Component):
    """Gumbel entries for P rows (docs/arithmetic.md, 14).

    The products of the gates multiply them by the temperature.

    Ports::

        take          in   1               flag: P rows draw; at a temperature of 0 none does
        keep          in   P               flags: which of them are rows, from the lowest up
        temperature   in   8               in 64ths, stable from a cycle before a token on
        restart       in   1               flag: a token begins; two cycles or more before take
        repeat        in   1               with restart: from where the last one began, not ended
        seed_enable   in   1               flag: the next token begins with seed; between tokens
        seed          in   REGISTERS       both registers, from a cycle before; 0 counts as 1
        entry         out  P x signed(14)  of the table, latency cycles after take
        load          in   LoadWrite       writes of the table
        parity_error  out  1               flag: of an entry that was drawn; a cycle after entry

    Only kept rows draw a word. After a group that keeps fewer than P no other of the token keeps
    one, and ``restart`` comes P cycles after the last ``take`` or later: the registers advance by
    as many words as were drawn. The latency is 7; a group per cycle; never stalls. After reset the
    registers hold 1.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self.table = LoadedMemory(
            "gumbel",
            _GUMBEL,
            reads=width,
            contents=[
                _GUMBEL.with_parity(int(value) & ((1 << _GUMBEL.bits) - 1))
                for value in gumbel_table()
            ],
        )
        self.memories = self.table.memories
        super().__init__(
            {
                "take": In(1),
                "keep": In(width),
                "temperature": In(TEMPERATURE_BITS),
                "restart": In(1),
                "repeat": In(1),
                "seed_enable": In(1),
                "seed": In(REGISTERS),
                "entry": Out(data.ArrayLayout(signed(_GUMBEL.bits), width)),
                "load": In(LoadWrite(_GUMBEL)),
                "parity_error": Out(1),
            }
        )
        self.latency = LATENCY
        assert self.table.latency == TABLE_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = self.table
        wiring.connect(m, wiring.flipped(self.load), table.load)
        # Cycle 0: which rows draw.
        warm = Signal()
        m.d.sync += warm.eq(self.temperature != 0)
        drawn = Signal(self._width)
        m.d.sync += drawn.eq(Mux(self.take & warm, self.keep, 0))
        # Cycle 1: how the registers move on.
        summands = self._draw(m, drawn)
        for p in range(self._width):
            # Cycle 2: the registers' bits. Cycle 3: their sum.
            word = Signal(_WORD_BITS, reset_less=True, name=f"word_{p}")
            m.d.sync += word.eq(delay(m, summands[p][0], 1) + delay(m, summands[p][1], 1))
            # Cycle 4: the address; the uppermost quantile has finer ones.
            upper, lower = word[NOISE_INDEX_BITS:], word[:NOISE_INDEX_BITS]
            address = Signal(NOISE_INDEX_BITS + 1, reset_less=True, name=f"address_{p}")
            m.d.sync += address.eq(Mux(upper.all(), Cat(lower, Const(1, 1)), upper))
            # Cycle 5: the table.
            m.d.comb += [
                table.read[p].address.eq(address),
                self.entry[p].eq(table.read[p].data),
            ]
        parity_errors = Cat(port.parity_error for port in table.read)
        used = delay(m, drawn, self.latency, reset=True)
        m.d.comb += self.parity_error.eq((used & parity_errors).any())
        return m

    def _draw(self, m: Module, drawn: Value) -> list[tuple[Value, Value]]:
        """The two summands of each of the P rows' words; advances the registers.

        ``drawn``: the rows that draw a word.
        """
        registers = Signal(REGISTERS, init={"a": 1, "b": 1})
        before = Signal(REGISTERS, init={"a": 1, "b": 1})
        steps = [(registers.a, registers.b)]
        for p in range(self._width):
            step = Signal(REGISTERS, name=f"step_{p}")
            m.d.comb += Cat(step.a, step.b).eq(Cat(*_advance(*steps[-1])))
            steps.append((step.a, step.b))
        # A last, partial group draws only as many words as it has rows. The registers advance by
        # them one after another, in the cycles after it, when nothing else is drawn.
        left = Signal(range(self._width + 1))
        restart, again = delay(m, self.restart, 1, reset=True), delay(m, self.repeat, 1)
        seeded = Signal()
        # What becomes of the registers is decided a cycle before: the decision reaches 127 of them.
        step_all = Signal()
        step_one = Signal()
        go_back = Signal()
        keep = Signal()
        m.d.sync += [
            step_all.eq(drawn.all()),
            step_one.eq((left != 0) & ~drawn.any()),
            go_back.eq(restart & (again | seeded)),
            keep.eq(restart & ~(again | seeded)),
        ]
        with m.If(drawn.any() & ~drawn.all()):
            m.d.sync += left.eq(count_ones(drawn))
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(step_all):
            m.d.sync += registers.eq(Cat(*steps[-1]))
        with m.Elif(step_one):
            m.d.sync += registers.eq(Cat(*steps[1]))
        with m.Elif(go_back):
            m.d.sync += registers.eq(before)
        with m.If(keep):
            m.d.sync += before.eq(registers)
        # A register of 0 would stay 0.
        zero_a = delay(m, ~self.seed.a.any(), 1)
        zero_b = delay(m, ~self.seed.b.any(), 1)
        with m.If(self.seed_enable):
            m.d.sync += [before.a.eq(self.seed.a | zero_a), before.b.eq(self.seed.b | zero_b)]
        with m.If(self.seed_enable | restart):
            m.d.sync += seeded.eq(self.seed_enable)
        return [(a[:_WORD_BITS], b[:_WORD_BITS]) for a, b in steps[1:]]


def _advance(a: Value, b: Value) -> tuple[Value, Value]:
    """The registers advanced by 20 bits; each new bit depends on old bits alone."""
    kept_a, kept_b = 64 - _WORD_BITS, 63 - _WORD_BITS
    new_a = a[kept_a:] ^ a[kept_a - 1 : -1] ^ a[kept_a - 3 : -3] ^ a[kept_a - 4 : -4]
    new_b = b[kept_b:] ^ b[kept_b - 1 : -1]
    return Cat(new_a, a[:kept_a]), Cat(new_b, b[:kept_b])

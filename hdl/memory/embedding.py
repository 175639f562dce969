"""Embedding: the row of a token becomes the residual vector."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Array, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from mmfree.chip.design import Design
from mmfree.chip.memory_map import loaded_shape

_WORD_LATENCY = 5
LATENCY = 2 + _WORD_LATENCY + 2


class Embedding(wiring.Component):
    """Rows of int8, shifted up to the residual's format (docs/arithmetic.md, 4), P elements per
    cycle.

    Ports: ``start`` with ``id``; ``tiles`` (words of the row) and ``shift`` (0..8), stable;
    ``o_valid``, ``o_group``, ``x`` (P int16; 0 beyond the row), the first ``latency`` cycles after
    ``start``, and ``ending`` EARLY cycles before the last; ``load``; ``parity_error``: of a word
    that was read. A row at a time; never stalls. After reset ``o_valid`` is 0.
    """

    EARLY = 2

    def __init__(self, design: Design, contents: Sequence[int] = ()) -> None:
        self._design = design
        shape = loaded_shape(design, "embedding")
        self.words = LoadedMemory("embedding", shape, fabric_registers=True, contents=contents)
        self.memories = self.words.memories
        self.latency = LATENCY
        assert self.words.latency == _WORD_LATENCY
        groups = design.embedding_tiles * design.columns // design.post_width
        super().__init__(
            {
                "start": In(1),
                "id": In(range(max(2, design.embedding_rows))),
                "tiles": In(range(design.max_tiles + 1)),
                "shift": In(4),
                "o_valid": Out(1),
                "o_group": Out(range(max(2, groups))),
                "x": Out(data.ArrayLayout(signed(16), design.post_width)),
                "ending": Out(1),
                "load": In(LoadWrite(shape)),
                "parity_error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design = self._design
        rows, columns, width = design.embedding_rows, design.columns, design.post_width
        m.submodules.memory = words = self.words
        wiring.connect(m, wiring.flipped(self.load), words.load)
        # Cycle 1 on: the groups of a word in turn. Word t of row v is at t * rows + v: the address
        # steps by the number of rows, which needs no product (docs/decisions/0003).
        address = Signal(range(rows * design.embedding_tiles + rows))
        group, left, busy = Signal.like(self.o_group), Signal.like(self.tiles), Signal()
        parts = columns // width
        part = group[: (parts - 1).bit_length()]
        ends_word = part == parts - 1
        with m.If(self.start):
            m.d.sync += [address.eq(self.id), group.eq(0), left.eq(self.tiles), busy.eq(1)]
        with m.Elif(busy):
            m.d.sync += group.eq(group + 1)
            with m.If(ends_word):
                m.d.sync += [address.eq(address + rows), left.eq(left - 1), busy.eq(left != 1)]
        m.d.comb += [words.read[0].address.eq(address), words.read[0].enable.eq(busy)]
        valid, last = busy, busy & ends_word & (left == 1)
        ages = self.latency - 1
        m.d.comb += [
            self.o_valid.eq(delay(m, valid, ages, reset=True)),
            self.o_group.eq(delay(m, group, ages)),
            self.ending.eq(delay(m, last, ages - self.EARLY, reset=True)),
        ]
        # The word has arrived: its part, then the shift in two cycles, by 4s and by 1s.
        age = words.latency
        checked = delay(m, valid, age + 1, reset=True)
        m.d.sync += self.parity_error.eq(checked & words.read[0].parity_error)
        arrived = delay(m, part, age)
        choices = Array(words.read[0].data[n : n + 8 * width] for n in range(0, 8 * columns, 8 * width))
        chosen, shifted = Signal(8 * width, reset_less=True), delay(m, self.shift, 1)
        m.d.sync += chosen.eq(choices[arrived])
        for p in range(width):
            element = chosen[8 * p : 8 * p + 8].as_signed()
            coarse = Signal(signed(16), reset_less=True, name=f"coarse_{p}")
            with m.Switch(shifted[2:]):
                for fours in range(3):
                    with m.Case(fours):
                        m.d.sync += coarse.eq(element << 4 * fours)
            fine = delay(m, shifted[:2], 1)
            with m.Switch(fine):
                for ones in range(4):
                    with m.Case(ones):
                        m.d.sync += self.x[p].eq(coarse << ones)
        return m

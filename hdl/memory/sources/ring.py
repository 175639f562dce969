"""Words on their way from the clock of the bus to that of the chip."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out


class Ring(wiring.Component):
    """A memory of ``depth`` words, filled by one clock and emptied by another, in order.

    A place is promised before its word comes, and is free again when the word has been taken. The
    clocks need no relation: each side knows the other's counts in Gray code through two flip-flops,
    so what it believes to be filled, or free, is a few cycles old, and on the safe side. A tool
    for timing must keep the bits of a count less than a cycle apart.

    Ports::

        ask      in   range(burst + 1)  bus: promise places for so many words; 0: none
        room     out  1                 bus: for ``burst`` more words; two cycles after an ask
        awaited  out  1                 bus: words that were asked for have not come
        write    in   1                 bus: a word comes; without effect if none is awaited
        i        in   shape             bus: it
        zero     in   1                 bus: forget all words and promises
        level    out  range(depth + 1)  sync: words that may be taken
        take     in   1                 sync: take the next one; only if level is not 0
        o        out  shape             sync: it, LATENCY cycles after take, until the next take
        clear    in   1                 sync: forget how many were taken

    A word per cycle on either side. ``zero`` and ``clear`` are to be held together, long enough
    for the counts to cross: what crosses meanwhile is anything. The counts of a side are 0 after
    the reset of its clock.
    """

    LATENCY = 1

    def __init__(self, shape: ShapeLike, depth: int, burst: int) -> None:
        assert depth & (depth - 1) == 0, f"{depth} words are no power of two"
        assert burst <= depth, f"{burst} words exceed {depth}"
        self._shape, self._depth, self._burst = shape, depth, burst
        super().__init__(
            {
                "ask": In(range(burst + 1)),
                "room": Out(1),
                "awaited": Out(1),
                "write": In(1),
                "i": In(shape),
                "zero": In(1),
                "level": Out(range(depth + 1)),
                "take": In(1),
                "o": Out(shape),
                "clear": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self._depth
        m.submodules.words = words = memory.Memory(shape=self._shape, depth=depth, init=[])
        write, read = words.write_port(domain="bus"), words.read_port(domain="sync")
        # Counts modulo 2 * depth: all places filled is another difference than none.
        asked, written, taken = (
            Signal(range(2 * depth), name=name) for name in ("asked", "written", "taken")
        )
        taken_seen = _cross(m, taken, "taken", "sync", "bus")
        written_seen = _cross(m, written, "written", "bus", "sync")

        promised = (asked - taken_seen)[: len(asked)]
        accept = self.write & self.awaited
        m.d.comb += [
            self.awaited.eq(asked != written),
            write.addr.eq(written),
            write.data.eq(self.i),
            write.en.eq(accept),
        ]
        m.d.bus += [
            self.room.eq(promised <= depth - self._burst),
            asked.eq(Mux(self.zero, 0, asked + self.ask)),
            written.eq(Mux(self.zero, 0, written + accept)),
        ]

        m.d.comb += [
            self.level.eq((written_seen - taken)[: len(taken)]),
            read.addr.eq(taken),
            read.en.eq(self.take),
            self.o.eq(read.data),
        ]
        m.d.sync += taken.eq(Mux(self.clear, 0, taken + self.take))
        return m


def _cross(m: Module, count: Signal, name: str, source: str, target: str) -> Signal:
    """A count as the other clock knows it, which moves by one at a time."""
    gray, arrived, seen = (
        Signal.like(count, name=f"{name}_{suffix}") for suffix in ("gray", "arrived", "seen")
    )
    # From a register: of a count that moves by one, only one bit changes.
    m.d[source] += gray.eq(count ^ (count >> 1))
    m.submodules += FFSynchronizer(gray, arrived, o_domain=target)
    m.d[target] += seen.eq(Cat(arrived[bit:].xor() for bit in range(len(count))))
    return seen

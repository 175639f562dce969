"""The serial line: each frame cycle by cycle, and every byte again at the other end."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value

from hdl.link.serial import FRAME_BITS, MIN_DIVISOR, Receiver, Transmitter
from tests.hdl.link.test_serial import Loop
from tests.support.proofs.bench import Bench, Inside, Proof

DATA_BITS = 8

SYNCHRONIZER_CYCLES = 2
"""Cycles that a receiver sees its line late."""

DIVISORS = (MIN_DIVISOR, MIN_DIVISOR + 1)
"""Cycles of a bit: the fewest, and an odd number."""


class Frame:
    """Which byte a transmitter is sending, from what it took alone.

    ``cycle``: of its frame, from 1 on; 0: none is sent.
    """

    def __init__(self, bench: Bench, sender: Transmitter, divisor: int) -> None:
        taken = sender.bytes.valid & sender.bytes.ready
        self.length = FRAME_BITS * divisor
        self.cycle = Signal(range(self.length + 1), name="frame_cycle")
        self.byte = Signal(DATA_BITS, name="frame_byte")
        with bench.m.If(taken):
            bench.m.d.sync += [self.cycle.eq(1), self.byte.eq(sender.bytes.payload)]
        with bench.m.Elif(self.cycle != 0):
            bench.m.d.sync += self.cycle.eq(Mux(self.cycle == self.length, 0, self.cycle + 1))

    def lemmas(self, bench: Bench, sender: Inside, tx: Value, divisor: int) -> None:
        """What the transmitter's registers hold in each cycle of a frame."""
        cycle, byte = self.cycle, self.byte
        left = [0] + [FRAME_BITS - n // divisor for n in range(self.length)]
        timer = [0] + [divisor - 1 - n % divisor for n in range(self.length)]
        levels = Cat(0, byte, 1)
        bench.lemma(cycle <= self.length)
        bench.lemma(sender["bits_left"] == table(left, cycle))
        bench.lemma((cycle == 0) | (sender["timer"] == table(timer, cycle)))
        # What is still to come, ones after it.
        bits = [n // divisor + 1 for n in range(self.length)]
        following = [Cat(levels[bit:], *([1] * (bit - 1)))[: FRAME_BITS - 1] for bit in [1, *bits]]
        bench.lemma((cycle == 0) | (sender["shifter"] == Array(following)[cycle]))
        level = [FRAME_BITS - 1] + [n // divisor for n in range(self.length)]
        bench.lemma(tx == levels.bit_select(table(level, cycle), 1))


def table(values: list[int], index: Value) -> Value:
    """values[index]"""
    return Array([Value.cast(value) for value in values])[index]


def transmitter(divisor: int) -> Bench:
    bench = Bench(Transmitter(divisor))
    block = bench.block
    frame = Frame(bench, block, divisor)
    bit = Signal(range(FRAME_BITS))
    bench.m.d.comb += bit.eq(table([0] + [n // divisor for n in range(frame.length)], frame.cycle))
    sending = frame.cycle != 0
    data = sending & (bit > 0) & (bit <= DATA_BITS)
    bench.prove("1 while nothing is sent", sending | block.tx)
    bench.prove("a start bit of so many cycles", ~(sending & (bit == 0)) | ~block.tx)
    bench.prove(
        "each bit of the byte, the lowest first",
        ~data | (block.tx == frame.byte.bit_select((bit - 1)[:3], 1)),
    )
    bench.prove("a stop bit", ~(sending & (bit == FRAME_BITS - 1)) | block.tx)
    bench.prove("ready when the stop bit has ended, and not before", block.bytes.ready == ~sending)
    frame.lemmas(bench, bench.inside(block), block.tx, divisor)
    bench.cover("one byte after another", (frame.cycle == 2) & (bench.past(frame.byte, 5) == 0x55))
    return bench


class Line:
    """A transmitter, a receiver on its line, and the frame that the receiver sees.

    ``cycle``, ``byte``: as of a Frame. ``ends``: this is the middle of the frame's stop bit.
    """

    def __init__(self, bench: Bench, divisor: int) -> None:
        inner = bench.inside(bench.block)
        sender, receiver = inner.part("sender"), bench.inside(inner.part("receiver"))
        frame = Frame(bench, sender, divisor)
        frame.lemmas(bench, bench.inside(sender), sender.tx, divisor)
        self.length = frame.length
        self.cycle = bench.past(frame.cycle, SYNCHRONIZER_CYCLES)
        self.byte = bench.past(frame.byte, SYNCHRONIZER_CYCLES)
        middle = 1 + divisor // 2
        self.last = middle + (FRAME_BITS - 1) * divisor
        self.ends = self.cycle == self.last
        self.lost = receiver["lost"]
        self._lemmas(bench, receiver, divisor, middle)

    def _lemmas(self, bench: Bench, receiver: Inside, divisor: int, middle: int) -> None:
        """What the line is, and what the receiver's registers hold, in each cycle of a frame."""
        cycle, cycles = self.cycle, range(self.length + 1)
        levels = Cat(0, self.byte, 1)
        bits = [FRAME_BITS - 1] + [n // divisor for n in range(self.length)]
        bench.lemma(receiver["line"] == levels.bit_select(table(bits, cycle), 1))
        receiving = (cycle > 1) & (cycle <= self.last)
        bench.lemma(receiver.state("FRAME") == receiving)
        bench.lemma(receiver.state("IDLE") == ~receiving)
        timer = [(middle - now) % divisor for now in cycles]
        bench.lemma(~receiving | (receiver["timer"] == table(timer, cycle)))
        moments = range(middle, self.last + 1, divisor)
        seen = table([sum(moment < now for moment in moments) for now in cycles], cycle)
        bench.lemma(~receiving | (receiver["bits_left"] == FRAME_BITS - 1 - seen))
        # The first bit that is seen is the start bit.
        shifter = receiver["shifter"]
        right = [shifter[DATA_BITS - n :] == self.byte[:n] for n in range(DATA_BITS + 1)]
        bench.lemma(~receiving | Array([Const(1), *right])[seen])


def loop(divisor: int) -> Bench:
    bench = Bench(Loop(divisor))
    block, line, m = bench.block, Line(bench, divisor), bench.m
    received = block.received
    waits = received.valid & ~received.ready
    # A byte was lost, and it has not been told yet.
    lost = Signal()
    with m.If(line.ends & (waits | lost)):
        m.d.sync += lost.eq(1)
    with m.Elif(block.broken):
        m.d.sync += lost.eq(0)
    bench.lemma(lost == line.lost)
    waited = Signal(range(line.length + 1))
    with m.If(~waits):
        m.d.sync += waited.eq(0)
    with m.Elif(waited != line.length):
        m.d.sync += waited.eq(waited + 1)
    since = Mux(line.cycle > line.last, line.cycle, line.length + 1 + line.cycle) - line.last - 1
    bench.lemma((waited <= line.length) & (~received.valid | (waited >= since)))

    bench.prove("a byte stays until it is taken", bench.kept(received))
    bench.prove(
        "each byte in its turn: there a cycle after its stop bit's middle",
        ~bench.past(line.ends & ~waits & ~lost)
        | (received.valid & (received.payload == bench.past(line.byte))),
    )
    bench.prove("and no other", ~received.valid | bench.past(waits | line.ends))
    bench.prove(
        "lost only if the one before it waited for the whole of a frame",
        ~(line.ends & waits & ~lost) | (waited == line.length),
    )
    bench.prove(
        "told when none waits any more, and not before", block.broken == lost & ~received.valid
    )
    bench.cover("received", received.valid & (received.payload == 0x35))
    return bench


def receiver(divisor: int) -> Bench:
    """Whatever comes on the line."""
    bench = Bench(Receiver(divisor))
    block, m, inner = bench.block, bench.m, bench.inside(bench.block)
    offered = block.bytes.valid
    new = offered & ~bench.past(offered & ~block.bytes.ready)
    # Cycles since a byte was taken as it came, up to those of nine bits.
    most = (FRAME_BITS - 1) * divisor
    since = Signal(range(most + 1), init=most)
    with m.If(new & block.bytes.ready):
        m.d.sync += since.eq(1)
    with m.Elif(since != most):
        m.d.sync += since.eq(since + 1)

    bench.prove("a byte stays until it is taken", bench.kept(block.bytes))
    bench.prove("only with a stop bit", ~new | bench.past(block.rx, SYNCHRONIZER_CYCLES + 1))
    bench.prove("none is told lost while one waits", ~(block.broken & offered))
    bench.prove(
        "none is lost within nine bits from one that is taken as it comes",
        ~block.broken | (since == most),
    )
    bits, timer, frame = inner["bits_left"], inner["timer"], inner.state("FRAME")
    elapsed = (FRAME_BITS - 1 - bits) * divisor + divisor // 2 - timer
    bench.lemma((since <= most) & (~inner["lost"] | (since == most)))
    bench.lemma(~frame | (since == most) | (since >= elapsed))
    bench.lemma(~frame | (bits < FRAME_BITS) & (timer < divisor))
    bench.lemma(~frame | (bits != FRAME_BITS - 1) | (timer < divisor // 2))
    bench.lemma(inner["fsm_state"] < 3)
    bench.lemma(~new | ~inner["lost"])
    bench.cover("a byte", new & (block.bytes.payload == 0xA5))
    bench.cover("a byte is lost", block.broken)
    return bench


PROOFS = [
    *(
        Proof(f"serial_transmitter_{n}", partial(transmitter, n), depth=3, reach=12 * n)
        for n in DIVISORS
    ),
    *(Proof(f"serial_receiver_{n}", partial(receiver, n), depth=5, reach=12 * n) for n in DIVISORS),
    *(
        Proof(f"serial_loop_{n}", partial(loop, n), depth=5, reach=12 * n, quick=n == MIN_DIVISOR)
        for n in DIVISORS
    ),
]

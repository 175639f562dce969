"""The register port: only whole frames write, what is refused reaches nothing, reads are answered.

The bench reads the host's frames itself, from the bytes that are taken alone.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Signal, Value

from hdl.link.register_port import RegisterPort
from mmfree.chip.registers import LOST, WORD_BITS, WORD_BYTES, Access
from tests.hdl.link.test_register_map import ACCESSES, EVERY_KIND
from tests.hdl.link.test_register_port import MAP
from tests.support.proofs.bench import Bench, Proof

DELAY = 3
"""Cycles from the one after a frame's last byte until what it writes has changed."""

PAYLOAD = ("order.payload.item.id", "order.payload.item.new", "order.payload.count")
BESIDE = {"cancel": ("mode", "slot"), "key.enable": ("key.value",), "order": PAYLOAD}
"""Strobes, and the stream in: the values that they use."""

LOSS_DISTANCE = 8
"""Cycles from a byte that was taken as it came, in which none is lost."""


class Frames:
    """What the host sends.

    ``place``: bytes that are there of the frame in progress. ``number``, ``word``: of a frame that
    writes. ``whole``: its last byte was taken in the cycle before; both stay for DELAY cycles.
    Of a frame that reads, ``number`` stays until it is answered.
    """

    def __init__(self, bench: Bench) -> None:
        m, received, broken = bench.m, bench.block.received, bench.block.broken
        self.place = Signal(range(1 + WORD_BYTES), name="place")
        self.number, self.word = (
            Signal(7, name="frame_number"),
            Signal(WORD_BITS, name="frame_word"),
        )
        self.whole = Signal(name="whole")
        m.d.sync += self.whole.eq(0)
        took = received.valid & received.ready
        with m.If(broken & (self.place != 0)):
            m.d.sync += self.place.eq(0)
        with m.Elif(took & (self.place == 0)):
            m.d.sync += [self.number.eq(received.payload), self.place.eq(received.payload[7])]
        with m.Elif(took):
            last = self.place == WORD_BYTES
            byte = self.word.word_select((self.place - 1)[:2], 8)
            m.d.sync += [byte.eq(received.payload), self.place.eq(self.place + 1)]
            with m.If(last):
                m.d.sync += [self.place.eq(0), self.whole.eq(1)]
        self.inner = bench.inside(bench.block)
        self._lemmas(bench)

    def _lemmas(self, bench: Bench) -> None:
        """The state machine follows the frames."""
        inner, place, whole = self.inner, self.place, self.whole
        committed = bench.past(whole)
        answering = ~(inner.state("COMMAND") | inner.state("DATA") | whole | committed)
        bench.lemma(place <= WORD_BYTES)
        bench.lemma(inner.state("DATA") == (place != 0))
        bench.lemma(~inner.state("DATA") | (inner["count"] == place - 1))
        bench.lemma((inner.state("COMMIT") == whole) & (inner["commit"] == whole))
        bench.lemma(inner.state("COMMITTED") == committed)
        bench.lemma((inner.state("LOOK UP") | inner.state("ANSWER")) == answering)
        writing = (place != 0) | whole | committed
        bench.lemma(~writing | (inner["number"] == self.number))
        bench.lemma(~(whole | committed) | (inner["word"] == self.word))
        for n in range(1, WORD_BYTES):
            same = inner["word"][WORD_BITS - 8 * n :] == self.word[: 8 * n]
            bench.lemma((place != n + 1) | same)


def writes() -> Bench:
    bench = Bench(RegisterPort(EVERY_KIND, ACCESSES, MAP))
    m, target = bench.m, bench.block.target
    frames = Frames(bench)
    number, word, whole = frames.number, frames.word, frames.whole
    order = target.order
    values: dict[str, Value] = {
        "order.payload.item.id": Value.cast(order.payload.item.id),
        "order.payload.item.new": Value.cast(order.payload.item.new),
        "order.payload.count": Value.cast(order.payload.count),
        "key.value": Value.cast(target.key.value),
        "mode": target.mode,
        "slot": Value.cast(target.slot),
    }
    refused, wrong = Signal(8, name="told"), {}

    # Which frames are carried out.
    accepted: dict[str, list[Value]] = {}
    for name, register in MAP.write.items():
        offered = bench.past(order.valid) if name in PAYLOAD else Const(0)
        accepted[name] = [
            whole & (number == n) & (word <= largest) & ~offered
            if register.access == Access.WRITE
            else whole & (number == n)
            for n, largest in zip(register.numbers, register.largest_words, strict=True)
        ]
    for name in values:
        wrong[name] = [Signal(name=f"wrong_{n}") for n in MAP.write[name].numbers]
        for n, flag, took in zip(MAP.write[name].numbers, wrong[name], accepted[name], strict=True):
            decided, right = bench.past(whole & (number == n)), bench.past(took)
            with m.If(decided):
                m.d.sync += flag.eq(~right)
            bench.lemma(flag == frames.inner[f"stale_{n}"])
    for name, used in BESIDE.items():
        blocks = [refused.any(), *(flag for value in used for flag in wrong[value])]
        blocks += [order.valid] if name == "order" else []
        accepted[name] = [accepted[name][0] & ~bench.past(Cat(blocks).any(), 2)]
    # What is told of those that are not.
    some = Cat(took for parts in accepted.values() for took in parts).any()
    clear, wrong_frame = bench.past(accepted["refused"][0], 2), bench.past(whole & ~some)
    with m.If(clear):
        m.d.sync += refused.eq(0)
    with m.If(refused == 0):
        with m.If(wrong_frame):
            m.d.sync += refused.eq(Cat(number, Const(1, 1)))
        with m.If(bench.block.broken):
            m.d.sync += refused.eq(0x80 | LOST)

    carried_out = {name: [bench.past(t, DELAY) for t in took] for name, took in accepted.items()}
    written = bench.past(word, DELAY)
    for name, value in values.items():
        parts = carried_out[name]
        for n, took in enumerate(parts):
            part = value[WORD_BITS * n :][:WORD_BITS]
            which = f"{name}, word {n}" if len(parts) > 1 else name
            bench.prove(
                f"{which}: takes what a whole frame wrote to it, if that fits, and else stays",
                part == Mux(took, written[: len(part)], bench.past(part)),
            )
    for name, strobe in (("cancel", target.cancel), ("key.enable", target.key.enable)):
        bench.prove(
            f"{name}: one cycle for a frame, if nothing is refused and no value beside it is wrong",
            strobe == carried_out[name][0],
        )
    sent = carried_out["order"][0]
    bench.prove(
        "order: offered for a frame, if nothing is refused and its payload is right, until taken",
        order.valid == sent | bench.past(order.valid & ~order.ready),
    )
    bench.prove("order: stays, the same, until it is taken", bench.kept(order))
    bench.prove("parcel: taken once for a frame", target.parcel.ready == carried_out["parcel"][0])
    bench.prove(
        "refused: tells of the first frame, or of a lost byte", frames.inner["refused"] == refused
    )
    bench.lemma((refused == 0) | refused[7])
    lost = bench.past(bench.block.broken & (frames.place == 3), 3)
    bench.cover("an order after a refusal", sent & bench.past(refused.any(), 12))
    bench.cover("a frame after a lost byte", lost & (refused == 0x80 | LOST))
    return bench


def losses() -> Bench:
    bench = Bench(RegisterPort(EVERY_KIND, ACCESSES, MAP))
    m, received, broken, target = (
        bench.m,
        bench.block.received,
        bench.block.broken,
        bench.block.target,
    )
    frames = Frames(bench)
    at_once = received.valid & received.ready & ~bench.past(received.valid & ~received.ready)
    recent = Cat(at_once, *(bench.past(at_once, n) for n in range(1, LOSS_DISTANCE)))
    bench.assume(
        f"no byte is lost within {LOSS_DISTANCE} cycles from one that is taken as it comes",
        ~(broken & recent.any()),
        by="Receiver",
        proof="serial_receiver_4",
    )
    told = frames.inner["refused"]
    bench.prove("a lost byte is told of, if no refusal is", ~bench.past(broken) | told.any())
    # Until the host has written ``refused``, with a frame that began later.
    untold, (clear,) = Signal(), MAP.write["refused"].numbers
    with m.If(broken):
        m.d.sync += untold.eq(1)
    with m.Elif(frames.whole & (frames.number == clear)):
        m.d.sync += untold.eq(0)
    for name, strobe in strobes(bench).items():
        bench.prove(
            f"{name}: not after a lost byte, until refused is written",
            ~(strobe & bench.past(untold, DELAY)),
        )
    bench.lemma(~untold | told[-1])
    ever = Signal()
    m.d.sync += ever.eq(ever | broken)
    bench.cover("a strobe after a lost byte", target.cancel & ever)
    return bench


def strobes(bench: Bench) -> dict[str, Value]:
    """Whether each strobe is set, or the stream in offered anew."""
    target = bench.block.target
    return {
        "cancel": target.cancel,
        "key.enable": target.key.enable,
        "order": target.order.valid & ~bench.past(target.order.valid),
    }


def reads() -> Bench:
    """What is read does not change meanwhile."""
    bench = Bench(RegisterPort(EVERY_KIND, ACCESSES, MAP), driven=False)
    m, block, target = bench.m, bench.block, bench.block.target
    steady = {
        "parcel.payload": target.parcel.payload,
        "level": target.level,
        "small": target.small,
        "parcel.valid": target.parcel.valid,
        "key.refused": target.key.refused,
        "busy": target.busy,
    }
    for name, port in steady.items():
        port = Value.cast(port)
        m.d.comb += port.eq(bench.some(len(port), name.replace(".", "_")))
    bench.choose(block.received.valid, block.received.payload, block.broken)
    bench.choose(block.sent.ready, target.order.ready)
    frames = Frames(bench)
    received, sent, inner = block.received, block.sent, frames.inner

    # Bytes of the answer that the host has not got yet.
    left = Signal(range(WORD_BYTES + 1))
    gave = sent.valid & sent.ready
    read = received.valid & received.ready & (frames.place == 0) & ~received.payload[7]
    with m.If(read):
        m.d.sync += left.eq(WORD_BYTES)
    with m.Elif(gave):
        m.d.sync += left.eq(left - 1)
    bench.prove("a byte of an answer stays until it is taken", bench.kept(sent))
    bench.prove("four bytes for each frame that reads, and no others", ~sent.valid | (left != 0))
    bench.prove("no frame is taken before the last of them", ~(received.ready & (left != 0)))
    answering = inner.state("LOOK UP") | inner.state("ANSWER")
    bench.lemma((left != 0) == answering)
    bench.lemma(~inner.state("LOOK UP") | (left == WORD_BYTES))
    bench.lemma(~answering | (inner["number"] == frames.number))
    bench.lemma(~inner.state("ANSWER") | (left + inner["count"] == WORD_BYTES))
    bench.lemma(~inner.state("LOOK UP") | (inner["count"] == 0))
    place = (WORD_BYTES - left)[:2]
    for name, value in {"identity": Const(MAP.identity, WORD_BITS), **steady}.items():
        register = MAP.read[name]
        size = WORD_BITS * len(register.numbers)
        # Of a register that is shared, one flag.
        cares = Const(
            1 << register.offset if register.access == Access.FLAG else (1 << size) - 1, size
        )
        bits = (Value.cast(value).as_unsigned() << register.offset) & cares
        for n, number in enumerate(register.numbers):
            part, flags = (value.word_select(n, WORD_BITS) for value in (bits, cares))
            asked = inner.state("ANSWER") & (frames.number == number)
            still = inner["word"] & (flags >> (place << 3)) == part >> (place << 3)
            bench.lemma(~asked | still)
            right = sent.payload & flags.word_select(place, 8) == part.word_select(place, 8)
            which = f"{name}, word {n}" if len(register.numbers) > 1 else name
            asked = sent.valid & (frames.number == number)
            bench.prove(f"{which}: its value, the lowest byte first", ~asked | right)
    bench.cover("the last byte", gave & (left == 1) & (frames.number == 4))
    return bench


PROOFS = [
    Proof("register_port_writes", writes, depth=9, reach=40, quick=True),
    Proof("register_port_losses", losses, depth=9, reach=30),
    Proof("register_port_reads", reads, depth=9, reach=20),
]

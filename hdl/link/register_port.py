"""Reading and writing a component's ports over a stream of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, Signature

from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.link.limits import Leaf, leaves
from hdl.link.register_map import REFUSED_BITS, reached_ports
from mmfree.chip.registers import (
    LOST,
    WORD_BITS,
    WORD_BYTES,
    WORD_MAX,
    Access,
    RegisterMap,
)

MUX_INPUTS = 4
"""Words among which each stage on the way to a host chooses, before a register."""

Path = tuple[str | int, ...]
"""Names that lead to a port."""


class RegisterPort(wiring.Component):
    """A host's side of a component's ports, which a RegisterMap of the same signature describes.

    ::

        read:   host  [ number          ]
                chip                      [ d7..d0 ][ d15..d8 ][ d23..d16 ][ d31..d24 ]
        write:  host  [ 0x80 | number   ][ d7..d0 ][ d15..d8 ][ d23..d16 ][ d31..d24 ]     no answer

    Ports::

        received  in   stream of uint8  frames from the host
        sent      out  stream of uint8  answers
        broken    in   1                a byte was lost: its frame is dropped, and refused
        target    in   a signature      the component's ports, as their other side sees them

    While a frame is carried out, ``received`` is not ready. Every output of ``target`` is a
    register, and from each of its inputs to ``sent`` there is a register after every choice among
    MUX_INPUTS words. After reset all outputs are 0: nothing is offered or taken.

    A frame that writes is carried out, or refused: then nothing changes but the register
    ``refused``, which tells of the first such frame. Refused is

    - a word that does not fit its value, or is of a payload while that is offered;
    - a strobe or a send while ``refused`` is not 0, or while a word was refused, and not written
      again since, of the values beside the strobe or of the payload; a send also while the last one
      is offered;
    - a word for a number that no register has;
    - a frame of which a byte was lost (``refused`` then tells of number LOST); what follows of it
      may be taken for other frames, and write values, but no strobe or send is carried out.

    So no value is truncated, and none is used of which a word is missing. ``broken`` must not come
    within 8 cycles of a byte that is taken as it comes; a Receiver's next byte is later than that.
    """

    def __init__(
        self, signature: Signature, accesses: Mapping[str, Access], registers: RegisterMap
    ) -> None:
        self._map, self._ports = registers, reached_ports(signature, accesses)
        super().__init__(
            {
                "received": In(stream.Signature(8)),
                "sent": Out(stream.Signature(8)),
                "broken": In(1),
                "target": In(signature),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number = Signal(7)
        count = Signal(range(WORD_BYTES))
        word = Signal(WORD_BITS)
        commit = Signal()
        signals: dict[Path, Value] = {
            path: Value.cast(value) for path, _, value in self.target.signature.flatten(self.target)
        }
        writes = _Writes(number, word)
        self._write_registers(m, signals, writes)
        writes.connect(m, commit, self.broken)
        words = self._words(signals, writes.refused)
        answer, latency = _choose(m, technology_of(platform), words, number)
        wait = Signal(range(latency + 1))
        m.d.sync += commit.eq(0)
        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += self.received.ready.eq(1)
                m.d.sync += [number.eq(self.received.payload), count.eq(0), wait.eq(latency)]
                with m.If(self.received.valid):
                    with m.If(self.received.payload[7]):
                        m.next = "DATA"
                    with m.Else():
                        m.next = "LOOK UP"
            with m.State("DATA"):
                m.d.comb += self.received.ready.eq(1)
                with m.If(self.received.valid):
                    m.d.sync += [word.eq(Cat(word[8:], self.received.payload)), count.eq(count + 1)]
                    with m.If(count == WORD_BYTES - 1):
                        m.d.sync += commit.eq(1)
                        m.next = "COMMIT"
                with m.If(self.broken):
                    m.d.sync += commit.eq(0)
                    m.next = "COMMAND"
            with m.State("COMMIT"):
                # Cycle 0 of the write; number and word stay as they are until the end of cycle 2.
                m.next = "COMMITTED"
            with m.State("COMMITTED"):
                m.next = "COMMAND"
            with m.State("LOOK UP"):
                m.d.sync += [wait.eq(wait - 1), word.eq(answer)]
                with m.If(wait == 0):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [self.sent.valid.eq(1), self.sent.payload.eq(word[:8])]
                with m.If(self.sent.ready):
                    m.d.sync += [word.eq(word[8:]), count.eq(count + 1)]
                    with m.If(count == WORD_BYTES - 1):
                        m.next = "COMMAND"
        return m

    def _write_registers(self, m: Module, signals: Mapping[Path, Value], writes: _Writes) -> None:
        """Connect the ports that a host writes."""
        # Of the ports beside a strobe, and of a payload: a word was refused.
        stale: dict[tuple[str, ...], list[Value]] = {port.path[:-1]: [] for port in self._ports}
        for port in self._ports:
            match port.access:
                case Access.WRITE:
                    stale[port.path[:-1]] += self._take_words(
                        m, writes, leaves(port.shape, port.name), signals[port.path], Const(0)
                    )
                case Access.SEND:
                    stale[port.path] = self._take_words(
                        m,
                        writes,
                        leaves(port.shape, f"{port.name}.payload"),
                        signals[(*port.path, "payload")],
                        signals[(*port.path, "valid")],
                    )
        for port in self._ports:
            match port.access:
                case Access.STROBE:
                    blocked = Cat(writes.refused[-1], stale[port.path[:-1]]).any()
                    strobe = writes.enable(self._number(port.name), blocked=delay(m, blocked, 1))
                    m.d.sync += signals[port.path].eq(strobe)
                case Access.SEND:
                    valid, ready = signals[(*port.path, "valid")], signals[(*port.path, "ready")]
                    blocked = Cat(writes.refused[-1], stale[port.path], valid).any()
                    with m.If(writes.enable(self._number(port.name), blocked=delay(m, blocked, 1))):
                        m.d.sync += valid.eq(1)
                    with m.Elif(ready):
                        m.d.sync += valid.eq(0)
                case Access.TAKE:
                    take = writes.enable(self._number(port.name))
                    m.d.sync += signals[(*port.path, "ready")].eq(take)
        with m.If(writes.enable(self._number("refused"))):
            m.d.sync += writes.refused.eq(0)

    def _take_words(
        self,
        m: Module,
        writes: _Writes,
        fields: Iterable[Leaf],
        value: Value,
        offered: Value,
    ) -> list[Value]:
        """Take words into the fields of a value, while it is not ``offered``.

        Returns flags: the last frame that wrote this word was refused.
        """
        stale: list[Value] = []
        for field in fields:
            register = self._map.write[field.name]
            bits = value[field.start :][: field.bits]
            words = zip(register.numbers, register.largest_words, strict=True)
            for n, (number, largest) in enumerate(words):
                with m.If(writes.enable(number, largest=largest, blocked=offered)):
                    m.d.sync += bits[WORD_BITS * n :][:WORD_BITS].eq(writes.word)
                stale.append(writes.stale(number))
        return stale

    def _number(self, name: str) -> int:
        """Number of a register to write that has one."""
        (number,) = self._map.write[name].numbers
        return number

    def _words(self, signals: Mapping[Path, Value], refused: Value) -> list[Value]:
        """What a host can read, by number."""
        readable: dict[str, Value] = {
            "identity": Const(self._map.identity, WORD_BITS),
            "refused": refused,
        }
        for port in self._ports:
            match port.access:
                case Access.READ | Access.FLAG:
                    readable[port.name] = signals[port.path]
                case Access.SEND:
                    readable[f"{port.name}.waiting"] = signals[(*port.path, "valid")]
                case Access.TAKE:
                    readable[f"{port.name}.payload"] = signals[(*port.path, "payload")]
                    readable[f"{port.name}.valid"] = signals[(*port.path, "valid")]
        last = max(register.numbers[-1] for register in self._map.read.values())
        parts: list[list[Value]] = [[] for _ in range(last + 1)]
        for name, register in self._map.read.items():
            for n, number in enumerate(register.numbers):
                parts[number].append(readable[name][WORD_BITS * n : WORD_BITS * (n + 1)])
        return [Cat(*word) for word in parts]


class _Writes:
    """Frames that write: each enables what it is for, or is refused.

    ``refused``: 0, or the first byte of the first frame that was.
    """

    def __init__(self, number: Value, word: Value) -> None:
        self.word = word
        self.refused = Signal(REFUSED_BITS)
        self._number = number
        self._enables: dict[int, Signal] = {}
        self._limits: dict[int, tuple[int, Value]] = {}
        self._stale: dict[int, Signal] = {}

    def enable(
        self, number: int, *, largest: int = WORD_MAX, blocked: Value | None = None
    ) -> Value:
        """For a cycle: a frame has written this number.

        It is refused if its word is above ``largest``, or while ``blocked`` is 1.
        """
        self._limits[number] = largest, Const(0) if blocked is None else blocked
        self._enables[number] = Signal(name=f"write_{number}")
        return self._enables[number]

    def stale(self, number: int) -> Value:
        """The last frame that wrote this number was refused."""
        self._stale[number] = Signal(name=f"stale_{number}")
        return self._stale[number]

    def connect(self, m: Module, commit: Value, lost: Value) -> None:
        """Decide about every frame.

        ``lost``: a byte was. ``commit``: number and word are complete, and stay so for two cycles
        more; the number has been stable for two before.
        """
        # Cycle -2:
        chosen = {n: delay(m, self._number == n, 1) for n in self._enables}
        # Cycle -1: of the register that is chosen; if there is none, any word is refused.
        largest = Signal(WORD_BITS, reset_less=True)
        blocked = Signal(reset_less=True)
        takers = [
            Cat(chosen[n] for n, (limit, _) in self._limits.items() if limit >> bit & 1)
            for bit in range(WORD_BITS)
        ]
        free = Cat(chosen[n] & ~blocks for n, (_, blocks) in self._limits.items())
        m.d.sync += [largest.eq(Cat(bit.any() for bit in takers)), blocked.eq(~free.any())]
        # Cycle 0:
        fits = delay(m, (self.word <= largest) & ~blocked, 1)
        committed = delay(m, commit, 1, reset=True)
        # Cycle 1:
        for number, enable in self._enables.items():
            m.d.sync += enable.eq(committed & chosen[number] & fits)
        for number, flag in self._stale.items():
            with m.If(committed & chosen[number]):
                m.d.sync += flag.eq(~fits)
        with m.If(committed & ~fits & ~self.refused[-1]):
            m.d.sync += self.refused.eq(Cat(self._number, 1))
        with m.If(lost & ~self.refused[-1]):
            m.d.sync += self.refused.eq(Cat(Const(LOST, 7), 1))
        # Cycle 2: what is enabled takes the word.


def _choose(
    m: Module, technology: Technology, words: list[Value], number: Value
) -> tuple[Value, int]:
    """(words[number], cycles until it is there), while the number does not change.

    A tree with a register after each choice, and a copy of the number before each.
    """
    level, low = 0, 0
    step = (MUX_INPUTS - 1).bit_length()
    while len(words) > 1 or level == 0:
        groups = [words[n : n + MUX_INPUTS] for n in range(0, len(words), MUX_INPUTS)]
        words = []
        for n, (group, choice) in enumerate(
            zip(groups, copies(m, technology, number[low : low + step], len(groups)), strict=True)
        ):
            result = Signal(max(len(word) for word in group), name=f"chosen_{level}_{n}")
            with m.Switch(choice):
                for index, word in enumerate(group):
                    with m.Case(index):
                        m.d.sync += result.eq(word)
            words.append(result)
        low, level = low + step, level + 1
    return words[0], 1 + level

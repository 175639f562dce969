"""Reading and writing a component's ports over a stream of bytes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, Signature

from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.link.register_map import reachable
from mmfree.chip.registers import WORD_BITS, WORD_BYTES, Register, RegisterMap

MUX_INPUTS = 4
"""Words among which each stage on the way to a host chooses, before a register."""


class RegisterPort(wiring.Component):
    """A host's side of a component's ports, which a RegisterMap of the same signature describes.

    ::

        read:   host  [ number          ]
                chip                      [ d7..d0 ][ d15..d8 ][ d23..d16 ][ d31..d24 ]
        write:  host  [ 0x80 | number   ][ d7..d0 ][ d15..d8 ][ d23..d16 ][ d31..d24 ]     no answer

    Ports: ``received`` (stream in) and ``sent`` (stream out), bytes; ``broken``: a byte was lost,
    and a frame of which it was part is dropped; ``target``: the component's ports as their other
    side sees them. While a frame is carried out, ``received`` is not ready. Every output of
    ``target`` is a register, and from each of its inputs to ``sent`` there is a register after
    every choice among MUX_INPUTS words. What was written stays until it is written again; after
    reset it is 0, and nothing is offered or taken.
    """

    def __init__(self, signature: Signature, registers: RegisterMap) -> None:
        self._map = registers
        super().__init__(
            {
                "received": In(stream.Signature(8)),
                "sent": Out(stream.Signature(8)),
                "broken": In(1),
                "target": In(Signature(reachable(signature))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number, count = Signal(7), Signal(range(WORD_BYTES))
        word, commit = Signal(WORD_BITS), Signal()
        self._write_registers(m, number, word, commit)
        answer, latency = _choose(m, technology_of(platform), self._words(), number)
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
                # The number stays as it is until the register has taken the word.
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

    def _write_registers(self, m: Module, number: Value, word: Value, commit: Value) -> None:
        """Write the word to the register with this number.

        Cycle 0: ``commit``; the number has been stable for a cycle or more. Cycle 1: the enable of
        one register. Cycle 2: the register holds the word.
        """
        for register in self._map.write.values():
            enables = Signal(len(register.numbers), name=f"write_{register.name.replace('.', '_')}")
            chosen = delay(m, Cat(number == n for n in register.numbers), 1)
            m.d.sync += enables.eq(Mux(commit, chosen, 0))
            port = self._port(register)
            match register.kind:
                case "strobe":
                    m.d.sync += port.eq(enables)
                case "take":
                    m.d.sync += port.ready.eq(enables)
                case "send":
                    with m.If(enables):
                        m.d.sync += port.valid.eq(1)
                    with m.Elif(port.ready):
                        m.d.sync += port.valid.eq(0)
                case _:
                    waiting = port.valid if register.name.endswith(".payload") else Const(0)
                    value = Value.cast(port.payload if register.name.endswith(".payload") else port)
                    for n, enable in enumerate(enables):
                        with m.If(enable & ~waiting):
                            part = value[WORD_BITS * n : WORD_BITS * (n + 1)]
                            m.d.sync += part.eq(word)

    def _words(self) -> list[Value]:
        """What a host can read, by number."""
        last = max(register.numbers[-1] for register in self._map.read.values())
        parts: list[list[Value]] = [[] for _ in range(last + 1)]
        for register in self._map.read.values():
            value = self._readable(register)
            for n, number in enumerate(register.numbers):
                parts[number].append(value[WORD_BITS * n : WORD_BITS * (n + 1)])
        return [Cat(*word) for word in parts]

    def _readable(self, register: Register) -> Value:
        if register.name == "identity":
            return Const(self._map.identity, WORD_BITS)
        port = self._port(register)
        match register.name.partition(".")[2]:
            case "payload":
                return Value.cast(port.payload)
            case "valid" | "waiting":
                return Value.cast(port.valid)
        return Value.cast(port)

    def _port(self, register: Register) -> Any:
        """The port, or stream, that a register belongs to."""
        return getattr(self.target, register.name.partition(".")[0])


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

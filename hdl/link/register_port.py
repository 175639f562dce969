"""Reading and writing a component's ports over a stream of bytes."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, Signature

from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.link.register_map import ReachedPort, reached_ports
from mmfree.chip.registers import WORD_BITS, WORD_BYTES, Access, RegisterMap

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
        self._values: dict[tuple[str | int, ...], Value] = {
            path: Value.cast(value) for path, _, value in self.target.signature.flatten(self.target)
        }
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
        for port in self._ports:
            match port.access:
                case Access.STROBE:
                    m.d.sync += self._value(port).eq(self._enables(m, port.name, number, commit))
                case Access.TAKE:
                    enable = self._enables(m, port.name, number, commit)
                    m.d.sync += self._value(port, "ready").eq(enable)
                case Access.SEND:
                    valid = self._value(port, "valid")
                    enables = self._enables(m, f"{port.name}.payload", number, commit)
                    self._take(m, self._value(port, "payload"), enables, ~valid, word)
                    with m.If(self._enables(m, port.name, number, commit)):
                        m.d.sync += valid.eq(1)
                    with m.Elif(self._value(port, "ready")):
                        m.d.sync += valid.eq(0)
                case Access.WRITE:
                    enables = self._enables(m, port.name, number, commit)
                    self._take(m, self._value(port), enables, Const(1), word)

    def _enables(self, m: Module, name: str, number: Value, commit: Value) -> Signal:
        """Whether each of a register's numbers is written, in cycle 1."""
        numbers = self._map.write[name].numbers
        enables = Signal(len(numbers), name=f"write_{name.replace('.', '_')}")
        chosen = delay(m, Cat(number == n for n in numbers), 1)
        m.d.sync += enables.eq(Mux(commit, chosen, 0))
        return enables

    def _take(self, m: Module, value: Value, enables: Value, free: Value, word: Value) -> None:
        for n, enable in enumerate(enables):
            with m.If(enable & free):
                m.d.sync += value[WORD_BITS * n : WORD_BITS * (n + 1)].eq(word)

    def _words(self) -> list[Value]:
        """What a host can read, by number."""
        readable: dict[str, Value] = {"identity": Const(self._map.identity, WORD_BITS)}
        for port in self._ports:
            match port.access:
                case Access.READ | Access.FLAG:
                    readable[port.name] = self._value(port)
                case Access.SEND:
                    readable[f"{port.name}.waiting"] = self._value(port, "valid")
                case Access.TAKE:
                    readable[f"{port.name}.payload"] = self._value(port, "payload")
                    readable[f"{port.name}.valid"] = self._value(port, "valid")
        last = max(register.numbers[-1] for register in self._map.read.values())
        parts: list[list[Value]] = [[] for _ in range(last + 1)]
        for name, register in self._map.read.items():
            for n, number in enumerate(register.numbers):
                parts[number].append(readable[name][WORD_BITS * n : WORD_BITS * (n + 1)])
        return [Cat(*word) for word in parts]

    def _value(self, port: ReachedPort, *part: str) -> Value:
        """The port, or a part of a stream."""
        return self._values[(*port.path, *part)]


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

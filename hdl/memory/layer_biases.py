"""Biases of one layer, which come with the words of weights from an external memory."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from hdl.fabric.pipeline import delay
from hdl.memory.block_memory import BlockMemory
from hdl.memory.loaded_memory import LATENCY as LOADED_LATENCY
from hdl.memory.loaded_memory import CheckedRead
from hdl.payloads import TAKE
from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_bits, parameter_words

BIAS_BITS = 16


def bias_latency(design: Design) -> int:
    """Cycles from the address of P biases until they are there."""
    return LOADED_LATENCY + (design.external is not None)


class LayerBiases(wiring.Component):
    """The biases that the words of a record hold, kept for the segment after it.

    A word of the stream holds biases from its lowest bit on, 16 bits each, and each is kept with
    a parity bit, because they may wait here for a long time.

    Ports::

        words      in   G x shares   of the source: that of group g comes g cycles after the first's
        parameter  in   1            it holds biases, with the first group's share
        taken      in   TAKE         what it is: after a check word biases are those of a new record
        restart    in   1            a token begins: so they are
        read       in   CheckedRead  P biases: data 3 cycles after address, parity_error one more

    One word per cycle, without back-pressure; one read per cycle. Nothing may be read that is being
    written. After reset the biases are undefined.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        self._biases = group_bits(design) // BIAS_BITS
        self.memories = tuple(
            BlockMemory(
                f"biases_{group}",
                part_bits=BIAS_BITS + 1,
                parts=self._biases,
                depth=parameter_words(design),
            )
            for group in range(design.num_groups)
        )
        self.latency = bias_latency(design)
        assert self.memories[0].latency + 1 == self.latency
        super().__init__(
            {
                "words": In(data.ArrayLayout(unsigned(group_bits(design)), design.num_groups)),
                "parameter": In(1),
                "taken": In(TAKE),
                "restart": In(1),
                "read": In(CheckedRead(design.bias_words, unsigned(BIAS_BITS * design.post_width))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, address = self._design.post_width, self.read.address
        # Cycle g: the share of group g, and where it goes. Cycle g + 1: with its parities.
        number = Signal(range(max(2, parameter_words(self._design))))
        with m.If(self.taken.check | self.restart):
            m.d.sync += number.eq(0)
        with m.Elif(self.parameter):
            m.d.sync += number.eq(number + 1)
        # Which P of a word are read: the lowest bits of the address.
        choices = self._biases // width * self._design.num_groups
        low = (choices - 1).bit_length()
        read = []
        for group, stored in enumerate(self.memories):
            m.submodules[stored.name] = stored
            share = self.words[group]
            biases = [share[n : n + BIAS_BITS] for n in range(0, len(share), BIAS_BITS)]
            m.d.comb += [
                stored.write.address.eq(delay(m, number, group + 1)),
                stored.write.data.eq(delay(m, Cat(Cat(bias, bias.xor()) for bias in biases), 1)),
                stored.write.enable.eq(
                    delay(m, self.parameter, group + 1, reset=True).replicate(self._biases)
                ),
                stored.read[0].address.eq(address[low:]),
            ]
            read.append(stored.read[0].data)
        # Cycle 2: the words of all groups are there. Cycle 3: P biases of them.
        size = width * (BIAS_BITS + 1)
        word = Cat(read)
        parts = Array(word[n * size :][:size] for n in range(choices))
        chosen = Signal(size, reset_less=True)
        m.d.sync += chosen.eq(parts[delay(m, address[:low], LOADED_LATENCY)])
        kept = [chosen[n : n + BIAS_BITS + 1] for n in range(0, size, BIAS_BITS + 1)]
        m.d.comb += self.read.data.eq(Cat(bias[:BIAS_BITS] for bias in kept))
        m.d.sync += self.read.parity_error.eq(Cat(bias.xor() for bias in kept).any())
        return m

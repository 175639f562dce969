"""Weights from block RAM, in the order of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from hdl.fabric.pipeline import delay
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from hdl.memory.sources.interface import LATENCY, source_ports
from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_shape, loaded_shape, weight_memories


class BlockSource(wiring.Component):
    """Source of weights that is always available, except while it is paused.

    Each group of rows has its own memory and address. ``take`` and ``restart`` pass from each group
    to the next, one cycle later, so that no signal has to reach the block RAMs of more than one
    group (docs/decisions/0010).

    Ports::

        words  in  WeightSource  the image's words, in order
        pause  in  1             withhold them, as a slower source would: for tests
        load   in  LoadWrite     of a part of a word, while no token is played

    One word per cycle. After reset the next word is the first.
    """

    def __init__(self, design: Design, contents: Mapping[str, Sequence[int]] | None = None) -> None:
        self._design = design
        words = contents or {}
        self.weights = [
            LoadedMemory(
                name, group_shape(design), fabric_registers=True, contents=words.get(name, ())
            )
            for name in weight_memories(design)
        ]
        self.memories = tuple(memory.memory for memory in self.weights)
        assert self.weights[0].latency == LATENCY
        super().__init__(source_ports(design))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design = self._design
        take, restart = self.words.take, self.words.restart
        load: wiring.PureInterface = self.load
        parts = group_shape(design).parts
        for group, memory in enumerate(self.weights):
            m.submodules[f"group_{group}"] = memory
            address = Signal(range(design.weight_words + 1), name=f"address_{group}")
            with m.If(restart):
                m.d.sync += address.eq(0)
            with m.Elif(take):
                m.d.sync += address.eq(address + 1)
            # A word's parts are numbered through all groups. A write passes from group to group, a
            # cycle each, and its part is counted from the first part of the group that it reaches.
            previous, load = load, LoadWrite(loaded_shape(design, "weights")).create()
            part, own = Signal.like(load.part, name=f"part_{group}"), Signal(name=f"own_{group}")
            m.d.comb += part.eq(previous.part - (parts if group else 0))
            m.d.sync += [
                load.enable.eq(previous.enable),
                load.word.eq(previous.word),
                load.part.eq(part),
                load.data.eq(previous.data),
                own.eq(previous.enable & (part < parts)),
            ]
            m.d.comb += [
                memory.read[0].address.eq(address),
                memory.read[0].enable.eq(take),
                self.words.data[group].eq(memory.read[0].data),
                memory.load.enable.eq(own),
                memory.load.word.eq(load.word),
                memory.load.part.eq(load.part),
                memory.load.data.eq(load.data),
            ]
            take = delay(m, take, 1, reset=True)
            restart = delay(m, restart, 1, reset=True)
        m.d.comb += self.words.available.eq(~self.pause)
        return m

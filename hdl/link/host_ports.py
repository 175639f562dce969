"""The ports through which a host reaches the accelerator, and what it does with each."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.interface import (
    COUNTERS_LAYOUT,
    REGISTERS,
    fault_layout,
    request_layout,
    result_layout,
)
from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOAD_BITS, LOADED_MEMORIES, loaded_shape
from mmfree.chip.registers import Access

ACCESS = {
    "request": Access.SEND,
    "result": Access.TAKE,
    "fault": Access.TAKE,
    "cancel": Access.STROBE,
    "seed.registers": Access.WRITE,
    "seed.enable": Access.STROBE,
    "load.memory": Access.WRITE,
    "load.word": Access.WRITE,
    "load.part": Access.WRITE,
    "load.data": Access.WRITE,
    "load.enable": Access.STROBE,
    "load.refused": Access.FLAG,
    "state.address": Access.WRITE,
    "state.data": Access.READ,
    "state.write": Access.WRITE,
    "state.enable": Access.STROBE,
    "logits.address": Access.WRITE,
    "logits.data": Access.READ,
    "counters": Access.READ,
    "segment": Access.READ,
    "playing": Access.FLAG,
}
"""Port of HostPorts -> what a host does with it."""


class HostPorts(wiring.Signature):
    """What an accelerator offers a host; its members are also the first ports of the accelerator.

    ::

        request   in   stream of request_layout   a token to play, or a text that goes on by itself
        result    out  stream of result_layout    a row of the head, chosen
        fault     out  stream of fault_layout     instead of a result: a check failed in this pass
        cancel    in   1                          the request ends with the token in progress
        seed      in   SeedPort                   a seed of the noise
        load      in   LoadAccess                 writes of the image's memories
        state     in   StateAccess                the state after the last token
        logits    in   LogitsAccess               the logits of the last token
        counters  out  COUNTERS_LAYOUT            of the last token
        segment   out  uintN                      entry of the segment table in progress
        playing   out  1                          a token is in progress
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(design))),
                "result": Out(stream.Signature(result_layout(design))),
                "fault": Out(stream.Signature(fault_layout(design))),
                "cancel": In(1),
                "seed": In(SeedPort()),
                "load": In(LoadAccess(design)),
                "state": In(StateAccess(design)),
                "logits": In(LogitsAccess(design)),
                "counters": Out(COUNTERS_LAYOUT),
                "segment": Out(range(design.header_words + 1)),
                "playing": Out(1),
            }
        )


class HostInterface:
    """The HostPorts of a component that has other ports, too, as an interface to connect."""

    def __init__(self, signature: HostPorts, component: Any) -> None:
        self.signature = signature
        self.request, self.result, self.fault = component.request, component.result, component.fault
        self.cancel, self.seed, self.load = component.cancel, component.seed, component.load
        self.state, self.logits = component.state, component.logits
        self.counters, self.segment = component.counters, component.segment
        self.playing = component.playing


class SeedPort(wiring.Signature):
    """Seeds the noise; while a token is played it has no effect.

    ``registers``: the noise's shift registers, taken in a cycle with ``enable``.
    """

    def __init__(self) -> None:
        super().__init__({"registers": Out(REGISTERS), "enable": Out(1)})


class LoadAccess(wiring.Signature):
    """Writes parts of words into the memories of the image, one per cycle with ``enable``.

    ``memory``: index in LOADED_MEMORIES; ``word``, ``part``: which part of it; ``data``: at most
    LOAD_BITS bits of it. ``refused``: two cycles after a write whether nothing was changed by it: a
    token was being played, or the memory has no such word or part.
    """

    def __init__(self, design: Design) -> None:
        shapes = [loaded_shape(design, name) for name in LOADED_MEMORIES]
        super().__init__(
            {
                "memory": Out(range(len(LOADED_MEMORIES))),
                "word": Out(range(max(shape.depth for shape in shapes) + 1)),
                "part": Out(range(max(shape.parts for shape in shapes) + 1)),
                "data": Out(LOAD_BITS),
                "enable": Out(1),
                "refused": In(1),
            }
        )


class StateAccess(wiring.Signature):
    """Reads and writes words of P values of the state, while no token is played.

    ``data``: two cycles after ``address``; ``write``: taken in a cycle with ``enable``.
    """

    def __init__(self, design: Design) -> None:
        values = data.ArrayLayout(signed(16), design.post_width)
        super().__init__(
            {
                "address": Out(range(max(2, design.state_words))),
                "data": In(values),
                "write": Out(values),
                "enable": Out(1),
            }
        )


class LogitsAccess(wiring.Signature):
    """Reads words of P logits of the last token, while none is played.

    ``data``: two cycles after ``address``.
    """

    def __init__(self, design: Design) -> None:
        words = max(2, design.max_blocks * design.groups_per_block)
        super().__init__(
            {
                "address": Out(range(words)),
                "data": In(data.ArrayLayout(signed(16), design.post_width)),
            }
        )

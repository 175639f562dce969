"""The ports through which a host reaches the accelerator, and what it does with each."""

from __future__ import annotations

from typing import Any

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.interface import LoadAccess, LogitsAccess, MemorySettings, SeedAccess, StateAccess
from hdl.payloads import COUNTERS_LAYOUT, fault_layout, request_layout, result_layout
from mmfree.chip.design import Design
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

MEMORY_ACCESS = {
    "memory.index": Access.WRITE,
    "memory.value": Access.WRITE,
    "memory.enable": Access.STROBE,
}
"""Likewise, of a design with an external memory."""

LOGITS_ACCESS = ("logits.address", "logits.data")
"""Those of ACCESS that a design has which stores logits."""


def accesses(design: Design) -> dict[str, Access]:
    """Port of a design's HostPorts -> what a host does with it."""
    stored = {
        port: access
        for port, access in ACCESS.items()
        if design.stores_logits or port not in LOGITS_ACCESS
    }
    return stored | (MEMORY_ACCESS if design.external is not None else {})


class HostPorts(wiring.Signature):
    """What an accelerator offers a host; its members are also the first ports of the accelerator.

    Members::

        request   in   stream of request_layout   a token to play, or a text that goes on by itself
        result    out  stream of result_layout    a row of the head, chosen
        fault     out  stream of fault_layout     instead of a result: a check failed in this pass
        cancel    in   1                          the request ends with the token in progress
        seed      in   SeedAccess                 a seed of the noise
        load      in   LoadAccess                 writes of the image's memories
        state     in   StateAccess                the state after the last token
        logits    in   LogitsAccess               the logits of the last token, if they are stored
        counters  out  COUNTERS_LAYOUT            of the last token
        segment   out  uintN                      entry of the segment table in progress
        playing   out  1                          a token is in progress
        memory    in   MemorySettings             external memory: where the image is in it
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(design))),
                "result": Out(stream.Signature(result_layout(design))),
                "fault": Out(stream.Signature(fault_layout(design))),
                "cancel": In(1),
                "seed": In(SeedAccess()),
                "load": In(LoadAccess(design)),
                "state": In(StateAccess(design)),
                **({"logits": In(LogitsAccess(design))} if design.stores_logits else {}),
                "counters": Out(COUNTERS_LAYOUT),
                "segment": Out(range(design.header_words + 1)),
                "playing": Out(1),
                **({"memory": In(MemorySettings(design))} if design.external is not None else {}),
            }
        )


class HostInterface:
    """The HostPorts of a component that has other ports, too, as an interface to connect."""

    def __init__(self, signature: HostPorts, component: Any) -> None:
        self.signature = signature
        self.request, self.result, self.fault = component.request, component.result, component.fault
        self.cancel, self.seed, self.load = component.cancel, component.seed, component.load
        self.state, self.counters = component.state, component.counters
        self.segment, self.playing = component.segment, component.playing
        if "logits" in signature.members:
            self.logits = component.logits
        if "memory" in signature.members:
            self.memory = component.memory

"""What every board holds: the accelerator, and a serial line to it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.accelerator import Accelerator
from hdl.link.register_map import register_map
from hdl.link.register_port import RegisterPort
from hdl.link.serial import Receiver, Transmitter
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.registers import RegisterMap


class System(wiring.Component):
    """An accelerator whose ports a host reaches on a serial line (``registers`` says how).

    Ports: ``rx``, ``tx``; for LEDs, as registers: ``playing``, ``result`` and ``fault`` (one waits
    to be taken). The image, if there is one, is in the memories from the start. A break on the line
    drops a frame in progress. After reset no request is in progress.
    """

    def __init__(self, design: Design, image: Image | None, divisor: int) -> None:
        self._divisor = divisor
        self.accelerator = Accelerator(design, image)
        self.registers: RegisterMap = register_map(self.accelerator.signature, design.to_dict())
        super().__init__(
            {
                "rx": In(1),
                "tx": Out(1, init=1),
                "playing": Out(1),
                "result": Out(1),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        m.submodules.receiver = receiver = Receiver(self._divisor)
        m.submodules.transmitter = transmitter = Transmitter(self._divisor)
        m.submodules.port = port = RegisterPort(accelerator.signature, self.registers)
        wiring.connect(m, receiver.bytes, port.received)
        wiring.connect(m, port.sent, transmitter.bytes)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            port.broken.eq(receiver.broken),
        ]
        for path, member, mine in port.target.signature.flatten(port.target):
            theirs: Any = accelerator
            for name in path:
                theirs = getattr(theirs, str(name))
            there, here = Value.cast(theirs), Value.cast(mine)
            m.d.comb += there.eq(here) if member.flow == Out else here.eq(there)
        m.d.sync += [
            self.playing.eq(accelerator.playing),
            self.result.eq(accelerator.result.valid),
            self.fault.eq(accelerator.fault.valid),
        ]
        return m

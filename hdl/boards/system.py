"""What every board holds: the accelerator, and a serial line to it."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.accelerator import Accelerator
from hdl.link.host_ports import HostPorts, accesses
from hdl.link.register_map import register_map
from hdl.link.register_port import RegisterPort
from hdl.link.serial import Receiver, Transmitter
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.registers import RegisterMap


class System(wiring.Component):
    """An accelerator whose ports a host reaches on a serial line (``registers`` says how).

    Ports::

        rx       in   1  the line from the host, of any phase; 1 when idle
        tx       out  1  the line to the host; 1 when idle
        playing  out  1  for an LED: a token is in progress; a cycle late, as the others
        result   out  1  for an LED: a result waits to be taken
        fault    out  1  for an LED: a fault waits to be taken

    The image, if there is one, is in the memories from the start. A break on the line drops a frame
    in progress. After reset no request is in progress.
    """

    def __init__(self, design: Design, image: Image | None, divisor: int) -> None:
        ports = HostPorts(design)
        self._divisor = divisor
        self.accelerator = Accelerator(design, image)
        reached = accesses(design)
        self.registers: RegisterMap = register_map(ports, reached, design.to_dict())
        self._port = RegisterPort(ports, reached, self.registers)
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
        m.submodules.port = port = self._port
        wiring.connect(m, receiver.bytes, port.received)
        wiring.connect(m, port.sent, transmitter.bytes)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            port.broken.eq(receiver.broken),
        ]
        wiring.connect(m, port.target, accelerator.host)
        m.d.sync += [
            self.playing.eq(accelerator.playing),
            self.result.eq(accelerator.result.valid),
            self.fault.eq(accelerator.fault.valid),
        ]
        return m

"""A read port of AXI4, and what comes through it."""

from __future__ import annotations

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mmfree.chip.external_memory import ADDRESS_BITS

BURST_BITS = 2
INCREMENTING = 1
"""Of ARBURST: each beat's address follows the last one's."""

OKAY = 0
"""Of RRESP; the others are errors."""


class AxiRead(wiring.Signature):
    """The read channels of AXI4, seen from the master; no IDs, so all beats come in order.

    Members::

        araddr   out  40    first byte of a burst; this and the next five as AXI4 has them
        arlen    out  8     its beats, minus 1
        arsize   out  3     log2 of the bytes of a beat: all of the port's
        arburst  out  2     INCREMENTING
        arvalid  out  1     the burst is asked for; stays, the same, until arready
        arready  in   1     it is accepted
        rdata    in   bits  a beat
        rresp    in   2     OKAY, or an error
        rlast    in   1     it is its burst's last
        rvalid   in   1     there is a beat
        rready   out  1     it is taken
    """

    def __init__(self, bits: int) -> None:
        super().__init__(
            {
                "araddr": Out(ADDRESS_BITS),
                "arlen": Out(8),
                "arsize": Out(3),
                "arburst": Out(BURST_BITS),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(bits),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


def beat_layout(bits: int) -> data.StructLayout:
    """``data``: of a beat. ``response``: the memory answered with an error instead."""
    return data.StructLayout({"data": bits, "response": 1})

"""The head: logits, and the row that is chosen."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.argmax import KEY_BITS, Argmax, argmax_latency
from hdl.arithmetic.requantize import LATENCY as Z
from hdl.arithmetic.requantize import Z_BITS
from hdl.fabric.pipeline import Timed, delay
from hdl.interface import GroupWrite
from hdl.payloads import head_rows, tag_history, values_layout
from hdl.pow2.products import NOISE_READY
from mmfree.chip.design import Design

KEY = NOISE_READY + 1
"""Cycle, counted from the tag's: logit + noise."""


def chosen_cycle(width: int) -> int:
    """Cycle in which the row is chosen, counted from the tag of the last logits.

    Not before the noise's registers have moved on by what the last group drew: the next token may
    seed them, or take them back.
    """
    return max(KEY + argmax_latency(width), width)


class Logits(wiring.Component):
    """Logits of P rows of the head, and the row with the largest sum of logit and noise.

    docs/arithmetic.md, 14.

    Ports::

        tags     in   tag_history  tags[n]: of the P values that are in cycle n
        z        in   P x int16    them, requantized, cycle Z: logits
        noise    in   P x int16    of Products, cycle NOISE_READY
        restart  in   1            a token begins: no row is chosen yet
        write    out  GroupWrite   of the logits, cycle Z
        row      out  head_rows    the chosen one, stable from done on until the next head
        done     out  1            the last logits' row is chosen: cycle ``chosen_cycle``

    P values per cycle, never stalls. After reset nothing is written.
    """

    def __init__(self, design: Design) -> None:
        self._width = design.post_width
        super().__init__(
            {
                "tags": In(tag_history(design, KEY)),
                "z": In(data.ArrayLayout(signed(Z_BITS), self._width)),
                "noise": In(values_layout(design, self._width)),
                "restart": In(1),
                "write": Out(GroupWrite(design, design.max_blocks * design.groups_per_block)),
                "row": Out(head_rows(design)),
                "done": Out(1),
            }
        )
        self.argmax = Argmax(self._width, len(self.tags[0].group))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.argmax = argmax = self.argmax
        tags = self.tags
        # Cycle Z: the logits are written.
        tag = tags[Z]
        m.d.comb += [
            self.write.group.eq(tag.group),
            self.write.data.eq(self.z),
            self.write.keep.eq(tag.keep),
            self.write.enable.eq(tag.valid & tag.role.logit),
        ]
        # Cycle NOISE_READY: keys are added up.
        for p in range(self._width):
            key = Signal(signed(KEY_BITS), reset_less=True, name=f"key_{p}")
            logit = Timed(m, self.z[p], first=Z, last=NOISE_READY)
            m.d.sync += key.eq(logit.at(NOISE_READY) + self.noise[p])
            m.d.comb += argmax.keys[p].eq(key)
        # Cycle KEY: they are compared.
        keyed = tags[KEY]
        active = keyed.valid & keyed.role.logit
        m.d.comb += [
            argmax.clear.eq(self.restart),
            argmax.valid.eq(active),
            argmax.keep.eq(keyed.keep),
            argmax.group.eq(keyed.group),
            self.row.eq(argmax.row),
            self.done.eq(delay(m, active & keyed.end, chosen_cycle(self._width) - KEY, reset=True)),
        ]
        return m

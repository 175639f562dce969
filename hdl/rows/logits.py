"""The head: logits, and the row that is chosen."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.argmax import Argmax, argmax_latency
from hdl.fabric.pipeline import Timed, delay
from hdl.interface import GroupWrite
from hdl.payloads import head_rows, tag_history
from mmfree.chip.design import Design


def chosen_cycle(width: int, noise_ready: int) -> int:
    """Cycle in which the row is chosen, counted from the tag of the last logits.

    ``noise_ready``: the cycle of their noise. Not before the noise's registers have moved on by
    what the last group drew: the next token may seed them, or take them back.
    """
    return max(noise_ready + 1 + argmax_latency(width), width)


class Logits(wiring.Component):
    """Logits of P rows of the head, and the row with the largest sum of logit and noise.

    docs/arithmetic.md, 14. ``ready`` and ``noise_ready``: the cycles of z and noise, counted from
    their tag's; z comes first, or both together.

    Ports::

        tags     in   tag_history          tags[n]: of the P values that are in cycle n
        z        in   P x signed(z)        them, requantized, cycle ``ready``: logits
        noise    in   P x signed(noise)    of their rows, cycle ``noise_ready``
        restart  in   1                    a token begins: no row is chosen yet
        write    out  GroupWrite           of the logits, cycle ``ready``
        row      out  head_rows            the chosen one, stable from done on until the next head
        done     out  1                    the last logits' row is chosen: cycle ``chosen_cycle``

    P values per cycle, never stalls. After reset nothing is written.
    """

    def __init__(
        self, design: Design, *, z_bits: int, noise_bits: int, ready: int, noise_ready: int
    ) -> None:
        assert ready <= noise_ready, "the noise is added to logits that are there"
        self._width, self._key_bits = design.post_width, max(z_bits, noise_bits) + 1
        self._ready, self._noise_ready = ready, noise_ready
        super().__init__(
            {
                "tags": In(tag_history(design, noise_ready + 1)),
                "z": In(data.ArrayLayout(signed(z_bits), self._width)),
                "noise": In(data.ArrayLayout(signed(noise_bits), self._width)),
                "restart": In(1),
                "write": Out(GroupWrite(design, design.max_blocks * design.groups_per_block)),
                "row": Out(head_rows(design)),
                "done": Out(1),
            }
        )
        self.argmax = Argmax(self._width, len(self.tags[0].group), self._key_bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.argmax = argmax = self.argmax
        tags = self.tags
        # Cycle ``ready``: the logits are written.
        tag = tags[self._ready]
        m.d.comb += [
            self.write.group.eq(tag.group),
            self.write.data.eq(self.z),
            self.write.keep.eq(tag.keep),
            self.write.enable.eq(tag.valid & tag.role.logit),
        ]
        # Cycle ``noise_ready``: keys are added up.
        for p in range(self._width):
            key = Signal(signed(self._key_bits), reset_less=True, name=f"key_{p}")
            logit = Timed(m, self.z[p], first=self._ready, last=self._noise_ready)
            m.d.sync += key.eq(logit.at(self._noise_ready) + self.noise[p])
            m.d.comb += argmax.keys[p].eq(key)
        # Cycle ``noise_ready`` + 1: they are compared.
        keyed = tags[self._noise_ready + 1]
        chosen = chosen_cycle(self._width, self._noise_ready) - (self._noise_ready + 1)
        active = keyed.valid & keyed.role.logit
        m.d.comb += [
            argmax.clear.eq(self.restart),
            argmax.valid.eq(active),
            argmax.keep.eq(keyed.keep),
            argmax.group.eq(keyed.group),
            self.row.eq(argmax.row),
            self.done.eq(delay(m, active & keyed.end, chosen, reset=True)),
        ]
        return m

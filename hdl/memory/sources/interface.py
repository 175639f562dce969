"""What every source of weights offers: the words of an image, in order."""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mmfree.chip.design import Design

LATENCY = 5
"""Cycles from ``take`` to the first group's ``data``, for every source."""


class WeightSource(wiring.Signature):
    """Interface of a source, seen from the reader.

    ``available``: the next word may be taken in this cycle. ``take``: do so (only when available);
    the share of group g in that word is ``data[g]`` LATENCY + g cycles later, for one cycle.
    ``restart``: the next word is the image's first again; not in the same cycle as ``take``.
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {
                "available": In(1),
                "take": Out(1),
                "restart": Out(1),
                "data": In(data.ArrayLayout(unsigned(design.group_bits), design.num_groups)),
            }
        )

"""The way of the state through the post-processing: channels are read and written in order."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from hdl.fabric.pipeline import Timed
from hdl.memory.block_memory import next_word
from hdl.memory.state_banks import StateBanks
from mmfree.chip.design import Design


def read_channels(
    m: Module,
    design: Design,
    tags: data.View[data.ArrayLayout],
    gates: Value,
    *,
    begin: Value,
    restart: Value,
    state: Any,
    ready: int,
    updated: int,
) -> tuple[Signal, Timed]:
    """h of P operands in cycle ``ready`` of their tag, and its address up to cycle ``updated``.

    ``gates``: whether operands are those of a state. ``begin``: h reads as 0. ``restart``: a token
    begins. ``state``: the port to its banks, a ``VectorRead``.
    """
    # Cycle ready - 1 - LATENCY: a word of the state is asked for. Cycle ready - 1: it is there.
    asking_cycle = ready - 1 - StateBanks.LATENCY
    asking = tags[asking_cycle]
    address = Timed(
        m,
        next_word(m, asking.valid & asking.role.operand & gates, restart, words=design.state_words),
        first=asking_cycle,
        last=updated,
    )
    m.d.comb += state.address.eq(address.at(asking_cycle))
    h = Signal.like(state.data, reset_less=True)
    m.d.sync += h.as_value().eq(Mux(begin, 0, state.data.as_value()))
    return h, address


def write_channels(
    m: Module,
    tag: data.View[data.StructLayout],
    gates: Value,
    *,
    address: Value,
    values: Any,
    write: Any,
) -> None:
    """h' is written where h was read: ``values``, whose tag and address these are.

    ``write``: the port to the state's banks, a ``GroupWrite``.
    """
    m.d.comb += [
        write.group.eq(address),
        write.data.eq(values),
        write.keep.eq(tag.keep),
        write.enable.eq(tag.valid & tag.role.operand & gates),
    ]

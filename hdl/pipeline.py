"""Registers that carry values along a pipeline."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, ValueCastable, ValueLike


def delay(m: Module, value: ValueLike | ValueCastable, cycles: int, *, reset: bool = False) -> Any:
    """``value`` as it was ``cycles`` cycles ago.

    Data registers have no reset; pass ``reset=True`` for valid flags, which are then 0 after reset.
    """
    for _ in range(cycles):
        register = Signal.like(value, reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value

"""Registers that carry values along a pipeline."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import (
    ClockSignal,
    Const,
    Instance,
    Module,
    Signal,
    Value,
    ValueCastable,
    ValueLike,
)

from hdl.fabric.technology import Technology


def delay(m: Module, value: ValueLike | ValueCastable, cycles: int, *, reset: bool = False) -> Any:
    """``value`` as it was ``cycles`` cycles ago.

    Data registers have no reset; pass ``reset=True`` for valid flags, which are then 0 after reset.
    """
    for _ in range(cycles):
        register = Signal.like(value, reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value


class Timed:
    """A value of a pipeline with its cycle, counted from the pipeline's first.

    ``at(n)`` is the value as it is in cycle n: after n - ``cycle`` registers, which all who ask
    share. Values of the same ``at`` belong together. Data registers have no reset; with ``reset``,
    for valid flags, they are 0 after reset.
    """

    def __init__(
        self, m: Module, value: ValueLike | ValueCastable, cycle: int, *, reset: bool = False
    ) -> None:
        self.cycle = cycle
        self._m, self._reset = m, reset
        self._values: list[Any] = [value]

    def at(self, cycle: int) -> Any:
        """The value in a cycle, which must not come before its own."""
        age = cycle - self.cycle
        assert age >= 0, f"asked for in cycle {cycle}, but known in cycle {self.cycle}"
        while len(self._values) <= age:
            self._values.append(delay(self._m, self._values[-1], 1, reset=self._reset))
        return self._values[age]


def copies(m: Module, technology: Technology, value: ValueLike, count: int) -> list[Signal]:
    """``count`` registers that all hold ``value`` as it was a cycle ago.

    Each drives a part of what a single register would be too slow to reach. Synthesis merges equal
    registers, and no attribute prevents it; on the ECP5 they are placed as cells, which it leaves
    as they are (docs/log.md).
    """
    source = Value.cast(value)
    registers = []
    for n in range(count):
        register = Signal(source.shape(), name=f"copy_{n}", reset_less=True)
        if technology is Technology.ECP5:
            for bit in range(len(source)):
                m.submodules += _flip_flop(source[bit], register[bit])
        else:
            m.d.sync += register.eq(source)
        registers.append(register)
    return registers


def _flip_flop(value: Value, output: Value) -> Instance:
    return Instance(
        "TRELLIS_FF",
        p_GSR="ENABLED",
        p_CEMUX="1",
        p_CLKMUX="CLK",
        p_LSRMUX="LSR",
        p_REGSET="RESET",
        i_CLK=ClockSignal(),
        i_LSR=Const(0, 1),
        i_DI=value,
        o_Q=output,
    )


REACH = 4
"""Elements of a vector that one copy drives."""


def num_copies(elements: int) -> int:
    """Copies for a vector of ``elements``."""
    return -(-elements // REACH)

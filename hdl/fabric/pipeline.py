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
    """A value of a pipeline with its cycles, counted from the pipeline's first.

    The value is there in cycle ``first``, and ``at(n)`` is the same value in cycle n, up to
    ``last``: after n - ``first`` registers. What different values are ``at`` one cycle belongs
    together. Data registers have no reset; with ``reset``, for valid flags, they are 0 after reset.
    """

    def __init__(
        self,
        m: Module,
        value: ValueLike | ValueCastable,
        *,
        first: int = 0,
        last: int,
        reset: bool = False,
    ) -> None:
        self.first, self.last = first, last
        # All registers now: ``at`` may be called under a condition, which must not apply to them.
        self._values: list[Any] = [value]
        for _ in range(last - first):
            self._values.append(delay(m, self._values[-1], 1, reset=reset))

    def at(self, cycle: int) -> Any:
        """The value in a cycle."""
        assert self.first <= cycle <= self.last, f"{cycle} is not in {self.first}..{self.last}"
        return self._values[cycle - self.first]


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

# amaranth: UnusedElaboratable=no
"""Boundaries of the blocks: memories, the serial line, registers, cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Signature

from hdl.arithmetic.carry8 import Position, carry8_sum
from hdl.link.limits import pack_array
from hdl.link.register_map import register_map
from hdl.link.serial import divisor_for
from hdl.memory.block_memory import BlockMemory
from hdl.planning.memories import MOST_MEMORY_BITS, memories, memory_bits
from mmfree.chip.registers import Access
from tests.support.boundaries import Boundary
from tests.support.sim.shapes import ADDITION

Run = Callable[[Path], object]


def _memory(**sizes: Any) -> Run:
    return lambda _: BlockMemory("words", **{"part_bits": 8, "parts": 1, "depth": 4} | sizes)


def _position(inputs: int) -> Run:
    """A position of a sum; of six inputs the last gates the second summand."""

    def summands(*bits: int) -> tuple[int, int]:
        return bits[0], bits[1] & bits[-1]

    position = Position(tuple(Signal(inputs)), summands)
    return lambda _: carry8_sum(Module(), [position], Const(0, 1))


def _registers(count: int) -> Run:
    """A map of so many registers to write; one of them is ``refused``."""
    signature = Signature({"wide": In(32 * (count - 1))})
    return lambda _: register_map(signature, {"wide": Access.WRITE})


def _rate(clock_hz: float, baud: float) -> Run:
    return lambda _: divisor_for(clock_hz, baud)


def _weights(bits: int) -> Run:
    """A design whose memories hold so many bits, rounded up to whole words of weights of 128."""
    design = ADDITION.design()
    words = design.weight_words + -(-(bits - memory_bits(design)) // 128)
    return lambda _: memories(replace(design, weight_words=words))


def _packed(value: int) -> Run:
    return lambda _: pack_array(data.ArrayLayout(signed(4), 2), "words", [0, value])


BLOCK_MEMORY, SERIAL = "hdl/memory/block_memory.py", "hdl/link/serial.py"

ROWS = [
    Boundary(
        file="hdl/planning/memories.py",
        compares="bits > MOST_MEMORY_BITS",
        allowed=_weights(MOST_MEMORY_BITS - 127),
        refused=_weights(MOST_MEMORY_BITS + 1),
        says="its memories hold 132 Mbit, and the largest part here has 99 Mbit of block RAM",
    ),
    Boundary(
        file="hdl/arithmetic/carry8.py",
        compares="num_inputs > _MOST_INPUTS",
        allowed=_position(6),
        refused=_position(7),
        says="a position of a sum has at most 6 inputs, not 7",
    ),
    *(
        Boundary(
            file="hdl/link/limits.py",
            compares="low <= value <= high",
            allowed=_packed(last),
            refused=_packed(first),
            says=rf"words must be 2 values in -8\.\.7, got \[0, {first}\]",
        )
        for last, first in ((-8, -9), (7, 8))
    ),
    Boundary(
        file="hdl/link/register_map.py",
        compares="numbering.next > MAX_REGISTERS",
        allowed=_registers(127),
        refused=_registers(128),
        says="a host would need 128 registers to write, and a frame can name 127",
    ),
    Boundary(
        file=SERIAL,
        compares="divisor < MIN_DIVISOR",
        allowed=_rate(4e6, 1e6),
        refused=_rate(3e6, 1e6),
        says="a clock of 3 MHz cannot make 1,000,000 baud within 2 %",
    ),
    Boundary(
        file=SERIAL,
        compares="abs(clock_hz / divisor / baud - 1) > 0.02",
        allowed=_rate(10.1999e6, 1e6),
        refused=_rate(10.2001e6, 1e6),
        says=r"a clock of 10\.2001 MHz cannot make 1,000,000 baud within 2 %",
    ),
    Boundary(
        file=BLOCK_MEMORY,
        compares="1 <= part_bits <= MAX_PART_BITS",
        allowed=_memory(part_bits=1),
        refused=_memory(part_bits=0),
        says="memory words: part_bits must be 1 to 18, not 0",
    ),
    Boundary(
        file=BLOCK_MEMORY,
        compares="1 <= part_bits <= MAX_PART_BITS",
        allowed=_memory(part_bits=18),
        refused=_memory(part_bits=19),
        says="memory words: part_bits must be 1 to 18, not 19",
    ),
    Boundary(
        file=BLOCK_MEMORY,
        compares="min(parts, depth, reads) < 1",
        allowed=_memory(depth=1),
        refused=_memory(depth=0),
        says="parts, depth and reads must be 1 or more, not 1, 0 and 1",
    ),
    Boundary(
        file=BLOCK_MEMORY,
        compares="len(init) > depth",
        allowed=_memory(init=[1, 2, 3, 4]),
        refused=_memory(init=[1, 2, 3, 4, 5]),
        says="memory words: 5 initial words exceed its depth of 4",
    ),
    Boundary(
        file=BLOCK_MEMORY,
        compares="reads > 1",
        allowed=_memory(fabric_registers=True),
        refused=_memory(fabric_registers=True, reads=2),
        says="with fabric registers it has one read port, not 2",
    ),
]

"""Values that wait for the operands of the same rows."""

from __future__ import annotations

from amaranth.hdl import Module, Value, unsigned
from amaranth.lib import data, memory

from mmfree.chip.design import Design


def keep_rows(
    m: Module,
    design: Design,
    name: str,
    tag: data.View[data.StructLayout],
    write: Value,
    values: Value,
) -> Value:
    """Values of a row block, kept until the row block of their operands comes.

    ``values``: those of ``tag``, which are kept if ``write``. Yields those kept for the slot of
    ``tag``, a cycle later. ``name``: of the memory.
    """
    depth = max(2, design.groups_per_block)
    m.submodules[name] = words = memory.Memory(shape=unsigned(len(values)), depth=depth, init=[])
    write_port, read_port = words.write_port(), words.read_port()
    m.d.comb += [
        write_port.addr.eq(tag.slot),
        write_port.data.eq(values),
        write_port.en.eq(tag.valid & write),
        read_port.addr.eq(tag.slot),
    ]
    return read_port.data

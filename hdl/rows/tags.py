"""What the tags of P values decide, wherever they are: who gets them, and whose entries count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import and_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import data

from hdl.fabric.pipeline import Timed, delay


def hand_on(m: Module, tag: Any, z: Any, blocks: Sequence[Any], *, last: int = 0) -> Timed:
    """Connect the blocks of a post-processing: ``tags``, of as many cycles as each has, and ``z``.

    ``tag``: of cycle 0. Yields the tags by cycle, at least up to ``last``.
    """
    cycles = [block.tags.shape().length for block in blocks]
    tags = Timed(m, tag, last=max(last, *(count - 1 for count in cycles)), reset=True)
    for block, count in zip(blocks, cycles, strict=True):
        m.d.comb += block.z.eq(z)
        for cycle in range(count):
            m.d.comb += block.tags[cycle].eq(tags.at(cycle))
    return tags


def errors_of_used(
    m: Module, tables: Iterable[Any], tag: data.View[data.StructLayout], *used: Value
) -> Value:
    """Flags: an entry that came with ``tag`` was used and has a parity error; a cycle later.

    ``tables``: a ``CheckedRead`` for each of the P values, whose parity errors come a cycle after
    the entries. ``used``: flags, all of which are set if those of this tag are.
    """
    kept = Mux(reduce(and_, used, tag.valid), tag.keep, 0)
    return delay(m, kept, 1, reset=True) & Cat(table.parity_error for table in tables)

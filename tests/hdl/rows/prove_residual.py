"""The residual: a saturating addition, and the embedding's way to x."""

from __future__ import annotations

from functools import partial

from hdl.memory.vectors import GroupMemory
from hdl.payloads import EARLY
from hdl.rows import residual as timing
from hdl.rows.residual import Residual
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof, inputs_of
from tests.support.proofs.notation import sat
from tests.support.proofs.tags import drive_tags

Z = 8
WRITTEN = Z + timing.WRITTEN


def residual(width: int, value_bits: int, z_bits: int = 16, early: int = EARLY) -> Bench:
    """Of a group, the solver chooses the value that is looked at."""
    design = small_design(4, 4, 12, post_width=width, max_rows=8, value_bits=value_bits)
    block = Residual(design, z_bits=z_bits, ready=Z, early=early)
    bench = Bench(block, driven=False)
    bench.choose(*(value for name, value in inputs_of(block).items() if name != "tags"))
    tags = drive_tags(bench, design, WRITTEN)
    lane = bench.some(range(width), "lane")
    write = block.write

    asked, tag = tags[Z - GroupMemory.LATENCY], tags[WRITTEN]
    bench.prove("asks for the group that z belongs to", block.x.address == asked.group)
    summed = tag.valid & tag.role.residual & bench.after(WRITTEN)
    y, x = (bench.past(values[lane], WRITTEN - Z) for values in (block.z, block.x.data))
    exact = y + x
    over = exact != sat(exact, value_bits)
    value, saturated = write.data[lane], block.saturated.bit_select(lane, 1)
    kept = tag.keep.bit_select(lane, 1)
    bench.prove("x + y is clamped", ~summed | (value == sat(exact, value_bits)))
    bench.prove("it is written where x was", ~summed | (write.group == tag.group))
    bench.prove("padding is not kept", ~summed | (write.keep == tag.keep))
    bench.prove("a group of padding alone is not written", ~summed | (write.enable == tag.keep[0]))
    bench.prove("saturated: a value was clamped", ~summed | (saturated == (kept & over)))

    passed = ~(tag.valid & tag.role.residual) & bench.after(WRITTEN)
    embedding = bench.past(block.embedding.group), bench.past(block.embedding.enable)
    same = (write.group == embedding[0]) & (write.enable == embedding[1])
    same &= (write.keep == bench.past(block.embedding.keep)) & (
        value == bench.past(block.embedding.data[lane])
    )
    bench.prove("else the embedding's write is passed on", ~passed | same)
    bench.prove("which never saturates", ~passed | ~saturated)
    announced = bench.past(block.vector_done, early)
    bench.prove("the vector's end is announced", ~summed | (announced == tag.end))
    bench.prove("and nothing else", ~passed | ~announced)
    bench.cover(
        "the sum is clamped after a write of the embedding",
        summed & saturated & bench.past(passed & write.enable),
    )
    return bench


PROOFS = [
    Proof("residual_16", partial(residual, 2, 16), depth=WRITTEN + 2, section="13", quick=True),
    Proof("residual_18", partial(residual, 2, 18), depth=WRITTEN + 2),
    Proof("residual_32", partial(residual, 2, 32, 32, 0), depth=WRITTEN + 2, quick=True),
]

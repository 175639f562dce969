"""The elements that leave the post-processing: of each group its own, and nothing else.

The blocks that make the values have proofs of their own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value

from hdl.absmax.post import CUT_LATENCY, ELEMENTS, EMBEDDING_LATENCY, Post
from hdl.absmax.requantize import LATENCY as Z
from hdl.arithmetic.cut import cut_latency
from hdl.payloads import GATES_KIND, GLU_KIND, OUTPUT_KIND, tag_layout
from hdl.rows.residual import WRITTEN
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof, inputs_of
from tests.support.proofs.parts import leave_out


def post(kind: int) -> Bench:
    """A segment of this kind, while it lasts; of 0, the embedding."""
    design = small_design(4, 4, 12, max_rows=12, arithmetic="absmax", value_bits=32)
    block = Post(design)
    bench = Bench(block, driven=False)
    fixed = ("rows.tag", "segment.header")
    bench.choose(*(value for name, value in inputs_of(block).items() if name not in fixed))
    tag = bench.any(tag_layout(design), "tag")
    bench.m.d.comb += [block.rows.tag.eq(tag), block.segment.header.kind.eq(kind)]
    leave_out(bench, block.requantize, block.gates, block.products, block.logits)
    leave_out(bench, block.value_cut, block.base_cut)
    if kind in (0, OUTPUT_KIND):
        _from_rows(bench, tag)
    else:
        _from_products(bench, kind)
    products, residual, write = block.products, block.residual, block.residual.write
    filled = bench.after(2)
    x, w = write.data[0], products.w[0]
    value = x if kind in (0, OUTPUT_KIND) else w
    bench.prove("X or W is cut", ~filled | (block.value_cut.value[0] == value))
    bench.prove("and g beside it", block.base_cut.value[0] == products.operand[0])
    bench.prove("the residual gets z", residual.z[0] == block.requantize.z[0])
    return bench


def _from_rows(bench: Bench, tag: Any) -> None:
    """X: of the residual, or of a write of the embedding."""
    block = bench.block
    summed = tag.shape()(bench.past(Value.cast(tag), ELEMENTS["output"]))
    written = summed.valid & summed.role.residual
    passed = bench.past(block.embedding.enable, EMBEDDING_LATENCY)
    ended = bench.past(block.embedding.enable & block.embedding_end, EMBEDDING_LATENCY)
    filled = bench.after(ELEMENTS["output"])
    elements = block.elements
    bench.prove("each group comes once", ~filled | (elements.valid == (written | passed)))
    own = written & ~passed
    same = (elements.group == summed.group) & (elements.keep == summed.keep)
    ends = elements.end == summed.end
    bench.prove("of the residual, padding included", ~filled | ~own | (same & ends))
    embedded = passed & ~written
    group = bench.past(block.embedding.group, EMBEDDING_LATENCY)
    keep = bench.past(block.embedding.keep, EMBEDDING_LATENCY)
    same = (elements.group == group) & (elements.keep == keep) & (elements.end == ended)
    bench.prove("or of the embedding", ~filled | ~embedded | same)
    cut = Value.cast(block.value_cut.o)
    values = (Value.cast(elements.value) == cut) & (Value.cast(elements.base) == cut)
    bench.prove("its base is itself", ~filled | values)
    bench.prove("nothing of it is W", ~filled | ~block.write_u.enable)
    assert ELEMENTS["output"] == Z + WRITTEN + CUT_LATENCY
    bench.cover("the end of the embedding", filled & embedded & elements.end)


def _from_products(bench: Bench, kind: int) -> None:
    """W: of the products, with their tag."""
    block = bench.block
    elements, write = block.elements, block.write_u
    then = block.products.tag.shape()(bench.past(Value.cast(block.products.tag), CUT_LATENCY))
    filled = bench.after(CUT_LATENCY + 1)
    multiplied = then.valid & then.role.operand
    bench.prove("each group comes once", ~filled | (elements.valid == multiplied))
    same = (elements.group == then.group) & (elements.keep == then.keep)
    same &= elements.end == then.end
    bench.prove("with its number, padding included", ~filled | same)
    cut = Value.cast(block.value_cut.o)
    base = Signal(len(cut))
    late = CUT_LATENCY - cut_latency(32)
    g = bench.past(Value.cast(block.base_cut.o), late)
    bench.m.d.comb += base.eq(g if kind == GATES_KIND else cut)
    values = Cat(Value.cast(elements.value), Value.cast(elements.base)) == Cat(cut, base)
    bench.prove("its base is g, or itself", ~filled | values)
    shown = multiplied & then.keep[0]
    bench.prove("what is kept of it is W", ~filled | (write.enable == shown))
    again = (write.group == elements.group) & (write.keep == elements.keep)
    bench.prove("and is shown", again & (Value.cast(write.data) == cut))
    bench.cover("the vector's end", filled & elements.valid & Mux(elements.end, shown, 0))


PROOFS = [
    Proof(
        f"absmax_post_{name}",
        partial(post, kind),
        depth=ELEMENTS["output"] + 3 if kind in (0, OUTPUT_KIND) else CUT_LATENCY + 3,
        reach=ELEMENTS["output"] + 4,
    )
    for name, kind in (
        ("embedding", 0),
        ("gates", GATES_KIND),
        ("output", OUTPUT_KIND),
        ("glu", GLU_KIND),
    )
]

"""The products' way: which operands meet, in each kind of segment, and the tag that W has.

Sigmoid, state update and products have proofs of their own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Mux, Signal, Value, signed

from hdl.absmax.gates import READY
from hdl.absmax.products import (
    ANSWERED,
    GATES_READY,
    GLU_READY,
    NOISE_READY,
    SILU_READY,
    SQUASHED,
    UPDATED,
    Products,
)
from hdl.absmax.requantize import LATENCY as Z
from hdl.arithmetic.noise import LATENCY as NOISE_LATENCY
from hdl.memory.state_banks import StateBanks
from hdl.payloads import GATES_KIND, GLU_KIND, HEAD_KIND
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof, inputs_of
from tests.support.proofs.parts import leave_out
from tests.support.proofs.tags import drive_tags

MULTIPLY = GLU_READY - READY - 1
"""Cycles of the product."""


def products(kind: int) -> Bench:
    """A segment of this kind, while it lasts."""
    design = small_design(4, 4, 12, max_rows=8, arithmetic="absmax", value_bits=32)
    block = Products(design)
    bench = Bench(block, driven=False)
    fixed = ("tags", "kind")
    bench.choose(*(value for name, value in inputs_of(block).items() if name not in fixed))
    bench.m.d.comb += block.kind.eq(kind)
    (silu,), (gated,) = block.silu_products, block.gated_products
    leave_out(bench, silu, gated, block.sigmoid, block.update_state)
    tags = drive_tags(bench, design, GATES_READY)
    ready = SILU_READY if kind == GATES_KIND else READY
    filled = bench.after(GATES_READY)
    _operands(bench, kind, ready)

    done = tags[ready + 1 + MULTIPLY]
    bench.prove("W has its tag", ~filled | (Value.cast(block.tag) == Value.cast(done)))
    bench.prove("W is the product", block.w[0] == gated.o[:64].as_signed())
    operand = bench.past(gated.b, MULTIPLY)
    bench.prove("with its operand", ~filled | (block.operand[0] == operand))
    total = bench.past(gated.o[:22].as_signed())
    noise = Signal(signed(24))
    bench.m.d.comb += noise.eq(((total + 32) >> 6) << 7)
    limited = bench.past((gated.o <= 255 << 13) & (gated.o >= -(255 << 13)))
    same = ~limited | (block.noise[0] == noise)
    bench.prove("the noise is rounded to the bits of logits", ~bench.after(1) | same)
    assert NOISE_READY == NOISE_LATENCY + 1 + MULTIPLY + 1
    _state(bench, kind, tags)
    bench.cover("W of an operand", filled & block.tag.valid & (block.w[0] == 77))
    return bench


def _operands(bench: Bench, kind: int, ready: int) -> None:
    """What the product of W begins with; of the SiLU of h' alike."""
    block = bench.block
    (silu,), (gated,) = block.silu_products, block.gated_products
    filled = bench.after(GATES_READY)
    z = bench.past(block.z[0], ready + 1 - Z)
    value = bench.past(silu.o[24:56].as_signed() if kind == GATES_KIND else block.entry[0])
    if kind == HEAD_KIND:
        z, value = bench.past(block.temperature), bench.past(block.noise_entry[0])
    bench.prove("the operand of the segment", ~filled | (gated.b == z))
    bench.prove("meets its value", ~filled | (gated.a == value))
    update, sigmoid = block.update_state, block.sigmoid
    h = bench.past(update.o[0], SQUASHED - UPDATED)
    bench.prove("h' meets its sigmoid", ~filled | (silu.a == h) & (silu.b == sigmoid.o[0]))
    bench.prove("and a half", silu.addend == 1 << 23)
    bench.prove("h' is what the sigmoid gets", sigmoid.z[0] == update.o[0])
    arrived = (update.c[0] == block.entry[0]) & (update.load[0] == block.load[0])
    bench.prove("the update gets what was kept", arrived)


def _state(bench: Bench, kind: int, tags: list[Any]) -> None:
    block, update = bench.block, bench.block.update_state
    h = Mux(bench.past(block.begin), 0, bench.past(block.state.data[0])).as_signed()
    bench.prove("h is 0 when a sequence begins", ~bench.after(1) | (update.h[0] == h))
    asking, writing = tags[READY - 1 - StateBanks.LATENCY], tags[UPDATED]
    gates = kind == GATES_KIND
    written = writing.valid & writing.role.operand & gates
    filled, write = bench.after(GATES_READY), block.write_state
    bench.prove("h' is written", ~filled | (write.enable == written))
    age = UPDATED - (READY - 1 - StateBanks.LATENCY)
    where = write.group == bench.past(block.state.address, age)
    bench.prove("where h was read", ~filled | where)
    bench.prove("of the same rows", (write.data[0] == update.o[0]) & (write.keep == writing.keep))
    step = asking.valid & asking.role.operand & gates
    following = Mux(block.restart, 0, block.state.address + step)[: len(block.state.address)]
    moved = block.state.address == bench.past(following)
    bench.prove("channels are read in order", ~filled | moved)
    answered, (table,) = tags[ANSWERED + 1], block.table
    used = answered.valid & answered.role.operand & answered.keep[0] & gates
    bench.prove(
        "an error counts for what is used",
        ~filled | (block.table_errors == (used & table.parity_error)),
    )


PROOFS = [
    Proof(
        f"absmax_products_{name}",
        partial(products, kind),
        depth=GATES_READY + 2,
        reach=GATES_READY + 4,
    )
    for name, kind in (("gates", GATES_KIND), ("glu", GLU_KIND), ("head", HEAD_KIND))
]

"""The gates: what is asked for, multiplied and kept for each tag, and for which operand it comes.

Sigmoid and product have proofs of their own.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal, Value

from hdl.absmax.gates import ANSWERED, KEPT, READY, SILU_PRODUCT_LATENCY, SQUASHED, Gates
from hdl.absmax.requantize import LATENCY as Z
from hdl.memory.parameters import LATENCY as PARAMETER_LATENCY
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof, inputs_of
from tests.support.proofs.parts import leave_out
from tests.support.proofs.tags import drive_tags

ONE = 1 << 20
"""1 as a lower bound."""


def gates() -> Bench:
    """A slot of the buffers, chosen by the solver."""
    design = small_design(4, 4, 12, max_rows=8, arithmetic="absmax", value_bits=32)
    block = Gates(design)
    bench = Bench(block, driven=False)
    bench.choose(*(value for name, value in inputs_of(block).items() if name != "tags"))
    (product,) = block.products
    leave_out(bench, product, block.sigmoid)
    tags = drive_tags(bench, design, READY)
    (table,), z, o = block.table, block.z[0], product.o

    asking = tags[SQUASHED - 1 - PARAMETER_LATENCY]
    bench.prove(
        "bounds are asked for f alone", block.bound.next == (asking.valid & asking.role.forget)
    )
    asked = (table.address == block.sigmoid.address[0]) & (block.sigmoid.z[0] == z)
    bench.prove("the table is asked for z", asked)
    answered = tags[ANSWERED + 1]
    used = answered.valid & (answered.role.table | answered.role.forget) & answered.keep[0]
    flagged = block.table_errors == (used & table.parity_error)
    bench.prove("an error counts for what is used", ~bench.after(ANSWERED + 1) | flagged)

    room = Signal(21)
    bench.m.d.comb += room.eq(ONE - block.bound.values[0])
    z_then, room_then = bench.past(z, SQUASHED - Z), bench.past(room)
    factor = Mux(tags[SQUASHED].role.forget, room_then, z_then).as_signed()
    filled = bench.after(SQUASHED)
    bench.prove("z, or 2^20 - bound, is multiplied", ~filled | (product.a == factor))
    bench.prove("by the sigmoid", product.b == block.sigmoid.o[0])
    bench.prove("and a half is added", product.addend == 1 << 23)

    # Of the slot: what was last kept, if anything was.
    slot = bench.some(2, "slot")
    tag = tags[KEPT]
    written = tag.valid & (tag.slot == slot)
    rounded = Value.cast(o >> 24)
    room_kept = bench.past(room, 1 + SILU_PRODUCT_LATENCY)
    values = {"entries": rounded[:32], "loads": (room_kept - rounded)[:21]}
    roles = {"entries": tag.role.table, "loads": tag.role.forget}
    outputs = {"entries": block.entry, "loads": block.load}
    inside = bench.inside(block)
    filled = bench.after(KEPT)
    for name, value in values.items():
        kept, known = Signal(len(value), name=f"kept_{name}"), Signal(name=f"known_{name}")
        taken = written & roles[name]
        with bench.m.If(taken):
            bench.m.d.sync += [kept.eq(value), known.eq(filled)]
        look = inside.part(name).read_port(domain="comb")
        bench.m.d.comb += look.addr.eq(slot)
        bench.lemma(~known | (look.data == kept))
        asked = bench.past((tag.slot == slot) & known & ~taken)
        was = Value.cast(outputs[name]) == bench.past(kept)
        bench.prove(f"{name}: an operand gets what was kept for its slot", ~asked | was)
    operand = tags[READY].valid & tags[READY].role.operand
    bench.cover("an operand", operand & (Cat(block.entry) == 5) & (Cat(block.load) == 7))
    return bench


PROOFS = [Proof("absmax_gates", gates, depth=READY + 1, reach=READY + 4)]

"""Logits: section 14 of the contract, up to the comparison, which has proofs of its own."""

from __future__ import annotations

from functools import partial

from hdl.rows.logits import Logits, chosen_cycle
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof, inputs_of
from tests.support.proofs.tags import drive_tags

WIDTH = 2
Z, NOISE_READY = 8, 13
KEY = NOISE_READY + 1


def logits(z_bits: int, noise_bits: int, value_bits: int) -> Bench:
    """Of a group, the solver chooses the lane that is looked at."""
    design = small_design(4, 4, 4, post_width=WIDTH, max_rows=8, value_bits=value_bits)
    block = Logits(design, z_bits=z_bits, noise_bits=noise_bits, ready=Z, noise_ready=NOISE_READY)
    bench = Bench(block, driven=False)
    bench.choose(*(value for name, value in inputs_of(block).items() if name != "tags"))
    chosen = chosen_cycle(WIDTH, NOISE_READY)
    tags = drive_tags(bench, design, chosen)
    lane = bench.some(range(WIDTH), "lane")

    write, tag = block.write, tags[Z]
    logit = tag.valid & tag.role.logit
    same = (write.group == tag.group) & (write.keep == tag.keep)
    bench.prove("logits are written, and nothing else", write.enable == logit)
    bench.prove("each where its row belongs", ~logit | (same & (write.data[lane] == block.z[lane])))

    argmax, tag = block.argmax, tags[KEY]
    key = bench.past(block.z[lane], KEY - Z) + bench.past(block.noise[lane], KEY - NOISE_READY)
    keyed = tag.valid & tag.role.logit
    same = (argmax.group == tag.group) & (argmax.keep == tag.keep)
    bench.prove("logits are compared, and nothing else", argmax.valid == keyed)
    bench.prove("as keys: logit + noise", ~keyed | (argmax.keys[lane] == key) | ~bench.after(KEY))
    bench.prove("each as its row", ~keyed | same)
    bench.prove("from a token's start on", argmax.clear == block.restart)
    tag = tags[chosen]
    bench.prove(
        "done when the last is chosen", block.done == (tag.valid & tag.role.logit & tag.end)
    )
    bench.cover("a row of the second lane", block.done & (block.row == 3))
    return bench


DEPTH = chosen_cycle(WIDTH, NOISE_READY) + 2

PROOFS = [
    Proof("logits_16", partial(logits, 16, 16, 16), depth=DEPTH, section="14"),
    Proof("logits_32", partial(logits, 32, 23, 32), depth=DEPTH),
]

"""Logits: section 14 of the contract, up to the comparison, which has proofs of its own."""

from __future__ import annotations

from hdl.arithmetic.requantize import LATENCY as Z
from hdl.pow2.logits import KEY, Logits, chosen_cycle
from hdl.pow2.products import NOISE_READY
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof, inputs_of
from tests.support.proofs.tags import drive_tags

WIDTH = 2


def logits() -> Bench:
    """Of a group, the solver chooses the lane that is looked at."""
    design = small_design(4, 4, 4, post_width=WIDTH, max_rows=8)
    block = Logits(design)
    bench = Bench(block, driven=False)
    bench.choose(*(value for name, value in inputs_of(block).items() if name != "tags"))
    chosen = chosen_cycle(WIDTH)
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


PROOFS = [Proof("logits", logits, depth=chosen_cycle(WIDTH) + 2, section="14")]

"""The tags of values on their way through the post-processing, in a proof."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Value

from hdl.payloads import tag_layout
from mmfree.chip.design import Design
from tests.support.proofs.bench import Bench


def drive_tags(bench: Bench, design: Design, last: int) -> list[Any]:
    """Tags by cycle, up to ``last``: any values in cycle 0, and the same ones a cycle later."""
    layout = tag_layout(design)
    tags = [bench.any(layout, "tag")]
    for _ in range(last):
        tags.append(layout(bench.past(Value.cast(tags[-1]))))
    for cycle, tag in enumerate(bench.block.tags):
        bench.m.d.comb += tag.eq(tags[cycle])
    return tags

"""The sequencer of absmax: words of parameters, each of its kind, before the check word."""

from __future__ import annotations

from typing import Any

import pytest

from hdl.control.sequencer import Sequencer, settling_cycles
from mmfree.chip.header import KIND_CODES, pack_header
from mmfree.chip.memory_map import loaded_shape
from mmfree.contract.pow2 import SEGMENT_ROLES
from tests.support.hdl.bench import simulate
from tests.support.hdl.streams import plain
from tests.support.hdl.values import small_design

DESIGN = small_design(
    2, 4, 12, max_rows=6, header_words=5, embedding_rows=7, arithmetic="absmax", value_bits=32
)
SEGMENTS = (
    ("embedding", 3, 0, 2, 3, 4),
    ("gates", 2, 2, 0, 0, 1),
    ("glu", 1, 2, 0, 2, 3),
    ("gates", 1, 1, 0, 0, 0),
    ("head", 3, 3, 0, 0, 0),
)
"""Kind, tiles of the vector, row blocks; words of own gains, of bounds, and of gains."""

DELIVERY = 9


def header_words() -> list[int]:
    shape = loaded_shape(DESIGN, "headers")
    return [
        shape.with_parity(
            pack_header(
                DESIGN,
                kind=KIND_CODES[kind],
                tiles=tiles,
                tail=4,
                blocks=blocks,
                tail_rows=2,
                own_gains=own,
                bounds=bounds,
                gains=gains,
                last=kind == "head",
            )
        )
        for kind, tiles, blocks, own, bounds, gains in SEGMENTS
    ]


def words_of_a_pass() -> list[str]:
    """What is taken, word by word; ``*``: the last of its segment."""
    words = []
    for number, (kind, tiles, blocks, own, bounds, gains) in enumerate(SEGMENTS):
        weights = tiles * blocks * len(SEGMENT_ROLES.get(kind, ()))
        record = [f"gain {number & 1}"] * own + ["weights"] * weights
        record += ["bound"] * bounds + [f"gain {1 - number & 1}"] * gains
        record[-1] += "*"
        words += [*record, "check"]
    return words


@pytest.mark.parametrize("pause", [0, 3])
def test_parameters_are_taken_after_the_tiles(pause: int) -> None:
    """And the row is wanted when every group has its share of the gains of the embedding."""
    block = Sequencer(DESIGN, header_words(), delivery_cycles=DELIVERY)
    taken: list[str] = []
    own_at, start_at = list[int](), list[int]()

    async def bench(ctx: Any) -> None:
        ctx.set(block.token.valid, 1)
        ctx.set(block.chosen.ready, 1)
        done = checked = 0
        for cycle in range(700):
            # What answers: every vector and row block is ready some cycles after its order.
            ctx.set(block.available, cycle % (pause + 1) == 0)
            ctx.set(block.vector_done, cycle % 40 == 0 and done > 0)
            ctx.set(block.logits_done, cycle % 40 == 20)
            ctx.set(block.checked, checked > 0)
            ctx.set(block.block_done, plain(ctx.get(block.beat))["valid"] and block_ends(ctx))
            checked = 0
            await ctx.tick()
            take, parameter = plain(ctx.get(block.take)), plain(ctx.get(block.parameter))
            if take["word"]:
                kind = "weights" if plain(ctx.get(block.beat))["valid"] else "gain"
                if parameter["bound"]:
                    kind = "bound"
                elif parameter["gain"]:
                    assert kind == "gain"
                    kind = f"gain {parameter['bank']}"
                taken.append(kind + "*" * take["last"])
                if not start_at:
                    own_at.append(cycle)
            else:
                assert not parameter["bound"] | parameter["gain"]
            if take["check"]:
                taken.append("check")
                checked = done = 1
            if ctx.get(block.embedding.start):
                start_at.append(cycle)
            if taken and taken[-1] == "check" and ctx.get(block.segment.load):
                done = 0
            if ctx.get(block.chosen.valid):
                return

    def block_ends(ctx: Any) -> bool:
        return bool(plain(ctx.get(block.beat))["last"])

    simulate(block, bench, watched=False)
    assert taken == words_of_a_pass()
    assert len(start_at) == 1
    assert start_at[0] - own_at[-1] >= settling_cycles(DESIGN, DELIVERY)
    assert start_at[0] - own_at[-1] <= settling_cycles(DESIGN, DELIVERY) + 3

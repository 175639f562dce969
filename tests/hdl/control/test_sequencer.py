"""The sequencer alone: every tile of a pass, and one answer for each token."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from hdl.control.sequencer import Sequencer
from mmfree.chip.header import KIND_CODES, pack_header
from mmfree.chip.memory_map import LOADED_MEMORIES, loaded_shape
from mmfree.contract.pow2 import SEGMENT_ROLES
from tests.support.hdl.bench import play_streams
from tests.support.hdl.streams import PACES, Carried, Pace, plain
from tests.support.hdl.values import small_design

DESIGN = small_design(2, 4, 12, max_rows=6, header_words=5, embedding_rows=7)
SEGMENTS = (("gates", 3, 2), ("output", 1, 3), ("glu", 2, 1), ("head", 3, 3))
"""Kind, tiles of the vector, row blocks."""


def header_words() -> list[int]:
    """The segment table."""
    shape = loaded_shape(DESIGN, "headers")
    words = [pack_header(DESIGN, kind=KIND_CODES["embedding"], tiles=3, tail=4)]
    for kind, tiles, blocks in SEGMENTS:
        words.append(
            pack_header(
                DESIGN,
                kind=KIND_CODES[kind],
                tiles=tiles,
                tail=4,
                blocks=blocks,
                tail_rows=2,
                last=kind == "head",
            )
        )
    return [shape.with_parity(word) for word in words]


def tiles_of_a_pass(entries: int = 1 + len(SEGMENTS)) -> list[tuple[int, int, int]]:
    """(number, matrix, whether it ends its row block) of each tile that must be admitted.

    ``entries``: of the segment table, the embedding's included, that are played.
    """
    return [
        (tile, matrix, int(tile == tiles - 1))
        for kind, tiles, blocks in SEGMENTS[: max(0, entries - 1)]
        for _ in range(blocks)
        for matrix in range(len(SEGMENT_ROLES[kind]))
        for tile in range(tiles)
    ]


class Surroundings:
    """What answers the sequencer in a chip, each after a random while.

    ``answers``: of each pass the row that is chosen, or the fault that is found.
    """

    def __init__(
        self, block: Sequencer, answers: Sequence[int | dict[str, int]], pause: float
    ) -> None:
        self._block, self._answers, self._pause = block, iter(answers), pause
        self._random, self._cycle, self._fault_at = random.Random(6), 0, -1
        self._due: dict[str, deque[int]] = {
            port: deque() for port in ("block_done", "vector_done", "logits_done", "checked")
        }
        self.tiles: list[tuple[int, int, int]] = []
        self.fresh: list[int] = []
        self.segments: list[int] = []

    def _order(self, port: str, least: int) -> None:
        """Set a flag for a cycle, after at least so many, and after those that are due before."""
        queue = self._due[port]
        earliest = max([self._cycle + least, *(cycle + 1 for cycle in queue)])
        queue.append(earliest + self._random.randrange(5))

    async def answer(self, ctx: Any) -> None:
        """A testbench for the background."""
        block = self._block
        answer: int | dict[str, int] = 0
        while True:
            self._cycle += 1
            for port, queue in self._due.items():
                now = bool(queue) and queue[0] <= self._cycle
                ctx.set(getattr(block, port), now)
                if now:
                    queue.popleft()
            if ctx.get(block.started):
                answer = next(self._answers)
                ctx.set(block.faults.any, 0)
                self._fault_at = self._cycle + self._random.randrange(20)
            if isinstance(answer, int) and ctx.get(block.logits_done):
                ctx.set(block.row, answer)
            if isinstance(answer, dict) and self._cycle == self._fault_at:
                ctx.set(block.faults.any, 1)
                ctx.set(block.faults.first, answer)
            ctx.set(block.available, self._random.random() >= self._pause)
            ctx.set(block.hold, self._random.random() < self._pause)
            await ctx.tick()
            self._look(ctx)

    def _look(self, ctx: Any) -> None:
        """What the sequencer has ordered."""
        block = self._block
        beat, take = plain(ctx.get(block.beat)), plain(ctx.get(block.take))
        # A tile is admitted, or there is one reason why not.
        reasons = ctx.get(block.admitted) + ctx.get(block.waits.as_value()).bit_count()
        assert reasons == ctx.get(block.playing)
        assert take["word"] == beat["valid"]
        if ctx.get(block.embedding.start):
            self._order("vector_done", 3)
        if beat["valid"]:
            self.tiles.append((ctx.get(block.tile), beat["matrix"], beat["last"]))
            self.fresh.append(beat["fresh"])
            if beat["last"]:
                self._order("block_done", 4)
        if take["last"]:
            ends = ctx.get(block.segment.header).last
            self._order("logits_done" if ends else "vector_done", 12)
        if take["check"]:
            self.segments.append(ctx.get(block.number))
            self._order("checked", 8)
        if ctx.get(block.parity_error):
            self._fault_at = self._cycle + 3


def answer_tokens(pace: Pace, pause: float = 0.3) -> Carried:
    """Twelve passes, some of which fail."""
    rng, block = random.Random(8), Sequencer(DESIGN, header_words())
    answers: list[int | dict[str, int]] = [rng.randrange(6) for _ in range(12)]
    for number in (1, 2, 5, 11):
        answers[number] = {"memory": rng.randrange(7), "segment": rng.randrange(5)}
    surroundings = Surroundings(block, answers, pause)
    expected = {
        "token": [{"id": rng.randrange(7), "begin": rng.randrange(2)} for _ in answers],
        "chosen": [{"row": row} for row in answers if isinstance(row, int)],
        "failed": [fault for fault in answers if isinstance(fault, dict)],
    }
    carried = play_streams(block, expected, pace, surroundings.answer)
    assert surroundings.tiles == tiles_of_a_pass() * len(answers)
    assert surroundings.segments == [1, 2, 3, 4] * len(answers)
    return carried


@pytest.mark.parametrize("pause", [0.0, 0.7])
def test_every_tile_is_admitted_once_and_in_order(pause: float) -> None:
    answer_tokens(PACES[0], pause)


@pytest.mark.parametrize("number", range(1 + len(SEGMENTS)))
@pytest.mark.parametrize("pace", PACES[::3], ids=str)
def test_a_corrupt_header_ends_every_pass_before_its_segment(number: int, pace: Pace) -> None:
    words = header_words()
    words[number] ^= 1
    block = Sequencer(DESIGN, words)
    fault = {"memory": LOADED_MEMORIES.index("headers"), "segment": number}
    surroundings = Surroundings(block, [fault] * 4, pause=0.0)
    tokens = [{"id": 3, "begin": 0}] * 4
    play_streams(
        block, {"token": tokens, "chosen": [], "failed": [fault] * 4}, pace, surroundings.answer
    )
    assert surroundings.tiles == tiles_of_a_pass(number) * 4


@pytest.mark.parametrize(
    "own", [(True, False, False), (True, True, True), (True, False, True)], ids=str
)
def test_a_vector_is_quantized_in_the_first_row_block_for_each_matrix_that_has_its_own(
    own: tuple[bool, bool, bool],
) -> None:
    block = Sequencer(DESIGN, header_words(), own_activations=own)
    surroundings = Surroundings(block, [0, 1], pause=0.3)
    expected = {
        "token": [{"id": 3, "begin": 1}, {"id": 2, "begin": 0}],
        "chosen": [{"row": 0}, {"row": 1}],
        "failed": [],
    }
    play_streams(block, expected, PACES[0], surroundings.answer)
    assert surroundings.tiles == tiles_of_a_pass() * 2
    fresh = [
        int(row_block == 0 and own[matrix])
        for kind, tiles, blocks in SEGMENTS
        for row_block in range(blocks)
        for matrix in range(len(SEGMENT_ROLES[kind]))
        for _ in range(tiles)
    ]
    assert surroundings.fresh == fresh * 2

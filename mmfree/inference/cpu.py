"""The fast exact player as a backend: golden's own integers, from a library in C++."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import ToolMissing
from mmfree.golden.sampling import seed_registers
from mmfree.inference.native.player import Player, choice
from mmfree.inference.tape_backends import TapeBackend
from mmfree.tape.reading import AnyTape

PIECE_SECONDS = 0.05
"""Most that a reader waits for the next piece of a text."""

LONGEST_PIECE = 64
"""Most tokens between two looks at the clock."""


class CpuBackend(TapeBackend):
    """Plays a tape with ``mmfree.inference.native``: what golden gives, and faster.

    ``threads``: None for as many as gain something. Raises what TapeBackend and Player do.
    """

    name = "cpu"

    def __init__(self, tape: AnyTape, threads: int | None = None) -> None:
        super().__init__(tape)
        try:
            self.player = Player(tape, threads)
        except ToolMissing as error:
            raise ToolMissing(f"{error}; --backend golden plays the same integers") from None

    def state(self, batch: int) -> NDArray[np.signedinteger[Any]]:
        """Zeros, integers [L, B, w]."""
        return self.player.state(batch)

    def run(
        self, ids: NDArray[np.integer], state: NDArray[np.signedinteger[Any]]
    ) -> tuple[NDArray[np.int32], NDArray[np.signedinteger[Any]]]:
        """See Backend; logits are int32."""
        state = state.copy()
        return self.player.run(ids, state), state

    def rows(self, prompt: list[int], tokens: int, temperature: int, seed: int) -> Iterator[int]:
        """Rows drawn after a prompt as ``Sampler`` draws them, each fed back; up to what ends a
        text. They come in pieces: a call of the library takes as long as a token of a small model.
        """
        state = self.player.state(1)
        logits = self.player.run_to_last(np.array([prompt]), state)[0]
        ends = np.zeros(len(logits), dtype=bool)
        ends[list(self.end_ids)] = True
        how = choice(seed_registers(seed), temperature, self.fraction_bits, self.choosable)
        left, piece = tokens, 1
        while left:
            began = time.monotonic()
            count = min(piece, left)
            left -= count
            found = self.player.draw(logits, state, count, how, ends, feeds_last=left > 0)
            yield from found.tolist()
            if len(found) < count or ends[found[-1]]:
                return
            if time.monotonic() - began < PIECE_SECONDS / 2:
                piece = min(2 * piece, LONGEST_PIECE)


def load(tape: AnyTape, lanes: int | None) -> CpuBackend:
    """As ``mmfree.inference.backends.PLAYERS`` asks for it; it has no lanes."""
    return CpuBackend(tape)

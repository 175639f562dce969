"""The simulated chip as a backend: every logit it reports was compared with the golden model's."""

from __future__ import annotations

from collections.abc import Sequence as Ids
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.sizing import design_for
from mmfree.errors import CheckFailed
from mmfree.tape.absmax import AbsmaxTape
from mmfree.tape.reading import AnyTape
from mmfree.text.tokenizer import document_ends
from mmfree.text.tokenizers import begin_with, tokenizer_from_dict
from sim.cosim.run import CosimResult, cosim
from sim.cosim.run_folder import Sequence


class DivergenceError(CheckFailed):
    """Chip and golden model differ."""


class RtlBackend:
    """Plays a tape on the accelerator of ``lanes`` lanes, in co-simulation.

    A logit v stands for v / 2^``fraction_bits`` nats. ``run`` and ``generate`` raise
    DivergenceError if anything differs from the golden model.
    """

    name = "rtl"
    choosable = None
    training: Path | None = None

    def __init__(self, tape: AnyTape, lanes: int = 64) -> None:
        self.tape, self.design = tape, design_for(tape, lanes)
        self.tokenizer = tokenizer_from_dict(tape.tokenizer)
        begin_with(self.tokenizer, tape.start)
        if isinstance(tape, AbsmaxTape):
            self.fraction_bits, self.end_ids = tape.formats.logit_fb, tape.end_ids
        else:
            self.fraction_bits = tape.formats.residual_fb
            self.end_ids = document_ends(self.tokenizer)

    def state(self, batch: int) -> NDArray[np.int32]:
        """Zeros, int32 [L, B, w]."""
        config = self.tape.config
        return np.zeros((config.num_layers, batch, config.state_width), dtype=np.int32)

    def run(
        self, ids: NDArray[np.integer], state: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Logits [B, T, rows] for ids [B, T], and the state [L, B, w] after them.

        One simulation plays all sequences, one after another.
        """
        sequences = [
            Sequence(prompt=row.tolist(), state=state[:, index]) for index, row in enumerate(ids)
        ]
        result = self._play(sequences)
        logits = np.stack(result.logits).reshape(*ids.shape, -1)
        return logits, np.stack(result.states, axis=1)

    def generate(
        self, prompt: Ids[int], tokens: int, *, temperature: int, seed: int, stop: int | None
    ) -> list[int]:
        """Rows that the chip itself chooses after a prompt, each fed back; one simulation.

        The chip knows one token to stop at: ``stop``, or else what ends a text.
        """
        if stop is None and self.end_ids:
            stop = self.end_ids[0]
        sequence = Sequence(
            prompt=list(prompt), generate=tokens, temperature=temperature, seed=seed, stop=stop
        )
        result = self._play([sequence])
        return result.rows[0][len(prompt) - 1 :]

    def _play(self, sequences: list[Sequence]) -> CosimResult:
        result = cosim([self.tape], self.design, sequences)
        if not result.bit_exact:
            what = result.divergence or result.verdict.describe()
            raise DivergenceError(f"chip and golden model differ: {what}")
        return result


def load(tape: AnyTape, lanes: int) -> RtlBackend:
    """The backend "rtl" of the registry in ``mmfree.inference.backends``."""
    return RtlBackend(tape, lanes)

"""What a run of text is told along the way: its loss on held-out text, and a text that it writes.

Both depend on the step and the weights alone, and change neither: a resumed run finds the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmfree.golden.sampling import NOISE_FB, Sampler, temperature_code
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.ranges import Watched, watch_ranges
from mmfree.text.batch import Batch
from mmfree.text.corpus import Corpus
from mmfree.text.tokenizer import TextTokenizer
from mmfree.text.windows import inputs_of
from mmfree.training.provenance import watched_ids

VALIDATION_STEPS = 100
"""Steps between two validations; the last step of a plan is followed by one, too."""

VALIDATION_TOKENS = 4096
"""Most held-out tokens of a validation."""

SAMPLE_STEPS = 400
"""Steps between two texts that are written along the way; the last step is followed by one, too."""

SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 64, 0.7
"""Length of such a text, and how it is drawn: as ``generate`` draws."""


RESIDUAL_AT_LIMIT, LEAST_SCALE = 1e-4, 2.0**-4
"""Largest share of x at its limits, and the smallest scale that it is given for it."""


class Validation:
    """Windows of held-out text, as long as those of training, from evenly spread places.

    Parameters
    ----------
    corpus, tokenizer
        Of the run.
    length
        Tokens of a window.
    rows
        Windows that the model is given at a time.
    """

    def __init__(self, corpus: Corpus, tokenizer: TextTokenizer, *, length: int, rows: int) -> None:
        tokens = corpus.validation
        count = max(1, min(VALIDATION_TOKENS, len(tokens)) // length)
        places = np.linspace(0, len(tokens) - length, count).astype(np.int64)
        targets = tokens[places[:, None] + np.arange(length)].astype(np.int64)
        start = tokenizer.start
        # A start token between documents is read, but it is no text.
        self.batch = Batch(inputs_of(targets, start), targets, targets != start)
        self.watched = watched_ids(tokens, start)
        self.tokenizer, self.rows = tokenizer, rows
        self._bytes_per_token = corpus.validation_bytes / max(1, int((tokens != start).sum()))

    def score(self, model: nn.Module) -> tuple[float, float]:
        """Nats per token in the contract's arithmetic, and bits per byte.

        All that is held out says how many bytes a token has. NaN if there is no token to score.
        """
        nats, count = 0.0, int(self.batch.mask.sum())
        if not count:
            return math.nan, math.nan
        for first in range(0, len(self.batch.ids), self.rows):
            part = slice(first, first + self.rows)
            logits = logits_of(model, self.batch.ids[part])
            each = nn.functional.cross_entropy(
                logits.flatten(0, 1),
                torch.from_numpy(self.batch.targets[part]).flatten(),
                reduction="none",
            )
            nats += float(each[torch.from_numpy(self.batch.mask[part]).flatten()].double().sum())
        return nats / count, nats / count / math.log(2) / self._bytes_per_token

    def ranges(self, model: MatMulFreeLM) -> tuple[Watched, float]:
        """How often values lie at their limits, on what a tape's ranges are watched on; and the
        scale, a power of two, that the residual has to be given for it.

        Its scale is free, for whatever reads it is normed, and it grows while a model learns: it is
        halved until it is at its limits hardly ever.
        """
        scale = 1.0
        while True:
            with _scaled_residual(model, scale), watch_ranges() as watched:
                logits_of(model, self.watched)
            if watched.residual <= RESIDUAL_AT_LIMIT or scale <= LEAST_SCALE:
                return watched, scale
            scale /= 2

    def write(self, model: MatMulFreeLM, seed: int) -> str:
        """A text from its start, drawn as ``mmfree generate`` draws it from the same seed."""
        sampler, code = Sampler(seed), temperature_code(SAMPLE_TEMPERATURE)
        device = model.head.weight.device
        row, state = self.tokenizer.start, None
        rows: list[int] = []
        with torch.no_grad():
            while len(rows) < SAMPLE_TOKENS:
                logits, state = model(torch.tensor([[row]], device=device), state, mode="fakequant")
                scaled = torch.round(logits[0, -1] * 2.0**NOISE_FB)
                row = sampler.choose(scaled.to(torch.int64).cpu().numpy(), code, NOISE_FB)
                if row == self.tokenizer.start:
                    break
                rows.append(row)
        return self.tokenizer.decode(rows)


@contextmanager
def _scaled_residual(model: MatMulFreeLM, scale: float) -> Iterator[None]:
    """The model with another scale of its residual: exactly, for a power of two."""
    parts = [p for name, p in model.named_parameters() if MatMulFreeLM.makes_residual(name)]
    with torch.no_grad():
        for part in parts:
            part.mul_(scale)
        try:
            yield
        finally:
            for part in parts:
                part.div_(scale)


def logits_of(model: nn.Module, ids: NDArray[np.int64]) -> Tensor:
    """Logits in the contract's arithmetic, [B, T, rows], in main memory."""
    device = next(model.parameters()).device
    with torch.no_grad():
        logits: Tensor = model(torch.from_numpy(ids).to(device), mode="fakequant")[0]
    return logits.cpu()

"""The baseline as something that tells stories: a Transformer of ``mmfree train``, played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.inference.backends import Backend, load_backend, tape_player
from mmfree.inference.places import training_of
from mmfree.text.tokenizer import document_ends
from mmfree.training.folder import load_config


class TransformerBackend:
    """A checkpoint of the baseline. Its state is what it has read: [B, T] ids, from the start."""

    name = "transformer"
    fraction_bits = 9
    choosable = None

    def __init__(self, folder: Path) -> None:
        from mmfree.training.checkpoint import load_kept_model

        config = load_config(folder)
        self.training: Path | None = folder
        self.tokenizer = config.tokenizer
        self.end_ids = document_ends(self.tokenizer)
        self._model = load_kept_model(folder, config).eval()

    def state(self, batch: int) -> NDArray[np.int64]:
        """Nothing read yet."""
        return np.empty((batch, 0), dtype=np.int64)

    def run(
        self, ids: NDArray[np.integer], state: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Logits [B, T, rows] of ids [B, T], int32, and all that was read."""
        import torch

        read = np.concatenate([state, ids.astype(np.int64)], axis=1)
        with torch.no_grad():
            logits = self._model(torch.from_numpy(read))[0][:, state.shape[1] :]
        return torch.round(logits * 2.0**self.fraction_bits).to(torch.int32).numpy(), read


def backend_of(model: Path) -> Backend:
    """What plays a model: a Transformer's checkpoint, or whatever ``mmfree generate`` takes."""
    folder = training_of(model)
    if folder is not None and load_config(folder).architecture == "transformer":
        return TransformerBackend(folder)
    return load_backend(model, tape_player())

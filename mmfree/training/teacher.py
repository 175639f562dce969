"""Distillation: what a larger model of one's own expects, to learn from beside the text.

G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv
1503.02531), at temperature 1: a share of the loss is the cross-entropy against the teacher's
probabilities, the rest that against what the text says.

Shape suffixes: B batch, T time, r rows of the head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfree.training.checkpoint import MODEL_NAME, load_kept_model
from mmfree.training.folder import load_config


class Teacher:
    """The model that a checkpoint kept, which learns nothing any more.

    Parameters
    ----------
    folder
        The checkpoint, of either architecture.
    device
        Where it runs. Every process has all of it, also if the learner is sharded.
    compiled
        Whether torch.compile is used.

    Raises
    ------
    CheckpointError
        If the checkpoint is incomplete or damaged.
    """

    def __init__(self, folder: Path, device: torch.device, *, compiled: bool) -> None:
        model = load_kept_model(folder, load_config(folder))
        self.model = model.to(device).eval().requires_grad_(False)
        self._run: Callable[[nn.Module, Tensor], Tensor] = (
            torch.compile(_probabilities) if compiled else _probabilities
        )

    def expects(self, ids_BT: Tensor) -> Tensor:
        """Probabilities of what follows each position, float32 [B, T, r]."""
        with torch.no_grad():
            return self._run(self.model, ids_BT)


def _probabilities(model: nn.Module, ids_BT: Tensor) -> Tensor:
    return F.softmax(model(ids_BT, mode="train")[0].float(), dim=-1)


def taught_loss(
    model: Callable[..., tuple[Tensor, object]],
    ids: Tensor,
    targets: Tensor,
    mask: Tensor | None,
    expected: Tensor,
) -> tuple[Tensor, Tensor]:
    """Means over the scored positions, in nats: against the text, and against the probabilities
    that a teacher expects, float32 [B, T, rows].
    """
    logits, _ = model(ids, mode="train")
    log_BTr = F.log_softmax(logits.float(), dim=-1)
    text_BT = -log_BTr.gather(-1, targets[..., None])[..., 0]
    taught_BT = -(expected * log_BTr).sum(-1)
    if mask is None:
        return text_BT.mean(), taught_BT.mean()
    count = mask.sum()
    return (text_BT * mask).sum() / count, (taught_BT * mask).sum() / count


def teacher_digest(folder: Path | None) -> str:
    """sha256 of the file with a teacher's weights, by which a run knows it again wherever it lies;
    "" without a teacher.
    """
    return "" if folder is None else hashlib.sha256((folder / MODEL_NAME).read_bytes()).hexdigest()

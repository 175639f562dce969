"""Training speed of models side by side.

Their steps take turns, so that whatever else the machine does slows all of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FIRST_STEPS = 2
"""Untimed: the first compiles, the second still grows memory."""


class Contestant:
    """A model with its optimizer and one batch.

    Parameters
    ----------
    model
        On the batch's device; called as ``model(ids, mode="train")``.
    ids, targets
        int64 [B, T].
    bf16, compiled
        Under autocast to bfloat16; with torch.compile.
    parts
        Passes over the batch for one step of the optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        ids: Tensor,
        targets: Tensor,
        *,
        bf16: bool,
        compiled: bool,
        parts: int = 1,
    ) -> None:
        self.model, self.ids, self.targets, self.bf16, self.parts = model, ids, targets, bf16, parts
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        self.mean_loss = torch.compile(self._mean_loss) if compiled else self._mean_loss
        self.seconds: list[float] = []

    def _mean_loss(self) -> Tensor:
        logits, _ = self.model(self.ids, mode="train")
        return F.cross_entropy(logits.flatten(0, 1).float(), self.targets.flatten())

    def forward(self) -> Tensor:
        """The loss, a scalar in nats."""
        with torch.autocast(self.ids.device.type, torch.bfloat16, enabled=self.bf16):
            return self.mean_loss()

    def step(self) -> None:
        """A whole training step: forward, backward, clipping, AdamW. It leaves no gradients."""
        for _ in range(self.parts):
            (self.forward() / self.parts).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def timed_step(self) -> None:
        """A step whose time is added to ``seconds``."""
        started = time.perf_counter()
        self.step()
        if self.ids.device.type != "cpu":
            torch.accelerator.synchronize()
        self.seconds.append(time.perf_counter() - started)

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of the fastest timed step."""
        return self.parts * self.ids.numel() / min(self.seconds)


def race(contestants: Sequence[Contestant], rounds: int) -> None:
    """Time ``rounds`` steps of each, in turns."""
    for contestant in contestants:
        for _ in range(_FIRST_STEPS):
            contestant.step()
    for _ in range(rounds):
        for contestant in contestants:
            contestant.timed_step()

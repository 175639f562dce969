"""Models race in turns, and the fastest step counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmfree.training.throughput import Contestant, race


class _Counting(nn.Module):
    def __init__(self, name: str, calls: list[str]) -> None:
        super().__init__()
        self.name, self.calls = name, calls
        self.weight = nn.Parameter(torch.ones(5))

    def forward(self, ids: Tensor, mode: str) -> tuple[Tensor, None]:
        assert mode == "train"
        self.calls.append(self.name)
        return ids[..., None] * self.weight, None


def test_steps_are_taken_in_turns_and_train() -> None:
    calls: list[str] = []
    ids = torch.randint(0, 5, (2, 3))
    contestants = [
        Contestant(_Counting(name, calls), ids, ids, bf16=False, compiled=False) for name in "ab"
    ]
    race(contestants, 3)
    assert "".join(calls) == "aabb" + "ababab"
    for contestant in contestants:
        assert len(contestant.seconds) == 3
        weight = next(contestant.model.parameters())
        assert weight.grad is None
        assert not torch.equal(weight, torch.ones(5))


def test_the_fastest_step_counts() -> None:
    ids = torch.zeros(4, 8, dtype=torch.int64)
    contestant = Contestant(_Counting("a", []), ids, ids, bf16=False, compiled=False)
    contestant.seconds = [0.5, 0.25, 1.0]
    assert contestant.tokens_per_second == pytest.approx(32 / 0.25)


def test_parts_are_one_step() -> None:
    calls: list[str] = []
    ids = torch.zeros(4, 8, dtype=torch.int64)
    contestant = Contestant(_Counting("a", calls), ids, ids, bf16=False, compiled=False, parts=3)
    contestant.timed_step()
    assert calls == ["a"] * 3
    assert contestant.tokens_per_second == pytest.approx(96 / contestant.seconds[0])

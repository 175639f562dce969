"""Models race in turns, and the fastest step counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmfree.comparison.speed import Contestant, race


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


class _Linear(nn.Module):
    """Logits that are a row of weights, [5], larger than clipping lets through."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(5.0))
        self.kinds: list[torch.dtype] = []

    def forward(self, ids: Tensor, mode: str) -> tuple[Tensor, None]:
        product = torch.ones(1, 1) @ self.weight[None]
        self.kinds.append(product.dtype)
        return 20 * product.float().expand(*ids.shape, 5), None


@pytest.mark.parametrize("parts", [1, 3])
def test_a_step_is_a_step_of_training(parts: int) -> None:
    """The loss is that of the batch, the gradient its mean and clipped, the rate AdamW's 1e-3."""
    ids = torch.zeros(2, 3, dtype=torch.int64)
    model = _Linear()
    contestant = Contestant(model, ids, ids, bf16=False, compiled=False, parts=parts)
    found: list[Tensor] = []
    model.weight.register_post_accumulate_grad_hook(
        lambda weight: found.append(weight.grad.clone())
    )
    before = model.weight.detach().clone()
    logits = 20 * before
    # Target 0: -log softmax is the largest logit, 80, within 1e-8.
    assert contestant.forward().item() == pytest.approx(80.0)
    contestant.step()
    share = torch.softmax(logits, 0)
    share[0] -= 1
    torch.testing.assert_close(found[-1], 20 * share)
    # Clipped to a norm of 1, Adam's first step is the rate, wherever the gradient is not tiny.
    moments = contestant.optimizer.state[model.weight]
    torch.testing.assert_close(moments["exp_avg"].norm(), torch.tensor(0.1))
    decayed = before * (1 - 1e-3 * 0.01)
    assert model.weight[0].item() == pytest.approx(decayed[0].item() + 1e-3, abs=1e-6)
    assert model.weight[4].item() == pytest.approx(decayed[4].item() - 1e-3, abs=1e-6)
    assert model.weight.grad is None


@pytest.mark.parametrize(("bf16", "kind"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_step_has_the_precision_that_is_asked_for(bf16: bool, kind: torch.dtype) -> None:
    ids = torch.zeros(2, 3, dtype=torch.int64)
    model = _Linear()
    Contestant(model, ids, ids, bf16=bf16, compiled=False).step()
    assert model.kinds == [kind]


def test_what_is_compiled_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or f)
    ids = torch.zeros(2, 3, dtype=torch.int64)
    for wanted in (False, True):
        Contestant(_Linear(), ids, ids, bf16=False, compiled=wanted).step()
        assert len(compiled) == wanted

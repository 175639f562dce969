"""Ranges are watched while a model learns, on what its export watches, and decide which is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mmfree.training.loop
import mmfree.training.train
from mmfree.inference.ranges import (
    SaturationError,
    judged_ranges,
    measure_ranges,
    real_data,
    refuse_saturation,
)
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.ranges import Watched, watch_ranges
from mmfree.text.loading import load_corpus
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.checkpoint import load_checkpoint, load_training_state
from mmfree.training.metrics import OFTEN, RANGES_NAME, best_step, read_rows
from mmfree.training.recipe import RunConfig
from mmfree.training.train import train
from mmfree.training.validation import Validation
from tests.support.models import SMALL_TEXT, tape_of

BOLD = replace(
    SMALL_TEXT, recipe=replace(SMALL_TEXT.recipe, learning_rate=0.5, warmup_steps=1, clip=1e9)
)
"""A rate at which values saturate within a few steps."""


@pytest.mark.parametrize("config", [SMALL_TEXT, BOLD], ids=["tame", "bold"])
def test_training_sees_the_ranges_that_export_judges(config: RunConfig, tmp_path: Path) -> None:
    train(config, tmp_path)
    tape, data = tape_of(tmp_path), real_data(ByteTokenizer(), [], run=tmp_path)
    judged = judged_ranges(tape, measure_ranges(tape, data.ids))
    due = Watched(
        *(
            max(found.share_at_limit for found in judged if found.limit == 1 << bits - 1)
            for bits in (8, 16)
        ),
        max(found.share_at_limit for found in judged if found.name == "x"),
    )
    assert (due.at_limit_8 > OFTEN) == (config is BOLD)
    validation = Validation(load_corpus([]), ByteTokenizer(), length=32, rows=4)
    model = load_checkpoint(tmp_path).model
    assert validation.ranges(model) == (due, 1.0)
    assert read_rows(tmp_path / RANGES_NAME)[-1] == (25, due.at_limit_8, due.at_limit_16)


def test_a_run_says_what_export_will_refuse(tmp_path: Path) -> None:
    assert train(SMALL_TEXT, tmp_path / "tame").at_limit is None
    result = train(BOLD, tmp_path / "bold")
    tape, data = tape_of(tmp_path / "bold"), real_data(ByteTokenizer(), [], run=tmp_path / "bold")
    with pytest.raises(SaturationError) as refused:
        refuse_saturation(tape, measure_ranges(tape, data.ids), data.source)
    assert result.at_limit is not None
    assert f"{100 * result.at_limit:.1f} % of the values" in str(refused.value)


def test_the_best_model_is_one_that_can_be_exported() -> None:
    rows = [(4, 3.0, 1.0), (8, 2.0, 0.9), (12, 1.0, 0.8)]
    often = OFTEN * 1.01
    assert best_step(rows, 0, []) == 12
    assert best_step(rows, 0, [(8, 0.0, 0.0), (12, often, 0.0)]) == 8
    assert best_step(rows, 0, [(8, 0.0, often), (12, often, 0.0)]) == 4
    assert best_step(rows, 0, [(12, OFTEN, OFTEN)]) == 12
    assert best_step(rows, 0, [(step, often, 0.0) for step in (4, 8, 12)]) == 12


def test_a_worse_model_is_kept_if_the_better_one_saturates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept model and the reported step are those of before."""
    monkeypatch.setattr(mmfree.training.loop, "VALIDATION_STEPS", 5)
    seen = iter([0.0, 0.0, *[0.5] * 9])
    ranges = lambda *_: (Watched(next(seen), 0.0), 1.0)  # noqa: E731
    monkeypatch.setattr(Validation, "ranges", ranges)
    result = train(SMALL_TEXT, tmp_path)
    assert result.best_step == 10, "the loss falls on"
    assert result.at_limit is None
    alone = train(
        replace(SMALL_TEXT, recipe=replace(SMALL_TEXT.recipe, steps=25)),
        tmp_path / "alone",
        stop_at=10,
    )
    assert alone.step == 10
    kept, due = (load_checkpoint(folder).model for folder in (tmp_path, tmp_path / "alone"))
    assert torch.equal(kept.head.weight, due.head.weight)


def test_the_pull_is_a_share_of_the_batchs_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nats per token: as the loss, divided by the tokens of a batch, in however many parts."""
    asked: list[float] = []
    monkeypatch.setattr(MatMulFreeLM, "hold_ranges", lambda _, pull: asked.append(pull))
    for accumulate in (1, 2):
        recipe = replace(SMALL_TEXT.recipe, hold=3.0, steps=1, accumulate=accumulate)
        train(replace(SMALL_TEXT, recipe=recipe), tmp_path / f"{accumulate}")
    assert asked == [3.0 / (recipe.batch_size * recipe.length)] * 2


def test_watching_ends_with_its_block() -> None:
    with watch_ranges() as outer:
        with watch_ranges() as inner:
            pass
        assert inner == Watched()
        assert outer == Watched()
    assert mmfree.models.ranges._watched is None


def test_a_run_that_holds_its_values_has_fewer_at_their_limits(tmp_path: Path) -> None:
    shares = []
    for hold in (0.0, 30.0):
        recipe = replace(BOLD.recipe, hold=hold, steps=60)
        train(replace(BOLD, recipe=recipe), tmp_path / f"{hold}")
        shares.append(read_rows(tmp_path / f"{hold}" / RANGES_NAME)[-1][1])
    assert shares[1] < 0.5 * shares[0]


@pytest.mark.parametrize("factor", [1, 60, 150])
def test_the_residual_of_what_is_kept_is_within_its_limits(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By halves, as many as it takes; the training goes on with what it had."""
    train(SMALL_TEXT, tmp_path / "plain")
    made = mmfree.training.train.build_model

    def large(config: RunConfig) -> torch.nn.Module:
        model = made(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if MatMulFreeLM.makes_residual(name):
                    parameter.mul_(factor)
        return model

    monkeypatch.setattr(mmfree.training.train, "build_model", large)
    config = replace(SMALL_TEXT, recipe=replace(SMALL_TEXT.recipe, learning_rate=1e-4))
    result = train(config, tmp_path / "run")
    assert result.at_limit is None
    state, kept = load_training_state(tmp_path / "run"), load_checkpoint(tmp_path / "run").model
    scales = {
        float((kept.get_parameter(name).detach() / weight).nanmedian())
        for name, weight in state.weights.items()
        if MatMulFreeLM.makes_residual(name)
    }
    (scale,) = scales
    assert (scale == 1) == (factor == 1)
    assert all(
        torch.equal(kept.get_parameter(name), weight)
        for name, weight in state.weights.items()
        if not MatMulFreeLM.makes_residual(name)
    )
    tape, data = tape_of(tmp_path / "run"), real_data(ByteTokenizer(), [], run=tmp_path / "run")
    judged = judged_ranges(tape, measure_ranges(tape, data.ids))
    assert max(found.share_at_limit for found in judged if found.name == "x") <= 1e-4

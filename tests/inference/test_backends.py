"""Backends: fake-quantized equals golden, on trained models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmfree.contract.pow2 import GATES
from mmfree.errors import InputError
from mmfree.inference.backends import GoldenBackend, load_backend
from mmfree.tape.pow2 import write_tape
from mmfree.tasks.addition import draw_sums, sum_ids
from mmfree.text.loading import load_corpus
from mmfree.text.windows import streams
from mmfree.training.recipe import RunConfig
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained


def inputs(config: RunConfig) -> np.ndarray:
    """Ids [B, T] of the model's own kind."""
    if config.recipe.task == "addition":
        return sum_ids(*draw_sums(np.random.default_rng(0), "random", 30, 8))
    return streams(load_corpus([]).validation[:2000]).ids


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("config", [SMALL_ADDITION, SMALL_TEXT], ids=["addition", "text"])
def test_every_logit_of_fakequant_equals_golden(
    config: RunConfig, gate: str, tmp_path: Path
) -> None:
    folder = trained(config, tmp_path, gate)
    ids = inputs(config)
    golden, fakequant = load_backend(folder, "golden"), load_backend(folder, None)
    assert (golden.name, fakequant.name) == ("golden", "fakequant")
    expected, _ = golden.run(ids, golden.state(len(ids)))
    logits, _ = fakequant.run(ids, fakequant.state(len(ids)))
    assert fakequant.fraction_bits == golden.fraction_bits == 9
    assert logits.dtype == expected.dtype == np.int32
    assert np.array_equal(logits, expected)
    floating = load_backend(folder, "float")
    nats, _ = floating.run(ids, floating.state(len(ids)))
    assert (nats.dtype, floating.fraction_bits) == (np.float32, 0)
    assert not np.array_equal(nats, expected * 2.0**-9)
    assert np.abs(nats - expected * 2.0**-9).mean() < 1.0


@pytest.mark.parametrize("name", ["float", "fakequant", "golden"])
def test_state_carries_from_one_call_to_the_next(name: str, tmp_path: Path) -> None:
    backend = load_backend(trained(SMALL_TEXT, tmp_path), name)
    ids = inputs(SMALL_TEXT)[:, :40]
    whole, _ = backend.run(ids, backend.state(len(ids)))
    first, state = backend.run(ids[:, :13], backend.state(len(ids)))
    second, _ = backend.run(ids[:, 13:], state)
    parts = np.concatenate([first, second], axis=1)
    if name == "float":
        assert np.allclose(parts, whole, atol=1e-4)
    else:
        assert np.array_equal(parts, whole)


def test_a_tape_is_played_by_golden(tmp_path: Path) -> None:
    folder = trained(SMALL_ADDITION, tmp_path / "run")
    write_tape(tape_of(folder), tmp_path / "a.tape")
    backend = load_backend(tmp_path / "a.tape", None)
    assert isinstance(backend, GoldenBackend)
    assert backend.tape.sha256 == tape_of(folder).sha256
    with pytest.raises(InputError, match=r"a\.tape: backend float needs the checkpoint folder"):
        load_backend(tmp_path / "a.tape", "float")


def test_unknown_backends_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="--backend must be one of float, fakequant, golden, rtl, got 'gpu'"
    ):
        load_backend(tmp_path, "gpu")

"""The published model under torch.

Against an independent float64 reading, tie by tie, batched, in pieces, and what it refuses.

In float64 nothing is near enough to a tie for two orders of addition to fall on either side of it,
so there the model must be the reading to the last digits. In float32 an activation may lie so near
to a half that it rounds the other way; then every later value differs by up to some percent. Both
are looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mmfree.errors import InputError
from mmfree.models import exact_product
from mmfree.published.export import export_published
from mmfree.published.model import (
    PublishedLM,
    TernaryLinear,
    load_published,
    quantize_activations,
    round_half_away,
)
from mmfree.published.tensors import PublishedError
from mmfree.tape.absmax import AbsmaxTape
from tests.support.published import float_reading
from tests.support.published.float_reading import FloatReading
from tests.support.published_checkpoints import Shape, checkpoint_tensors, write_checkpoint

LARGER = Shape(vocab_size=80, hidden_size=48, intermediate_size=112, num_layers=4)


def written(folder: Path, shape: Shape, tensors: dict[str, Tensor], **config: Any) -> Path:
    return write_checkpoint(
        folder, shape, tensors, intermediate_size=shape.intermediate_size, **config
    )


def ids_of(shape: Shape, *size: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, shape.vocab_size, size))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(
        tmp_path_factory.mktemp("published") / "model", LARGER, checkpoint_tensors(LARGER), shards=3
    )


@pytest.fixture(scope="module")
def exact(folder: Path) -> PublishedLM:
    return load_published(folder, torch.float64)


@pytest.mark.parametrize(
    ("shape", "config", "dtype"),
    [
        (Shape(), {}, torch.bfloat16),
        (LARGER, {"shards": 3}, torch.float32),
        (LARGER, {"rms_norm_eps": 1e-3}, torch.float16),
        (Shape(hidden_size=1, intermediate_size=1), {}, torch.float32),
        (Shape(), {"use_lower_bound": False}, torch.bfloat16),
    ],
    ids=["bfloat16", "shards", "eps", "one column", "no lower bounds"],
)
@pytest.mark.parametrize("quiet", [False, True])
def test_in_float64_it_is_the_reading(
    shape: Shape, config: dict[str, Any], dtype: torch.dtype, quiet: bool, tmp_path: Path
) -> None:
    """``quiet``: outer gains of about 1/1000, so that every epsilon matters, and rows of zeros,
    where scales have their lower limit.
    """
    tensors = checkpoint_tensors(shape, 3, dtype)
    if config.get("use_lower_bound") is False:
        del tensors["model.lower_bounds"]
    if quiet:
        for name in tensors:
            if "norm" in name and "_proj" not in name and "lm_head" not in name:
                tensors[name] *= 2.0**-10
        tensors["model.embeddings.weight"][::2] = 0
    model = load_published(written(tmp_path, shape, tensors, **config), torch.float64)
    ids = ids_of(shape, 24)
    expected = FloatReading(tensors, config.get("rms_norm_eps", 1e-6)).play(ids.numpy())
    logits, _ = model(ids[None])
    assert logits.dtype == torch.float64
    assert np.abs(logits[0].numpy() - expected).max() <= 1e-11 * np.abs(expected).max()


def test_in_float32_it_is_the_reading_until_a_tie_flips(tmp_path: Path) -> None:
    """Of five small models most meet no tie, and all of their logits are within 1e-5.

    In a model that meets one errors are larger by orders of magnitude.
    """
    whole = 0
    for seed in range(5):
        shape, tensors = Shape(), checkpoint_tensors(Shape(), seed)
        model = load_published(written(tmp_path / str(seed), shape, tensors))
        ids = ids_of(shape, 32)
        logits, _ = model(ids[None])
        assert logits.dtype == torch.float32
        expected = FloatReading(tensors).play(ids.numpy())
        errors = np.abs(logits[0].numpy() - expected).max(axis=-1) / np.abs(expected).max(axis=-1)
        assert errors.max() < 0.3
        whole += bool((errors < 1e-5).all())
    assert whole >= 3


def test_an_activation_rounds_the_other_way_only_at_a_tie(folder: Path, exact: PublishedLM) -> None:
    """Every projection in float32 gets what it gets in float64.

    Its integers are the same but for halves, and where they are its outputs are within 1e-5.
    """
    model = load_published(folder)
    singles = {
        name: module for name, module in model.named_modules() if isinstance(module, TernaryLinear)
    }
    assert len(singles) == 6 * LARGER.num_layers + 1
    seen, flips = 0, 0
    handles = []

    def compare(name: str, module: nn.Module, x: Tensor, expected: Tensor) -> None:
        nonlocal seen, flips
        single = singles[name]
        y = module.norm(x)
        (q, scale), (q32, _) = quantize_activations(y), quantize_activations(single.norm(x.float()))
        differs = q32 != q
        distance = ((y * scale).abs() % 1 - 0.5).abs()
        assert (distance[differs] < 1e-4).all()
        same = ~differs.any(dim=-1)
        error = (single(x.float()) - expected).abs().amax(-1) / expected.abs().amax(-1)
        assert (error[same] < 1e-5).all()
        assert (error < 0.1).all()
        seen, flips = seen + q.numel(), flips + int(differs.sum())

    for name, module in exact.named_modules():
        if isinstance(module, TernaryLinear):
            handles.append(
                module.register_forward_hook(lambda m, x, y, name=name: compare(name, m, x[0], y))
            )
    exact(ids_of(LARGER, 4, 50))
    for handle in handles:
        handle.remove()
    assert seen == 200 * (4 * (5 * 48 + 112) + 48)
    assert flips < seen / 10_000


def test_a_batch_is_its_sequences(exact: PublishedLM) -> None:
    ids = ids_of(LARGER, 5, 20)
    logits, state = exact(ids)
    assert logits.shape == (5, 20, 80)
    assert state.shape == (4, 5, 48)
    for row in range(5):
        alone, last = exact(ids[row : row + 1])
        assert torch.allclose(alone[0], logits[row], rtol=0, atol=1e-9)
        assert torch.allclose(last[:, 0], state[:, row], rtol=0, atol=1e-9)


def test_state_carries(exact: PublishedLM) -> None:
    """Pieces of 1, 7 and 12 positions, and single steps, give what one pass gives.

    A state that is not carried is noticed.
    """
    ids = ids_of(LARGER, 3, 20)
    whole, last = exact(ids)
    state, parts = exact.initial_state(3), []
    for piece in ids.split([1, 7, 12], dim=1):
        logits, state = exact(piece, state)
        parts.append(logits)
    assert torch.allclose(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-9)
    assert torch.allclose(state, last, rtol=0, atol=1e-9)
    state = exact.initial_state(3)
    for position in range(20):
        before = state.clone()
        step, new_state = exact.step(ids[:, position], state)
        assert torch.equal(state, before), "left as it was"
        assert torch.allclose(step, whole[:, position], rtol=0, atol=1e-9)
        state = new_state
    forgotten, _ = exact(ids[:, 8:])
    assert not torch.allclose(forgotten, whole[:, 8:], rtol=0.01)


def test_trits_and_scales_are_those_of_the_tape(
    folder: Path, exact: PublishedLM, tmp_path: Path
) -> None:
    export_published(folder, tmp_path / "a.tape", tokenizer={"kind": "none"})
    segments = {segment.name: segment for segment in AbsmaxTape(tmp_path / "a.tape").segments}
    matrices = {
        "layer 2 gates": ("i_proj", "f_proj", "g_proj"),
        "layer 2 output": ("o_proj",),
        "layer 2 glu": ("gate_proj",),
        "layer 2 down": ("down_proj",),
    }
    layer = exact.model.layers[2]
    for name, modules in matrices.items():
        for module, matrix in zip(modules, segments[name].matrices, strict=True):
            (found,) = [m for n, m in layer.named_modules() if n.endswith(module)]
            assert isinstance(found, TernaryLinear)
            assert np.array_equal(found.trits.numpy(), matrix.trits())
            assert found.absmean == pytest.approx(matrix.absmean, rel=2**-23)
    assert np.array_equal(exact.lm_head.trits.numpy(), segments["head"].matrices[0].trits())


def test_weights_take_a_byte_each_and_are_not_trained(folder: Path) -> None:
    model = load_published(folder)
    ternary = sum(buffer.numel() for buffer in model.buffers() if buffer.dtype == torch.int8)
    assert ternary == model.config.num_ternary_weights
    others = [buffer for buffer in model.buffers() if buffer.dtype != torch.int8]
    assert {buffer.dtype for buffer in others} == {torch.float32}
    assert ternary + sum(buffer.numel() for buffer in others) == model.config.num_parameters
    assert list(model.parameters()) == []


@given(st.floats(-200, 200, width=32) | st.integers(-255, 255).map(lambda n: n / 2))
def test_halves_round_away_from_zero(x: float) -> None:
    expected = float_reading.round_half_away(np.array([x]))
    for dtype in (torch.float32, torch.float64):
        assert round_half_away(torch.tensor([x], dtype=dtype)).item() == expected.item()


def test_just_below_a_half_is_no_half() -> None:
    below = torch.tensor([0.49999997, -0.49999997, 0.5, -0.5, 2.5, 126.5])
    assert round_half_away(below).tolist() == [0, 0, 1, -1, 3, 127]


def test_a_vector_is_scaled_by_its_largest_but_at_most_by_the_released_limit() -> None:
    y = torch.tensor([[2.0, -1.0, 0.5], [1e-6, -4e-6, 0], [0, 0, 0]], dtype=torch.float64)
    q, scale = quantize_activations(y)
    assert q.tolist() == [[127, -64, 32], [13, -51, 0], [0, 0, 0]]
    assert scale[:, 0].tolist() == pytest.approx([63.5, 127e5, 127e5])


def test_it_computes_the_same_without_int8_products(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ids = load_published(folder), ids_of(LARGER, 2, 9)
    monkeypatch.setattr(exact_product, "INT8_PRODUCTS", True)
    fast, _ = model(ids)
    monkeypatch.setattr(exact_product, "INT8_PRODUCTS", False)
    slow, _ = model(ids)
    assert torch.equal(slow, fast)


def test_calls_that_do_not_fit_are_refused(exact: PublishedLM, folder: Path) -> None:
    ids = torch.zeros(2, 3, dtype=torch.int64)
    for mode in ("fakequant", "train", "golden"):
        with pytest.raises(
            InputError, match=f"mode must be float for a published checkpoint, got '{mode}'"
        ):
            exact(ids, mode=mode)
        with pytest.raises(InputError, match="mode must be float"):
            exact.step(ids[:, 0], exact.initial_state(2), mode)
    with pytest.raises(InputError, match=r"ids must be \[batch, time >= 1\], got shape \(2, 0\)"):
        exact(ids[:, :0])
    with pytest.raises(
        InputError,
        match=r"state must be \[layers, batch, hidden\] = \(4, 2, 48\), got \(4, 3, 48\)",
    ):
        exact(ids, exact.initial_state(3))
    with pytest.raises(
        InputError, match=r"dtype must be torch.float32 or torch.float64, got torch.float16"
    ):
        load_published(folder, torch.float16)


def test_folders_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    shape, tensors = Shape(num_layers=1), checkpoint_tensors(Shape(num_layers=1))
    for kind in ("bitnet", "llama"):
        with pytest.raises(
            PublishedError,
            match=f"model_type '{kind}' cannot become a tape: its attention multiplies",
        ):
            load_published(written(tmp_path / kind, shape, tensors, model_type=kind))
    name = "model.layers.0.mlp.down_proj.norm.weight"
    with pytest.raises(PublishedError, match=f"tensor {name} of shape .* is missing"):
        load_published(
            written(tmp_path / "a", shape, {n: t for n, t in tensors.items() if n != name})
        )
    tensors[name] = tensors[name].clone()
    tensors[name][3] = float("nan")
    with pytest.raises(PublishedError, match=f"tensor {name}: every value must be finite, found 1"):
        load_published(written(tmp_path / "b", shape, tensors))

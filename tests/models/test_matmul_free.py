"""The model: equality with the golden model, its three modes, state, gradients and errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mmfree.contract.pow2 import GATES
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.golden.pow2 import Golden
from mmfree.models.matmul_free import (
    MatMulFreeLM,
    _ComputedLookup,
    forget_gate,
    gated_product,
    lookup,
    residual_add,
)
from mmfree.training.export import export_tape

ODD = {
    "vocab_size": 19,
    "head_size": 7,
    "hidden_size": 33,
    "intermediate_size": 47,
    "num_layers": 3,
}


def _model(gate: str, seed: int = 1, scale: float = 1.0, **sizes: int) -> MatMulFreeLM:
    torch.manual_seed(seed)
    model = MatMulFreeLM(ModelConfig(**{**ODD, **sizes}, gate=gate))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases so wide that gates reach both ends.
            parameter.copy_(
                torch.randn_like(parameter) * 2 if "bias" in name else parameter * scale
            )
    return model


def _ids(model: MatMulFreeLM, batch: int, time: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (batch, time), generator=generator)


def _train(model: MatMulFreeLM, steps: int) -> None:
    """Predict the token before the last, modulo the head: a few steps that move every parameter."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for step in range(steps):
        ids = _ids(model, 5, 13, seed=step)
        logits, _ = model(ids)
        targets = ids[:, :-1] % model.config.head_size
        loss = F.cross_entropy(logits[:, 1:].flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _integers(model: MatMulFreeLM, state_LBw: Tensor) -> NDArray[np.int16]:
    """The golden model's state: h has 11 fraction bits, the x that a token shift keeps 9."""
    d, shift = model.config.hidden_size, model.config.token_shift
    scale_w = np.repeat([512, 2048, 512], [shift, d, shift])
    return (state_LBw.numpy() * scale_w).astype(np.int16)


def _assert_equals_golden(model: MatMulFreeLM, ids_BT: Tensor) -> Golden:
    """Every logit and every state word, after every token."""
    golden = Golden(export_tape(model, {"kind": "none"}))
    golden_state = golden.state(ids_BT.shape[0])
    state = model.initial_state(ids_BT.shape[0])
    with torch.no_grad():
        whole, after = model(ids_BT, mode="fakequant")
        for t in range(ids_BT.shape[1]):
            expected, golden_state = golden.step(ids_BT[:, t].numpy(), golden_state)
            logits, state = model.step(ids_BT[:, t], state, mode="fakequant")
            np.testing.assert_array_equal((logits * 512).numpy(), expected)
            np.testing.assert_array_equal(_integers(model, state), golden_state)
            np.testing.assert_array_equal((whole[:, t] * 512).numpy(), expected)
    np.testing.assert_array_equal(_integers(model, after), golden_state)
    return golden


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("steps", [0, 4])
def test_fakequant_equals_golden(gate: str, steps: int) -> None:
    model = _model(gate)
    _train(model, steps)
    _assert_equals_golden(model, _ids(model, 3, 21))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("shift", [1, 16, 33])
def test_fakequant_equals_golden_with_a_token_shift(gate: str, shift: int) -> None:
    model = _model(gate, token_shift=shift)
    _train(model, 4)
    _assert_equals_golden(model, _ids(model, 3, 21))


@pytest.mark.parametrize("gate", GATES)
def test_fakequant_equals_golden_where_projections_and_residual_saturate(gate: str) -> None:
    model = _model(gate, scale=17.0)
    with torch.no_grad():
        # The largest scale that a tape holds, without zeros.
        model.head.weight.sign_().mul_(31 / math.sqrt(model.config.hidden_size))
    golden = _assert_equals_golden(model, _ids(model, 3, 21))
    reached = {site for site, count in golden.saturations.items() if count}
    assert {"quantizer", "projection", "residual", "logit"} <= reached


@pytest.mark.parametrize("gate", GATES)
def test_fakequant_equals_golden_at_size_one(gate: str) -> None:
    model = _model(
        gate, vocab_size=2, head_size=1, hidden_size=1, intermediate_size=1, num_layers=1
    )
    _assert_equals_golden(model, _ids(model, 1, 9))


@pytest.mark.parametrize("mode", ["train", "fakequant", "float"])
def test_two_halves_with_the_state_carried_equal_the_whole(mode: str) -> None:
    model = _model("hard")
    ids = _ids(model, 3, 20)
    with torch.no_grad():
        whole, state = model(ids, mode=mode)
        first, carried = model(ids[:, :7], mode=mode)
        second, final = model(ids[:, 7:], carried, mode=mode)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(final, state)


def test_sequences_of_a_batch_are_independent() -> None:
    model = _model("sigmoid")
    ids = _ids(model, 5, 11)
    with torch.no_grad():
        together, state = model(ids, mode="fakequant")
        for b in range(5):
            alone, alone_state = model(ids[b : b + 1], mode="fakequant")
            assert torch.equal(alone[0], together[b])
            assert torch.equal(alone_state[:, 0], state[:, b])


@pytest.mark.parametrize("gate", GATES)
def test_modes_differ_by_rounding_only(gate: str) -> None:
    model = _model(gate, hidden_size=63, intermediate_size=96, num_layers=2)
    ids = _ids(model, 3, 33)
    with torch.no_grad():
        logits = {mode: model(ids, mode=mode)[0] for mode in ("train", "fakequant", "float")}
    spread = logits["float"].std()
    # Measured over eight models: at most 0.066 and 0.160; steps of 1/16 before SiLU dominate the
    # latter.
    assert (logits["train"] - logits["fakequant"]).square().mean().sqrt() < 0.1 * spread
    assert (logits["float"] - logits["fakequant"]).square().mean().sqrt() < 0.25 * spread
    assert not torch.equal(logits["float"], logits["train"])


def test_logits_are_multiples_of_a_residual_step() -> None:
    model = _model("hard")
    logits, _ = model(_ids(model, 2, 5), mode="train")
    assert torch.equal(logits * 512, (logits * 512).round())


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("mode", ["train", "fakequant", "float"])
def test_gradient_reaches_every_parameter(gate: str, mode: str) -> None:
    model = _model(gate)
    model(_ids(model, 4, 9), mode=mode)[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_quantized_gradients_point_the_way_of_the_float_ones() -> None:
    gradients = {}
    for mode in ("train", "fakequant", "float"):
        model = _model("sigmoid", hidden_size=63, intermediate_size=96, num_layers=1)
        ids = _ids(model, 8, 17)
        logits, _ = model(ids, mode=mode)
        F.cross_entropy(logits.flatten(0, 1), (ids % model.config.head_size).flatten()).backward()
        gradients[mode] = torch.cat(
            [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        )
    assert F.cosine_similarity(gradients["train"], gradients["fakequant"], dim=0) > 0.98
    assert F.cosine_similarity(gradients["train"], gradients["float"], dim=0) > 0.95


def test_parameters_are_counted_by_the_config_and_named_by_role() -> None:
    model = _model("hard", num_layers=1)
    assert sum(p.numel() for p in model.parameters()) == model.config.num_parameters
    assert [name for name, _ in model.named_parameters()] == [
        "embedding.weight",
        *(
            f"layers.0.mixer.{n}"
            for n in ("i.weight", "f.weight", "f.bias", "g.weight", "o.weight")
        ),
        *(f"layers.0.glu.{n}.weight" for n in ("gate", "up", "down")),
        "head.weight",
    ]


def test_silu_table_worked_by_hand() -> None:
    x = torch.tensor([0.0, 1.0, -1.0, 7.9375, 8.5, -8.5, 1 / 32, -1 / 32])
    # 2048 * silu: 1 gives 1497.2, -1 gives -550.8, 127/16 gives 16250.2; 1/32 rounds up to index 1,
    # -1/32 to 0.
    expected = [0, 1497, -551, 16250, 16250, -5, 66, 0]
    assert (lookup(x, "silu") * 2048).tolist() == expected


def test_table_slope_is_that_of_the_function_and_zero_beyond_the_ends() -> None:
    x = torch.tensor([1.0, -2.0, 8.0, -8.125], requires_grad=True)
    lookup(x, "sigmoid").sum().backward()
    assert x.grad is not None
    expected = [1 / (1 + math.exp(-v)) * (1 - 1 / (1 + math.exp(-v))) for v in (1.0, -2.0)]
    torch.testing.assert_close(x.grad, torch.tensor([*expected, 0.0, 0.0]))


def test_hard_gate_is_exact_at_both_ends_and_passes_gradient_between_them() -> None:
    z = torch.tensor([-2.5, -2.0, 0.0, 1.0, 2.0, 3.0], requires_grad=True)
    f = forget_gate(z, torch.zeros(6), "hard", 6, "train")
    assert f.tolist() == [0, 0, 0.5, 0.75, 1, 1]
    f.sum().backward()
    assert z.grad is not None
    assert [z.grad[j].item() for j in (0, 2, 3, 5)] == [0, 0.25, 0.25, 0]


def test_signed_gate_is_exact_at_both_ends_and_passes_gradient_between_them() -> None:
    z = torch.tensor([-5.0, -4.0, 0.0, 1.0, 4.0, 5.0], requires_grad=True)
    f = forget_gate(z, torch.zeros(6), "signed", 6, "train")
    assert f.tolist() == [-1, -1, 0, 0.25, 1, 1]
    f.sum().backward()
    assert z.grad is not None
    assert [z.grad[j].item() for j in (0, 2, 3, 5)] == [0, 0.25, 0.25, 0]


@pytest.mark.parametrize("gate", GATES)
def test_memory_is_spread_from_the_shortest_to_the_longest(gate: str) -> None:
    """Worked by hand: 3 channels in each of 4 layers, from 2, 4, 8 and 16 tokens to 32."""
    model = _model(gate, hidden_size=3, num_layers=4)
    model.spread_memory(2, 32)
    tokens = ((2, 8, 32), (4, 8 * 2**0.5, 32), (8, 16, 32), (16, 16 * 2**0.5, 32))
    for layer, times in zip(model.layers, tokens, strict=True):
        f_TBd = forget_gate(torch.zeros(1, 1, 3), layer.mixer.f.bias, gate, 9, "float")
        assert f_TBd.flatten().tolist() == pytest.approx([1 - 1 / t for t in times], abs=1e-3)


def test_sigmoid_gate_saturates_its_index() -> None:
    z = torch.tensor([-100.0, -8.0, 0.0, 7.0, 100.0])
    assert (forget_gate(z, torch.zeros(5), "sigmoid", 4, "train") * 256).tolist() == [
        0,
        0,
        128,
        256,
        256,
    ]


def test_residual_saturates_without_gradient() -> None:
    x = torch.tensor([60.0, -60.0, 1.0], requires_grad=True)
    y = residual_add(x, torch.tensor([5.0, -5.0, 2.0]), "train")
    assert y.tolist() == [64 - 1 / 512, -64, 3]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 1]


def test_product_rounds_halves_up() -> None:
    operand = torch.tensor([1 / 16, 1 / 16, -1 / 16])
    gate = torch.tensor([32 / 2048, 31 / 2048, 32 / 2048])
    # In words: 32/64 = 0.5 rounds to 1, 31/64 to 0, -0.5 to 0.
    assert (gated_product(operand, gate, "train") * 512).tolist() == [1, 0, 0]


def test_unknown_mode_is_refused() -> None:
    model = _model("hard", num_layers=1)
    with pytest.raises(InputError, match="mode must be one of train, fakequant, float, got 'int8'"):
        model(_ids(model, 1, 1), mode="int8")


@pytest.mark.parametrize("shape", [(3,), (3, 0), (1, 2, 3)])
def test_ids_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    model = _model("hard", num_layers=1)
    with pytest.raises(InputError, match=r"ids must be \[batch, time >= 1\], got shape"):
        model(torch.zeros(shape, dtype=torch.long))


def test_state_of_another_shape_is_refused() -> None:
    model = _model("hard", num_layers=1)
    with pytest.raises(InputError, match=r"state must be .* = \(1, 2, 33\), got \(1, 3, 33\)"):
        model(_ids(model, 2, 1), model.initial_state(3))


@pytest.mark.parametrize(("name", "bits"), [("sigmoid", 8), ("silu", 11)])
def test_computed_entries_equal_the_table_with_the_same_gradient(name: str, bits: int) -> None:
    """At every index, between two of them, and beyond both ends."""
    x = torch.arange(-140, 140, 0.25, dtype=torch.float32) / 16
    by_table, computed = (x.clone().requires_grad_() for _ in range(2))
    one, other = lookup(by_table, name), _ComputedLookup.apply(computed, name, bits)
    assert torch.equal(one, other)
    one.sum().backward()
    other.sum().backward()
    assert by_table.grad is not None
    assert torch.allclose(by_table.grad, computed.grad, rtol=1e-5, atol=1e-7)
    assert len(one.unique()) > 100


def assert_same_gradients(gate: str, compiled: Callable[[Callable[[], Tensor]], Tensor]) -> None:
    """Of a loss, as it is and as ``compiled`` runs it: the value exactly, gradients nearly."""
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_layers": 2}
    config = ModelConfig(vocab_size=64, head_size=64, **sizes, gate=gate)
    torch.manual_seed(3)
    model = MatMulFreeLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Large enough that outputs of every width, gates and the residual saturate somewhere.
            parameter.mul_(
                30.0 if name.endswith(("o.weight", "down.weight", "embedding.weight")) else 4.0
            )
    ids, targets = (torch.randint(0, 64, (3, 20)) for _ in range(2))

    def loss() -> Tensor:
        logits, _ = model(ids)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    found = []
    for run in (lambda function: function(), compiled):
        value = run(loss)
        found.append((value, torch.autograd.grad(value, list(model.parameters()))))
    (eager, expected), (traced, gradients) = found
    assert torch.equal(traced, eager)
    for (name, _), a, b in zip(model.named_parameters(), gradients, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max())), name


def test_weights_begin_at_the_spread_that_the_recipes_were_tuned_with() -> None:
    """Embedding 0.25; a ternary matrix 1 / sqrt(fan-in), so that its outputs have a spread of 1."""
    torch.manual_seed(0)
    model = MatMulFreeLM(ModelConfig(**ODD | {"hidden_size": 64, "vocab_size": 400}))
    assert float(model.embedding.weight.detach().std()) == pytest.approx(0.25, rel=0.05)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif name != "embedding.weight":
            spread = parameter.shape[1] ** -0.5
            assert float(parameter.detach().std()) == pytest.approx(spread, rel=0.15), name


@pytest.mark.parametrize("mode", ["train", "fakequant", "float"])
def test_a_state_that_is_passed_in_counts(mode: str) -> None:
    """In every layer and channel; and a state that is zero is the start of a sequence."""
    model = _model("hard")
    ids = _ids(model, 2, 3)
    with torch.no_grad():
        plain, after = model(ids, mode=mode)
        zero = torch.zeros(3, 2, 33)
        assert torch.equal(model(ids, zero, mode=mode)[0], plain)
        assert model(ids, mode=mode)[1].shape == after.shape == zero.shape
        for layer in range(3):
            state = zero.clone()
            state[layer] = 1.5
            logits, final = model(ids, state, mode=mode)
            assert not torch.equal(logits, plain)
            changed = (final != after).flatten(1).any(1).tolist()
            assert changed[: layer + 1] == [False] * layer + [True]


def test_a_step_is_one_position_in_the_contracts_arithmetic() -> None:
    """By default; in another mode if that is asked for."""
    model = _model("sigmoid")
    ids = _ids(model, 2, 1)
    state = torch.full((3, 2, 33), 0.25)
    with torch.no_grad():
        for mode in ("train", "fakequant", "float"):
            logits, after = model.step(ids[:, 0], state, mode=mode)
            whole, final = model(ids, state, mode=mode)
            assert torch.equal(logits, whole[:, 0])
            assert torch.equal(after, final)
        default = model.step(ids[:, 0], state)
        rounded = model(ids, state, mode="fakequant")
    assert torch.equal(default[0], rounded[0][:, 0])
    assert torch.equal(default[1], rounded[1])


@pytest.mark.parametrize("gate", GATES)
def test_what_is_meant_for_the_compiler_is_the_same_function(
    gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks are bytes there, tables are computed, saturation has its own backward pass.

    Here it is run as it stands.
    """
    entries = 0

    def counted(*arguments: object) -> Tensor:
        nonlocal entries
        entries += 1
        return apply(*arguments)

    apply = _ComputedLookup.apply

    def compiled(function: Callable[[], Tensor]) -> Tensor:
        monkeypatch.setattr(_ComputedLookup, "apply", counted)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        return function()

    assert_same_gradients(gate, compiled)
    assert entries == 2 * (4 if gate == "sigmoid" else 3)


# Dynamo's own, while it traces autograd functions.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    "gate", ["sigmoid", *(pytest.param(gate, marks=pytest.mark.slow) for gate in GATES[1:])]
)
def test_what_the_compiler_traces_is_the_same_function(gate: str) -> None:
    """It is traced, and run without C++."""
    assert_same_gradients(gate, lambda loss: torch.compile(loss, backend="aot_eager")())

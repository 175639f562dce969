"""The scan by flash-linear-attention's kernels against the naive recurrence: no GPU is needed.

The kernels themselves run in Triton's interpreter, where fla-core and triton are installed (triton
is large, and comes with torch's CUDA builds alone: `make test-kernels` fetches both). Everywhere
else, and wherever this process itself needs kernels, a stand-in in torch has their contract; the
interpreter holds it to them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmfree.errors import InputError, ToolMissing
from mmfree.models import gpu_scan
from mmfree.models import matmul_free as model
from mmfree.models.scan import fast_scan, naive_scan
from tests.models.test_scan import SIZES, scan_inputs

ROOT = Path(__file__).parents[2]
INSTALLED = all(find_spec(name) is not None for name in ("fla", "triton"))


def stand_in_forward(x: Tensor, g: Tensor, initial_state: Tensor) -> tuple[Tensor, None]:
    """h_t = exp(g_t) h_{t-1} + x_t over [1, T, D], contiguous, in float32."""
    assert x.is_contiguous()
    assert g.is_contiguous()
    assert initial_state.is_contiguous()
    h, states = initial_state, []
    for x_t, g_t in zip(x.unbind(1), g.unbind(1), strict=True):
        h = g_t.exp() * h + x_t
        states.append(h)
    return torch.stack(states, 1), None


def stand_in_backward(g: Tensor, o: Tensor, do: Tensor) -> tuple[Tensor, Tensor, None]:
    """Gradients by x and by g, from a state before the first step that is zero."""
    assert g.is_contiguous()
    assert o.is_contiguous()
    assert do.is_contiguous()
    dx, dg = torch.empty_like(o), torch.empty_like(o)
    carried = torch.zeros_like(o[:, 0])
    for t in range(g.shape[1] - 1, -1, -1):
        dx[:, t] = carried + do[:, t]
        carried = dx[:, t] * g[:, t].exp()
        dg[:, t] = carried * o[:, t - 1] if t else 0
    return dx, dg, None


@pytest.fixture
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_scan, "_kernels", lambda: (stand_in_forward, stand_in_backward))


def check_against_the_naive_scan(shape: tuple[int, int, int]) -> None:
    """States and gradients, with a third of f exactly 0 and a third exactly 1."""
    inputs = scan_inputs(shape, dtype=torch.float32)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    naive, got = naive_scan(*inputs), fast_scan(*inputs, kernels=True)
    torch.testing.assert_close(got, naive, rtol=0, atol=2e-6)
    expected_gradients = torch.autograd.grad((naive * weights).sum(), inputs)
    gradients = torch.autograd.grad((got * weights).sum(), inputs)
    for a, b in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)


def check_that_both_ends_are_exact() -> None:
    c = torch.randint(-570, 16251, (63, 1, 5), generator=torch.Generator().manual_seed(3)) / 2048
    h0 = torch.full((1, 5), 0.3125)
    assert torch.equal(fast_scan(torch.ones_like(c), c, h0, kernels=True), h0.expand_as(c))
    assert torch.equal(fast_scan(torch.zeros_like(c), c, h0, kernels=True), c)


def check_in_the_interpreter() -> None:
    """For a process of its own: the kernels in the interpreter, and the stand-in against them."""
    from fla.ops.hgrn import fused_recurrent as hgrn

    for kernel in (hgrn.fused_recurrent_hgrn_fwd_kernel, hgrn.fused_recurrent_hgrn_bwd_kernel):
        # Choosing among block sizes by timing needs a GPU.
        del kernel.fn.configs[1:]
    for shape in SIZES:
        check_against_the_naive_scan(shape)
    check_that_both_ends_are_exact()
    f, c, h0 = (x.detach() for x in scan_inputs((7, 2, 33), dtype=torch.float32))
    x, g, do = (t.reshape(1, 7, 66) for t in (c, f.log(), torch.randn_like(c)))
    o, _ = hgrn.fused_recurrent_hgrn_fwd(x, g, h0.reshape(1, 66))
    torch.testing.assert_close(stand_in_forward(x, g, h0.reshape(1, 66))[0], o)
    dx, dg, dh0 = hgrn.fused_recurrent_hgrn_bwd(g, o, do)
    assert dh0 is None
    for a, b in zip(stand_in_backward(g, o, do)[:2], (dx, dg), strict=True):
        torch.testing.assert_close(a, b)
    print("checked")


if INSTALLED:

    def test_kernels_in_the_interpreter_equal_the_naive_scan() -> None:
        code = "from tests.models.test_gpu_scan import check_in_the_interpreter as check; check()"
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"TRITON_INTERPRET": "1"},
        )
        assert result.stdout == "checked\n", result.stderr


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.usefixtures("_stand_in")
def test_recurrence_through_log_space_equals_the_naive_scan(shape: tuple[int, int, int]) -> None:
    check_against_the_naive_scan(shape)


@pytest.mark.usefixtures("_stand_in")
def test_both_ends_of_the_gate_are_exact() -> None:
    check_that_both_ends_are_exact()


@pytest.mark.usefixtures("_stand_in")
def test_tensors_that_are_not_contiguous_are_accepted() -> None:
    f, c, h0 = (x.detach() for x in scan_inputs((6, 5, 4), dtype=torch.float32))
    turned = [x.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_() for x in (f, c, h0)]
    # The gradient of an expanded sum has stride zero.
    got = torch.autograd.grad(fast_scan(*turned, kernels=True).sum(), turned)
    expected = torch.autograd.grad(naive_scan(*turned).sum(), turned)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.usefixtures("_stand_in")
def test_it_is_one_operation_to_the_compiler() -> None:
    inputs = scan_inputs((5, 2, 3), dtype=torch.float32)
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(
        lambda f, c, h0: fast_scan(f, c, h0, kernels=True), backend=keep, fullgraph=True
    )
    got = torch.autograd.grad(compiled(*inputs).square().sum(), inputs)
    expected = torch.autograd.grad(naive_scan(*inputs).square().sum(), inputs)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
    (graph,) = graphs
    assert [node.target for node in graph.graph.nodes if node.op == "call_function"] == [
        torch.ops.mmfree.scan.default
    ]


class _ScanCalls(TorchDispatchMode):
    """Options of the calls of mmfree::scan."""

    def __init__(self) -> None:
        super().__init__()
        self.options: list[tuple[bool, bool]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.mmfree.scan.default:
            self.options.append(args[3:])
        return func(*args, **(kwargs or {}))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[_ScanCalls]:
    """Calls of the scan with the kernels installed, on tensors without values."""
    monkeypatch.setattr(gpu_scan, "AVAILABLE", True)
    with FakeTensorMode(), _ScanCalls() as seen:
        yield seen


def _scan_on(device: str, gate: str, mode: model.Mode, dtype: torch.dtype = torch.float32) -> None:
    f, c, h0 = (
        torch.empty(shape, device=device, dtype=dtype) for shape in ((3, 1, 2), (3, 1, 2), (1, 2))
    )
    model.scan(f, c, h0, gate, mode)


@pytest.mark.parametrize("gate", ["hard", "sigmoid"])
def test_training_on_a_gpu_takes_the_kernels(calls: _ScanCalls, gate: str) -> None:
    _scan_on("cuda", gate, "train")
    assert calls.options == [(False, True)]


def test_everything_else_takes_torch(calls: _ScanCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    _scan_on("cpu", "hard", "train")
    _scan_on("cuda", "signed", "train")
    _scan_on("cuda", "hard", "float")
    _scan_on("cuda", "hard", "train", torch.float64)
    monkeypatch.setattr(gpu_scan, "AVAILABLE", False)
    _scan_on("cuda", "hard", "train")
    assert calls.options == [(False, False), (True, False), *[(False, False)] * 3]


def test_kernels_are_available_where_installed_unless_switched_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(gpu_scan.SWITCH, raising=False)
    if not INSTALLED:
        assert not gpu_scan._available()
        for name in ("fla", "triton"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text(
                "raise AssertionError('must not be imported')\n", encoding="utf-8"
            )
        monkeypatch.syspath_prepend(tmp_path)
    assert gpu_scan._available()
    monkeypatch.setenv(gpu_scan.SWITCH, "torch")
    assert not gpu_scan._available()


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu_scan.SWITCH, "fla")
    with pytest.raises(
        InputError, match="environment variable MMFREE_SCAN must be torch, or not be set, got 'fla'"
    ):
        gpu_scan._available()


def test_a_broken_installation_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fla", None)
    gpu_scan._kernels.cache_clear()
    inputs = scan_inputs((1, 1, 1), dtype=torch.float32)
    with pytest.raises(
        ToolMissing,
        match=(
            r"flash-linear-attention cannot be imported .*install mmfree\[gpu\], or set"
            r" MMFREE_SCAN=torch"
        ),
    ):
        fast_scan(*inputs, kernels=True)

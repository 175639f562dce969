"""Ternary products are integers, on every path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmfree.models import exact_product


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize(("fan_in", "blocks"), [(1, 40), (7, 1), (7, 40), (6912, 40)])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float32, torch.float64])
def test_products_are_exact(
    int8: bool, fan_in: int, blocks: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a processor's int8 products, up to the widest published matrix with
    everything at its largest; more rows than one block of ``blocks`` / 2, of half a row, too.
    """
    monkeypatch.setattr(exact_product, "INT8_PRODUCTS", int8)
    monkeypatch.setattr(exact_product, "_BLOCK_WEIGHTS", blocks * fan_in // 2)
    rng = np.random.default_rng(0)
    q = rng.integers(-128, 128, (3, fan_in))
    trits = rng.integers(-1, 2, (101, fan_in)).astype(np.int8)
    q[0], trits[0] = -128, 1
    with torch.autocast("cpu", torch.bfloat16):
        found = exact_product.exact_product(torch.from_numpy(q).to(dtype), torch.from_numpy(trits))
    floats = torch.float32 if dtype == torch.int8 else dtype
    assert found.dtype == (torch.int32 if int8 and fan_in > 1 else floats)
    assert np.array_equal(found.numpy(), q @ trits.T.astype(np.int64))

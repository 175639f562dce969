"""Products of int8 vectors with ternary matrices under torch: integers, without rounding."""

from __future__ import annotations

import torch
from torch import Tensor

INT8_PRODUCTS = bool(torch.cpu.get_capabilities().get("avx512_vnni", False))
"""Whether this processor has int8 dot products, without which torch takes a slow path."""

_BLOCK_WEIGHTS = 1 << 20
"""Weights that are converted to floats at a time on a CPU: a large matrix is never in memory whole,
and a block is about as large as a core's cache.
"""


def exact_product(q_Nn: Tensor, trits_rn: Tensor) -> Tensor:
    """q T^t [N, r], exact up to 2^24.

    It is int32 where the machine multiplies int8 fast. Elsewhere trits become floats block by
    block, and the product is float32, or of the type of ``q_Nn`` if that is a float.

    Parameters
    ----------
    q_Nn
        Integers -128..127, int8 or float.
    trits_rn
        -1, 0 and 1, int8 [r, n].
    """
    # torch 2.13's _int_mm gives wrong results for one column.
    if INT8_PRODUCTS and q_Nn.device.type == "cpu" and q_Nn.shape[-1] > 1:
        product: Tensor = torch._int_mm(q_Nn.to(torch.int8), trits_rn.T)
        return product
    real_Nn = q_Nn if q_Nn.is_floating_point() else q_Nn.to(torch.float32)
    rows = (
        max(1, _BLOCK_WEIGHTS // trits_rn.shape[-1]) if q_Nn.device.type == "cpu" else len(trits_rn)
    )
    blocks = trits_rn.split(rows)
    with torch.autocast(q_Nn.device.type, enabled=False):
        products = [real_Nn @ block_rn.to(real_Nn.dtype).T for block_rn in blocks]
    return products[0] if len(products) == 1 else torch.cat(products, dim=-1)

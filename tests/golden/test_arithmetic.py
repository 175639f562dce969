"""The golden model and the quantizers against docs/arithmetic.md.

Its worked vectors, and exact rational arithmetic.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfree.contract.pow2 import (
    DEFAULT_FORMATS,
    ROLES,
    reciprocal_root_table,
    sigmoid_table,
    silu_table,
)
from mmfree.golden import pow2 as golden
from mmfree.models.quantize import quantize_embedding, quantize_ternary
from tests.support.vectors import VECTORS

INT16 = st.integers(-32768, 32767)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def test_rounding_vectors() -> None:
    for p, n, expected in VECTORS["rnd"]:
        assert golden.round_shift(ints(p), n)[0] == expected, (p, n)


@given(p=st.integers(-(2**30), 2**30 - 1), n=st.integers(0, 28))
def test_rounding_is_floor_of_half_more(p: int, n: int) -> None:
    wide = np.array([p], dtype=np.int64)
    assert golden.round_shift(wide, n)[0] == math.floor(Fraction(p, 2**n) + Fraction(1, 2))


def test_ternary_vector() -> None:
    vector = VECTORS["ternary"]
    trits, multiplier, exponent = quantize_ternary(torch.tensor(vector["weights"]))
    assert trits.tolist() == vector["trits"]
    assert (int(multiplier), int(exponent)) == (vector["multiplier"], vector["exponent"])


def test_embedding_vector() -> None:
    vector = VECTORS["embedding"]
    rows, shift = quantize_embedding(torch.tensor(vector["weights"]))
    assert rows.tolist() == vector["rows"]
    assert int(shift) == vector["shift"]


def test_quantizer_vectors() -> None:
    for vector in VECTORS["quantizer"]:
        q, _ = golden.quantize(ints(*vector["u"]))
        q = np.clip(q, -128, 127)
        assert q.tolist() == vector["q"]
        assert int((q * q).sum()) == vector["S"]


@given(st.lists(INT16, min_size=1, max_size=9))
def test_quantizer_keeps_the_vector_within_half_a_step(values: list[int]) -> None:
    q, shift = golden.quantize(ints(*values))
    step = Fraction(2**8, 2 ** int(shift[0]))
    assert all(abs(int(a) * step - b) <= step / 2 for a, b in zip(q, values, strict=True))
    assert q.max() <= 128
    assert q.min() >= -128
    if any(values):
        assert np.abs(q).max() >= 64


def test_rms_norm_vectors() -> None:
    for s, r, k in VECTORS["rms_norm"]:
        assert [int(x[0]) for x in golden.rms_norm(ints(s))] == [r, k], s


@given(s=st.integers(4096, 2**30 - 1))
def test_rms_norm_is_the_reciprocal_root_within_6_in_1000(s: int) -> None:
    r, k = golden.rms_norm(ints(s))
    assert 128 <= r[0] <= 255
    assert 6 <= k[0] <= 15
    assert float(r[0]) * 2.0 ** -(int(k[0]) + 8) * math.sqrt(s) == pytest.approx(1, abs=0.006)


def test_scale_vectors() -> None:
    for r, multiplier, expected in VECTORS["scale"]:
        assert golden.scale(ints(r), multiplier)[0] == expected


def test_product_vector() -> None:
    vector = VECTORS["product"]
    trits = np.array(vector["trits"], dtype=np.int8)
    assert golden.ternary_product(trits, ints(*vector["q"])).tolist() == vector["acc"]


def test_requantize_vectors() -> None:
    for vector in VECTORS["requantize"]:
        role = ROLES[vector["role"]]
        shift = role.shift_base(vector["exponent"], "hard") + vector["k"]
        value = int(golden.requantize(ints(vector["acc"]), ints(vector["M"]), shift)[0])
        high = 2 ** (role.width_bits - 1) - 1
        assert max(-high - 1, min(high, value)) == vector["out"], vector


@given(
    acc=st.integers(-128 * 65535, 128 * 65535), m=st.integers(128, 510), shift=st.integers(1, 28)
)
def test_requantize_is_exact(acc: int, m: int, shift: int) -> None:
    expected = math.floor(Fraction(acc * m, 2**shift) + Fraction(1, 2))
    assert golden.requantize(ints(acc), ints(m), shift)[0] == expected


def test_tables_are_those_of_the_text() -> None:
    for name, table in (("sigmoid_table", sigmoid_table()), ("silu_table", silu_table())):
        for index, expected in VECTORS[name]:
            assert table[index + 128] == expected, (name, index)
    assert (silu_table().min(), silu_table().max()) == (-570, 16250)
    root = reciprocal_root_table()
    assert (root[64], root[255], root[64:].min(), root[64:].max()) == (255, 128, 128, 255)


def test_gate_vectors() -> None:
    for vector in VECTORS["gate"]:
        z = ints(vector["z"] + vector["bias"])
        if vector["gate"] == "sigmoid":
            z = np.clip(z, -128, 127)
        f = golden.forget_gate(z, vector["gate"], sigmoid_table().astype(np.int32), DEFAULT_FORMATS)
        assert f[0] == vector["f"], vector


def test_state_vectors() -> None:
    for f, c, h, expected in VECTORS["state"]:
        assert golden.update_state(ints(f), ints(c), ints(h), DEFAULT_FORMATS)[0] == expected


@given(f=st.integers(-256, -1), c=st.integers(-32767, 32767), h=st.integers(-32767, 32767))
def test_negative_gate_starts_from_the_state_with_its_sign_turned(f: int, c: int, h: int) -> None:
    new = golden.update_state(ints(f), ints(c), ints(h), DEFAULT_FORMATS)
    assert new == golden.update_state(ints(-f), ints(c), ints(-h), DEFAULT_FORMATS)
    if f == -256:
        assert new == -h


@given(f=st.integers(0, 256), c=INT16, h=INT16)
def test_state_lies_between_what_it_was_and_what_it_becomes(f: int, c: int, h: int) -> None:
    new = int(golden.update_state(ints(f), ints(c), ints(h), DEFAULT_FORMATS)[0])
    assert min(c, h) <= new <= max(c, h)
    if f == 256:
        assert new == h
    if f == 0:
        assert new == c


def test_output_and_glu_vectors() -> None:
    silu = silu_table().astype(np.int32)
    output, glu = VECTORS["output"], VECTORS["glu"]
    index = golden.round_shift(ints(output["h"]), 7)
    u = golden.gated_product(ints(output["g"]), silu[index + 128], DEFAULT_FORMATS)
    assert u[0] == output["u"]
    u = golden.gated_product(ints(glu["up"]), silu[ints(glu["gate"]) + 128], DEFAULT_FORMATS)
    assert u[0] == glu["u"]


def test_next_token_vector() -> None:
    vector = VECTORS["next_token"]
    assert golden.Golden.next_token(np.array(vector["logits"], dtype=np.int16)) == vector["row"]


def test_sites_that_default_tables_cannot_saturate() -> None:
    """Section 16: state and product saturate only with other tables."""
    silu = silu_table().astype(int)
    assert (silu.max() + 64) >> 7 <= 127
    assert (silu.min() + 64) >> 7 >= -128
    assert (128 * np.abs(silu).max() + 32) >> 6 <= 32767

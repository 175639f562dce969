"""The worked vectors of docs/arithmetic_absmax.md, 16, and the sizes that its text names."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from mmfree.contract.absmax import (
    CUT_BITS,
    DEFAULT_ABSMAX_FORMATS,
    INT32_MAX,
    INT32_MIN,
    SCALAR_BITS,
    SIGMOID_ENTRIES,
    sigmoid_table,
)
from mmfree.golden.absmax import AbsmaxGolden, requantize, sigmoid
from mmfree.golden.cuts import apply_gain, cut, largest, quantize
from mmfree.golden.scalars import (
    Scalar,
    add,
    factor,
    reciprocal_root,
    scalar,
    scalar_of_constant,
    sum_of_squares,
)
from tests.support.integers.absmax_tapes import absmax_tape

TEXT = (Path(__file__).parents[2] / "docs" / "arithmetic_absmax.md").read_text(encoding="utf-8")
BLOCK = re.search(r"```json\n(.*?)```", TEXT, re.S)
assert BLOCK is not None
VECTORS: dict[str, Any] = json.loads(BLOCK.group(1))


def row(values: list[int] | int) -> Any:
    return np.array([values if isinstance(values, list) else [values]], dtype=np.int64)


def pair(s: Scalar) -> list[int]:
    return [s.mantissa.item(), s.exponent.item()]


def test_cuts_and_gains() -> None:
    for value, negative, exponent, mantissa in VECTORS["cut"]:
        assert [part.item() for part in cut(row(value))] == [mantissa, exponent, bool(negative)]
    for value, gain, negative, exponent, mantissa in VECTORS["gain"]:
        found = apply_gain(cut(row(value)), row(gain))
        assert [part.item() for part in found] == [mantissa, exponent, bool(negative)]
    for value, packed in VECTORS["packed"]:
        assert cut(row(value)).packed().item() == packed


def test_quantizer() -> None:
    for vector in VECTORS["quantizer"]:
        v = cut(row(vector["elements"]))
        m = largest(v)
        assert quantize(v, m)[0].tolist() == vector["q"]
        assert [m.exponent.item(), m.mantissa.item()] == vector["m"]


def test_sums() -> None:
    for vector in VECTORS["sum_of_squares"]:
        found = pair(sum_of_squares(cut(row(vector["elements"])), vector["fb"]))
        assert found == [vector["m"], vector.get("e", found[1])]
    for vector in VECTORS["sum"]:
        a, b = (scalar(row(m), e) for m, e in (vector["a"], vector["b"]))
        assert pair(add(a, b)) == pair(add(b, a)) == vector["out"]
        assert pair(add(a, scalar(row(0), 60))) == pair(a)


def test_factor() -> None:
    for vector in VECTORS["factor"]:
        constant = scalar_of_constant(vector["c"], vector["e_C"])
        root = row(vector["R"]), row(vector["e_R"])
        f, exponent = factor(constant, root, largest(cut(row(vector["m"]))))
        assert f.item() == vector["F"]
        assert exponent.item() == vector.get("e", exponent.item())


def test_root() -> None:
    for mantissa, exponent, expected, shift in VECTORS["root"]:
        root, found = reciprocal_root(Scalar(row(mantissa), row(exponent)))
        assert (root.item(), found.item()) == (expected, shift)
        drop = 1 if exponent % 2 else 2
        assert expected == math.isqrt(((1 << 62) // (mantissa >> drop)) << 14), (
            "the text in Python integers"
        )


def test_requantize_and_functions() -> None:
    for acc, f, shift, out in VECTORS["requantize"]:
        found = requantize(row(acc), row(f), row(shift)).item()
        assert max(INT32_MIN, min(INT32_MAX, found)) == out
    table = [part.astype(np.int64) for part in sigmoid_table()]
    for z, out in VECTORS["sigmoid"]:
        assert sigmoid(row(z), *table, 20).item() == out


def test_functions_state_and_embedding_of_a_tape(tmp_path: Path) -> None:
    """A golden model of three elements, of which the first is looked at."""
    for x, out in VECTORS["silu"]:
        assert AbsmaxGolden(absmax_tape(tmp_path, {}))._silu(row(x)).item() == out
    for bound, z, out in VECTORS["forget"]:
        golden, seen = AbsmaxGolden(absmax_tape(tmp_path, {"lower_bounds": bound})), {}
        golden.mix(0, row(0), row(z), row(0), row(0), seen.__setitem__)
        assert seen["layer 0 gates/f"].flatten()[0] == out
    for rows, scale, fb, out in VECTORS["embedding"]:
        fields = {"embedding/rows": rows, "embedding/scale": scale}
        golden = AbsmaxGolden(absmax_tape(tmp_path, fields, embedding_fb=fb))
        assert golden.embed(np.array([2]))[0].tolist() == [out] * 3


def test_state() -> None:
    one = 1 << DEFAULT_ABSMAX_FORMATS.forget_fb
    for vector in VECTORS["state"]:
        step = ((one - vector["f"]) * (vector["c"] - vector["h"]) + one // 2) >> 20
        assert vector["h"] + step == vector["out"]


def test_formats_are_those_of_the_text() -> None:
    formats = DEFAULT_ABSMAX_FORMATS
    for text, value in (
        (r"residual x; outputs of o and down \| int32 \| (\d+)", formats.residual_fb),
        (r"state h \| int32 \| (\d+)", formats.activation_fb),
        (r"lower bound \| 0..2\^20 \| (\d+)", formats.forget_fb),
        (r"logits \(nats\) \| int32 \| (\d+)", formats.logit_fb),
    ):
        found = re.search(text, TEXT)
        assert found is not None
        assert int(found.group(1)) == value
    assert f"{SIGMOID_ENTRIES:,} entries" in TEXT
    assert f"its {CUT_BITS} highest bits" in TEXT
    assert f"exactly {SCALAR_BITS} bits" in TEXT

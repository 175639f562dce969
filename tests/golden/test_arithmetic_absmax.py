"""The worked vectors of docs/arithmetic_absmax.md, 16, and the sizes that its text names."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from mmfree.contract.absmax import DEFAULT_ABSMAX_FORMATS, SIGMOID_ENTRIES, sigmoid_values
from mmfree.golden.absmax import (
    Scalar,
    fit,
    quantize,
    reciprocal_root,
    requantize,
    sigmoid,
    sum_of_squares,
)

TEXT = (Path(__file__).parents[2] / "docs" / "arithmetic_absmax.md").read_text(encoding="utf-8")
BLOCK = re.search(r"```json\n(.*?)```", TEXT, re.S)
assert BLOCK is not None
VECTORS: dict[str, Any] = json.loads(BLOCK.group(1))


def row(values: list[int] | int) -> Any:
    return np.array([values if isinstance(values, list) else [values]], dtype=np.int64)


def test_quantizer() -> None:
    for vector in VECTORS["quantizer"]:
        q, m = quantize(row(vector["v"]))
        assert (q[0].tolist(), m.item()) == (vector["q"], vector["m"])


def test_fit_and_sum_of_squares() -> None:
    for vector in VECTORS["fit"]:
        out, shift = fit(row(vector["u"]), vector["bits"])
        assert (out[0].tolist(), shift.item()) == (vector["out"], vector["t"])
    for vector in VECTORS["sum_of_squares"]:
        total = sum_of_squares(row(vector["u"]), vector["fb"])
        assert (total.mantissa.item(), total.exponent.item()) == (vector["m"], vector["e"])
        exact = sum(u * u for u in vector["u"]) / 4 ** vector["fb"]
        assert vector["m"] * 2.0 ** vector["e"] == exact


def test_root() -> None:
    for mantissa, exponent, expected, shift in VECTORS["root"]:
        root, found = reciprocal_root(Scalar(row(mantissa), row(exponent)))
        assert (root.item(), found.item()) == (expected, shift)
        drop = 1 if exponent % 2 else 2
        assert expected == math.isqrt(((1 << 62) // (mantissa >> drop)) << 14), (
            "the text in Python integers"
        )


def test_requantize_and_functions() -> None:
    for acc, factor, shift, out in VECTORS["requantize"]:
        assert requantize(row(acc), row(factor), row(shift)).item() == out
    table = sigmoid_values().astype(np.int64)
    for z, out in VECTORS["sigmoid"]:
        assert sigmoid(row(z), table, 20).item() == out


def test_state() -> None:
    vector = VECTORS["state"]
    one = 1 << DEFAULT_ABSMAX_FORMATS.forget_fb
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

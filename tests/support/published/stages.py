"""Golden model against float64 reading, stage by stage.

Every stage gets the reading's own values, so that no later stage can hide an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import CUT_BITS
from mmfree.golden.absmax import AbsmaxGolden
from mmfree.golden.cuts import Cut, Wide, cut
from tests.support.published.float_reading import FloatReading, Floats, silu

CLOSE = 1e-5
"""Largest difference of a stage from float64, as a share of the vector's largest, where no
activation rounds the other way.
"""


def value_of(w: Cut, fb: int) -> Floats:
    """Cut numbers with ``fb`` fraction bits as they are read."""
    magnitude = w.mantissa * 2.0 ** (w.exponent - CUT_BITS - fb)
    return np.where(w.negative, -magnitude, magnitude)


def shares_of_close_vectors(
    golden: AbsmaxGolden, reading: FloatReading, ids: NDArray[np.int64]
) -> dict[str, float]:
    """By stage: the share of vectors, over all layers and ids at once, that are within CLOSE."""
    x_fb, a_fb = golden.tape.formats.residual_fb, golden.tape.formats.activation_fb
    verdicts: dict[str, list[NDArray[Any]]] = {}

    def integers(values: Floats, fb: int) -> tuple[Wide, Floats]:
        whole = np.rint(values * 2.0**fb).astype(np.int64)
        return whole, whole * 2.0**-fb

    def judge(name: str, found: Wide | Cut, fb: int, expected: Floats) -> None:
        read = value_of(found, fb) if isinstance(found, Cut) else found * 2.0**-fb
        difference = np.abs(read - expected).max(axis=-1)
        verdicts.setdefault(name, []).append(difference <= CLOSE * np.abs(expected).max(axis=-1))

    x = reading.embed(ids)
    rng = np.random.default_rng(0)
    for layer in range(reading.layers):
        xi, x = integers(x, x_fb)
        found, (i, f, g) = golden.gates(layer, xi), reading.gates(layer, x)
        for name, one, other in zip("ifg", found, (i, f, g), strict=True):
            judge(name, one, a_fb, other)
        (ii, i), (fi, f), (gi, g) = (integers(v, a_fb) for v in (i, f, g))
        hi, h = integers(rng.normal(size=x.shape), a_fb)
        hi, w = golden.mix(layer, ii, fi, gi, hi)
        h = reading.state(layer, i, f, h)
        judge("h", hi, a_fb, h)
        judge("w", w, 2 * a_fb, g * silu(h))
        o = reading.output(layer, g, h)
        wi = cut(integers(g * silu(h), 2 * a_fb)[0])
        judge("o", golden.output(layer, wi, gi), x_fb, o)
        xi, x = integers(x + o, x_fb)
        gate, up = reading.glu(layer, x)
        judge("u", golden.glu(layer, xi), 2 * a_fb, silu(gate) * up)
        ui, u = integers(silu(gate) * up, 2 * a_fb)
        down = reading.down(layer, u)
        judge("down", golden.down(layer, cut(ui)), x_fb, down)
        x = x + down
    xi, x = integers(x, x_fb)
    judge("head", golden.head(xi), golden.fraction_bits, reading.head(x))
    return {name: float(np.mean(parts)) for name, parts in verdicts.items()}

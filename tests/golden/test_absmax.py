"""The golden model of published checkpoints.

Its integers by hand, and every stage and whole models against an independent float64 reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfree.contract.absmax import AbsmaxFormats, sigmoid_table
from mmfree.golden.absmax import AbsmaxGolden, requantize, sigmoid
from mmfree.golden.cuts import Cut, Wide, apply_gain, bit_length, cut, largest, quantize
from mmfree.golden.scalars import (
    Scalar,
    add,
    factor,
    multiply,
    reciprocal_root,
    scalar,
    scalar_of_constant,
    scalar_of_float,
    sum_of_squares,
)
from mmfree.published.export import export_published
from mmfree.tape.absmax import AbsmaxTape
from tests.support.published.float_reading import FloatReading, round_half_away
from tests.support.published.stages import shares_of_close_vectors
from tests.support.published_checkpoints import (
    Shape,
    checkpoint_tensors,
    language_model_tensors,
    write_checkpoint,
)


@dataclass(frozen=True)
class Model:
    """A golden model, and the float64 reading of its checkpoint with the embedding as the tape has
    it.
    """

    golden: AbsmaxGolden
    reading: FloatReading
    ids: np.ndarray[Any, np.dtype[np.int64]]


def model(
    folder: Path,
    shape: Shape,
    seed: int = 0,
    quiet: bool = False,
    outliers: bool = False,
    **config: Any,
) -> Model:
    """``quiet``: gains of the outer norms of about 1/1000, so that every epsilon is felt.
    ``outliers``: with the statistics of language models.
    """
    tensors = (language_model_tensors if outliers else checkpoint_tensors)(shape, seed)
    if quiet:
        for name in tensors:
            if "norm" in name and "_proj" not in name and "lm_head" not in name:
                tensors[name] *= 2.0**-10
    if config.get("use_lower_bound") is False:
        del tensors["model.lower_bounds"]
    write_checkpoint(
        folder / "c", shape, tensors, intermediate_size=shape.intermediate_size, **config
    )
    export_published(folder / "c", folder / "a.tape")
    golden = AbsmaxGolden(AbsmaxTape(folder / "a.tape"))
    rows = golden.embed(np.arange(shape.vocab_size)) * 2.0**-18
    tensors = tensors | {"model.embeddings.weight": torch.from_numpy(rows)}
    ids = np.random.default_rng(seed).integers(0, shape.vocab_size, 24)
    return Model(golden, FloatReading(tensors, config.get("rms_norm_eps", 1e-6)), ids)


def wide(*values: int) -> Wide:
    return np.array([values], dtype=np.int64)


def real(s: Scalar) -> Fraction:
    return Fraction(int(s.mantissa.item())) * Fraction(2) ** int(s.exponent.item())


@given(st.integers(0, 2**63 - 1))
def test_bit_length(x: int) -> None:
    assert bit_length(wide(x)).item() == x.bit_length()


def values_of(x: Cut) -> list[Fraction]:
    """Cut numbers of one row, exactly."""
    return [
        (-1 if negative else 1) * Fraction(int(m)) * Fraction(2) ** (int(e) - 28)
        for m, e, negative in zip(x.mantissa[0], x.exponent[0], x.negative[0], strict=True)
    ]


def cut_of(x: Fraction) -> Fraction:
    """The 28 highest bits of an integer's magnitude."""
    drop = max(0, int(abs(x)).bit_length() - 28)
    return Fraction(math.copysign(1, x)) * (int(abs(x)) >> drop << drop)


ELEMENTS = st.lists(
    st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-300, 300), min_size=1, max_size=9
)
GAINS = st.integers(-(2**23), 2**23 - 1) | st.integers(-3, 3)


@given(ELEMENTS, st.data())
def test_a_cut_keeps_28_bits_and_its_product_with_a_gain_too(
    values: list[int], data: st.DataObject
) -> None:
    x = cut(wide(*values))
    expected = [cut_of(Fraction(value)) for value in values]
    assert values_of(x) == expected
    gains = data.draw(st.lists(GAINS, min_size=len(values), max_size=len(values)))
    v = apply_gain(x, wide(*gains))
    assert values_of(v) == [cut_of(e * gain) for e, gain in zip(expected, gains, strict=True)]
    for numbers in (x, v):
        fields = zip(numbers.mantissa[0], numbers.exponent[0], numbers.negative[0], strict=True)
        for (m, e, negative), packed in zip(fields, numbers.packed()[0], strict=True):
            assert (m == 0 and e == 0 and not negative) or 2**27 <= m < 2**28
            assert 0 <= e <= 87
            assert packed == (int(negative) << 35) + (int(e) << 28) + int(m)


@given(ELEMENTS)
def test_the_quantizer_divides_what_is_left_of_an_element_and_rounds_halves_away_from_zero(
    values: list[int],
) -> None:
    v = cut(wide(*values))
    m = largest(v)
    (limit,) = values_of(m)
    assert limit == max(abs(value) for value in values_of(v))
    unit = Fraction(2) ** (int(m.exponent.item()) - 28)
    for value, q in zip(values_of(v), quantize(v, m)[0], strict=True):
        aligned = math.floor(abs(value) / unit) * unit
        exact = math.floor(127 * aligned / limit + Fraction(1, 2)) if limit else 0
        assert int(q) == (-exact if value < 0 else exact)


def quantized(*values: int) -> list[int]:
    v = cut(wide(*values))
    q: list[int] = quantize(v, largest(v))[0].tolist()
    return q


def test_halves_of_the_quantizer() -> None:
    """127 v / m = 0.5, 1.5, 2.5 and their negatives, with m = 254."""
    assert quantized(254, 1, 3, 5, -1, -3, -5, 0) == [127, 1, 2, 3, -1, -2, -3, 0]
    assert quantized(0, 0) == [0, 0]
    assert quantized(-(2**62), 2**33, -(2**33)) == [-127, 0, 0]


@given(st.integers(0, 2**62), st.integers(-100, 100), st.integers(0, 2**62), st.integers(-100, 100))
def test_scalars_are_cut_to_31_bits(a: int, ae: int, b: int, be: int) -> None:
    x, y = scalar(wide(a), ae), scalar(wide(b), be)
    exact_x, exact_y = a * Fraction(2) ** ae, b * Fraction(2) ** be
    assert exact_x * (1 - Fraction(2) ** -30) <= real(x) <= exact_x
    total, product = exact_x + exact_y, exact_x * exact_y
    assert total * (1 - Fraction(2) ** -28) <= real(add(x, y)) <= total
    assert product * (1 - Fraction(2) ** -28) <= real(multiply(x, y)) <= product
    for s in (x, y):
        assert int(s.mantissa.item()).bit_length() in (0, 31)


@given(st.integers(2**30, 2**31 - 1), st.integers(-120, 60))
def test_the_reciprocal_root_is_within_2_to_the_minus_22(mantissa: int, exponent: int) -> None:
    root, shift = reciprocal_root(Scalar(wide(mantissa), wide(exponent)))
    assert 2**23 <= root.item() <= 2**24
    exact = 1 / math.sqrt(mantissa * 2.0**exponent)
    assert root.item() * 2.0 ** shift.item() == pytest.approx(exact, rel=2.0**-22)


@given(st.integers(2**23, 2**24 - 1), st.integers(2**23, 2**24), st.integers(1, 2**62))
def test_the_factor_of_a_matrix(mantissa: int, root: int, m: int) -> None:
    f, exponent = factor(scalar_of_constant(mantissa, -5), (wide(root), wide(3)), cut(wide(m)))
    assert 2**23 <= f.item() < 2**24
    exact = Fraction(mantissa * root * m, 4)
    found = Fraction(int(f.item())) * Fraction(2) ** int(exponent.item())
    assert exact * (1 - Fraction(2) ** -22) <= found <= exact


def test_the_factor_of_zero_is_zero() -> None:
    f, _ = factor(scalar_of_constant(1 << 23, 0), (wide(1 << 24), wide(0)), cut(wide(0)))
    assert f.item() == 0


@pytest.mark.parametrize(
    ("acc", "f", "shift", "expected"),
    [
        (100, 1 << 23, 23, 100),
        (-3, 1 << 23, 24, -1),  # -1.5: halves go up
        (3, 1 << 23, 24, 2),
        (1, 1 << 23, 70, 0),
        (-1, 1 << 23, 63, 0),
        (1, 1 << 23, 1, 1 << 22),
        (1, 1 << 23, 0, 1 << 32),  # beyond int32: saturates
        (-1, 1 << 23, -9000, -(1 << 32)),
        (0, 1 << 24, 0, 0),
        (1 << 23, 0, 0, 0),
    ],
)
def test_requantization_at_both_ends_of_the_shift(
    acc: int, f: int, shift: int, expected: int
) -> None:
    assert requantize(wide(acc), wide(f), wide(shift)).tolist() == [[expected]]


def test_the_sigmoid_is_within_3e_7_and_symmetric() -> None:
    table = [part.astype(np.int64) for part in sigmoid_table()]
    z = np.concatenate(
        [np.arange(-20 << 20, 20 << 20, 9973), [0, 16 << 20, (16 << 20) - 1, 2**29, -(2**29)]]
    )
    found = sigmoid(z, *table, 20)
    assert np.abs(found * 2.0**-24 - 1 / (1 + np.exp(-z * 2.0**-20))).max() < 3e-7
    assert np.array_equal(sigmoid(-z, *table, 20), (1 << 24) - found)
    assert found.min() == 0
    assert found.max() == 1 << 24
    assert sigmoid(wide(0), *table, 20).item() == 1 << 23


@given(ELEMENTS, st.integers(-30, 80), st.randoms())
def test_a_sum_of_squares_is_exact_and_independent_of_the_order(
    values: list[int], fb: int, random: Any
) -> None:
    """Of elements rounded to 18 bits; only the sum is cut."""
    exact = Fraction(0)
    for value in values_of(cut(wide(*values))):
        unit = Fraction(2) ** (int(abs(value)).bit_length() - 18)
        exact += (math.floor(abs(value) / unit + Fraction(1, 2)) * unit) ** 2
    exact /= Fraction(4) ** fb
    total = sum_of_squares(cut(wide(*values)), fb)
    assert exact * (1 - Fraction(2) ** -30) < real(total) <= exact or exact == 0 == real(total)
    random.shuffle(values)
    assert sum_of_squares(cut(wide(*values)), fb) == total


def test_sums_of_squares_worked_by_hand() -> None:
    for scale in (1, 1 << 20, 1 << 60):
        assert real(sum_of_squares(cut(wide(3 * scale, -4 * scale, 0)), 10)) == Fraction(
            25 * scale**2, 2**20
        )
    assert real(sum_of_squares(cut(wide(0, 0)), 3)) == 0
    # 2^18 + 1 of 19 bits is rounded to 2^18 + 2; of its square, and of (2^62)^2 + 1, the 31
    # highest bits are left.
    assert real(sum_of_squares(cut(wide((1 << 18) + 1)), 0)) == (1 << 36) + (1 << 20)
    assert real(sum_of_squares(cut(wide(1 << 62, 1)), 0)) == 1 << 124
    assert float(real(scalar_of_float(1e-6))) == pytest.approx(1e-6, rel=1e-9)


@pytest.mark.parametrize(
    "changes", [{}, {"rms_norm_eps": 1.0, "quiet": True}, {"use_lower_bound": False}]
)
def test_every_stage_equals_float64_when_fed_by_it(changes: dict[str, Any], tmp_path: Path) -> None:
    """All stages of all layers, 24 tokens at once, inputs from the float64 reading.

    An error cannot hide behind a later one.
    """
    m = model(
        tmp_path,
        Shape(vocab_size=128, hidden_size=64, intermediate_size=160, num_layers=4),
        **changes,
    )
    shares = shares_of_close_vectors(m.golden, m.reading, m.ids)
    # An activation within 1e-7 of a half may round the other way.
    assert min(shares.values()) >= 0.95, shares
    assert shares["h"] == shares["w"] == 1.0


def test_stages_and_whole_models_with_outliers(tmp_path: Path) -> None:
    """A channel of the residual a thousand times the median, and small gains where it is read."""
    shape = Shape(vocab_size=128, hidden_size=128, intermediate_size=256, num_layers=3)
    m = model(tmp_path, shape, outliers=True)
    zeros = [matrix.zeros() for s in m.golden.tape.segments for matrix in s.matrices]
    assert 0.29 < min(zeros) < 0.33
    assert 0.37 < max(zeros) < 0.42
    seen: dict[str, Wide] = {}
    m.golden.step(m.ids[:8], m.golden.state(8), seen.__setitem__)
    for name in ("layer 0 down/x", "layer 2 output/x"):
        x = np.abs(seen[name])
        ratio = x.max(axis=-1) / np.median(x, axis=-1)
        assert 300 < np.median(ratio) < 5000
    shares = shares_of_close_vectors(m.golden, m.reading, m.ids)
    assert min(shares.values()) > 0.9, shares
    logits = m.golden.play(m.ids) * 2.0**-m.golden.fraction_bits
    expected = m.reading.play(m.ids)
    assert np.sqrt(((logits - expected) ** 2).mean() / (expected**2).mean()) < 0.05
    assert (logits.argmax(axis=-1) == expected.argmax(axis=-1)).mean() > 0.9
    assert sum(m.golden.saturations.values()) == 0


@pytest.mark.parametrize("seed", range(3))
def test_whole_models_play_as_float64_does(seed: int, tmp_path: Path) -> None:
    """A random model multiplies any difference, so the bound is loose.

    Most positions are equal within 1e-4.
    """
    m = model(tmp_path, Shape(), seed)
    logits = m.golden.play(m.ids) * 2.0**-m.golden.fraction_bits
    expected = m.reading.play(m.ids)
    error = np.sqrt(((logits - expected) ** 2).mean() / (expected**2).mean())
    assert error < 0.01
    assert np.array_equal(logits.argmax(axis=-1), expected.argmax(axis=-1))
    assert np.abs(logits[0] - expected[0]).max() < 1e-4
    assert sum(m.golden.saturations.values()) == 0


WRONG: dict[str, Callable[[FloatReading], None]] = {
    "without lower bounds": lambda r: r.bounds.fill(0),
    "gains of i as those of f": lambda r: r.w["model.layers.1.attn.i_proj.norm.weight"].__setitem__(
        slice(None), r.w["model.layers.1.attn.f_proj.norm.weight"]
    ),
    "without g_norm's gains": lambda r: r.w["model.layers.0.attn.g_norm.weight"].fill(1),
    "gate and up exchanged": lambda r: r.w.__setitem__(
        "model.layers.0.mlp.gate_proj.weight",
        np.roll(r.w["model.layers.0.mlp.gate_proj.weight"], 256, axis=0),
    ),
    "without the last norm's gains": lambda r: r.w["model.norm.weight"].fill(1),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_comparison_notices_a_wrong_formula(name: str, tmp_path: Path) -> None:
    """What a reader could get wrong moves the logits far beyond the tolerance."""
    m = model(tmp_path, Shape())
    logits = m.golden.play(m.ids[:8]) * 2.0**-m.golden.fraction_bits
    WRONG[name](m.reading)
    expected = m.reading.play(m.ids[:8])
    assert np.sqrt(((logits - expected) ** 2).mean() / (expected**2).mean()) > 0.02


def test_both_epsilons_are_felt_where_the_gains_are_small(tmp_path: Path) -> None:
    """Elsewhere the second norm hides them: their product is 1e-12."""
    m = model(tmp_path, Shape(), quiet=True, rms_norm_eps=1.0)
    logits = m.golden.play(m.ids) * 2.0**-m.golden.fraction_bits

    def error() -> float:
        expected = m.reading.play(m.ids)
        return float(np.sqrt(((logits - expected) ** 2).mean() / (expected**2).mean()))

    assert error() < 0.01
    m.reading.eps = 1e-6
    assert error() > 0.05
    m.reading.eps, m.reading.projection_eps = 1.0, 0.0
    assert error() > 0.05


def test_round_half_away_of_the_reading() -> None:
    assert round_half_away(np.array([0.5, 1.5, -0.5, -2.5, 0.49, 2.0])).tolist() == [
        1,
        2,
        -1,
        -3,
        0,
        2,
    ]


def test_a_batch_is_its_sequences_and_the_state_carries(tmp_path: Path) -> None:
    golden = model(tmp_path, Shape()).golden
    ids = np.random.default_rng(5).integers(0, 96, (3, 6))
    apart = [golden.play(row) for row in ids]
    state = golden.state(3)
    assert state.shape == (3, 3, 32)
    before = state.copy()
    for position in range(6):
        logits, new_state = golden.step(ids[:, position], state)
        assert np.array_equal(state, before), "the old state is not modified"
        for row in range(3):
            assert np.array_equal(logits[row], apart[row][position])
        state, before = new_state, new_state.copy()


def test_the_trace_shows_every_stage_in_order(tmp_path: Path) -> None:
    golden = model(tmp_path, Shape()).golden
    names: list[str] = []
    golden.step(np.array([1]), golden.state(1), trace=lambda name, values: names.append(name))
    assert names[0] == "embedding"
    assert [n for n in names if n.endswith("/x")][:2] == ["layer 0 output/x", "layer 0 down/x"]
    for name in ("layer 2 gates/2/acc", "layer 1 gates/h", "layer 0 glu/u", "head/0/out"):
        assert name in names


def test_saturation_is_counted_and_never_wraps(tmp_path: Path) -> None:
    """An embedding near the largest allowed, a head of huge gains.

    Values stop at the ends of int32.
    """
    shape = Shape(num_layers=1)
    tensors = checkpoint_tensors(shape)
    tensors["lm_head.norm.weight"] *= 2.0**20
    tensors["model.layers.0.mlp.gate_proj.norm.weight"] *= 2.0**12
    write_checkpoint(tmp_path / "c", shape, tensors)
    export_published(tmp_path / "c", tmp_path / "a.tape")
    golden = AbsmaxGolden(AbsmaxTape(tmp_path / "a.tape"))
    logits = golden.play([1, 2, 3])
    assert golden.saturations["logit"] > 0
    assert golden.saturations["projection"] > 0
    assert logits.min() == -(2**31)
    assert logits.max() == 2**31 - 1
    golden.reset_counters()
    assert sum(golden.saturations.values()) == 0


def test_a_row_of_zeros_and_a_gain_of_zeros_give_zeros(tmp_path: Path) -> None:
    shape = Shape(num_layers=1)
    tensors = checkpoint_tensors(shape)
    tensors["model.embeddings.weight"][7] = 0
    tensors["lm_head.norm.weight"][:] = 0
    write_checkpoint(tmp_path / "c", shape, tensors)
    export_published(tmp_path / "c", tmp_path / "a.tape")
    golden = AbsmaxGolden(AbsmaxTape(tmp_path / "a.tape"))
    assert not golden.embed(np.array([7])).any()
    assert not golden.play([7, 3]).any()


def test_fewer_bits_are_further_away(tmp_path: Path) -> None:
    """The widths are fields of the tape: f with 12 bits shows in h, 20 bits do not."""
    shape = Shape()
    tensors = checkpoint_tensors(shape)
    write_checkpoint(tmp_path / "c", shape, tensors)
    reading = FloatReading(tensors)
    rng = np.random.default_rng(0)
    i, f, h = (rng.normal(size=(1, 32)) for _ in range(3))
    errors = []
    for bits in (12, 16, 20):
        export_published(
            tmp_path / "c", tmp_path / f"{bits}.tape", formats=AbsmaxFormats(forget_fb=bits)
        )
        golden = AbsmaxGolden(AbsmaxTape(tmp_path / f"{bits}.tape"))
        words = [np.rint(v * 2.0**20).astype(np.int64) for v in (i, f, i, h)]
        found, _ = golden.mix(1, *words)
        errors.append(np.abs(found * 2.0**-20 - reading.state(1, i, f, h)).max())
    assert errors[0] > 4 * errors[1] > 8 * errors[2]
    assert errors[2] < 1e-5

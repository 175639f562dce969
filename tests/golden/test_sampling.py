"""Sampling: the numbers of docs/arithmetic.md, section 14, and their distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mmfree.contract.pow2 import gumbel_table
from mmfree.errors import InputError
from mmfree.golden.sampling import (
    SEED_MAX,
    Sampler,
    likeliest_rows,
    seed_registers,
    temperature_code,
    top_p_code,
)
from tests.support.vectors import VECTORS


def bit_by_bit(seed: int, count: int) -> list[int]:
    """Words by single steps of both registers."""
    a, b = seed_registers(seed)
    words = []
    for _ in range(count):
        for _ in range(20):
            a = a << 1 & (1 << 64) - 1 | (a >> 63 ^ a >> 62 ^ a >> 60 ^ a >> 59) & 1
            b = b << 1 & (1 << 63) - 1 | (b >> 62 ^ b >> 61) & 1
        words.append(((a & 0xFFFFF) + (b & 0xFFFFF)) & 0xFFFFF)
    return words


def test_worked_vectors() -> None:
    for index, expected in VECTORS["gumbel_table"]:
        assert gumbel_table()[index] == expected
    vector = VECTORS["sampling"]
    assert Sampler(vector["seed"]).words(4).tolist() == vector["words"]
    assert Sampler(vector["seed"]).noise(4, vector["temperature"]).tolist() == vector["noise"]


@pytest.mark.parametrize("seed", [0, 1, 12345, SEED_MAX])
def test_words_are_those_of_the_shift_registers(seed: int) -> None:
    sampler = Sampler(seed)
    assert seed_registers(np.uint64(seed)) == seed_registers(seed)  # type: ignore[arg-type]
    assert [*sampler.words(7).tolist(), *sampler.words(30).tolist()] == bit_by_bit(seed, 37)


def step_matrix(bits: int, taps: tuple[int, ...]) -> list[int]:
    """Rows of one step of a shift register over GF(2), as integers."""
    return [sum(1 << tap for tap in taps), *(1 << i for i in range(bits - 1))]


def times(a: list[int], b: list[int]) -> list[int]:
    """Product over GF(2)."""
    product = []
    for row in a:
        total = 0
        for index, other in enumerate(b):
            if row >> index & 1:
                total ^= other
        product.append(total)
    return product


def power(matrix: list[int], exponent: int) -> list[int]:
    result = [1 << i for i in range(len(matrix))]
    while exponent:
        if exponent & 1:
            result = times(result, matrix)
        matrix, exponent = times(matrix, matrix), exponent >> 1
    return result


@pytest.mark.parametrize(
    ("bits", "taps", "primes"),
    [
        (64, (63, 62, 60, 59), (3, 5, 17, 257, 641, 65537, 6700417)),
        (63, (62, 61), (7, 73, 127, 337, 92737, 649657)),
    ],
)
def test_registers_have_the_longest_period(
    bits: int, taps: tuple[int, ...], primes: tuple[int, ...]
) -> None:
    period = (1 << bits) - 1
    rest = period
    for prime in primes:
        while rest % prime == 0:
            rest //= prime
    assert rest == 1, "these are all prime factors"
    step = step_matrix(bits, taps)
    identity = [1 << i for i in range(bits)]
    assert power(step, period) == identity
    for prime in primes:
        assert power(step, period // prime) != identity


def chi_square_limit(freedom: int) -> float:
    """Above this lies one in ten thousand (Wilson and Hilferty's approximation)."""
    return freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize(("temperature", "seed"), [(64, 1), (32, 2), (128, 3), (45, 4)])
def test_draws_are_distributed_like_softmax(temperature: int, seed: int) -> None:
    """Chi-square over 15,000 draws from 40 rows, of which the rarest are expected a few times."""
    rng = np.random.default_rng(seed)
    rows, draws = 40, 15_000
    logits = np.rint(rng.normal(0, 1.2, rows) * 512).astype(np.int64)
    noise = Sampler(seed).noise(rows * draws, temperature).reshape(draws, rows)
    counts = np.bincount((logits + noise).argmax(axis=1), minlength=rows)
    weights = np.exp(logits / 512 * 64 / temperature)
    expected = draws * weights / weights.sum()
    keep = expected >= 5
    statistic = float(((counts - expected)[keep] ** 2 / expected[keep]).sum())
    assert statistic < chi_square_limit(int(keep.sum()) - 1)


def test_the_tail_is_as_long_as_it_should_be() -> None:
    """Beyond the uppermost of 1,024 plain quantiles (7.62), where rare tokens are decided."""
    draws = 600_000
    noise = Sampler(8).noise(draws, 64) / 512
    for threshold in (7.0, 7.7, 8.5, 9.5):
        expected = draws * -math.expm1(-math.exp(-threshold))
        assert abs((noise > threshold).sum() - expected) < 4 * math.sqrt(expected)
    assert noise.max() > 11


def test_temperature_zero_takes_the_largest_logit_and_draws_nothing() -> None:
    sampler = Sampler(3)
    assert sampler.choose(np.array([5, 9, 9, -3]), 0, 9) == 1
    assert sampler.words(2).tolist() == Sampler(3).words(2).tolist()


@pytest.mark.parametrize(
    ("temperature", "code"),
    [(0, 0), (1, 64), (0.5, 32), (0.7, 45), (0.3, 19), (0.001, 1), (0.02, 1), (255 / 64, 255)],
)
def test_temperatures_are_64ths(temperature: float, code: int) -> None:
    assert temperature_code(temperature) == code


@pytest.mark.parametrize("temperature", [-0.1, 4, float("nan"), float("inf")])
def test_other_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(InputError, match=r"--temperature must lie in 0\.\.3\.98, got"):
        temperature_code(temperature)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(InputError, match=r"--seed must lie in 0\.\.2\^64-1 to sample"):
        seed_registers(seed)


def test_registers_are_never_zero() -> None:
    """SplitMix64 makes 0 of exactly one number: of 0, to which the two largest seeds come."""
    assert all(min(seed_registers(seed)) > 0 for seed in range(1000))
    first, second = seed_registers(SEED_MAX), seed_registers(SEED_MAX - 1)
    assert (first[0], second[1]) == (1, 1)
    assert min(first[1], second[0]) > 1


def test_registers_are_those_of_splitmix64() -> None:
    """Its published first numbers from the state 0; the second register has no highest bit."""
    assert seed_registers(0) == (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4)
    assert seed_registers(2) == (0x06C45D188009454F, 0x788BB8A8724C81EC)


def test_noise_is_scaled_to_the_logits() -> None:
    """The same nats are drawn alike, with whatever fraction bits, as integers or as floats."""
    logits = np.random.default_rng(5).integers(-2000, 2000, 300)
    scaled = {9: logits, 16: logits << 7, 0: logits.astype(np.float32) / 512}
    draws = {bits: [_choose(scaled[bits], bits, seed) for seed in range(50)] for bits in scaled}
    assert draws[16] == draws[9]
    assert draws[0] == draws[9]
    assert len(set(draws[9])) > 5


def _choose(logits: np.ndarray, fraction_bits: int, seed: int) -> int:
    return Sampler(seed).choose(logits, 128, fraction_bits)


@pytest.mark.parametrize(("dtype", "fraction_bits"), [(np.float32, 0), (np.int32, 9)])
def test_rows_that_cannot_be_chosen_draw_their_noise_all_the_same(
    dtype: type[np.generic], fraction_bits: int
) -> None:
    """As in hardware that masks them; and they are not chosen however large their logits are."""
    logits = np.array([3, 90, 3, -5, 3, 90]).astype(dtype)
    can = np.array([True, False, True, True, True, False])
    masked, whole, noise = Sampler(5), Sampler(5), Sampler(5)
    seen = set()
    for _ in range(200):
        row = masked.choose(logits, 64, fraction_bits, can)
        scaled = logits + noise.noise(6, 64) * 2.0 ** (fraction_bits - 9)
        assert row == np.flatnonzero(can)[scaled[can].argmax()]
        whole.choose(logits, 64, fraction_bits)
        seen.add(row)
    assert seen >= {0, 2, 4}
    assert masked.words(3).tolist() == whole.words(3).tolist()
    assert masked.choose(logits, 0, fraction_bits, can) == 0
    assert masked.choose(logits, 0, fraction_bits) == 1


def rows_left(logits: np.ndarray | list[int], temperature: int = 64, **limits: Any) -> set[int]:
    """Rows that ``likeliest_rows`` leaves of logits with 9 fraction bits."""
    mask = likeliest_rows(np.asarray(logits), temperature, 9, **limits)
    return set(range(len(logits)) if mask is None else np.flatnonzero(mask).tolist())


def test_the_likeliest_rows_are_left_and_of_equal_ones_the_lowest() -> None:
    logits = [5, 9, 9, 1, 7]
    assert [rows_left(logits, top_k=k) for k in (1, 2, 3, 4, 5, 6)] == [
        {1},
        {1, 2},
        {1, 2, 4},
        {0, 1, 2, 4},
        {0, 1, 2, 3, 4},
        {0, 1, 2, 3, 4},
    ]
    assert rows_left(logits) == rows_left(logits, top_p=1 << 16) == {0, 1, 2, 3, 4}
    padded = np.array([True, False, True, True, False])
    assert rows_left(logits, choosable=padded, top_k=2) == {0, 2}
    assert rows_left(logits, choosable=padded, top_p=1) == {2}


HALVES = [round(512 * math.log(1 / 2**n)) for n in (3, 1, 4, 2, 4)]
"""Logits of the probabilities 1/8, 1/2, 1/16, 1/4, 1/16."""


@pytest.mark.parametrize(
    ("top_p", "limits", "left"),
    [
        (0.49, {}, {1}),
        (0.51, {}, {1, 3}),
        (0.74, {}, {1, 3}),
        (0.76, {}, {0, 1, 3}),
        (0.93, {}, {0, 1, 2, 3}),
        (0.95, {}, {0, 1, 2, 3, 4}),
        # Squared: 1/64, 1/4, 1/256, 1/16, 1/256 of 86/256.
        (0.73, {"temperature": 32}, {1}),
        (0.75, {"temperature": 32}, {1, 3}),
        # Of two rows 2/3 and 1/3.
        (0.65, {"top_k": 2}, {1}),
        (0.68, {"top_k": 2}, {1, 3}),
        (0.99, {"top_k": 2}, {1, 3}),
    ],
)
def test_the_fewest_rows_that_reach_a_share_are_left(
    top_p: float, limits: dict[str, int], left: set[int]
) -> None:
    assert rows_left(HALVES, top_p=top_p_code(top_p), **limits) == left


def test_what_is_17_nats_below_the_largest_is_no_part_of_a_share() -> None:
    assert rows_left([0, -17 * 512, -18 * 512], top_p=(1 << 16) - 1) == {0}
    assert rows_left([0, -18 * 512], 128, top_p=(1 << 16) - 1) == {0, 1}, "9 nats at temperature 2"


def test_a_share_is_that_of_softmax() -> None:
    """Up to what 64 steps a nat round: 1.6 %."""
    rng = np.random.default_rng(8)
    for temperature in (20, 64, 200):
        logits = rng.integers(-3000, 3000, 256)
        odds = np.exp((logits - logits.max()) / (512 * temperature / 64))
        shares = np.sort(odds / odds.sum())[::-1].cumsum()
        for top_p in (0.3, 0.6, 0.9, 0.99):
            left = len(rows_left(logits, temperature, top_p=top_p_code(top_p)))
            assert shares[left - 1] >= top_p * (1 - 0.016)
            assert left == 1 or shares[left - 2] <= top_p * (1 + 0.016)


def test_limits_do_not_depend_on_the_form_of_the_logits() -> None:
    rng = np.random.default_rng(6)
    for seed in range(50):
        logits = rng.integers(-2000, 2000, 300)
        forms = {9: logits, 16: logits << 7, 0: (logits / 512).astype(np.float32)}
        masks = [
            likeliest_rows(forms[bits], 30 + seed, bits, top_k=90, top_p=50_000 + 300 * seed)
            for bits in forms
        ]
        assert masks[0] is not None
        assert 1 < masks[0].sum() < 90
        for mask in masks[1:]:
            np.testing.assert_array_equal(mask, masks[0])


def test_a_row_that_is_left_is_drawn_where_it_would_have_been_drawn_anyhow() -> None:
    logits = np.random.default_rng(7).integers(-1000, 1000, 64)
    left = likeliest_rows(logits, 64, 9, top_k=8)
    assert left is not None
    whole, limited = Sampler(3), Sampler(3)
    pairs = [(whole.choose(logits, 64, 9), limited.choose(logits, 64, 9, left)) for _ in range(300)]
    assert all(left[row] for _, row in pairs)
    assert all(row == free for free, row in pairs if left[free])
    assert 50 < sum(row == free for free, row in pairs) < 250


@pytest.mark.parametrize("top_p", [0, -0.5, 1.0001, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused(top_p: float) -> None:
    with pytest.raises(InputError, match=f"--top-p must lie above 0 and be at most 1, got {top_p}"):
        top_p_code(top_p)


def test_a_small_share_is_not_rounded_to_none() -> None:
    assert [top_p_code(value) for value in (1e-9, 0.5, 1)] == [1, 1 << 15, 1 << 16]

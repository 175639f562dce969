"""Numbers for people: worked examples, and that none is written with an exponent."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfree.report.numbers import duration, megahertz, plain, prefix_of, span, with_unit


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1720, 3, "1,720"),
        (1720.4, 3, "1,720"),
        (1.5e6, 3, "1,500,000"),
        (12.5, 3, "12.5"),
        (12.54, 3, "12.5"),
        (9.996, 3, "10"),
        (99.96, 3, "100"),
        (0.00412, 3, "0.00412"),
        (0.5, 3, "0.5"),
        (2, 3, "2"),
        (-1234.5, 3, "-1,230"),
        (1234.5, 4, "1,234"),
        (0, 3, "0"),
        (math.inf, 3, "inf"),
        (math.nan, 3, "nan"),
    ],
)
def test_a_number_is_written_plainly(value: float, digits: int, text: str) -> None:
    assert plain(value, digits) == text


@given(st.floats(min_value=1e-9, max_value=1e12), st.integers(1, 6))
def test_what_is_written_is_the_number_to_its_digits(value: float, digits: int) -> None:
    text = plain(value, digits)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (5.8e-6, "J", "5.8 uJ"),
        (0.25, "W", "250 mW"),
        (999.96e-9, "J", "1 uJ"),
        (3e-15, "J", "0.003 pJ"),
        (0, "W", "0 W"),
        (39_700, "tokens/s", "39.7 ktokens/s"),
        (2.4e9, "Hz", "2.4 GHz"),
        (-0.002, "J", "-2 mJ"),
        (math.inf, "J", "inf J"),
    ],
)
def test_a_quantity_has_a_unit_of_its_size(value: float, unit: str, text: str) -> None:
    assert with_unit(value, unit) == text


def test_a_prefix_is_the_largest_that_leaves_at_least_one() -> None:
    assert [prefix_of(value)[0] for value in (1e9, 1e6, 1e3, 1, 0.999, 1e-4)] == [
        *"GMk",
        "",
        "m",
        "u",
    ]


def test_an_interval_is_in_the_unit_of_its_estimate() -> None:
    assert span(0.0125, 0.25, 1.5, "W") == "250 mW (12.5 to 1,500)"
    assert span(0, 1e-6, 1.72e-3, "J", 6) == "     1 uJ (0 to 1,720)"


@pytest.mark.parametrize(
    ("hertz", "text"), [(100e6, "100 MHz"), (131.24e6, "131.2 MHz"), (1e9, "1,000 MHz")]
)
def test_a_clock_is_in_megahertz(hertz: float, text: str) -> None:
    assert megahertz(hertz) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.6, "1 h 0 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_time_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text

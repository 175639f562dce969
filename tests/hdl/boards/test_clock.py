"""PLL settings: in the device's ranges, never above the clock asked for, at most 1 % below."""

from __future__ import annotations

import re
from contextlib import nullcontext
from math import ceil

import pytest
from amaranth.back import rtlil
from hypothesis import given, settings
from hypothesis import strategies as st

from hdl.boards.clock import ECP5Clock
from hdl.boards.pll import MAX_DIVIDER, OUTPUT_HZ, PHASE_DETECTOR_HZ, PLL, VCO_HZ, pll_for
from mmfree.errors import InputError


def check(pll: PLL) -> None:
    """Everything within its range."""
    for divider in (pll.input_div, pll.multiplier, pll.feedback_div, pll.output_div):
        assert 1 <= divider <= MAX_DIVIDER
    slack = 1e-9
    for value, (low, high) in (
        (pll.phase_detector_hz, PHASE_DETECTOR_HZ),
        (pll.vco_hz, VCO_HZ),
        (pll.feedback_hz, OUTPUT_HZ),
        (pll.output_hz, OUTPUT_HZ),
    ):
        assert low * (1 - slack) <= value <= high * (1 + slack)
    # In the locked state both inputs of the phase detector agree.
    assert pll.feedback_hz / pll.multiplier == pytest.approx(pll.phase_detector_hz)


@settings(deadline=None)
@given(st.floats(OUTPUT_HZ[0], OUTPUT_HZ[1]))
def test_every_clock_is_reached(asked_hz: float) -> None:
    pll = pll_for(25e6, asked_hz)
    check(pll)
    assert 0.99 * asked_hz <= pll.output_hz <= asked_hz * (1 + 1e-9)


@pytest.mark.parametrize("mhz", [25, 50, 62.5, 100, 125, 140, 150, 175, 200])
def test_round_clocks_are_made_exactly(mhz: float) -> None:
    pll = pll_for(25e6, mhz * 1e6)
    assert pll.output_hz == mhz * 1e6
    assert pll.phase_detector_hz == 25e6, "the fastest phase detector that makes it"


def test_no_setting_comes_nearer() -> None:
    """All settings, one by one."""
    asked = 97.3e6
    reachable = (
        25e6 * factor / input_div / output_div
        for input_div in range(1, 9)
        for factor in range(1, 257)
        if VCO_HZ[0] <= 25e6 * factor / input_div <= VCO_HZ[1]
        for output_div in range(ceil(25e6 * factor / input_div / asked), MAX_DIVIDER + 1)
    )
    assert pll_for(25e6, asked).output_hz == pytest.approx(max(reachable))


def test_impossible_clocks_are_refused() -> None:
    with pytest.raises(InputError, match=re.escape("--clock must lie in 3.125..400 MHz, got 500")):
        pll_for(25e6, 500e6)
    with pytest.raises(InputError, match=re.escape("--clock must lie in 3.125..400 MHz, got 1")):
        pll_for(25e6, 1e6)
    with pytest.raises(InputError, match=re.escape("a PLL takes 8..400 MHz, got 5")):
        pll_for(5e6, 100e6)
    with pytest.raises(
        InputError,
        match=re.escape("no PLL setting makes 3.125 MHz, or up to 1 % less, from 27 MHz"),
    ):
        pll_for(27e6, 3.125e6)


@pytest.mark.parametrize("asked_hz", [3.125e6, 400e6])
def test_the_slowest_and_the_fastest_clock_are_made(asked_hz: float) -> None:
    assert pll_for(25e6, asked_hz).output_hz == asked_hz


@pytest.mark.parametrize(
    ("input_hz", "made"), [(8e6, True), (400e6, True), (7.999e6, False), (400.001e6, False)]
)
def test_oscillators_at_the_ends_of_the_range(input_hz: float, made: bool) -> None:
    with nullcontext() if made else pytest.raises(InputError, match=r"a PLL takes 8\.\.400 MHz"):
        assert pll_for(input_hz, 100e6).output_hz == pytest.approx(100e6)


@pytest.mark.parametrize(
    ("asked_mhz", "settings"),
    [
        # (input_div, multiplier, feedback_div, output_div): of 400 to 800 MHz the highest multiple
        # of the clock, and the smallest divider that keeps the feedback within 400 MHz.
        (100, (1, 16, 2, 8)),
        (400, (1, 16, 2, 2)),
        (62.5, (1, 15, 2, 12)),
        (140, (1, 14, 2, 5)),
    ],
)
def test_of_several_settings_the_fastest_oscillator_is_taken(
    asked_mhz: float, settings: tuple[int, int, int, int]
) -> None:
    pll = pll_for(25e6, asked_mhz * 1e6)
    assert (pll.input_div, pll.multiplier, pll.feedback_div, pll.output_div) == settings
    assert pll.output_hz == asked_mhz * 1e6


def test_the_instance_has_these_settings() -> None:
    """The output is outside the loop; the lock drives the global reset.

    It does so through two registers that the global reset does not hold.
    """

    text = rtlil.convert(ECP5Clock(pll_for(25e6, 140e6)), name="top", emit_src=False)
    parameters = dict(re.findall(r"parameter (?:signed )?\\(\w+) (\S+)", text))
    dividers = {"CLKI_DIV": 1, "CLKFB_DIV": 14, "CLKOP_DIV": 2, "CLKOS_DIV": 5}
    assert {name: int(parameters[name]) for name in dividers} == dividers
    # A divider's phase is its own number of cycles less one: the edges of both outputs agree.
    assert {name: int(parameters[name]) for name in ("CLKOP_CPHASE", "CLKOS_CPHASE")} == {
        "CLKOP_CPHASE": 1,
        "CLKOS_CPHASE": 4,
    }
    assert parameters["FEEDBK_PATH"] == '"CLKOP"'
    assert text.count("cell \\FD1S3AX") == 2
    assert text.count('parameter \\GSR "DISABLED"') == 2
    assert text.count("cell \\SGSR") == 1

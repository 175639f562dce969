"""The settings of an ECP5's PLL for a frequency."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from mmfree.errors import InputError

MAX_DIVIDER = 128
"""Largest value of every divider of a PLL."""

INPUT_HZ = (8e6, 400e6)
PHASE_DETECTOR_HZ = (3.125e6, 400e6)
VCO_HZ = (400e6, 800e6)
OUTPUT_HZ = (3.125e6, 400e6)
"""Ranges of an EHXPLLL's frequencies, from Lattice FPGA-DS-02012, sysCLOCK PLL timing.

The phase detector's is Project Trellis'.
"""

TOLERANCE = 0.01
"""How far a frequency may stay below the one asked for."""


@dataclass(frozen=True, kw_only=True)
class PLL:
    """Dividers of an EHXPLLL.

    ::

        input / input_div --> phase detector --> VCO --+--> / output_div ----> output
                                   ^                   |
                                   +--- / multiplier <-+--- / feedback_div

    The output is not in the loop, so that VCO and output are chosen independently.
    """

    input_hz: float
    input_div: int
    multiplier: int
    feedback_div: int
    output_div: int

    @property
    def phase_detector_hz(self) -> float:
        """Frequency of the phase detector."""
        return self.input_hz / self.input_div

    @property
    def vco_hz(self) -> float:
        """Frequency of the oscillator."""
        return self.input_hz * self.multiplier * self.feedback_div / self.input_div

    @property
    def feedback_hz(self) -> float:
        """Frequency of the output that closes the loop."""
        return self.vco_hz / self.feedback_div

    @property
    def output_hz(self) -> float:
        """Frequency of the clock."""
        return self.vco_hz / self.output_div


def pll_for(input_hz: float, asked_hz: float) -> PLL:
    """Settings of the highest frequency that is not above the one asked for.

    Of several, those with the fastest phase detector, then the fastest VCO.

    Raises
    ------
    InputError
        If input or output are outside a PLL's ranges, or no setting is within TOLERANCE.
    """
    low, high = OUTPUT_HZ
    if not low <= asked_hz <= high:
        raise InputError(
            f"--clock must lie in {low / 1e6:g}..{high / 1e6:g} MHz, got {asked_hz / 1e6:g}"
        )
    if not INPUT_HZ[0] <= input_hz <= INPUT_HZ[1]:
        raise InputError(
            f"a PLL takes {INPUT_HZ[0] / 1e6:g}..{INPUT_HZ[1] / 1e6:g} MHz, got {input_hz / 1e6:g}"
        )
    source, asked = Fraction(input_hz), Fraction(asked_hz)
    best: tuple[Fraction, Fraction, Fraction, tuple[int, int, int, int]] | None = None
    for input_div in range(1, MAX_DIVIDER + 1):
        detector = source / input_div
        if not PHASE_DETECTOR_HZ[0] <= detector <= PHASE_DETECTOR_HZ[1]:
            continue
        for factor in range(ceil(VCO_HZ[0] / detector), floor(VCO_HZ[1] / detector) + 1):
            vco = detector * factor
            split, output_div = _split(factor, vco), ceil(vco / asked)
            if split is None or output_div > MAX_DIVIDER:
                continue
            key = (vco / output_div, detector, vco)
            if best is None or key > best[:3]:
                best = (*key, (input_div, *split, output_div))
    if best is None or best[0] < asked * (1 - Fraction(TOLERANCE)):
        raise InputError(
            f"no PLL setting makes {asked_hz / 1e6:g} MHz, or up to 1 % less, from"
            f" {input_hz / 1e6:g} MHz"
        )
    input_div, multiplier, feedback_div, output_div = best[3]
    return PLL(
        input_hz=input_hz,
        input_div=input_div,
        multiplier=multiplier,
        feedback_div=feedback_div,
        output_div=output_div,
    )


def _split(factor: int, vco: Fraction) -> tuple[int, int] | None:
    """(multiplier, feedback_div) whose product is ``factor``, or None.

    The smallest feedback_div that keeps the feedback within an output's range.
    """
    for feedback_div in range(1, MAX_DIVIDER + 1):
        multiplier, rest = divmod(factor, feedback_div)
        if (
            rest == 0
            and multiplier <= MAX_DIVIDER
            and OUTPUT_HZ[0] <= vco / feedback_div <= OUTPUT_HZ[1]
        ):
            return multiplier, feedback_div
    return None

"""An estimate with its interval, from coefficients that have one each.

Each coefficient is moved alone to its low and to its high value, and the deviations add as the root
of the sum of their squares, on each side by itself: so a coefficient is the same wherever it
stands, and different coefficients are independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sim.power.coefficients import Quantity


@dataclass(frozen=True)
class Interval:
    """A best estimate and its interval."""

    low: float
    best: float
    high: float

    def __mul__(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.best * factor, self.high * factor)


Values = Mapping[str, float]
"""Coefficients by name, at some of their values."""


def interval(function: Callable[[Values], float], quantities: Mapping[str, Quantity]) -> Interval:
    """A function of coefficients at their best values, with its interval.

    Each side is the root of the sum of squares of what each coefficient alone can add or take.
    """
    best_values = {name: quantity.value for name, quantity in quantities.items()}
    best = function(best_values)
    up = down = 0.0
    for name, quantity in quantities.items():
        ends = [function(best_values | {name: end}) - best for end in (quantity.low, quantity.high)]
        up += max(0.0, *ends) ** 2
        down += min(0.0, *ends) ** 2
    return Interval(max(0.0, best - math.sqrt(down)), best, best + math.sqrt(up))

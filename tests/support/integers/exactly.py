"""Functions to as many digits as asked for, for tables that must be right to the last bit."""

from __future__ import annotations

from decimal import Decimal


def sigmoid(x: Decimal) -> Decimal:
    """In the precision of the context."""
    return 1 / (1 + (-x).exp())


def rounded(x: Decimal) -> int:
    """To the nearest integer, halves up."""
    return int((x + Decimal("0.5")).to_integral_value("ROUND_FLOOR"))

"""Numbers as people write them: thousands separated, a unit of the right size, no exponents."""

from __future__ import annotations

import math

_PREFIXES = (("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9), ("p", -12))
"""Letter before a unit -> the power of ten that it stands for, the largest first."""


def plain(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits: "1,720", "12.5", "0.004".

    All digits before the point are written. What is not finite is named: "inf", "nan".
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    # Rounding may add a digit: 9.996 is 10.0.
    rounded = round(value, decimals)
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    text = f"{round(value, decimals):,.{max(0, decimals)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def prefix_of(value: float) -> tuple[str, int]:
    """The letter before a unit with which ``value`` is at least 1, and its power of ten.

    The smallest one for what is smaller yet; none for 0 and for what is not finite.
    """
    if not math.isfinite(value) or value == 0:
        return "", 0
    # As it will be written: 999.96 is 1,000.
    size = float(f"{abs(value):.3g}")
    return next((entry for entry in _PREFIXES if size >= 10.0 ** entry[1]), _PREFIXES[-1])


def with_unit(value: float, unit: str, digits: int = 3) -> str:
    """A quantity in a readable size of its unit: ``with_unit(5.8e-6, "J")`` is "5.8 uJ"."""
    prefix, power = prefix_of(value)
    return f"{plain(value * 10.0**-power, digits)} {prefix}{unit}"


def span(low: float, best: float, high: float, unit: str, width: int = 0) -> str:
    """An estimate, right-aligned in ``width``, and its interval, in the unit of the estimate.

    "250 mW (12.5 to 1,500)".
    """
    prefix, power = prefix_of(best)
    ends = [plain(value * 10.0**-power) for value in (best, low, high)]
    return f"{ends[0]:>{width}} {prefix}{unit} ({ends[1]} to {ends[2]})"


def megahertz(hertz: float) -> str:
    """A clock: "100 MHz", "131.2 MHz"."""
    return f"{f'{hertz / 1e6:,.1f}'.removesuffix('.0')} MHz"


def duration(seconds: float) -> str:
    """A time: "0.4 s", "12 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"

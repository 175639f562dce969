"""How often values lie at a limit of their width, while a model runs (docs/arithmetic.md, 16)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Watched:
    """The largest share of an intermediate's values that lie at a limit, by the width in bits; and
    among those of 16 bits that of the residual.
    """

    at_limit_8: float = 0.0
    at_limit_16: float = 0.0
    residual: float = 0.0


_watched: Watched | None = None


@contextmanager
def watch_ranges() -> Iterator[Watched]:
    """What the models see that run meanwhile, uncompiled and in the contract's arithmetic."""
    global _watched
    before, _watched = _watched, Watched()
    try:
        yield _watched
    finally:
        _watched = before


def note_range(values: Tensor, bits: int, fraction_bits: int, *, residual: bool = False) -> None:
    """Look at an intermediate of ``bits`` bits, if somebody watches; in real units."""
    if _watched is None:
        return
    limit = 1 << (bits - 1)
    integers = values.detach() * 2.0**fraction_bits
    share = float(((integers <= -limit) | (integers >= limit - 1)).double().mean())
    if bits == 8:
        _watched.at_limit_8 = max(_watched.at_limit_8, share)
    else:
        _watched.at_limit_16 = max(_watched.at_limit_16, share)
    if residual:
        _watched.residual = max(_watched.residual, share)

"""Section 1 of docs/arithmetic.md as expressions: what proofs compare a block with."""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Value, signed


def rnd(p: Value, n: int) -> Value:
    """(p + 2^(n-1)) >> n, and p for n = 0."""
    return p if n == 0 else (p + (1 << n - 1)) >> n


def clamp(x: Value, low: int, high: int) -> Value:
    """The value of low..high that is next to x."""
    bits = signed(max(low.bit_length(), high.bit_length()) + 1)
    return Mux(x < low, Const(low, bits), Mux(x > high, Const(high, bits), x))


def sat(x: Value, bits: int) -> Value:
    """The value of ``bits`` bits that is next to x."""
    return clamp(x, -1 << bits - 1, (1 << bits - 1) - 1)


def folded(u: Value) -> Value:
    """u XOR (u >> 15) of an int16: u, and -u - 1 below 0."""
    return Mux(u < 0, -u - 1, u)[:15]

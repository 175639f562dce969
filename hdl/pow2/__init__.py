"""Blocks of the pow2 arithmetic (docs/arithmetic.md)."""

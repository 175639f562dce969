"""Shapes and number formats of both arithmetics (docs/arithmetic.md).

What every other room agrees on.
"""

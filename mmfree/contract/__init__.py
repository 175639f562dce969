"""Shapes and number formats of both arithmetics (docs/arithmetic.md), which every room shares."""

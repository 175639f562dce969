"""Shapes and number formats of both arithmetics (docs/arithmetic.md): what every other room agrees on."""

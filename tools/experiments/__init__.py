"""Experiments: variants that the product does not have, measured beside it."""

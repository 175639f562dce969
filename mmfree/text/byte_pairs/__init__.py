"""Byte-level byte-pair encoding without a library, for an install that has none."""

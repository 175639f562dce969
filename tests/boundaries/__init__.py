"""The table of boundaries, a module for each part of the product (tests/test_boundaries.py)."""

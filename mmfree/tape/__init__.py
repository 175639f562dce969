"""Tapes: a model as one canonical file (docs/tape.md), of either arithmetic."""

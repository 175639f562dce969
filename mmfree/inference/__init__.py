"""Inference: backends, generation, scores."""

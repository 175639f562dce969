"""Memories of the accelerator: what the image fills, and the vectors and states of a token."""

"""Proofs of blocks: the bench around one, the prover, traces in words, the page of all."""

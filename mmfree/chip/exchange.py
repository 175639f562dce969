"""What a host and a chip agree on: the limit of a request, and the counters of a token."""

from __future__ import annotations

from mmfree.contract.pow2 import SATURATION_SITES

LIMIT_BITS = 16
"""Bits of the number of tokens that a request asks for."""

CYCLE_COUNTERS = (
    "cycles",
    "beats",
    "wait_weights",
    "wait_room",
    "wait_drain",
    "wait_vector",
    "wait_control",
)
"""cycles = beats + the waits: from the token's acceptance until its result is valid."""

COUNTERS = (*CYCLE_COUNTERS, *(f"saturated_{site}" for site in SATURATION_SITES))
"""Names of all counters of a token."""

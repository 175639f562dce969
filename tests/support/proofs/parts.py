"""Parts of a block that a solver plays: what is proven around them holds whatever they give."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Fragment, Module
from amaranth.lib.wiring import Out

from hdl.fabric.technology import Technology
from tests.support.proofs.bench import Bench


def leave_out(bench: Bench, *parts: Any) -> None:
    """Let the solver choose the outputs of parts of a block, which have proofs of their own."""
    for part in parts:
        # Amaranth warns of what is in it otherwise: it is made, and not used.
        Fragment.get(part, Technology.GENERIC)
        part.elaborate = lambda platform: Module()
        outputs = [port for _, member, port in part.signature.flatten(part) if member.flow == Out]
        bench.choose(*outputs)

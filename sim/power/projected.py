"""Joules per token of a projection: rough, because nothing of it was synthesized or simulated."""

from __future__ import annotations

from hdl.planning.projection import Projection
from hdl.toolchain.families import Area
from sim.power.coefficients import load_part
from sim.power.interval import Interval
from sim.power.validation import Sizes, watts_of

WHAT_IS_COUNTED = (
    "rough: cells by the cost model, activity as of published systems (docs/power.md); the part"
    " and what is read from its memory, without board, regulators and processor"
)


def projected_joules(projection: Projection) -> Interval | None:
    """Joules per token of the part and of reading its memory; None for what does not fit."""
    if not projection.fits:
        return None
    tokens_per_second = projection.tokens_per_second()
    memory = projection.memory
    watts = watts_of(
        load_part(projection.part.device),
        Sizes(
            area=Area(**projection.cells),
            clock_hz=projection.clock.value,
            memory=None if memory is None else memory.kind,
            bytes_per_second=projection.token_bytes * tokens_per_second,
        ),
    )
    return watts * (1 / tokens_per_second)

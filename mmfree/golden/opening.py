"""The golden model of a tape, whichever arithmetic it has."""

from __future__ import annotations

from mmfree.golden.absmax import AbsmaxGolden
from mmfree.golden.pow2 import Golden
from mmfree.tape.absmax import AbsmaxTape
from mmfree.tape.reading import AnyTape


def golden_of(tape: AnyTape) -> Golden | AbsmaxGolden:
    """The golden model that plays ``tape``."""
    return AbsmaxGolden(tape) if isinstance(tape, AbsmaxTape) else Golden(tape)

"""What a page can hold: the design of a tape's page, before anything heavy is imported."""

from __future__ import annotations

from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for
from mmfree.errors import InputError
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import AnyTape
from sim.page.tokenizers import about_tokenizer

LANES, MANY_LANES = 64, 256
"""Of a page where nobody asks for another number: of small models, and of those from
``MANY_WEIGHTS`` on, which more lanes make faster though they take longer to simulate."""

MANY_WEIGHTS = 1 << 18

MOST_WEIGHTS = 1 << 23
"""Ternary weights that a page may have: 2.3 MB of it."""

MOST_LANES = 1 << 10
"""Of a page: twice as many take two minutes to compile."""


def design_of(tape: AnyTape, lanes: int | None = None, bits: str | None = None) -> Design:
    """The design of a tape's page: of ``lanes`` lanes, whose weights take ``bits`` bits.

    Raises
    ------
    InputError
        If a page lacks the tape's arithmetic or tokenizer, or the tape is too large for one.
    """
    if not isinstance(tape, Tape):
        raise InputError(
            f"a page plays models trained here (pow2), not {tape.arithmetic}: its golden model has"
            " one arithmetic"
        )
    about_tokenizer(tape.tokenizer)
    weights = tape.config.num_ternary_weights
    if weights > MOST_WEIGHTS:
        # Five weights a byte and a byte of each embedding value, four characters for three bytes.
        size = (weights / 5 + tape.embedding.size) * 4 / 3
        raise InputError(
            f"the page would have {size / 1e6:,.0f} MB, of {weights:,} weights; a page has at most"
            f" {MOST_WEIGHTS:,}"
        )
    if lanes is not None and lanes > MOST_LANES:
        raise InputError(f"--lanes: the chip of a page has at most {MOST_LANES:,}, not {lanes:,}")
    if lanes is None:
        lanes = MANY_LANES if weights >= MANY_WEIGHTS else LANES
    return design_for(tape, lanes, bits or "1.6")

"""A golden model beside a reading of its specification in Python integers, step by step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from mmfree.golden.rounding import PlaysTokens


class LiteralReading(Protocol):
    """``seen``: intermediates of the last step, by the names of a trace."""

    seen: dict[str, list[int]]
    saturations: dict[str, int]

    def step(self, token: int) -> list[int]:
        """The logits."""

    @property
    def state(self) -> list[list[int]]:
        """Of each layer."""


def assert_steps_agree(
    golden: PlaysTokens[Any], literal: LiteralReading, tokens: Iterable[int]
) -> None:
    """Every intermediate of the trace, the logits, the state and the saturations."""
    state = golden.state()
    for token in tokens:
        seen: dict[str, list[int]] = {}

        def note(name: str, values: np.ndarray, found: dict[str, list[int]] = seen) -> None:
            assert name not in found
            found[name] = values[0].tolist()

        logits, state = golden.step(np.array([token]), state, trace=note)
        assert logits[0].tolist() == literal.step(int(token))
        assert seen == literal.seen
        assert state[:, 0].tolist() == literal.state
    assert golden.saturations == literal.saturations

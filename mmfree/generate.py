"""Generation: text as it comes, with any backend that feeds back."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mmfree.backends import Backend


@runtime_checkable
class ChoosesItself(Backend, Protocol):
    """A backend whose hardware chooses the next token."""

    def generate(self, prompt: list[int], tokens: int) -> list[int]:
        """Rows chosen after a prompt, each fed back."""
        ...


def generate_rows(
    backend: Backend, prompt: list[int], tokens: int, temperature: float, rng: np.random.Generator
) -> Iterator[int]:
    """Rows that the head chooses after the prompt, one by one, each fed back as the next token."""
    if isinstance(backend, ChoosesItself):
        if temperature:
            raise ValueError(
                f"--temperature must be 0 with backend {backend.name}: the chip takes the likeliest token"
            )
        yield from backend.generate(prompt, tokens)
        return
    logits, state = backend.run(np.array([prompt]), backend.state(1))
    for position in range(tokens):
        row = choose(logits[0, -1], temperature, rng)
        yield row
        if position < tokens - 1:
            logits, state = backend.run(np.array([[row]]), state)


def choose(logits: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> int:
    """A row: the largest logit at temperature 0 (the lowest row wins a tie), else drawn from softmax(logits / temperature)."""
    if temperature == 0:
        return int(logits.argmax())
    wide = logits.astype(np.float64) / temperature
    weights = np.exp(wide - wide.max())
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def generate(
    backend: Backend, prompt: str, tokens: int, *, temperature: float = 0.0, seed: int = 0
) -> Iterator[tuple[str, list[int]]]:
    """Yield (text, rows) pieces: for text one per token, for addition the sum at once.

    Raises
    ------
    ValueError
        If the prompt does not suit the model, ``tokens`` is below 1 or the temperature negative.
    """
    if tokens < 1:
        raise ValueError(f"--tokens must be at least 1, got {tokens}")
    if not temperature >= 0:
        raise ValueError(f"--temperature must be 0 or more, got {temperature}")
    tokenizer = backend.tokenizer
    ids = tokenizer.encode(prompt)
    if not tokenizer.feeds_back:
        logits, _ = backend.run(np.array([ids]), backend.state(1))
        rows = [int(row) for row in logits[0].argmax(axis=-1)]
        yield tokenizer.decode(rows), rows
        return
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rng = np.random.default_rng(seed)
    for row in generate_rows(backend, ids, tokens, temperature, rng):
        yield decoder.decode(bytes([row])), [row]
    yield decoder.decode(b"", final=True), []

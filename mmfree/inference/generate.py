"""Generation: text as it comes, with any backend that feeds back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.golden.sampling import Sampler, seed_registers, temperature_code
from mmfree.inference.backends import Backend, run_in_parts

_UNFINISHED = "\ufffd"
"""What decoders make of the first bytes of a character."""


@runtime_checkable
class ChoosesItself(Backend, Protocol):
    """A backend whose hardware chooses the next token and feeds it back."""

    def generate(
        self, prompt: list[int], tokens: int, *, temperature: int, seed: int, stop: int | None
    ) -> list[int]:
        """Rows chosen after a prompt, each fed back."""
        ...


def generate_rows(
    backend: Backend,
    prompt: list[int],
    tokens: int,
    *,
    temperature: int,
    seed: int,
    stop: int | None,
) -> Iterator[int]:
    """Rows that the head chooses after the prompt, one by one, each fed back as the next token.

    Ends after ``stop``, and after an id that ends a text (``Backend.end_ids``), whichever comes
    first: the last row. Padding of the vocabulary is never chosen.
    """
    if isinstance(backend, ChoosesItself):
        rows: Iterable[int] = backend.generate(
            prompt, tokens, temperature=temperature, seed=seed, stop=stop
        )
    else:
        rows = _rows_chosen_here(backend, prompt, tokens, temperature, seed)
    for row in rows:
        yield row
        if row == stop or row in backend.end_ids:
            return


def _rows_chosen_here(
    backend: Backend, prompt: list[int], tokens: int, temperature: int, seed: int
) -> Iterator[int]:
    """Rows of a backend that gives logits, whatever they end."""
    sampler = Sampler(seed)
    logits, state = _last_position(backend, prompt)
    for position in range(tokens):
        yield (row := sampler.choose(logits, temperature, backend.fraction_bits, backend.choosable))
        if position < tokens - 1:
            run, state = backend.run(np.array([[row]]), state)
            logits = run[0, -1]


def _last_position(backend: Backend, prompt: list[int]) -> tuple[NDArray[Any], Any]:
    """Logits [rows] of a prompt's last position, and the state after it."""
    for _, logits, after in run_in_parts(backend, np.array([prompt])):
        last, state = logits[0, -1].copy(), after
    return last, state


def generate(
    backend: Backend,
    prompt: str,
    tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[str, list[int]]]:
    """Yield (text, rows) pieces: for text one per token, for a task's answer all at once.

    With ``temperature`` above 0 rows are drawn from softmax(logits / temperature)
    (docs/arithmetic.md, 14): the same ones from the same seed, whatever the backend, as long as the
    logits are equal. Generation ends after the token ``stop``, or with an id that ends a text
    (``Backend.end_ids``), which stands among the rows, but not in the text.

    Raises
    ------
    InputError
        If the prompt does not suit the model, ``tokens`` is below 1, or temperature, seed or stop
        token is out of range.
    """
    if tokens < 1:
        raise InputError(f"--tokens must be at least 1, got {tokens}")
    code = temperature_code(temperature)
    seed_registers(seed)
    tokenizer = backend.tokenizer
    if stop is not None and not 0 <= stop < tokenizer.head_size:
        raise InputError(f"--stop {stop} is not in the vocabulary of {tokenizer.head_size}")
    ids = tokenizer.encode(prompt)
    if not tokenizer.feeds_back:
        if code or stop is not None:
            raise InputError(
                f"--temperature and --stop are for text: a model for {tokenizer.kind} reads out its"
                " answer"
            )
        parts = (logits[0] for _, logits, _ in run_in_parts(backend, np.array([ids])))
        rows = [int(row) for part in parts for row in part.argmax(axis=-1)]
        yield tokenizer.decode(rows), rows
        return
    writer = _Writer(tokenizer.decode, ids[1:])
    for row in generate_rows(backend, ids, tokens, temperature=code, seed=seed, stop=stop):
        yield "" if row in backend.end_ids else writer.add(row), [row]
    yield writer.rest(), []


class _Writer:
    """Rows to text as they come; a character that is not whole yet waits for the rest of it.

    What was written last is decoded again in front of each row, so that a tokenizer that strips
    white space at the start of a text strips none within.
    """

    def __init__(self, decode: Callable[[list[int]], str], prompt: list[int]) -> None:
        self._decode, self._written = decode, prompt
        self._waiting: list[int] = []

    def add(self, row: int) -> str:
        self._waiting.append(row)
        text = self._new()
        if text.endswith(_UNFINISHED):
            return ""
        # A row without text of its own is no context for decoding the next one.
        self._written = self._waiting if text else self._written + self._waiting
        self._waiting = []
        return text

    def rest(self) -> str:
        return self._new() if self._waiting else ""

    def _new(self) -> str:
        return self._decode(self._written + self._waiting)[len(self._decode(self._written)) :]

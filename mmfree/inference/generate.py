"""Generation: text as it comes, with any backend that feeds back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.golden.sampling import (
    Sampler,
    likeliest_rows,
    seed_registers,
    temperature_code,
    top_p_code,
)
from mmfree.inference.backends import Backend, run_in_parts
from mmfree.text.tokenizer import ByteTokenizer, Tokenizer, utf8_bytes

TEXT_TEMPERATURE = 0.5
"""Of text, where nobody asks for another: greedy text of small models runs in circles, and at 0.7
they lose the thread."""

TEXT_TOKENS = 200
"""Of text, where nobody asks for another number."""

_UNFINISHED = "\ufffd"
"""What decoders make of the first bytes of a character."""


@runtime_checkable
class ChoosesItself(Backend, Protocol):
    """A backend whose hardware chooses the next token, among all rows, and feeds it back."""

    def generate(
        self, prompt: list[int], tokens: int, *, temperature: int, seed: int, stop: int | None
    ) -> list[int]:
        """Rows chosen after a prompt, each fed back."""
        ...


@runtime_checkable
class DrawsItself(Backend, Protocol):
    """A backend that chooses the next token as ``Sampler`` does, and feeds it back, in one go."""

    def rows(self, prompt: list[int], tokens: int, temperature: int, seed: int) -> Iterator[int]:
        """Rows drawn after a prompt, up to one of ``end_ids``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be generated, checked.

    ``ids``: of the prompt. ``temperature`` in 64ths, ``top_p`` in 65,536ths
    (``mmfree.golden.sampling``); None: nothing is left out. ``stop``: the text before which it
    ends.
    """

    ids: list[int]
    tokens: int
    temperature: int
    seed: int
    top_k: int | None
    top_p: int | None
    stop: str | None


def temperature_of(tokenizer: Tokenizer, asked: float | None) -> float:
    """The temperature in force: the one asked for, or else that of the kind of model."""
    if asked is not None:
        return asked
    return TEXT_TEMPERATURE if tokenizer.feeds_back else 0.0


def wanted(
    tokenizer: Tokenizer,
    prompt: str,
    tokens: int | None = None,
    *,
    temperature: float | None = None,
    seed: int = 0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: str | None = None,
    in_hardware: bool = False,
) -> Wanted:
    """What ``generate`` is asked for, before any model is there. Its parameters, and its errors.

    ``in_hardware``: whether the backend chooses itself.
    """
    if tokens is not None and tokens < 1:
        raise InputError(f"--tokens must be at least 1, got {tokens}")
    code = temperature_code(temperature_of(tokenizer, temperature))
    seed_registers(seed)
    if top_k is not None and top_k < 1:
        raise InputError(f"--top-k must be at least 1, got {top_k}")
    share = None if top_p is None else top_p_code(top_p)
    if stop is not None and not utf8_bytes(stop):
        raise InputError("--stop must be a text of at least one character, got an empty one")
    limited = top_k is not None or share is not None
    given = [tokens, stop, top_k, top_p]
    if not tokenizer.feeds_back and (code or given != [None] * len(given)):
        raise InputError(
            "--tokens, --temperature, --top-k, --top-p and --stop are for text: a model for"
            f" {tokenizer.kind} reads out its answer"
        )
    if limited and in_hardware:
        raise InputError(
            "--top-k and --top-p: the chip chooses among all tokens; leave them out, or take"
            " --backend golden, which has the same logits"
        )
    if limited and not code:
        raise InputError(
            "--top-k and --top-p choose what is drawn from, and --temperature 0 draws nothing:"
            " leave them out, or give a temperature above 0"
        )
    return Wanted(
        ids=tokenizer.encode(prompt),
        tokens=TEXT_TOKENS if tokens is None else tokens,
        temperature=code,
        seed=seed,
        top_k=top_k,
        top_p=share,
        stop=stop,
    )


def generate_rows(
    backend: Backend,
    prompt: list[int],
    tokens: int,
    *,
    temperature: int,
    seed: int,
    stop: int | None = None,
    top_k: int | None = None,
    top_p: int | None = None,
) -> Iterator[int]:
    """Rows that the head chooses after the prompt, one by one, each fed back as the next token.

    Ends after ``stop``, and after an id that ends a text (``Backend.end_ids``), whichever comes
    first: the last row. Padding of the vocabulary is never chosen. ``top_k`` and ``top_p``: as in
    ``likeliest_rows``; not for hardware, which chooses among all rows.
    """
    if isinstance(backend, ChoosesItself):
        assert top_k is top_p is None
        rows: Iterable[int] = backend.generate(
            prompt, tokens, temperature=temperature, seed=seed, stop=stop
        )
    elif isinstance(backend, DrawsItself) and top_k is top_p is None:
        rows = backend.rows(prompt, tokens, temperature, seed)
    else:
        rows = _rows_chosen_here(backend, prompt, tokens, temperature, seed, top_k, top_p)
    for row in rows:
        yield row
        if row == stop or row in backend.end_ids:
            return


def _rows_chosen_here(
    backend: Backend,
    prompt: list[int],
    tokens: int,
    temperature: int,
    seed: int,
    top_k: int | None,
    top_p: int | None,
) -> Iterator[int]:
    """Rows of a backend that gives logits, whatever they end."""
    sampler, bits = Sampler(seed), backend.fraction_bits
    logits, state = _last_position(backend, prompt)
    for position in range(tokens):
        rows = likeliest_rows(
            logits, temperature, bits, backend.choosable, top_k=top_k, top_p=top_p
        )
        yield (row := sampler.choose(logits, temperature, bits, rows))
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
    tokens: int | None = None,
    *,
    temperature: float | None = None,
    seed: int = 0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: str | None = None,
) -> Iterator[tuple[str, list[int]]]:
    """(text, rows) pieces: for text one per token, for a task's answer all at once.

    Generation also ends with an id that ends a text (``Backend.end_ids``), which stands among the
    rows, but not in the text.

    Parameters
    ----------
    tokens
        How many at most; None: ``TEXT_TOKENS``. A model for a task takes none.
    temperature
        Rows are drawn from softmax(logits / temperature) (docs/arithmetic.md, 14): the same ones
        from the same seed, whatever the backend, as long as the logits are equal. 0: always the
        most likely row. None: ``TEXT_TEMPERATURE`` for text, 0 for a task.
    top_k, top_p
        Drawn from the ``top_k`` likeliest rows only; from the fewest whose probabilities reach
        ``top_p``. Not in hardware, which chooses among all rows.
    stop
        Text that ends the text, and is no part of it; the rows that made it are.

    Raises
    ------
    InputError
        At once: if the prompt does not suit the model, ``tokens`` is below 1, another parameter is
        out of range, has no effect on this kind of model, or is not for hardware.
    """
    asked = wanted(
        backend.tokenizer,
        prompt,
        tokens,
        temperature=temperature,
        seed=seed,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        in_hardware=isinstance(backend, ChoosesItself),
    )
    if not backend.tokenizer.feeds_back:
        return _answer(backend, asked.ids)
    pieces = _written(backend, asked)
    return pieces if stop is None else _until(pieces, stop)


def _answer(backend: Backend, ids: list[int]) -> Iterator[tuple[str, list[int]]]:
    """What a model for a task reads out."""
    parts = (logits[0] for _, logits, _ in run_in_parts(backend, np.array([ids])))
    rows = [int(row) for part in parts for row in part.argmax(axis=-1)]
    yield backend.tokenizer.decode(rows), rows


def _written(backend: Backend, asked: Wanted) -> Iterator[tuple[str, list[int]]]:
    tokenizer = backend.tokenizer
    writer = _Writer(tokenizer.decode, asked.ids[1:])
    rows = generate_rows(
        backend,
        asked.ids,
        asked.tokens,
        temperature=asked.temperature,
        seed=asked.seed,
        stop=_stop_id(tokenizer, asked.stop),
        top_k=asked.top_k,
        top_p=asked.top_p,
    )
    for row in rows:
        yield "" if row in backend.end_ids else writer.add(row), [row]
    yield writer.rest(), []


def _stop_id(tokenizer: Tokenizer, stop: str | None) -> int | None:
    """The one token that a stop text always is, if there is one: a chip can end at it itself."""
    if stop is None or tokenizer.kind != ByteTokenizer.kind or len(data := utf8_bytes(stop)) != 1:
        return None
    return data[0]


def _until(pieces: Iterator[tuple[str, list[int]]], stop: str) -> Iterator[tuple[str, list[int]]]:
    """The pieces up to the text ``stop``; what may be its beginning waits for the next piece."""
    waiting = ""
    for text, rows in pieces:
        waiting += text
        if (place := waiting.find(stop)) >= 0:
            yield waiting[:place], rows
            return
        begun = next(n for n in range(len(stop) - 1, -1, -1) if waiting.endswith(stop[:n]))
        yield waiting[: len(waiting) - begun], rows
        waiting = waiting[len(waiting) - begun :]
    yield waiting, []


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

"""What a host can ask of a chip, whoever implements it: a simulation, or a board.

A chip plays one request at a time: ``send`` it, then ``wait`` for each answer and ``take`` it,
until one ends the request. State, logits, counters and memories are read and written in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.memory_image import MemoryImage
from mmfree.chip.registers import check_value
from mmfree.contract.pow2 import TEMPERATURE_MAX
from mmfree.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Request:
    """A token to play, and how many rows the chip chooses from there on.

    ``token``: id in the vocabulary. ``begin``: the state reads as 0. ``temperature``: in 64ths, 0
    chooses the most likely row. ``limit``: most rows to choose, each but the last fed back as the
    next token: only if the head's rows are tokens of the vocabulary. ``stop``: a row that ends the
    request when it is chosen. A chip's design bounds each (``hdl.payloads.request_layout``).

    Raises
    ------
    InputError
        If no chip could play it.
    """

    token: int
    begin: bool
    temperature: int = 0
    limit: int = 1
    stop: int | None = None

    def __post_init__(self) -> None:
        for name in ("token", "temperature", "limit"):
            if not isinstance(value := getattr(self, name), int):
                raise InputError(f"request.{name} must be an integer, got {value!r}")
        if self.token < 0:
            raise InputError(f"request.token must be at least 0, got {self.token}")
        check_value("request.temperature", self.temperature, TEMPERATURE_MAX)
        if self.limit < 1:
            raise InputError(f"request.limit must be at least 1, got {self.limit}")
        if self.stop is not None and not isinstance(self.stop, int):
            raise InputError(f"request.stop must be an integer, got {self.stop!r}")
        if self.stop is not None and self.stop < 0:
            raise InputError(f"request.stop must be at least 0, got {self.stop}")


@dataclass(frozen=True)
class Result:
    """The row of the head that was chosen, and whether it is the last of its request."""

    row: int
    last: bool


@dataclass(frozen=True)
class Fault:
    """A check that failed: no row is chosen, the state is unchanged, and the request is over.

    ``memory``: of ``fault_memories`` (mmfree/chip/memory_map.py). ``segment``: entry of the segment
    table that was in progress, 0 for the embedding.
    """

    memory: str
    segment: int


class LoadRefusedError(RuntimeError):
    """The chip refused a write through its load port; nothing was changed by it."""


def check_image(image: Image, design: Design) -> None:
    """Refuse an image that is not for this design.

    Raises
    ------
    InputError
        It names the first field of the design that differs.
    """
    for field in fields(design):
        mine, other = getattr(design, field.name), getattr(image.design, field.name)
        if mine != other:
            raise InputError(
                f"the image was laid out for another design: {field.name} of {other}, but the chip"
                f" has {mine}"
            )


class Chip(Protocol):
    """A chip as its host sees it.

    What a host gives is checked before any of it is sent: every method raises InputError for a
    value that its port cannot hold, and names both.
    """

    async def send(self, request: Request) -> None:
        """Send a request to an idle chip; returns when the chip has accepted it."""
        ...

    async def wait(self) -> Result | Fault:
        """The next answer; it stays there until it is taken."""
        ...

    async def take(self) -> None:
        """Take the answer that waits."""
        ...

    async def cancel(self) -> None:
        """End the request in progress: the token in progress is its last, or the next one.

        The next, if a result waits to be taken: that is as it was offered.
        """
        ...

    async def seed(self, seed: int) -> None:
        """Seed the noise of the choices, 0..2^64-1; while a token is played it has no effect."""
        ...

    async def load_image(self, image: Image) -> None:
        """Make the chip play another tape.

        Raises
        ------
        InputError
            If the image was laid out for another design.
        LoadRefusedError
            If the chip refuses it: a token is being played.
        """
        ...

    async def load(self, writes: Iterable[tuple[int, int, int, int]]) -> None:
        """Write parts of words: (number of the memory, word, part, data), as ``Image.writes``.

        Raises
        ------
        LoadRefusedError
            If the chip refuses a write: a token is being played, or there is no such word or part,
            or it has fewer bits.
        """
        ...

    async def place_image(self, image: MemoryImage, base: int) -> None:
        """Tell the chip that an image's file is in its external memory, from ``base`` on.

        Raises
        ------
        InputError
            If no image can be there: ``base`` is no multiple of PAGE_BYTES, or too high.
        LoadRefusedError
            If a token is being played.
        """
        ...

    async def read_state(self, words: int) -> NDArray[np.int32]:
        """The first ``words`` words of the state after the last token, int32 [words * P]."""
        ...

    async def write_state(self, words: NDArray[np.int32]) -> None:
        """Overwrite the first words of the state, int32 [words, P]."""
        ...

    async def read_logits(self, words: int) -> NDArray[np.int32]:
        """The first ``words`` words of the last token's logits, int32 [words * P].

        Raises
        ------
        InputError
            Also if the design stores none.
        """
        ...

    async def counters(self) -> dict[str, int]:
        """The counters of the last token: cycles by cause, saturations by site."""
        ...

    async def playing(self) -> bool:
        """Whether a token is in progress."""
        ...

    async def segment(self) -> int:
        """Entry of the segment table in progress; 0: the embedding."""
        ...

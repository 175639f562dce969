"""Text corpora: the user's files, or CPython's own documentation; split, and cut into batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmfree.batch import Batch
from mmfree.tokenizer import ByteTokenizer

VALIDATION_SHARE = 0.1

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Corpus:
    """Text as bytes: uint8 arrays for training, and held out for validation (the last tenth)."""

    name: str
    training: Bytes
    validation: Bytes


def read_text(path: Path) -> bytes:
    """Bytes of a UTF-8 text file.

    Raises
    ------
    ValueError
        If the file is missing, empty or not UTF-8; the message names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise ValueError(f"{path}: the file is empty; text is needed")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text: byte {data[error.start]:#04x} at offset {error.start}; "
            "convert the file first"
        ) from None
    return data


def python_documentation() -> bytes:
    """CPython's own language reference, as its ``help()`` shows it: about 466 kB that come with every Python."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name].strip() for name in sorted(topics)).encode()


def load_corpus(paths: list[Path], *, minimum_bytes: int = 1) -> Corpus:
    """The text of ``paths`` in the order given, or the built-in corpus if there are none.

    Raises
    ------
    ValueError
        If a file cannot be used, or either part of the split is shorter than ``minimum_bytes``.
    """
    parts = [read_text(path) for path in paths] if paths else [python_documentation()]
    name = ", ".join(str(path) for path in paths) if paths else "Python documentation"
    data = np.frombuffer(b"\n".join(parts), dtype=np.uint8)
    cut = len(data) - int(len(data) * VALIDATION_SHARE)
    corpus = Corpus(name, data[:cut], data[cut:])
    shortest = min(len(corpus.training), len(corpus.validation))
    if shortest < minimum_bytes:
        raise ValueError(
            f"{name}: a tenth of the text is held out, so at least "
            f"{int(minimum_bytes / VALIDATION_SHARE) + 1} bytes are needed, got {len(data)}"
        )
    return corpus


def training_windows(rng: np.random.Generator, text: Bytes, batch_size: int, length: int) -> Batch:
    """``batch_size`` windows of ``length`` bytes from random places, each as the start of a sequence."""
    starts = rng.integers(0, len(text) - length + 1, batch_size)
    targets = text[starts[:, None] + np.arange(length)].astype(np.int64)
    return Batch(_shifted(targets), targets, np.ones(targets.shape, dtype=bool))


def streams(text: Bytes, *, shortest: int = 1024, most: int = 64) -> Batch:
    """All of ``text`` as parallel sequences: consecutive pieces of equal length, the last one padded (and masked).

    There are as many pieces as leave each at least ``shortest`` bytes, and at most ``most``. Every backend evaluates the same pieces, so figures compare; each piece
    starts without context, which costs a little.
    """
    count = max(1, min(most, len(text) // shortest))
    length = -(-len(text) // count)
    targets = np.zeros((count, length), dtype=np.int64)
    mask = np.zeros((count, length), dtype=bool)
    targets.ravel()[: len(text)] = text
    mask.ravel()[: len(text)] = True
    return Batch(_shifted(targets), targets, mask)


def _shifted(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Inputs whose next byte is the target: the start byte first."""
    ids = np.full_like(targets, ByteTokenizer.start)
    ids[:, 1:] = targets[:, :-1]
    return ids

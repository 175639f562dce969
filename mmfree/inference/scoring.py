"""Evaluation: bits per byte and perplexity of text, and accuracy on tasks, with any backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmfree.errors import InputError, not_one_of
from mmfree.golden.sampling import SEED_MAX
from mmfree.inference.backends import Backend, run_in_parts
from mmfree.tasks.catalog import TASKS, Task
from mmfree.text.batch import Batch
from mmfree.text.corpus import Piece, Text, read_text, tokenize
from mmfree.text.loading import load_corpus
from mmfree.text.scores import ScoredText, negative_log_likelihood, perplexity
from mmfree.text.shards import open_shards
from mmfree.text.sources import DEFAULT_FIELD, is_shards
from mmfree.text.tokenizer import Tokenizer, text_tokenizer
from mmfree.training.provenance import Provenance, read_provenance

CHUNK = 256
"""Most positions between two updates of the progress bar."""


@dataclass(frozen=True, kw_only=True)
class TextResult:
    """Scores of a text.

    Attributes
    ----------
    bits_per_byte
        Over ``bytes`` bytes of UTF-8: comparable between tokenizers.
    token_perplexity
        exp(nats per token), over ``tokens`` tokens of this tokenizer: not comparable between them.
    words, word_perplexity
        exp(nats per word), if it was asked for; else None.
    """

    backend: str
    bits_per_byte: float
    bytes: int
    tokens: int
    token_perplexity: float
    words: int | None = None
    word_perplexity: float | None = None


@dataclass(frozen=True)
class TaskResult:
    """``exact`` of ``examples`` with every answer right.

    ``digits``: length of an example, in the task's unit.
    """

    backend: str
    task: str
    digits: int
    examples: int
    exact: int

    @property
    def accuracy(self) -> float:
        """Share of exact examples."""
        return self.exact / self.examples


def evaluate_text(backend: Backend, text: bytes, *, words: bool = False) -> TextResult:
    """Scores of a UTF-8 text; with ``words`` per word, too (``count_words``).

    Raises
    ------
    InputError
        If the model is for a task.
    """
    decoded = text.decode("utf-8")
    (tokens,) = text_tokenizer(backend.tokenizer).encode_texts([decoded])
    return evaluate_tokens(
        backend, tokens, len(text), words=count_words(decoded) if words else None
    )


def evaluate_tokens(
    backend: Backend, tokens: NDArray[np.integer], num_bytes: int, *, words: int | None = None
) -> TextResult:
    """Scores of tokens that ``num_bytes`` bytes of text became, in the same streams for every
    backend (``mmfree.text.scores``).

    Raises
    ------
    InputError
        If none of them is scored.
    """
    text = ScoredText.as_streams(tokens, num_bytes, start=text_tokenizer(backend.tokenizer).start)
    parts = (((slice(None), part), logits) for part, logits in _progress(backend, text.batch.ids))
    score = text.score(parts, fraction_bits=backend.fraction_bits)
    return TextResult(
        backend=backend.name,
        bits_per_byte=score.bits_per_byte,
        bytes=score.bytes,
        tokens=score.tokens,
        token_perplexity=score.token_perplexity,
        words=words,
        word_perplexity=None if words is None else perplexity(score.nats, words),
    )


def count_words(text: str) -> int:
    """Words as the perplexities published for WikiText-2 count them.

    They are what white space separates, and one end of line per line: so its test set has 245,569
    words, as in Merity et al. (arXiv 1609.07843, table 1) and in PyTorch's word-level example
    (``line.split() + ["<eos>"]``).
    """
    return len(text.split()) + text.count("\n") + (not text.endswith("\n"))


def row_nats(backend: Backend, batch: Batch) -> NDArray[np.float64]:
    """-log likelihood of each sequence's scored positions, in nats, [B]."""
    nats = np.zeros(len(batch.ids))
    for part, logits in _progress(backend, batch.ids):
        targets, mask = batch.targets[:, part], batch.mask[:, part]
        likelihoods = negative_log_likelihood(logits, targets, backend.fraction_bits)
        nats += (likelihoods * mask).sum(axis=1)
    return nats


def evaluate_task(
    backend: Backend,
    name: str,
    *,
    digits: int | None = None,
    examples: int | None = None,
    seed: int = 0,
) -> TaskResult:
    """Accuracy on ``examples`` of length ``digits``; by default those of the task.

    Raises what ``check_task`` does.
    """
    task = check_task(backend.tokenizer, name, digits=digits, examples=examples, seed=seed)
    digits = task.length if digits is None else digits
    examples = task.examples if examples is None else examples
    batch = task.draw(np.random.default_rng(seed), digits, examples)
    rows = [logits.argmax(axis=-1) for _, logits in _progress(backend, batch.ids)]
    exact = batch.num_exact(np.concatenate(rows, axis=1))
    return TaskResult(backend.name, name, digits, len(batch.ids), exact)


def check_task(
    tokenizer: Tokenizer, name: str, *, digits: int | None, examples: int | None, seed: int
) -> Task:
    """The task ``name``, for models of a tokenizer; no model is needed to check it.

    Raises
    ------
    InputError
        If the task is unknown, examines models of another kind, or a number is out of range.
    """
    if not 0 <= seed <= SEED_MAX:
        raise InputError(f"--seed must lie in 0..2^64-1, got {seed}")
    if name not in TASKS:
        raise not_one_of("--task", name, TASKS)
    task = TASKS[name]
    if tokenizer.kind != task.tokenizer:
        raise InputError(f"--task {name}: the model is for {tokenizer.kind}")
    if digits is not None and task.unit is None:
        raise InputError(f"--digits: the examples of task {name} have one length")
    digits = task.length if digits is None else digits
    examples = task.examples if examples is None else examples
    if digits < 1 or (examples is not None and examples < 1):
        raise InputError(f"--digits and --examples must be at least 1, got {digits} and {examples}")
    return task


def _progress(backend: Backend, ids: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Columns and logits, part by part, under a progress bar if there are several."""
    total = ids.shape[1]
    quiet = True if total <= CHUNK else None
    with tqdm(total=total, unit="position", disable=quiet, leave=False) as bar:
        for part, logits, _ in run_in_parts(backend, ids, most_positions=CHUNK):
            yield part, logits
            bar.update(logits.shape[1])


def score_text(
    backend: Backend,
    data: Path | None,
    *,
    words: bool = False,
    field: str = DEFAULT_FIELD,
    run: Path | None = None,
) -> TextResult:
    """Scores of a file, of documents, of what shards hold out, or of held-out text.

    ``field``: of a record, that holds its text. Without ``data`` it is the text that the run in the
    folder ``run`` held out, or else the built-in one's.
    """
    if data is None:
        if run is not None and (record := read_provenance(run)) is not None and record.sources:
            return _score_held_out(backend, record, words=words)
        return evaluate_text(backend, load_corpus([]).validation.tobytes(), words=words)
    tokenizer = text_tokenizer(backend.tokenizer)
    if is_shards(data):
        if words:
            raise InputError(f"{data}: --words needs the text, not its tokens")
        tokens, num_bytes = open_shards(data, tokenizer).all_held_out()
        return evaluate_tokens(backend, tokens, num_bytes)
    text = Text.of([data], field)
    if text.is_one and not data.is_dir():
        return evaluate_text(backend, read_text(*text.files), words=words)
    found = list(tokenize(text.pieces(), tokenizer, begin=True))
    return evaluate_tokens(
        backend,
        np.concatenate([ids for _, ids in found]),
        sum(len(piece.text.encode("utf-8")) for piece, _ in found),
        words=_count_words_of(piece for piece, _ in found) if words else None,
    )


def _count_words_of(pieces: Iterable[Piece]) -> int:
    """Words of whole documents, which may come in pieces: a piece may end within a word."""
    texts: list[list[str]] = []
    for piece in pieces:
        if not piece.continues:
            texts.append([])
        texts[-1].append(piece.text)
    return sum(count_words("".join(parts)) for parts in texts)


def _score_held_out(backend: Backend, record: Provenance, *, words: bool) -> TextResult:
    """Scores of the text that a run held out, read again from where it was."""
    if words:
        raise InputError(f"--words needs the text: give --data (trained on {record.text})")
    try:
        corpus = load_corpus(record.paths, text_tokenizer(backend.tokenizer), field=record.field)
    except InputError as error:
        raise InputError(f"{error} (what the model was trained on; --data names another)") from None
    if corpus.digest != record.digest:
        raise InputError(
            f"{corpus.name}: no longer the text that the model was trained on; name what is to be"
            " scored with --data"
        )
    return evaluate_tokens(backend, *corpus.all_held_out())

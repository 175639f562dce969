"""Loading a corpus from files, folders, data sets by name, token shards, or the built-in text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.text.corpus import Corpus, Text, tokenize
from mmfree.text.shards import open_shards
from mmfree.text.sources import DEFAULT_FIELD, is_shards
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer


def load_corpus(
    paths: list[Path],
    tokenizer: TextTokenizer | None = None,
    *,
    minimum: int = 1,
    field: str = DEFAULT_FIELD,
) -> Corpus:
    """A corpus: the text of ``paths`` tokenized in memory, or a folder of shards.

    Without ``paths`` it is the built-in text.

    Parameters
    ----------
    paths
        Files, folders and names of data sets (``mmfree.text.sources``), or one folder that ``mmfree
        tokenize`` wrote.
    tokenizer
        None: bytes.
    minimum
        Tokens that each side of the split must hold: a sequence.
    field
        Name of the field that holds a record's text.

    Raises
    ------
    InputError
        If a file cannot be used, the shards are of another tokenizer, or either side of the split
        is too short.
    """
    tokenizer = tokenizer if tokenizer is not None else ByteTokenizer()
    if len(paths) == 1 and is_shards(paths[0]):
        corpus: Corpus = open_shards(paths[0], tokenizer)
    else:
        corpus = _read(Text.of(paths, field), tokenizer)
    shortest = min(len(corpus.training), len(corpus.validation))
    if shortest < minimum:
        raise InputError(
            f"{corpus.name}: too short: {len(corpus.training):,} tokens for training and"
            f" {len(corpus.validation):,} held out (a tenth), but a sequence has {minimum:,}: give"
            " more text, or a recipe of a shorter length"
        )
    return corpus


def first_tokens(
    paths: list[Path], tokenizer: TextTokenizer, count: int, *, field: str = DEFAULT_FIELD
) -> tuple[NDArray[np.integer], str]:
    """The first ``count`` tokens of a text, or of what shards hold out, and what to call it.

    Of a text both sides of the split: nobody trains on it here, and no more of it is read.

    Raises
    ------
    InputError
        If the text cannot be used, or the shards are of another tokenizer.
    """
    if len(paths) == 1 and is_shards(paths[0]):
        corpus = open_shards(paths[0], tokenizer)
        return corpus.validation[:count], corpus.name
    text = Text.of(paths, field)
    found, left = tokenizer.encode_texts([""]), count
    for _, ids in tokenize(text.pieces(), tokenizer, begin=not text.is_one):
        found.append(ids)
        left -= len(ids)
        if left <= 0:
            break
    return np.concatenate(found)[:count], text.name


def _read(text: Text, tokenizer: TextTokenizer) -> Corpus:
    sides: tuple[list[NDArray[np.integer]], ...] = ([], [])
    held_out_bytes = 0
    for piece, ids in tokenize(text.pieces(), tokenizer, begin=not text.is_one):
        sides[piece.held_out].append(ids)
        held_out_bytes += len(piece.text.encode("utf-8")) if piece.held_out else 0
    nothing = tokenizer.encode_texts([""])
    training, validation = (np.concatenate(side or nothing) for side in sides)
    return Corpus(text.name, training, validation, held_out_bytes)

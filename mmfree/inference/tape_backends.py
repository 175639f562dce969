"""Backends that play a tape themselves: what they have in common, and the golden model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mmfree.errors import InputError
from mmfree.golden.opening import golden_of
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import AnyTape
from mmfree.text.subword import SubwordTokenizer
from mmfree.text.tokenizer import Tokenizer, document_ends, text_tokenizer
from mmfree.text.tokenizers import begin_with, tokenizer_from_dict


class TapeBackend:
    """What a tape says of itself, as ``Backend`` has it.

    Raises
    ------
    InputError
        If the tape has no tokenizer, or one that is not its model's.
    """

    training: Path | None = None

    def __init__(self, tape: AnyTape) -> None:
        self.tape = tape
        self.tokenizer = tokenizer_of(tape)
        self.choosable: NDArray[np.bool_] | None = None
        self.end_ids: tuple[int, ...]
        if isinstance(tape, Tape):
            self.fraction_bits = tape.formats.residual_fb
            self.end_ids = document_ends(self.tokenizer)
        else:
            self.fraction_bits, self.end_ids = tape.formats.logit_fb, tape.end_ids
            # Published vocabularies are padded.
            self.choosable = choosable_rows(self.tokenizer, tape.config.head_size, self.end_ids)


class GoldenBackend(TapeBackend):
    """The golden model of a tape's arithmetic. Raises what TapeBackend does."""

    name = "golden"

    def __init__(self, tape: AnyTape) -> None:
        super().__init__(tape)
        self.golden = golden_of(tape)

    def state(self, batch: int) -> NDArray[np.signedinteger[Any]]:
        """Zeros, integers [L, B, w]."""
        zeros: NDArray[np.signedinteger[Any]] = self.golden.state(batch)
        return zeros

    def run(
        self, ids: NDArray[np.integer], state: NDArray[np.signedinteger[Any]]
    ) -> tuple[NDArray[np.int32], NDArray[np.signedinteger[Any]]]:
        """See Backend; logits are int32."""
        logits = np.empty((*ids.shape, self.tape.config.head_size), dtype=np.int32)
        # Many small products: with more than one thread BLAS waits more than it computes.
        with threadpool_limits(1, user_api="blas"):
            for position in range(ids.shape[1]):
                logits[:, position], state = self.golden.step(ids[:, position], state)
        return logits, state


def tokenizer_of(tape: AnyTape) -> Tokenizer:
    """The tokenizer on a tape; InputError if it has none, or another model's."""
    if tape.tokenizer.get("kind") == "none":
        raise InputError(
            "the tape has no tokenizer: put tokenizer.json or tokenizer.model into the"
            " checkpoint's folder and export it again"
        )
    tokenizer = tokenizer_from_dict(tape.tokenizer)
    begin_with(tokenizer, tape.start)
    if tokenizer.vocab_size > tape.config.vocab_size:
        raise InputError(
            f"its tokenizer has ids up to {tokenizer.vocab_size - 1}, its model"
            f" {tape.config.vocab_size} words"
        )
    return tokenizer


def choosable_rows(
    tokenizer: Tokenizer, rows: int, end_ids: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """Which rows of a head can be chosen (``Backend.choosable``): tokens, and what begins or ends a
    text.
    """
    text = text_tokenizer(tokenizer)
    can = (
        text.has_token(rows)
        if isinstance(text, SubwordTokenizer)
        else np.arange(rows) < text.vocab_size
    )
    can[[text.start, *end_ids]] = True
    return None if can.all() else can

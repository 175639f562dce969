"""Tokenizers of checkpoints as Hugging Face's ``PreTrainedTokenizerFast``.

Token for token those of ``mmfree.text.tokenizer``.
"""

from __future__ import annotations

import itertools
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as RustTokenizer
from transformers import PreTrainedTokenizerFast

from mmfree.errors import InputError
from mmfree.files.compressed import unpack_text

PROBE = "The 12 quick foxes,\n\tcafé 東京."
"""Text on which a converted tokenizer must give the same ids as the original."""

START_NAME = "<|start|>"

TRAINED_KIND = "tokenizers"
"""Kind of a tokenizer that carries a ``tokenizer.json`` of the tokenizers package, compressed."""


def hugging_face_tokenizer(tokenizer: Any) -> PreTrainedTokenizerFast | None:
    """The same tokenizer for transformers.

    None for a task whose prompts are no plain text (addition, parity).

    Padding is on the left, as ``generate`` needs it.

    Raises
    ------
    InputError
        If the conversion would give other token ids.
    """
    if tokenizer.kind == "bytes":
        raw = byte_level()
    elif tokenizer.kind == TRAINED_KIND:
        raw = RustTokenizer.from_str(unpack_text(tokenizer.to_dict()["data"]).decode())
    else:
        return None
    start: int = tokenizer.start
    token = _start_token(raw, start)
    raw.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A $B", special_tokens=[(token, start)]
    )
    raw.no_truncation()
    raw.no_padding()
    converted = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=token,
        pad_token=token,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        # As in mmfree, no text becomes a control token, even if it spells one. (Bytes: the start
        # token is byte 0.)
        split_special_tokens=tokenizer.kind != "bytes",
    )
    found, wanted = converted(PROBE).input_ids, tokenizer.encode(PROBE)
    if found != wanted:
        raise InputError(
            f"tokenizer: transformers would encode {PROBE!r} as {found[:8]}..., not as"
            f" {wanted[:8]}..."
        )
    return converted


def _start_token(raw: RustTokenizer, start: int) -> str:
    """The token of id ``start``: one more token where the tokenizer has none of its own."""
    if raw.id_to_token(start) is None:
        raw.add_special_tokens([AddedToken(START_NAME, special=True, normalized=False)])
    token = raw.id_to_token(start)
    if token is None:
        raise InputError(
            f"tokenizer: id {start} starts a sequence, but the next free id is"
            f" {raw.token_to_id(START_NAME)}"
        )
    return str(token)


def byte_level() -> RustTokenizer:
    """Ids are bytes of UTF-8.

    Byte 0, which no text holds, is the special token that starts a sequence.
    """
    # The pre-tokenizer writes a byte as a printable character: its own, or the next one from 256
    # on.
    spare = itertools.count(256)
    alphabet = [chr(byte) if _is_printable(byte) else chr(next(spare)) for byte in range(256)]
    alphabet[0] = "\0"
    tokenizer = RustTokenizer(
        models.BPE(vocab={token: byte for byte, token in enumerate(alphabet)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(alphabet[0], special=True, normalized=False)])
    return tokenizer


def _is_printable(byte: int) -> bool:
    return 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF

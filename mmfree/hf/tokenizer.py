"""Tokenizers of checkpoints as Hugging Face's ``PreTrainedTokenizerFast``, with the same ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as RustTokenizer
from transformers import PreTrainedTokenizerFast

from mmfree.errors import InputError
from mmfree.files.compressed import unpack_text
from mmfree.text.subword import JsonTokenizer
from mmfree.text.tokenizer import ByteTokenizer, Tokenizer, text_tokenizer

PROBE = "The 12 quick foxes,\n\tcafé 東京."
"""Text on which a converted tokenizer must give the same ids as the original."""

START_NAME = "<|start|>"
"""Name of a start token that has none."""

_SHOWN = 8
"""Token ids that an error shows."""


def hugging_face_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast | None:
    """The same tokenizer for transformers, padding on the left as ``generate`` needs it.

    None if it is not for text (addition, parity), or a SentencePiece model.

    Raises
    ------
    InputError
        If the conversion would give other token ids, or transformers cannot use the start token.
    """
    if tokenizer.kind == ByteTokenizer.kind:
        raw = byte_level()
    elif tokenizer.kind == JsonTokenizer.kind:
        raw = RustTokenizer.from_str(unpack_text(tokenizer.to_dict()["data"]).decode())
    else:
        return None
    start = text_tokenizer(tokenizer).start
    token = _start_token(raw, start)
    try:
        raw.post_processor = processors.TemplateProcessing(
            single=f"{token} $A", pair=f"{token} $A $B", special_tokens=[(token, start)]
        )
    except Exception as error:  # the library raises nothing narrower
        raise InputError(
            f"tokenizer: the start token {token!r} cannot be put before a text ({error}): give it a"
            " name without spaces and colons"
        ) from None
    converted = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=token,
        pad_token=token,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        # As in mmfree, no text becomes a control token, even if it spells one.
        split_special_tokens=True,
    )
    for text in _probes(raw):
        _check_same(converted, tokenizer, text)
    return converted


def _probes(raw: RustTokenizer) -> Iterator[str]:
    """Texts on which both must agree: also those that spell a control token."""
    yield PROBE
    for token in raw.get_added_tokens_decoder().values():
        if token.special:
            yield token.content
            yield f"a{token.content}b {token.content} c"


def _check_same(converted: PreTrainedTokenizerFast, tokenizer: Tokenizer, text: str) -> None:
    found = converted(text).input_ids
    try:
        wanted = tokenizer.encode(text)
    except InputError:
        # mmfree has no ids for it. transformers may make some up, but no control tokens.
        if not set(found[1:]) & set(converted.all_special_ids):
            return
        wanted = None
    if found != wanted:
        instead = (
            "which mmfree refuses"
            if wanted is None
            else f"not as {wanted[:_SHOWN]}{'...' if len(wanted) > _SHOWN else ''}"
        )
        raise InputError(
            f"tokenizer: transformers would encode {text!r} as {found[:_SHOWN]}"
            f"{'...' if len(found) > _SHOWN else ''}, {instead}; use a tokenizer whose control"
            " tokens are no pieces of its model, such as one trained by mmfree"
        )


def _start_token(raw: RustTokenizer, start: int) -> str:
    """The token of id ``start``, which is added if the tokenizer has none of that id."""
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
    """A tokenizer whose ids are bytes of UTF-8.

    0 starts a sequence, under a name of its own. A text with a NUL character, which mmfree refuses,
    gets a replacement character there: this library can only give ids.
    """
    # The pre-tokenizer writes a byte as a printable character: its own, or the next of those from
    # 256 on.
    spare = itertools.count(256)
    alphabet = [chr(byte) if _is_printable(byte) else chr(next(spare)) for byte in range(256)]
    alphabet[0] = START_NAME
    tokenizer = RustTokenizer(
        models.BPE(vocab={token: byte for byte, token in enumerate(alphabet)}, merges=[])
    )
    tokenizer.normalizer = normalizers.Replace("\0", "\ufffd")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(alphabet[0], special=True, normalized=False)])
    return tokenizer


def _is_printable(byte: int) -> bool:
    return 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF

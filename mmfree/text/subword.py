"""Subword tokenizers: ``tokenizer.json``, SentencePiece, GPT-2's files, and BPEs trained here.

What a tokenizer makes of a text is data: no text becomes a control token, even if it spells one
(``control_tokens``). A model's tokenizer travels whole, compressed, in its checkpoint and its tape.
"""

from __future__ import annotations

import importlib.util
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.extras import how_to_install
from mmfree.files.compressed import check_size, pack_text, unpack_text
from mmfree.text.byte_pairs.encoding import BytePairs
from mmfree.text.control_tokens import TextIds, unknown_token, without_control_tokens
from mmfree.text.tokenizer import TextTokenizer, token_dtype, utf8_bytes

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

START_TOKENS = (
    "<s>",
    "<|begin_of_text|>",
    "<bos>",
    "[BOS]",
    "<|endoftext|>",
    "<|startoftext|>",
    "[CLS]",
)
"""Usual names of a start token, in the order in which they are looked for."""

TRAINED_START = "<|endoftext|>"
"""Start token of a tokenizer trained here: id 0."""

SMALLEST_TRAINED, LARGEST_TRAINED = 257, 1 << 24
"""Sizes of a vocabulary learned here: all bytes and the start token; what a model can have."""


class SubwordTokenizer(ABC):
    """What tokenizers with a vocabulary of their own have in common; they travel whole.

    ``_data``: as ``to_dict`` gave it, to be kept as it is; None: made when it is asked for.
    """

    kind: str
    feeds_back = True
    start: int
    vocab_size: int
    head_size: int
    _data: str | None

    def encode(self, text: str) -> list[int]:
        """``start`` and the text's ids."""
        return [self.start, *self.encode_texts([text])[0].tolist()]

    def to_dict(self) -> dict[str, str]:
        """{"kind": ..., "data": base64 of its zlib-compressed file}."""
        if self._data is None:
            self._data = pack_text(self._contents())
        return {"kind": self.kind, "data": self._data}

    @abstractmethod
    def begin_with(self, start: int) -> None:
        """Let sequences begin with another token, which no text becomes from now on."""

    @abstractmethod
    def encode_texts(self, texts: list[str]) -> list[NDArray[np.integer]]:
        """See ``TextTokenizer``."""

    @abstractmethod
    def has_token(self, count: int) -> NDArray[np.bool_]:
        """Which of the ids 0..count-1 are tokens: a file may leave some out."""

    @abstractmethod
    def decode(self, rows: list[int]) -> str:
        """Text of ids."""

    @abstractmethod
    def _contents(self) -> bytes:
        """Its file."""


class JsonTokenizer(SubwordTokenizer):
    """A tokenizer of the ``tokenizers`` library.

    ``start`` is the token that its post-processor puts in front of an empty text; else the first of
    ``START_TOKENS`` that it knows; else one more id after its own, so that no text makes it.

    Control tokens are ``start``, those that the post-processor adds, and those that the file calls
    special. Other added tokens are text.

    Parameters
    ----------
    text
        Contents of a ``tokenizer.json``.
    data
        The same as ``to_dict`` gave it, to be kept as it is; None: made from ``text`` when it is
        asked for.

    Raises
    ------
    InputError
        If the text is not a ``tokenizer.json``, or too long for a tape.
    """

    kind = "tokenizers"

    def __init__(self, text: str, data: str | None = None) -> None:
        import tokenizers

        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            around: list[int] = self._tokenizer.encode("").ids
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"no tokenizer.json of the tokenizers library: {error}") from None
        check_size(text.encode())
        self.json = json.dumps(json.loads(text), separators=(",", ":")) if data is None else text
        """Contents of its ``tokenizer.json``, for other programs."""
        self._data = data
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self._tokens = np.array(list(vocabulary.values()), dtype=np.int64)
        self._own_ids = max(vocabulary.values(), default=-1) + 1
        named = [vocabulary[name] for name in START_TOKENS if name in vocabulary]
        self.start: int = [*around, *named, self._own_ids][0]
        self.vocab_size = self.head_size = max(self._own_ids, self.start + 1)
        self._around = around
        self._keep_control_out_of_text()

    def _keep_control_out_of_text(self) -> None:
        # As the library understands it: older files leave parts out.
        contents = json.loads(self._tokenizer.to_str())
        tokens = self._tokenizer.get_added_tokens_decoder()
        added = {number: token.content for number, token in tokens.items()}
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        names = {number: name for name, number in vocabulary.items()} | added
        special = {number for number, token in tokens.items() if token.special}
        control = {n: names[n] for n in {self.start, *self._around, *special} & names.keys()}
        self._encoder = without_control_tokens(contents, control, added, self._own_ids)
        # No text spells the token for what is unknown, but what is unknown becomes it.
        unknown = unknown_token(contents["model"])
        control = {n: name for n, name in control.items() if name != unknown or n == self.start}
        self._text_ids = TextIds(control, self._own_ids)

    def begin_with(self, start: int) -> None:
        """Let sequences begin with another token, which no text becomes from now on."""
        if start != self.start:
            self.start = start
            self._keep_control_out_of_text()

    def encode_texts(self, texts: list[str]) -> list[NDArray[np.integer]]:
        """See ``TextTokenizer``."""
        for text in texts:
            utf8_bytes(text)
        try:
            found = self._encoder.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # the library raises nothing narrower
            raise InputError(
                f"the tokenizer cannot encode this text: {error}; use a tokenizer that knows every"
                " character, such as a byte-level one"
            ) from None
        dtype = token_dtype(self.vocab_size)
        return [
            self._text_ids.checked(one.ids, text).astype(dtype)
            for one, text in zip(found, texts, strict=True)
        ]

    def has_token(self, count: int) -> NDArray[np.bool_]:
        """Which of the ids 0..count-1 are tokens: a file may leave some out."""
        return np.isin(np.arange(count), self._tokens)

    def decode(self, rows: list[int]) -> str:
        """Text of ids, control tokens by their names."""
        own = [row for row in rows if row < self._own_ids]
        text: str = self._tokenizer.decode(own, skip_special_tokens=False)
        return text

    def _contents(self) -> bytes:
        return self.json.encode()


class SentencePieceTokenizer(SubwordTokenizer):
    """A SentencePiece model, such as Llama's ``tokenizer.model``.

    ``start`` is its begin-of-sequence id; a model without one, or with one that text may spell
    (user-defined), gets one more id after its own. The library makes no control piece of text.

    Parameters
    ----------
    model
        Contents of the model file.
    data
        The same as ``to_dict`` gave it, to be kept as it is; None: made from ``model`` when it is
        asked for.

    Raises
    ------
    InputError
        If the bytes are not a SentencePiece model, or too many for a tape.
    """

    kind = "sentencepiece"

    def __init__(self, model: bytes, data: str | None = None) -> None:
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"no SentencePiece model: {error}") from None
        check_size(model)
        self._model, self._data = model, data
        self._own_ids: int = self._processor.vocab_size()
        bos: int = self._processor.bos_id()
        self.begin_with(bos if bos >= 0 else self._own_ids)
        self.vocab_size = self.head_size = max(self._own_ids, self.start + 1)

    def begin_with(self, start: int) -> None:
        """Let sequences begin with another token, which no text becomes from now on."""
        self.start = start
        named = {start: self._processor.id_to_piece(start)} if start < self._own_ids else {}
        self._text_ids = TextIds(named, self._own_ids)

    def encode_texts(self, texts: list[str]) -> list[NDArray[np.integer]]:
        """See ``TextTokenizer``."""
        for text in texts:
            utf8_bytes(text)
        dtype = token_dtype(self.vocab_size)
        return [
            self._text_ids.checked(ids, text).astype(dtype)
            for ids, text in zip(self._processor.encode(texts), texts, strict=True)
        ]

    def has_token(self, count: int) -> NDArray[np.bool_]:
        """Which of the ids 0..count-1 are tokens."""
        return np.arange(count) < self._own_ids

    def decode(self, rows: list[int]) -> str:
        """Text of ids; control tokens give none."""
        text: str = self._processor.decode([row for row in rows if row < self._own_ids])
        return text

    def _contents(self) -> bytes:
        return self._model


class BytePairTokenizer(SubwordTokenizer):
    """What JsonTokenizer is, of a plain byte-level BPE alone, for an install without its library.

    Its parameters are that one's.

    Raises
    ------
    InputError
        If the text is that of another kind of tokenizer, or without a start token, or damaged.
    """

    kind = "tokenizers"

    def __init__(self, text: str, data: str | None = None) -> None:
        self._pairs = BytePairs(text)
        check_size(text.encode())
        ids = {name: number for number, name in self._pairs.tokens.items()}
        named = [ids[name] for name in START_TOKENS if name in ids]
        if not named:
            raise InputError(f"no start token: none of {', '.join(START_TOKENS)}")
        self.begin_with(named[0])
        self.vocab_size = self.head_size = max(self._pairs.tokens) + 1
        self._text, self._data = text, data

    def begin_with(self, start: int) -> None:
        """A special token, or InputError: text becomes the others."""
        if start not in self._pairs.added.values():
            raise InputError(
                f"token {start} begins a text, and text becomes it: {how_to_install('text')}"
            )
        self.start = start

    def encode_texts(self, texts: list[str]) -> list[NDArray[np.integer]]:
        """See ``TextTokenizer``."""
        for text in texts:
            utf8_bytes(text)
        dtype = token_dtype(self.vocab_size)
        return [np.fromiter(self._pairs.ids(text), dtype=dtype) for text in texts]

    def has_token(self, count: int) -> NDArray[np.bool_]:
        """Which of the ids 0..count-1 are tokens."""
        return np.isin(np.arange(count), list(self._pairs.tokens))

    def decode(self, rows: list[int]) -> str:
        """Text of ids, control tokens by their names."""
        return self._pairs.text(rows)

    def _contents(self) -> bytes:
        return self._text.encode()


def json_tokenizer(text: str, data: str | None = None) -> TextTokenizer:
    """That of a ``tokenizer.json``; without the library if it is not installed, and not needed.

    ``data``: as JsonTokenizer takes it. Raises what that does, and ModuleNotFoundError.
    """
    if importlib.util.find_spec("tokenizers") is None:
        with suppress(InputError):
            return BytePairTokenizer(text, data)
    return JsonTokenizer(text, data)


def subword_from_dict(data: dict[str, Any]) -> TextTokenizer:
    """The tokenizer that ``to_dict`` described, or whose ``data`` is the file itself (bytes).

    Raises
    ------
    InputError
        If its data is damaged.
    """
    found = data.get("data")
    packed = found if isinstance(found, str) else None
    try:
        if packed is not None:
            found = unpack_text(packed)
        if not isinstance(found, bytes):
            raise InputError(f"expected text or bytes, got {type(found).__name__}")
        if data["kind"] == JsonTokenizer.kind:
            return json_tokenizer(_decoded(found), packed)
        return SentencePieceTokenizer(found, packed)
    except InputError as error:
        raise InputError(
            f"tokenizer: the data of kind {data['kind']} is damaged: {error}"
        ) from None


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: {error}") from None


def load_pair(vocabulary: Path, merges: Path) -> JsonTokenizer:
    """A byte-level BPE from GPT-2's two files: ids by token, and the list of merges.

    Raises
    ------
    InputError
        If they are not a byte-pair encoding.
    """
    import tokenizers
    from tokenizers import models

    try:
        model = models.BPE.from_file(str(vocabulary), str(merges))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(
            f"{vocabulary.name} and {merges.name} are no byte-pair encoding: {error}"
        ) from None
    tokenizer = tokenizers.Tokenizer(model)
    _make_byte_level(tokenizer)
    tokenizer.add_special_tokens(
        [name for name in START_TOKENS if tokenizer.token_to_id(name) is not None]
    )
    return JsonTokenizer(tokenizer.to_str())


def _make_byte_level(tokenizer: RustTokenizer) -> None:
    from tokenizers import decoders, pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()


def train_bpe(texts: Iterable[str], vocab_size: int) -> JsonTokenizer:
    """A byte-level BPE learned from ``texts``: the same from the same texts.

    Its alphabet holds all bytes, so it encodes every text without loss.

    Raises
    ------
    InputError
        If ``vocab_size`` is not in 257..2^24, or the texts do not hold that many pairs.
    """
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    if not SMALLEST_TRAINED <= vocab_size <= LARGEST_TRAINED:
        raise InputError(
            f"a byte-pair vocabulary has at least {SMALLEST_TRAINED} tokens and at most"
            f" {LARGEST_TRAINED}, got {vocab_size}"
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    _make_byte_level(tokenizer)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[TRAINED_START],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if (found := tokenizer.get_vocab_size()) != vocab_size:
        raise InputError(
            f"the text is too short for {vocab_size} tokens: it gives {found}; ask for at most"
            f" {found}"
        )
    return JsonTokenizer(tokenizer.to_str())

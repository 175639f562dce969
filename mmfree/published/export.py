"""Export of published checkpoints to version 2 tapes, a tensor at a time.

The integers are those of docs/arithmetic_absmax.md, 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmfree.contract.absmax import (
    CONSTANT_BITS,
    DEFAULT_ABSMAX_FORMATS,
    GAIN_BITS,
    PROJECTION_EPS,
    SMALLEST_ABSMEAN,
    WITHOUT_NORM,
    AbsmaxFormats,
    sigmoid_table,
)
from mmfree.contract.shape import AbsmaxConfig, segment_name
from mmfree.published.hgrn_bit import (
    CONFIG_NAME,
    LOWER_BOUNDS,
    lower_bounds,
    open_checkpoint,
)
from mmfree.published.tensors import PublishedError, Tensors
from mmfree.tape.absmax import EMBEDDING_FB_RANGE, GAIN_FB_RANGE, write_absmax_tape
from mmfree.tape.container import TapeWriter
from mmfree.tape.trits import pack_trits
from mmfree.text.subword import JsonTokenizer, SentencePieceTokenizer

_ABSMEAN_ONE = 2.0**32
_LARGEST_WEIGHT = 1024.0
"""Beyond it the exact sum of a block of weights could overflow."""

MOST_PADDING = 1023
"""Most ids without a token: vocabularies are padded up to a multiple of at most 1024. With more the
tokenizer is probably another model's."""

_NAMES = {
    "gates": ("attn_norm", {"i": "attn.i_proj", "f": "attn.f_proj", "g": "attn.g_proj"}),
    "output": ("attn.g_norm", {"o": "attn.o_proj"}),
    "glu": ("mlp_norm", {"gate_up": "mlp.gate_proj"}),
    "down": (None, {"down": "mlp.down_proj"}),
}
"""Kind of segment -> the norm before it, and its matrices by role, as the checkpoint names them
within a layer.
"""


@dataclass(frozen=True)
class Exported:
    """A tape that was written: its identity, its size, and the model's shape."""

    sha256: str
    bytes: int
    config: AbsmaxConfig


def export_published(
    folder: Path,
    out: Path,
    *,
    tokenizer: dict[str, Any] | None = None,
    formats: AbsmaxFormats = DEFAULT_ABSMAX_FORMATS,
) -> Exported:
    """Write the checkpoint in ``folder`` as the tape ``out``.

    Never is more than one tensor in memory. The file appears only when it is whole.

    Parameters
    ----------
    folder
        config.json and safetensors, in one file or several.
    out
        The tape.
    tokenizer
        Its description; None: that of the folder's own tokenizer.
    formats
        Number formats.

    Raises
    ------
    InputError
        If the folder cannot be read as a published checkpoint, or its values have no place on a
        tape; the message names folder or file, and tensor.
    """
    try:
        return _export(folder, out, tokenizer, formats)
    except PublishedError as error:
        raise (
            error if str(error).startswith(str(folder)) else PublishedError(f"{folder}: {error}")
        ) from None


def _export(
    folder: Path, out: Path, tokenizer: dict[str, Any] | None, formats: AbsmaxFormats
) -> Exported:
    config, tensors = open_checkpoint(folder)
    if tokenizer is None:
        tokenizer = read_tokenizer(folder, config.vocab_size, config.bos_token_id)
    one = 2**formats.forget_fb
    bounds = np.clip(np.rint(lower_bounds(tensors, config) * one), 0, one).astype(np.int32)
    with tqdm(total=len(tensors), unit="tensor", disable=None, leave=False) as progress:
        largest = _largest_of_rows(tensors)
        embedding_fb = _embedding_fb(float(largest.max()))
        with write_absmax_tape(out, config, tokenizer, embedding_fb, formats) as writer:
            values, rises = sigmoid_table()
            writer.write("sigmoid/values", values)
            writer.write("sigmoid/rises", rises)
            _write_embedding(tensors, writer, largest, embedding_fb)
            writer.write("lower_bounds", bounds)
            progress.update(1 + (LOWER_BOUNDS in tensors))
            for kind, layer, _, fan_in in config.segments():
                offset = offset_constant(kind, fan_in, config.norm_eps)
                writer.write(f"{segment_name(kind, layer)}/offset", np.array(offset, np.int32))
                _write_segment(tensors, writer, kind, layer, progress)
    return Exported(writer.sha256, writer.bytes, config)


def _largest_of_rows(tensors: Tensors) -> NDArray[np.float64]:
    blocks = tensors.blocks("model.embeddings.weight")
    return np.concatenate([np.abs(block).max(axis=1) for block in blocks]).astype(np.float64)


def _embedding_fb(largest: float) -> int:
    """Section 2: the most fraction bits with which every row's scale fits 16 bits."""
    low, high = EMBEDDING_FB_RANGE
    fits = [bits for bits in range(low, high + 1) if math.ceil(largest * 2**bits / 127) <= 0xFFFF]
    if not fits:
        raise PublishedError(
            f"model.embeddings.weight: values must stay below {127 * 0xFFFF / 2**low:.0f}, found"
            f" {largest:g}"
        )
    return fits[-1]


def _write_embedding(
    tensors: Tensors, writer: TapeWriter, largest: NDArray[np.float64], fraction_bits: int
) -> None:
    scales = np.ceil(largest * 2.0**fraction_bits / 127).astype(np.uint16)
    writer.write("embedding/scale", scales)
    first = 0
    for block in tensors.blocks("model.embeddings.weight"):
        steps = np.maximum(scales[first : first + len(block)], 1)[:, None] * 2.0**-fraction_bits
        writer.write("embedding/rows", np.rint(block / steps).astype(np.int8))
        first += len(block)


def _write_segment(
    tensors: Tensors, writer: TapeWriter, kind: str, layer: int | None, progress: tqdm
) -> None:
    if layer is None:
        norm_name: str | None = "model.norm"
        names = {"head": "lm_head"}
    else:
        norm, within = _NAMES[kind]
        norm_name = None if norm is None else f"model.layers.{layer}.{norm}"
        names = {role: f"model.layers.{layer}.{name}" for role, name in within.items()}
    prefix = segment_name(kind, layer)
    before: NDArray[np.float64] | float = 1.0
    assert (norm_name is None) == (kind == WITHOUT_NORM)
    if norm_name is not None:
        before = tensors.read(f"{norm_name}.weight")
        values, fraction_bits = quantize_gain(f"{norm_name}.weight", before)
        writer.write(f"{prefix}/norm_fb", np.array([fraction_bits], dtype=np.int32))
        writer.write(f"{prefix}/norm", values)
        progress.update()
    for role, name in names.items():
        gain = before * tensors.read(f"{name}.norm.weight")
        values, fraction_bits = quantize_gain(f"{name}.norm.weight", gain)
        trits, absmean = quantize_matrix(tensors, f"{name}.weight")
        mantissa, exponent = matrix_constant(absmean, trits.shape[1])
        writer.write(
            f"{prefix}/{role}/constants",
            np.array([fraction_bits, mantissa, exponent], dtype=np.int32),
        )
        writer.write(f"{prefix}/{role}/gain", values)
        writer.write(f"{prefix}/{role}/trits", pack_trits(trits))
        progress.update(2)


def quantize_gain(name: str, gain: NDArray[np.float64]) -> tuple[NDArray[np.int32], int]:
    """Section 1: gains as integers of 24 bits, int32 [n], and their fraction bits.

    These are the most with which all gains fit.

    Raises
    ------
    PublishedError
        If a gain is too large for any.
    """
    low, high = GAIN_FB_RANGE
    largest = float(np.abs(gain).max())
    for fraction_bits in range(high, low - 1, -1):
        if np.rint(largest * 2.0**fraction_bits) < 1 << (GAIN_BITS - 1):
            return np.rint(gain * 2.0**fraction_bits).astype(np.int32), fraction_bits
    raise PublishedError(
        f"{name}: gains must stay below {2.0 ** (GAIN_BITS - 1 - low):g}, found {largest:g}"
    )


def quantize_matrix(tensors: Tensors, name: str) -> tuple[NDArray[np.int8], float]:
    """Section 1: the trits int8 [rows, n] of a latent matrix, and mean |W|, at least 1e-5.

    The mean is that of docs/arithmetic.md, 3: an exact sum of integers, independent of its order.
    """
    total = count = 0
    for block in tensors.blocks(name):
        magnitude = np.abs(block).astype(np.float64)
        if (largest := float(magnitude.max())) > _LARGEST_WEIGHT:
            raise PublishedError(
                f"{name}: weights must stay within {_LARGEST_WEIGHT:g}, found {largest:g}"
            )
        total += int(np.rint(magnitude * _ABSMEAN_ONE).astype(np.int64).sum())
        count += block.size
    absmean = max(total / (_ABSMEAN_ONE * count), SMALLEST_ABSMEAN)
    # Of NumPy's own type: beside a Python float float32 weights would be compared with its float32.
    half = np.float64(absmean / 2)
    blocks = [
        (block > half).astype(np.int8) - (block < -half).astype(np.int8)
        for block in tensors.blocks(name)
    ]
    return np.concatenate(blocks), absmean


def matrix_constant(absmean: float, fan_in: int) -> tuple[int, int]:
    """Section 1: mantissa (24 bits) and exponent of absmean * sqrt(fan_in) / 127."""
    return _constant(absmean * math.sqrt(fan_in) / 127)


def offset_constant(kind: str, fan_in: int, norm_eps: float) -> tuple[int, int]:
    """Section 1: mantissa (24 bits) and exponent of what a segment adds under its root."""
    own = PROJECTION_EPS * fan_in
    return _constant(own if kind == WITHOUT_NORM else own * norm_eps)


def _constant(value: float) -> tuple[int, int]:
    """Mantissa (24 bits, rounded) and exponent of a positive number."""
    mantissa, exponent = math.frexp(value)
    whole = math.floor(mantissa * 2**CONSTANT_BITS + 0.5)
    if whole == 1 << CONSTANT_BITS:
        return whole >> 1, exponent - CONSTANT_BITS + 1
    return whole, exponent - CONSTANT_BITS


def read_tokenizer(
    folder: Path, vocab_size: int, bos_token_id: int | None = None
) -> dict[str, Any]:
    """Description of the folder's tokenizer: {"kind", "data": the file's contents}.

    It is {"kind": "none"} if the folder has none.

    A vocabulary may be larger than its tokenizer, up to ``MOST_PADDING`` ids.

    Raises
    ------
    PublishedError
        If the file is damaged, an id or the start token is beyond ``vocab_size``, or too many have
        no token.
    """
    for name, kind in (
        ("tokenizer.json", JsonTokenizer.kind),
        ("tokenizer.model", SentencePieceTokenizer.kind),
    ):
        path = folder / name
        if path.is_file():
            description = {"kind": kind, "data": path.read_bytes()}
            _check_tokenizer(path, description, vocab_size, bos_token_id)
            return description
    return {"kind": "none"}


def _check_tokenizer(
    path: Path, description: dict[str, Any], vocab_size: int, bos_token_id: int | None
) -> None:
    data: bytes = description["data"]
    try:
        tokenizer = (
            SentencePieceTokenizer(data)
            if description["kind"] == SentencePieceTokenizer.kind
            else JsonTokenizer(data.decode("utf-8"))
        )
    except ValueError as error:  # of the classes' own, or not UTF-8
        raise PublishedError(f"{path}: not a tokenizer: {error}") from None
    is_token = tokenizer.has_token(max(tokenizer.vocab_size, vocab_size))
    tokens = int(is_token.sum())
    size = f"vocab_size of {CONFIG_NAME} is {vocab_size}"
    if is_token[vocab_size:].any():
        raise PublishedError(
            f"{path}: has {tokens} tokens, with ids up to {is_token.nonzero()[0][-1]}, but {size}:"
            " is it another model's tokenizer?"
        )
    if vocab_size - tokens > MOST_PADDING:
        raise PublishedError(
            f"{path}: has {tokens} tokens, but {size}: at most {MOST_PADDING} ids can be padding;"
            " is it another model's tokenizer?"
        )
    # A tokenizer without one takes an id after its own, which would be padding here.
    if bos_token_id is None and not is_token[tokenizer.start]:
        raise PublishedError(
            f"{path}: names no start token: name one in bos_token_id of {CONFIG_NAME}"
        )

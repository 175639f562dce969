"""Tapes of version 2 written field by field, with what a test wants in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import (
    DEFAULT_ABSMAX_FORMATS,
    ROLES_BY_KIND,
    SIGMOID_ENTRIES,
    WITHOUT_NORM,
    AbsmaxFormats,
    sigmoid_table,
)
from mmfree.contract.shape import AbsmaxConfig, segment_name
from mmfree.published.export import offset_constant
from mmfree.tape.absmax import AbsmaxTape, tape_fields, write_absmax_tape
from mmfree.tape.container import INT24
from mmfree.tape.trits import pack_trits

TINY = AbsmaxConfig(vocab_size=4, hidden_size=3, intermediate_size=2, num_layers=2)
ZEROS = 121
"""The code of five zero trits."""


def absmax_tape(
    folder: Path,
    changes: Mapping[str, Any],
    *,
    config: AbsmaxConfig = TINY,
    embedding_fb: int = 20,
    formats: AbsmaxFormats = DEFAULT_ABSMAX_FORMATS,
    name: str = "a.tape",
) -> AbsmaxTape:
    """A tape that is opened again: unit gains, no weights, and ``changes``, field -> contents."""
    path = folder / name
    left = dict(changes)
    with write_absmax_tape(path, config, {"kind": "none"}, embedding_fb, formats) as writer:
        for field in tape_fields(config):
            kind = np.int32 if field.dtype == INT24 else np.dtype(field.dtype)
            contents = left.pop(field.name) if field.name in left else _usual(field.name)
            array: NDArray[Any] = np.broadcast_to(np.asarray(contents), field.shape).astype(kind)
            writer.write(field.name, array)
    assert not left, f"no such fields: {sorted(left)}"
    return AbsmaxTape(path)


def _usual(name: str) -> Any:
    match name.rpartition("/")[2]:
        case "values":
            return sigmoid_table()[0]
        case "rises":
            return sigmoid_table()[1]
        case "offset":
            return [1 << 23, -60]
        case "constants":
            return [12, 1 << 23, -22]
        case "gain":
            return 1 << 12
        case "norm_fb":
            return 8
        case "norm":
            return 1 << 8
        case "trits":
            return ZEROS
        case "lower_bounds":
            return 0
    return 1


_TAME_EXPONENT = -31
"""Of a matrix's constant: outputs are of the size of their inputs."""


def random_absmax_tape(
    folder: Path,
    config: AbsmaxConfig,
    seed: int,
    *,
    wild: bool = False,
    embedding_fb: int | None = None,
    formats: AbsmaxFormats = DEFAULT_ABSMAX_FORMATS,
) -> AbsmaxTape:
    """A tape with values as trained models have them.

    ``wild``: with numbers over their whole ranges and at the ends of them. Tokens other than 0,
    whose embedding is zero, saturate at every site in layer 0, later layers may do anything.
    ``embedding_fb``: None for 24; one that makes the residual large if wild.
    """
    rng = np.random.default_rng(seed)
    fields = (_wild_fields if wild else _tame_fields)(config, formats, rng)
    if embedding_fb is None:
        embedding_fb = int(rng.choice([11, 17, 24])) if wild else 24
    return absmax_tape(
        folder,
        fields,
        config=config,
        embedding_fb=embedding_fb,
        formats=formats,
        name=f"{'wild' if wild else 'tame'}-{seed}.tape",
    )


def _shared_fields(config: AbsmaxConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Weights of which a third are zero, embedding rows, and offsets as an exporter has them."""
    shape = (config.vocab_size, config.hidden_size)
    fields: dict[str, Any] = {"embedding/rows": rng.integers(-128, 128, shape, dtype=np.int8)}
    for kind, layer, rows, fan_in in config.segments():
        prefix = segment_name(kind, layer)
        fields[f"{prefix}/offset"] = offset_constant(kind, fan_in, config.norm_eps)
        for role in ROLES_BY_KIND[kind]:
            trits = rng.integers(-1, 2, (rows, fan_in), dtype=np.int8)
            fields[f"{prefix}/{role}/trits"] = pack_trits(trits)
    return fields


def _tame_fields(
    config: AbsmaxConfig, formats: AbsmaxFormats, rng: np.random.Generator
) -> dict[str, Any]:
    one = 1 << formats.forget_fb
    bounds = rng.integers(0, one // 2, (config.num_layers, config.hidden_size))
    bounds[0] = 0
    fields = _shared_fields(config, rng) | {
        "embedding/scale": rng.integers(1 << 14, 1 << 16, config.vocab_size),
        "lower_bounds": bounds,
    }
    for kind, layer, _, fan_in in config.segments():
        prefix = segment_name(kind, layer)
        if kind != WITHOUT_NORM:
            fields[f"{prefix}/norm_fb"] = 22
            fields[f"{prefix}/norm"] = rng.integers(1 << 21, 1 << 23, fan_in)
        for role in ROLES_BY_KIND[kind]:
            mantissa = int(rng.integers(1 << 23, 1 << 24))
            exponent = _TAME_EXPONENT + int(rng.integers(-1, 2))
            fields[f"{prefix}/{role}/constants"] = [22, mantissa, exponent]
            fields[f"{prefix}/{role}/gain"] = rng.integers(1 << 21, 1 << 23, fan_in)
    return fields


def _wild_fields(
    config: AbsmaxConfig, formats: AbsmaxFormats, rng: np.random.Generator
) -> dict[str, Any]:
    one = 1 << formats.forget_fb
    scale = rng.integers(0, 1 << 16, config.vocab_size)
    scale[0], scale[1:2] = 0, 0xFFFF
    values = rng.integers(0, 1 << 24, SIGMOID_ENTRIES)
    rises = np.minimum(rng.integers(0, 1 << 15, SIGMOID_ENTRIES), (1 << 24) - values)
    fields = _shared_fields(config, rng) | {
        "embedding/scale": scale,
        "sigmoid/values": values,
        "sigmoid/rises": rises,
        "lower_bounds": _with_ends(rng, 0, one, (config.num_layers, config.hidden_size)),
    }
    for kind, layer, _, fan_in in config.segments():
        prefix = segment_name(kind, layer)
        free = layer is not None and layer > 0
        norm: NDArray[Any] = np.ones(1)
        norm_fb = 0
        if free and rng.random() < 0.5:
            exponent = int(rng.choice([-96, 0, int(rng.integers(-95, 0))]))
            fields[f"{prefix}/offset"] = [int(rng.integers(1 << 23, 1 << 24)), exponent]
        if kind != WITHOUT_NORM:
            norm_fb = int(rng.choice([-14, 38, int(rng.integers(-14, 39))])) if free else 22
            fields[f"{prefix}/norm_fb"] = norm_fb
            norm = _with_ends(rng, -(1 << 23), (1 << 23) - 1, (fan_in,))
            fields[f"{prefix}/norm"] = norm
        for role in ROLES_BY_KIND[kind]:
            gain_fb = 22 if norm_fb == 0 else norm_fb
            gains = _with_ends(rng, -(1 << 23), (1 << 23) - 1, (fan_in,))
            # Outputs have about 127 sqrt(2/3) times the constant, times the ratio of the gains.
            ratio = _rms(gains, gain_fb) / _rms(norm, norm_fb)
            exponent = math.ceil(_aim(role, formats) - math.log2(104 * ratio)) - 24
            if free and rng.random() < 0.5:
                exponent = int(rng.choice([-64, 16, int(rng.integers(-45, 1))]))
            mantissa = int(rng.integers(1 << 23, 1 << 24))
            fields[f"{prefix}/{role}/constants"] = [gain_fb, mantissa, exponent]
            if free and rng.random() < 0.1:
                gains[:] = 0
            fields[f"{prefix}/{role}/gain"] = gains
    return fields


def _aim(role: str, formats: AbsmaxFormats) -> int:
    """log2 of the size that the outputs of a matrix are to have: some of them saturate."""
    if role == "head":
        return 31 - formats.logit_fb
    return 30 - (formats.residual_fb if role in ("o", "down") else formats.activation_fb)


def _rms(values: NDArray[Any], fraction_bits: int) -> float:
    return max(float(np.sqrt(np.mean(np.square(values * 2.0**-fraction_bits)))), 2.0**-40)


def _with_ends(
    rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Integers of any number of bits, both ends and 0 among them."""
    values = rng.integers(low, high + 1, shape) >> rng.integers(0, 10, shape)
    ends = rng.choice(np.array([low, high, 0]), shape)
    mixed: NDArray[np.int64] = np.where(rng.random(shape) < 0.15, ends, values)
    return mixed

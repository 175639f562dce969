"""Tapes of version 2 written field by field, with what a test wants in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import DEFAULT_ABSMAX_FORMATS, AbsmaxFormats, sigmoid_values
from mmfree.contract.shape import AbsmaxConfig
from mmfree.tape.absmax import AbsmaxTape, tape_fields, write_absmax_tape
from mmfree.tape.container import INT24

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
) -> AbsmaxTape:
    """A tape that is opened again: unit gains, no weights, and ``changes``, field -> contents."""
    path = folder / "a.tape"
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
        case "sigmoid":
            return sigmoid_values()
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

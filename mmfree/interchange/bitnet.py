"""A tape's trits in the packing that Hugging Face calls ``bitnet``: four to a byte.

Each matrix has a scale. The packing is that of ``transformers.integrations.bitnet`` (pack_weights,
unpack_weights); docs/huggingface.md says what others can do with the file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.pow2 import ROLES, SEGMENT_MODULES
from mmfree.errors import InputError
from mmfree.files.folders import FolderKind
from mmfree.tape.pow2 import Matrix, Tape

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
BITNET_FOLDER = FolderKind.of(CONFIG_NAME, WEIGHTS_NAME)
TRITS_PER_BYTE = 4


def pack_trits(trits: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Trits [rows, columns] packed four rows to a byte: uint8 [R, columns], R = ceil(rows / 4).

    Byte (r, c) holds rows r, r + R, r + 2R and r + 3R of column c, two bits each, the first in the
    lowest; a trit t is stored as t + 1. Where ``rows`` is not a multiple of 4 the bits of the
    missing rows are 0, which reads as -1: a reader must know ``rows``.

    Raises
    ------
    InputError
        If the array is not [rows >= 1, columns], or holds anything but -1, 0 and 1.
    """
    if trits.ndim != 2 or trits.shape[0] < 1:
        raise InputError(f"trits must be [rows >= 1, columns], got shape {trits.shape}")
    if not np.isin(trits, (-1, 0, 1)).all():
        raise InputError(f"trits must be -1, 0 or 1, got values in {trits.min()}..{trits.max()}")
    rows, columns = trits.shape
    packed_rows = -(-rows // TRITS_PER_BYTE)
    codes = np.zeros((TRITS_PER_BYTE * packed_rows, columns), dtype=np.uint8)
    codes[:rows] = trits + 1
    return np.bitwise_or.reduce(
        [
            part << (2 * place)
            for place, part in enumerate(codes.reshape(TRITS_PER_BYTE, packed_rows, columns))
        ]
    )


def unpack_trits(packed: NDArray[np.uint8], rows: int | None = None) -> NDArray[np.int8]:
    """The trits that ``pack_trits`` packed, int8 [rows, columns]; by default all 4 R rows.

    Raises
    ------
    InputError
        If the array is not uint8 [R, columns], ``rows`` does not belong to R, a code is 3, or bits
        of missing rows are set.
    """
    if packed.ndim != 2 or packed.dtype != np.uint8:
        raise InputError(
            f"packed trits must be uint8 [rows / 4, columns], got {packed.dtype} {packed.shape}"
        )
    most = TRITS_PER_BYTE * packed.shape[0]
    rows = most if rows is None else rows
    if not most - TRITS_PER_BYTE < rows <= most:
        raise InputError(
            f"{packed.shape[0]} packed rows hold {max(most - 3, 0)}..{most} rows, got rows {rows}"
        )
    codes = np.concatenate([packed >> (2 * place) & 3 for place in range(TRITS_PER_BYTE)])
    if (codes == 3).any():
        raise InputError(
            "packed trits: code 3 is not a trit; the data are damaged or of another packing"
        )
    if codes[rows:].any():
        raise InputError(
            f"packed trits: bits after row {rows} are set; the data are damaged or have more rows"
        )
    return codes[:rows].astype(np.int8) - np.int8(1)


def matrix_scale(matrix: Matrix) -> float:
    """m_w / 256 * 2^a / sqrt(fan-in), the value of a trit of the matrix (docs/arithmetic.md, 3)."""
    return math.ldexp(matrix.multiplier, matrix.exponent - 8) / math.sqrt(matrix.fan_in)


def bitnet_tensors(tape: Tape) -> dict[str, NDArray[Any]]:
    """Arrays of a ``bitnet`` file by name; the names are those of the checkpoint.

    ``NAME.weight`` uint8 and ``NAME.weight_scale`` float32 [1] for each matrix;
    ``layers.N.mixer.f.bias`` float32 [d]; ``embedding.weight`` int8 [vocab_size, d] and
    ``embedding.weight_scale`` float32 [1]. A weight is its integer times its scale.
    """
    gate_step = 2.0 ** -ROLES["f"].fraction_bits(tape.config.gate, tape.formats)
    row_step = 2.0 ** (tape.embedding_shift - tape.formats.residual_fb)
    tensors: dict[str, NDArray[Any]] = {
        "embedding.weight": tape.embedding,
        "embedding.weight_scale": np.array([row_step], dtype=np.float32),
    }
    for name, matrix in _named_matrices(tape).items():
        tensors[f"{name}.weight"] = pack_trits(matrix.trits)
        tensors[f"{name}.weight_scale"] = np.array([matrix_scale(matrix)], dtype=np.float32)
        if matrix.bias is not None:
            tensors[f"{name}.bias"] = (matrix.bias * gate_step).astype(np.float32)
    return tensors


def bitnet_config(tape: Tape) -> dict[str, Any]:
    """config.json of a ``bitnet`` folder.

    It holds the shape, the packing, the tape's identity, and each matrix's rows and exact scale.
    """
    return {
        "model_type": "mmfree-bitnet",
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
        },
        "tape_sha256": tape.sha256,
        **tape.config.to_dict(),
        "tokenizer": tape.tokenizer,
        "matrices": {
            name: {
                "rows": matrix.rows,
                "fan_in": matrix.fan_in,
                "multiplier": matrix.multiplier,
                "exponent": matrix.exponent,
            }
            for name, matrix in _named_matrices(tape).items()
        },
    }


def write_bitnet(tape: Tape, folder: Path) -> None:
    """Write ``model.safetensors`` and ``config.json`` into an existing folder."""
    from safetensors.numpy import save

    (folder / WEIGHTS_NAME).write_bytes(save(bitnet_tensors(tape), {"format": "pt"}))
    (folder / CONFIG_NAME).write_text(
        json.dumps(bitnet_config(tape), indent=1) + "\n", encoding="utf-8"
    )


def _named_matrices(tape: Tape) -> dict[str, Matrix]:
    names: dict[str, Matrix] = {}
    for segment in tape.segments:
        prefix = (
            ""
            if segment.layer is None
            else f"layers.{segment.layer}.{SEGMENT_MODULES[segment.kind]}."
        )
        names |= {prefix + matrix.role: matrix for matrix in segment.matrices}
    return names

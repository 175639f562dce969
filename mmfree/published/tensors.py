"""The tensors of a published checkpoint: safetensors in one file or several, read without torch.

The format: 8 bytes with the header's size, the header (JSON: name to dtype, shape and offsets),
then the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.tensor_names import without_wrappers
from mmfree.errors import InputError
from mmfree.files.atomic import parse_json, read_json

SINGLE_NAME, INDEX_NAME = "model.safetensors", "model.safetensors.index.json"

_BODY, _HEAD = "model.", "lm_head."
"""What the names of all tensors begin with."""

_DTYPES = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}
_CHUNK = 1 << 20
"""Values converted to floats at a time."""

_HEADER_LIMIT = 100_000_000
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class PublishedError(InputError):
    """A folder that cannot be read as a published checkpoint; the message names file and field."""


def canonical_name(name: str) -> str:
    """The name that a tensor has in ``expected_tensors``.

    Wrappers are left out; without ``model.`` in front of its names a folder holds the same model.
    """
    inner = without_wrappers(name)
    return inner if inner.startswith((_BODY, _HEAD)) else f"{_BODY}{inner}"


@dataclass(frozen=True)
class _Entry:
    """Where a tensor is, and its name there."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


class Tensors:
    """The tensors of a folder, by their canonical names: read when asked for, one at a time.

    As for transformers a whole file comes before shards, whose index may be left from before.

    Raises
    ------
    PublishedError
        If there are no safetensors files, or one is damaged, or missing though the index names it,
        or two tensors are the same one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if (folder / SINGLE_NAME).is_file():
            found = _read_header(folder / SINGLE_NAME)
        elif (folder / INDEX_NAME).is_file():
            found = self._read_index(folder / INDEX_NAME)
        else:
            pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
            hint = (
                f"; {pickles[0]} is a pickle, which can run any code: convert it to safetensors"
                if pickles
                else ""
            )
            raise PublishedError(f"{folder}: neither {SINGLE_NAME} nor {INDEX_NAME}{hint}")
        self._entries: dict[str, _Entry] = {}
        for entry in found.values():
            name = canonical_name(entry.name)
            if (other := self._entries.get(name)) is not None:
                raise PublishedError(
                    f"{entry.path}: tensors {other.name} and {entry.name} are both {name}: keep one"
                    " of them"
                )
            self._entries[name] = entry

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def _read_index(self, path: Path) -> dict[str, _Entry]:
        data = read_json(path)
        places = data.get("weight_map") if isinstance(data, dict) else None
        if not isinstance(places, dict) or not all(
            isinstance(name, str) for name in places.values()
        ):
            raise PublishedError(
                f"{path}: expected an object with weight_map, from tensors to files"
            )
        entries: dict[str, _Entry] = {}
        for name in sorted(set(places.values())):
            shard = self.folder / name
            if Path(name).name != name or not shard.is_file():
                raise PublishedError(
                    f"{path}: names the file {name!r}, which is missing in {self.folder}"
                )
            for tensor, entry in _read_header(shard).items():
                if places.get(tensor) != name:
                    raise PublishedError(
                        f"{shard}: holds tensor {tensor}, which {INDEX_NAME} does not place there"
                    )
                entries[tensor] = entry
        if lost := sorted(set(places) - set(entries)):
            raise PublishedError(
                f"{path}: places tensor {lost[0]} in {places[lost[0]]}, which does not hold it"
            )
        return entries

    def check(self, expected: dict[str, tuple[int, ...]]) -> None:
        """PublishedError for the first tensor that is missing, unexpected or of another shape."""
        for name, shape in expected.items():
            if name not in self._entries:
                raise PublishedError(f"{self.folder}: tensor {name} of shape {shape} is missing")
            entry = self._entries[name]
            if entry.shape != shape:
                raise PublishedError(
                    f"{entry.path}: tensor {entry.name} has shape {entry.shape}, the config needs"
                    f" {shape}"
                )
        for name, entry in self._entries.items():
            if name not in expected:
                raise PublishedError(
                    f"{entry.path}: unexpected tensor {entry.name} of shape {entry.shape}"
                )

    def blocks(self, name: str) -> Iterator[NDArray[np.float32]]:
        """A matrix [rows, n] in blocks of rows, or a vector as one row, in float32.

        float32 holds the values of all three types exactly.

        Raises
        ------
        PublishedError
            If a value is NaN or infinite.
        """
        entry = self._entries[name]
        rows, columns = entry.shape if len(entry.shape) == 2 else (1, entry.shape[0])
        height = max(1, _CHUNK // columns)
        with entry.path.open("rb") as file:
            file.seek(entry.offset)
            for first in range(0, rows, height):
                count = min(height, rows - first) * columns
                raw = np.fromfile(file, dtype=_DTYPES[entry.dtype], count=count)
                if len(raw) != count:
                    raise PublishedError(
                        f"{entry.path}: tensor {entry.name}: the file ends too early"
                    )
                values = _to_float32(raw, entry.dtype)
                if not np.isfinite(values).all():
                    bad = int((~np.isfinite(values)).sum())
                    raise PublishedError(
                        f"{entry.path}: tensor {entry.name}: every value must be finite, found"
                        f" {bad} NaN or infinite in rows {first}..{first + count // columns - 1}"
                    )
                yield values.reshape(-1, columns)

    def read(self, name: str) -> NDArray[np.float64]:
        """A small tensor, whole, as float64."""
        shape = self._entries[name].shape
        return np.concatenate(list(self.blocks(name))).astype(np.float64).reshape(shape)


def _to_float32(raw: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":  # the upper half of a float32
        widened: NDArray[np.float32] = (raw.astype(np.uint32) << 16).view(np.float32)
        return widened
    return raw.astype(np.float32)


def _read_header(path: Path) -> dict[str, _Entry]:
    size = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if not 2 <= header_bytes <= min(size - 8, _HEADER_LIMIT):
            raise PublishedError(f"{path}: not a safetensors file, or truncated")
        text = file.read(header_bytes)
    damaged = f"{path}: damaged safetensors header"
    try:
        header = parse_json(text, damaged)
    except InputError as error:
        raise PublishedError(str(error)) from None
    if not isinstance(header, dict):
        raise PublishedError(f"{damaged}: expected a JSON object, got {type(header).__name__}")
    entries = {}
    for name, info in header.items():
        if name != "__metadata__":
            if not _describes_tensor(info):
                raise PublishedError(
                    f"{damaged}: tensor {name} needs dtype, shape and data_offsets, got"
                    f" {repr(info)[:80]}"
                )
            entries[name] = _entry(path, name, info, 8 + header_bytes, size)
    return entries


def _describes_tensor(info: Any) -> bool:
    """Whether a JSON value has the fields of a tensor, of their types."""
    if not isinstance(info, dict) or not {"dtype", "shape", "data_offsets"} <= info.keys():
        return False
    shape, offsets = info["shape"], info["data_offsets"]
    if not (isinstance(info["dtype"], str) and isinstance(shape, list) and _is_pair(offsets)):
        return False
    return all(type(number) is int and number >= 0 for number in (*shape, *offsets))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _entry(path: Path, name: str, info: dict[str, Any], start: int, size: int) -> _Entry:
    dtype, shape = info["dtype"], tuple(info["shape"])
    first, last = info["data_offsets"]
    if dtype not in _DTYPES:
        raise PublishedError(
            f"{path}: tensor {name} is of type {dtype}; only {', '.join(_DTYPES)} are read"
        )
    wanted = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if last - first != wanted or start + last > size:
        raise PublishedError(
            f"{path}: tensor {name}: its data of {wanted} bytes is not within the file; it is"
            " truncated"
        )
    return _Entry(path, name, dtype, shape, start + first)

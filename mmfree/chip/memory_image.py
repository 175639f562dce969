"""The image of a tape in an external memory: one binary file, a region for each port.

A file begins with a page that says what it holds (a fixed prefix, then JSON), and goes on with the
regions, each at a multiple of PAGE_BYTES. A host copies the file as it is to an address B, a
multiple of PAGE_BYTES, too: then a region is at B plus its offset.

Region g of the weights holds share g of every word of the stream (``mmfree.chip.records``,
docs/accelerator.md). The last region holds the rows of the embedding, each with a check word of its
own.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.contents.entries import Contents
from mmfree.chip.design import Design
from mmfree.chip.external_memory import PAGE_BYTES, ExternalMemory
from mmfree.chip.folder import design_sha256
from mmfree.chip.layout import check_fit, check_word, contents_of, embedding_rows, stream
from mmfree.chip.memory_map import (
    CHECK_BITS,
    PAGE_WORDS,
    row_bytes,
    row_words,
    weight_memories,
)
from mmfree.chip.records import records
from mmfree.chip.sizing import stream_words
from mmfree.errors import InputError
from mmfree.files.atomic import open_atomically, parse_json
from mmfree.files.objects import checked_fields
from mmfree.tape.reading import AnyTape

MAGIC = b"MMFIMAGE"
VERSION = 1

EMBEDDING = "embedding"
"""Name of the region of the embedding, after those of ``weight_memories``."""

_PREFIX = struct.Struct("<8sII")  # magic, version, bytes of the table
_ROWS = 1 << 10
"""Rows of the embedding that are written at a time."""

_AGAIN = "write the image again with `mmfree verilog`"


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of an image that one port reads: where it begins in the file, and its size in bytes.

    ``offset`` is a multiple of PAGE_BYTES.
    """

    name: str
    offset: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class MemoryImage:
    """An image on disk.

    Parameters
    ----------
    path
        The file.
    design_sha256, tape_sha256
        What it was made of.
    words
        Of a pass: each region of weights holds a share of each.
    rows
        Of the embedding.
    regions
        Those of the weights, in the order of the ports, then that of the embedding.
    file_bytes
        Size of the file, and of the memory that it takes: whole pages.
    """

    path: Path
    design_sha256: str
    tape_sha256: str
    words: int
    rows: int
    regions: tuple[Region, ...]
    file_bytes: int

    def region(self, name: str) -> Region:
        """One of ``weight_memories``, or EMBEDDING."""
        (found,) = (region for region in self.regions if region.name == name)
        return found


def image_regions(design: Design, words: int, rows: int) -> tuple[tuple[Region, ...], int]:
    """The regions of an image, and the size of its file, in bytes.

    ``words`` of a pass (``stream_words``), and ``rows`` of the embedding.
    """
    sizes = dict.fromkeys(weight_memories(design), _ports(design).port_bytes * words)
    sizes[EMBEDDING] = row_bytes(design) * rows
    regions, offset = [], PAGE_BYTES
    for name, size in sizes.items():
        regions.append(Region(name=name, offset=offset, num_bytes=size))
        offset += -(-size // PAGE_BYTES) * PAGE_BYTES
    return tuple(regions), offset


def plan_memory_image(tape: AnyTape, design: Design, path: Path) -> MemoryImage:
    """The image that ``write_memory_image`` would write.

    Raises
    ------
    LayoutError
        If the tape does not fit the design, as ``layout`` says.
    """
    check_fit(tape, design)
    words, rows = stream_words(tape.config, design), tape.config.vocab_size
    regions, file_bytes = image_regions(design, words, rows)
    return MemoryImage(
        path=path,
        design_sha256=design_sha256(design),
        tape_sha256=tape.sha256,
        words=words,
        rows=rows,
        regions=regions,
        file_bytes=file_bytes,
    )


def write_memory_image(tape: AnyTape, design: Design, path: Path) -> MemoryImage:
    """Write the image of a tape, part by part: the file is the whole image, or as it was before.

    Raises
    ------
    LayoutError
        If the tape does not fit the design, as ``layout`` says.
    InputError
        If another process is writing the file.
    """
    image, contents = plan_memory_image(tape, design, path), contents_of(tape)
    with open_atomically(path) as file:
        table = _table(image, design)
        assert _PREFIX.size + len(table) <= PAGE_BYTES
        file.write(_PREFIX.pack(MAGIC, VERSION, len(table)) + table)
        word = 0
        for part in stream(contents, records(tape.config, design), design):
            for group, region in enumerate(image.regions[:-1]):
                file.seek(region.offset + word * part.shape[2])
                file.write(part[:, group].tobytes())
            word += len(part)
        assert word == image.words, f"{word} words instead of {image.words}"
        file.seek(image.regions[-1].offset)
        for part in _checked_rows(contents, design):
            file.write(part.data)
        # What was skipped is zeros.
        file.truncate(image.file_bytes)
    return image


def read_memory_image(path: Path, design: Design, tape_sha256: str | None = None) -> MemoryImage:
    """Read what an image says of itself, and check that all of it is there.

    Its words are not read: a pass checks them.

    Parameters
    ----------
    path
        The file.
    design
        The one that will read it.
    tape_sha256
        The tape that it must hold; None: any.

    Raises
    ------
    InputError
        If the file cannot be read, is no image, is of another design or tape, has not the regions
        that the design reads, or is shorter or longer than its table says; the message names it.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            table = _read_table(file, path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: {_AGAIN}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): {_AGAIN}") from None
    for what, got, required in (
        ("design", table.design_sha256, design_sha256(design)),
        ("tape", table.tape_sha256, tape_sha256 or table.tape_sha256),
    ):
        if got != required:
            raise InputError(
                f"{path}: an image of another {what}: {got[:12]}, required {required[:12]}:"
                f" {_AGAIN}"
            )
    regions, file_bytes = image_regions(design, table.words, table.rows)
    if table.regions != [asdict(region) for region in regions]:
        raise InputError(
            f"{path}: its regions are not those of {table.words:,} words and {table.rows:,} rows:"
            f" {_AGAIN}"
        )
    if size != file_bytes:
        much = "truncated" if size < file_bytes else "longer than its table says"
        raise InputError(f"{path}: {much}: {size:,} bytes, required {file_bytes:,}: {_AGAIN}")
    return MemoryImage(
        path=path,
        design_sha256=table.design_sha256,
        tape_sha256=table.tape_sha256,
        words=table.words,
        rows=table.rows,
        regions=regions,
        file_bytes=file_bytes,
    )


def check_capacity(image: MemoryImage, capacity_bytes: int) -> None:
    """Refuse a memory of ``capacity_bytes`` that does not hold an image.

    Raises
    ------
    InputError
        The message says by how much it is too small, in MB of 10^6 bytes.
    """
    if image.file_bytes > capacity_bytes:
        raise InputError(
            f"{image.path}: the image has {_megabytes(image.file_bytes)}, the memory"
            f" {_megabytes(capacity_bytes)}: {_megabytes(image.file_bytes - capacity_bytes)} too"
            " small; use a larger memory or a smaller model"
        )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The JSON at a file's beginning."""

    memory: str
    design_sha256: str
    tape_sha256: str
    words: int
    rows: int
    regions: list[dict[str, Any]]


def _table(image: MemoryImage, design: Design) -> bytes:
    table = _Table(
        memory=design.memory,
        design_sha256=image.design_sha256,
        tape_sha256=image.tape_sha256,
        words=image.words,
        rows=image.rows,
        regions=[asdict(region) for region in image.regions],
    )
    return json.dumps(asdict(table)).encode()


def _read_table(file: BinaryIO, path: Path) -> _Table:
    prefix = file.read(_PREFIX.size)
    if not prefix.startswith(MAGIC):
        raise InputError(f"{path}: not an image: it does not begin with {MAGIC.decode()}: {_AGAIN}")
    _, version, table_bytes = _PREFIX.unpack(prefix.ljust(_PREFIX.size, b"\0"))
    if version != VERSION:
        raise InputError(
            f"{path}: an image of version {version}, but this mmfree reads {VERSION}: {_AGAIN}"
        )
    source = f"{path}: its table"
    text = file.read(min(table_bytes, PAGE_BYTES))
    data = checked_fields(parse_json(text, source), _Table, source)
    kinds = {"words": int, "rows": int, "regions": list}
    for name, value in data.items():
        if type(value) is not (kind := kinds.get(name, str)):
            raise InputError(f"{source}: {name} must be of type {kind.__name__}, got {value!r}")
    return _Table(**data)


def _checked_rows(contents: Contents, design: Design) -> Iterator[NDArray[np.uint8]]:
    """The rows of the embedding with their check words, in parts: uint8 [rows, row_bytes]."""
    port_bytes, end = _ports(design).port_bytes, row_words(design) * _ports(design).port_bytes
    for start in range(0, len(contents.embedding), _ROWS):
        words = embedding_rows(contents, design, start, start + _ROWS)
        rows = np.zeros((len(words), row_bytes(design)), dtype=np.uint8)
        rows[:, :end] = words.reshape(len(words), end)
        for row in rows:
            check = check_word([row[:end].reshape(-1, 1, port_bytes)], PAGE_WORDS)
            row[end : end + CHECK_BITS // 8] = list(check.to_bytes(CHECK_BITS // 8, "little"))
        yield rows


def _ports(design: Design) -> ExternalMemory:
    external = design.external
    assert external is not None, "a design whose image is in block RAM"
    return external


def _megabytes(num_bytes: int) -> str:
    """In MB, rounded up to thousandths."""
    return f"{-(-num_bytes // 1000) / 1000:,.3f} MB"

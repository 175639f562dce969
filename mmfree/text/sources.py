"""Sources of text: files, folders and data sets by name, as a stream of documents.

Files are plain text, JSONL or Parquet. No source is ever in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmfree.errors import InputError
from mmfree.files.atomic import parse_json
from mmfree.text.tokenizer import utf8_bytes

PIECE_BYTES = 1 << 18
"""Most bytes of a piece of a plain text file, which ends after a line if it holds a line's end."""

PLAIN_SUFFIXES = ("", ".txt", ".text", ".md", ".rst", ".tokens", ".raw")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet",)
NAME_PREFIX = "hf:"
"""``hf:NAME[:CONFIG[:SPLIT]]`` is a data set of the ``datasets`` library."""

DEFAULT_FIELD = "text"

MANIFEST_NAME, FORMAT = "manifest.json", "mmfree token shards"
"""A folder of token shards has a file of this name, with these words in it."""


@dataclass(frozen=True)
class Document:
    """A document, or with ``continues`` the next piece of the document before it."""

    text: str
    continues: bool = False


def is_shards(path: Path) -> bool:
    """Whether a path is a folder of token shards, if only with a damaged manifest."""
    manifest = path / MANIFEST_NAME
    return manifest.is_file() and FORMAT.encode() in manifest.read_bytes()


def expand(paths: list[Path]) -> list[Path]:
    """``paths`` with each folder replaced by its files of known suffixes, sorted by path.

    Raises
    ------
    InputError
        If a file is missing or has an unknown suffix, or a folder holds no file of text.
    """
    files: list[Path] = []
    for path in paths:
        if is_name(path):
            files.append(path)
        elif is_shards(path):
            raise InputError(
                f"{path}: a folder of token shards cannot be mixed with other text, or tokenized"
                " again"
            )
        elif path.is_dir():
            files += _files_in(path)
        elif not path.exists():
            raise InputError(f"{path}: cannot be read: No such file or directory")
        elif path.suffix.lower() in (*PLAIN_SUFFIXES, *JSONL_SUFFIXES, *PARQUET_SUFFIXES):
            files.append(path)
        else:
            raise InputError(
                f"{path}: unknown suffix {path.suffix!r}; {_known_suffixes()}; rename plain text to"
                " .txt"
            )
    return files


def _files_in(folder: Path) -> list[Path]:
    known = (*PLAIN_SUFFIXES[1:], *JSONL_SUFFIXES, *PARQUET_SUFFIXES)
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in known
    )
    files = [
        path
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise InputError(f"{folder}: no file of text in this folder; {_known_suffixes()}")
    return files


def _known_suffixes() -> str:
    return f"known are {', '.join((*PLAIN_SUFFIXES[1:], *JSONL_SUFFIXES, *PARQUET_SUFFIXES))}"


def is_name(path: Path) -> bool:
    """Whether a path is the name of a data set."""
    return str(path).startswith(NAME_PREFIX)


def are_plain(files: list[Path]) -> bool:
    """Whether all of them are plain text: then they are one text."""
    return all(not is_name(path) and path.suffix.lower() in PLAIN_SUFFIXES for path in files)


def documents(files: list[Path], field: str = DEFAULT_FIELD) -> Iterator[Document]:
    """The documents of ``files`` (as ``expand`` gives them), in order.

    A plain file is one document; a line of JSONL, a row of Parquet and an example of a data set are
    one each, in their ``field``.

    Raises
    ------
    InputError
        If a file is empty, damaged or not UTF-8, a data set cannot be loaded, or a document is
        missing or is no text; the message names file and place.
    """
    for path in files:
        count = 0
        for count, document in enumerate(_documents_of(path, field), 1):
            if "\0" in document.text:
                raise InputError(f"{path}: document {count} holds a NUL character: not text")
            yield document
        if not count:
            raise InputError(f"{path}: the file is empty; text is needed")


def _documents_of(path: Path, field: str) -> Iterator[Document]:
    if is_name(path):
        return _named(str(path).removeprefix(NAME_PREFIX), field)
    if path.suffix.lower() in JSONL_SUFFIXES:
        return _jsonl(path, field)
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return _parquet(path, field)
    return _plain(path)


def _plain(path: Path) -> Iterator[Document]:
    offset, rest = 0, b""
    try:
        with path.open("rb") as file:
            # ``rest`` is what the last block had after its last line: it begins the next piece.
            while block := file.read(PIECE_BYTES - len(rest)):
                block = rest + block
                cut = block.rfind(b"\n") + 1 or character_start(block, len(block) - 1)
                if len(block) < PIECE_BYTES:  # the file's end
                    cut = len(block)
                yield Document(_decode(path, block[:cut], offset), continues=offset > 0)
                offset, rest = offset + cut, block[cut:]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if rest:
        yield Document(_decode(path, rest, offset), continues=offset > 0)


def _decode(path: Path, data: bytes, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text: byte {data[error.start]:#04x} at offset"
            f" {offset + error.start}; convert the file first"
        ) from None


def character_start(data: bytes, place: int) -> int:
    """The start of the UTF-8 character that the byte at ``place`` belongs to."""
    for back in range(min(4, place + 1)):
        if data[place - back] & 0xC0 != 0x80:
            return place - back
    return place


def _jsonl(path: Path, field: str) -> Iterator[Document]:
    for number, record in read_jsonl(path):
        yield Document(_text_of(record, field, f"{path}, line {number}"))


def read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of every line that is not blank; InputError names file and line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, parse_json(line, f"{path}, line {number}", any_number=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _text_of(record: Any, field: str, place: str) -> str:
    """The text of a record, which may be anything that a file holds."""
    if not isinstance(record, dict) or field not in record:
        found = (
            f"fields {sorted(record)}"
            if isinstance(record, dict)
            else f"no object but {type(record).__name__}"
        )
        raise InputError(f"{place}: no field {field!r}; found {found}")
    text = record[field]
    if not isinstance(text, str):
        raise InputError(f"{place}: field {field!r} must be text, got {type(text).__name__}")
    try:
        utf8_bytes(text)
    except InputError as error:
        raise InputError(f"{place}: field {field!r}: {error}") from None
    return text


def _parquet(path: Path, field: str) -> Iterator[Document]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if field not in file.schema_arrow.names:
                raise InputError(
                    f"{path}: no column {field!r}; found {', '.join(file.schema_arrow.names)}"
                )
            row = 0
            for batch in file.iter_batches(batch_size=1024, columns=[field]):
                try:
                    texts = batch.column(0).to_pylist()
                except (ValueError, OverflowError) as error:  # bytes or dates that Python has not
                    raise InputError(
                        f"{path}, rows {row}..{row + len(batch) - 1}: column {field!r} is damaged:"
                        f" {_first_line(error)}"
                    ) from None
                for text in texts:
                    yield Document(_text_of({field: text}, field, f"{path}, row {row}"))
                    row += 1
    except (pyarrow.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise InputError(f"{path}: cannot be read: {_first_line(error)}") from None
        # The library reports what it cannot decode as either.
        raise InputError(f"{path}: damaged, or no Parquet file: {_first_line(error)}") from None


def _named(name: str, field: str) -> Iterator[Document]:
    for number, record in enumerate(_examples(name)):
        yield Document(_text_of(record, field, f"{NAME_PREFIX}{name}, example {number}"))


def _examples(name: str) -> Iterator[Any]:
    """The examples of a data set of the ``datasets`` library, streamed."""
    import datasets

    # A local data set may be a folder: its colons separate, too.
    repository, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    try:
        yield from datasets.load_dataset(
            repository, config or None, split=split or "train", streaming=True
        )
    except Exception as error:  # of the library, the network, or whatever reads the data's format
        raise InputError(
            f"{NAME_PREFIX}{name}: the data set cannot be loaded: {_first_line(error)}"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

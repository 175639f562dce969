"""Sources of text: files, folders, pipes and data sets by name, as a stream of documents.

Files are plain text, JSON or Parquet, as they are or compressed. No source is ever in memory as a
whole.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmfree.errors import InputError
from mmfree.files.records import (
    LARGEST_RECORD,
    columns_holding,
    field_names,
    find_field,
    read_json_records,
    read_jsonl,
)
from mmfree.files.streams import COMPRESSIONS, is_pipe, open_bytes, suffix_within
from mmfree.text.tokenizer import utf8_bytes

PIECE_BYTES = 1 << 18
"""Most bytes of a piece of a plain text file, which ends after a line if it holds a line's end."""

PLAIN_SUFFIXES = ("", ".txt", ".text", ".md", ".rst", ".tokens", ".raw")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
JSON_SUFFIXES = (".json",)
PARQUET_SUFFIXES = (".parquet",)
STANDARD_INPUT = Path("/dev/stdin")
"""What ``-`` stands for."""

SEPARATOR = "<|endoftext|>"
"""A line of a plain text, after each of its documents."""

_SEPARATOR_LINE = re.compile(rf"^{re.escape(SEPARATOR)}\r?$\n?", re.MULTILINE)

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

    Nothing is read from a pipe yet.

    Raises
    ------
    InputError
        If a file is missing, a device, or has an unknown suffix, or a folder holds no file of text
        or is linked into itself.
    """
    files: list[Path] = []
    for given in paths:
        path = STANDARD_INPUT if str(given) == "-" else given
        if is_name(path):
            files.append(path)
        elif is_shards(path):
            raise InputError(
                f"{path}: a folder of token shards cannot be mixed with other text, or tokenized"
                " again"
            )
        elif path.is_dir():
            files += _files_in(path)
        else:
            _check_file(path)
            files.append(path)
    return files


def _check_file(path: Path) -> None:
    try:
        single = is_pipe(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not single and not path.is_file():
        raise InputError(f"{path}: a device; text comes from files, folders and pipes")
    suffix = suffix_within(path)
    if suffix and not _is_known(path):
        raise InputError(
            f"{path}: unknown suffix {path.suffix!r}; {_known_suffixes()}; rename plain text to"
            " .txt"
        )
    if single and suffix in PARQUET_SUFFIXES:
        raise InputError(f"{path}: a pipe; Parquet is read from its end: write it to a file")


def _is_known(path: Path) -> bool:
    """Whether a suffix says what a file holds. Parquet is compressed within."""
    suffix = suffix_within(path)
    return suffix in (*PLAIN_SUFFIXES[1:], *JSONL_SUFFIXES, *JSON_SUFFIXES) or (
        suffix in PARQUET_SUFFIXES and path.suffix.lower() == suffix
    )


def _files_in(folder: Path) -> list[Path]:
    files: list[Path] = []
    seen: dict[Path, str] = {}
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        if (first := seen.setdefault(Path(place).resolve(), place)) != place:
            raise InputError(
                f"{place}: the same folder as {first}, whose text would be read twice: remove the"
                " link"
            )
        if is_shards(Path(place)):
            raise InputError(
                f"{place}: a folder of token shards within {folder}: move it, or name what is to be"
                " read"
            )
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            path
            for path in (Path(place) / name for name in names if not name.startswith("."))
            if _is_known(path)
        ]
    for path in files:
        if not path.is_file():
            found = "a link to nothing" if not path.exists() else "no file"
            raise InputError(f"{path}: {found}; remove it, or name what is to be read")
    if not files:
        raise InputError(f"{folder}: no file of text in this folder; {_known_suffixes()}")
    return sorted(files)


def _raise(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _known_suffixes() -> str:
    known = (*PLAIN_SUFFIXES[1:], *JSONL_SUFFIXES, *JSON_SUFFIXES, *PARQUET_SUFFIXES)
    return f"known are {', '.join(known)}, all but the last also with {', '.join(COMPRESSIONS)}"


def is_name(path: Path) -> bool:
    """Whether a path is the name of a data set."""
    return str(path).startswith(NAME_PREFIX)


def are_plain(files: list[Path]) -> bool:
    """Whether all of them are plain text without separators: then they are one text.

    The beginning of a file or pipe has to be read to know.
    """
    return all(_reader(path) is _plain for path in files)


def documents(files: list[Path], field: str = DEFAULT_FIELD) -> Iterator[Document]:
    """The documents of ``files`` (as ``expand`` gives them), in order.

    A plain file is one document, or with separators several; a record of JSON, a row of Parquet and
    an example of a data set are one each, in their ``field``.

    Raises
    ------
    InputError
        If a file is empty, damaged or not UTF-8, a data set cannot be loaded, or a document is
        missing or is no text; the message names file and place.
    """
    for path in files:
        count = 0
        for count, document in enumerate(_reader(path)(path, field), 1):
            if "\0" in document.text:
                raise InputError(f"{path}: document {count} holds a NUL character: not text")
            yield document
        if not count:
            raise InputError(f"{path}: the file is empty; text is needed")


def _reader(path: Path) -> Callable[[Path, str], Iterator[Document]]:
    """What reads a source."""
    suffix = suffix_within(path)
    if is_name(path):
        return _named
    if suffix in JSONL_SUFFIXES:
        return _jsonl
    if suffix in PARQUET_SUFFIXES:
        return _parquet
    if suffix in JSON_SUFFIXES or (not suffix and _begins_with_record(path)):
        return _json
    return _separated if _is_separated(path) else _plain


def _begins_with_record(path: Path) -> bool:
    """Whether a file whose name does not say what it holds begins with a JSON object."""
    try:
        with open_bytes(path) as file:
            if file.read(PIECE_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
                return False
        return isinstance(next(read_json_records(path), (0, None))[1], dict)
    except InputError:
        return False


def _is_separated(path: Path) -> bool:
    """Whether a separator stands in the beginning of a plain text."""
    with open_bytes(path) as file:
        return _SEPARATOR_LINE.search(file.read(PIECE_BYTES).decode("utf-8", "replace")) is not None


def _separated(path: Path, field: str) -> Iterator[Document]:
    """What stands between the separators, without white space around it."""
    rest = ""
    for piece in _plain(path, field):
        *ended, rest = _SEPARATOR_LINE.split(rest + piece.text)
        if len(rest) > LARGEST_RECORD:
            raise InputError(f"{path}: a document has at most {LARGEST_RECORD:,} characters")
        yield from (Document(text.strip()) for text in ended if text.strip())
    if rest.strip():
        yield Document(rest.strip())


def _plain(path: Path, field: str) -> Iterator[Document]:
    offset, rest = 0, b""
    with open_bytes(path) as file:
        # ``rest`` is what the last block had after its last line: it begins the next piece.
        while block := file.read(PIECE_BYTES - len(rest)):
            block = rest + block
            cut = block.rfind(b"\n") + 1 or character_start(block, len(block) - 1)
            if len(block) < PIECE_BYTES:  # the file's end
                cut = len(block)
            yield Document(_decode(path, block[:cut], offset), continues=offset > 0)
            offset, rest = offset + cut, block[cut:]
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


def _json(path: Path, field: str) -> Iterator[Document]:
    for number, record in read_json_records(path):
        yield Document(_text_of(record, field, f"{path}, line {number}"))


def _text_of(record: Any, field: str, place: str) -> str:
    """The text of a record, which may be anything that a file holds."""
    try:
        text = find_field(record, field)
    except KeyError:
        found = (
            f"fields {sorted(field_names(record))}"
            if isinstance(record, dict)
            else f"no object but {type(record).__name__}"
        )
        raise InputError(f"{place}: no field {field!r}; found {found}") from None
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
            columns = file.schema_arrow.names
            if not (wanted := columns_holding(field, columns)):
                raise InputError(f"{path}: no column {field!r}; found {', '.join(columns)}")
            row = 0
            for batch in file.iter_batches(batch_size=1024, columns=wanted):
                for index in range(len(batch)):
                    place = f"{path}, row {row}"
                    try:
                        record = {
                            name: column[index].as_py()
                            for name, column in zip(batch.schema.names, batch.columns, strict=True)
                        }
                    except (ValueError, OverflowError) as error:
                        # Bytes that are no text, or dates that Python has not.
                        raise InputError(
                            f"{place}: column {field!r} is damaged: {_first_line(error)}"
                        ) from None
                    yield Document(_text_of(record, field, place))
                    row += 1
    except (pyarrow.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise InputError(f"{path}: cannot be read: {_first_line(error)}") from None
        # The library reports what it cannot decode as either.
        raise InputError(f"{path}: damaged, or no Parquet file: {_first_line(error)}") from None


def _named(path: Path, field: str) -> Iterator[Document]:
    for number, record in enumerate(_examples(str(path).removeprefix(NAME_PREFIX), field)):
        yield Document(_text_of(record, field, f"{path}, example {number}"))


def _examples(name: str, field: str) -> Iterator[Any]:
    """The examples of a data set of the ``datasets`` library, streamed: of each what may hold the
    field, and nothing decoded (audio, pictures), which takes packages of its own.
    """
    import datasets

    # A local data set may be a folder: its colons separate, too.
    repository, _, rest = name.partition(":")
    if not repository:
        raise InputError(f"{NAME_PREFIX}{name}: the name is missing: {NAME_PREFIX}NAME")
    config, _, split = rest.partition(":")
    with _errors_logged_by("datasets") as logged:
        try:
            found = datasets.load_dataset(
                repository, config or None, split=split or "train", streaming=True
            )
            # Formats that do not say beforehand what they hold, hold nothing to decode.
            if found.features is not None:
                found = found.decode(False)
                if wanted := columns_holding(field, found.column_names):
                    found = found.select_columns(wanted)
            yield from found
        except Exception as error:  # of the library, the network, or whatever reads the format
            reason = logged[-1] if logged else _first_line(error)
            raise InputError(
                f"{NAME_PREFIX}{name}: the data set cannot be loaded: {reason}"
            ) from None


@contextmanager
def _errors_logged_by(library: str) -> Iterator[list[str]]:
    """First lines of the errors that a library logs meanwhile, instead of on stderr: it names the
    file there, and not in what it raises.
    """
    logged: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        logged.append(record.getMessage().splitlines()[0])
        return False

    handlers = list(logging.getLogger(library).handlers)
    for handler in handlers:
        handler.addFilter(keep)
    try:
        yield logged
    finally:
        for handler in handlers:
            handler.removeFilter(keep)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

"""Records of a JSON file, one at a time: a value to a line, a list of them, or one after another.

They are other people's: any number is taken, and no file is in memory as a whole. And their fields,
by name.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mmfree.errors import InputError
from mmfree.files.atomic import parse_json
from mmfree.files.streams import open_bytes

LARGEST_RECORD = 1 << 28
"""Most bytes, or characters, of a record: a small compressed file may hold an endless one."""

_BLOCK_BYTES = 1 << 18
"""Read at a time."""

_LONGEST_WORD = len("-Infinity")
"""An error this close to the end of what was read may be one because a word is cut off."""

_BLANKS = " \t\r\n"


def read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of every line that is not blank; InputError names file and line."""
    with open_bytes(path) as file:
        number = 0
        while line := file.readline(LARGEST_RECORD + 1):
            number += 1
            place = f"{path}, line {number}"
            if len(line) > LARGEST_RECORD:
                raise InputError(f"{place}: a line has at most {LARGEST_RECORD:,} bytes")
            if line.strip():
                yield number, parse_json(line, place, any_number=True)


def read_json_records(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of each record: of a list that is all of the file, or else of the file.

    The line is that on which the record begins.

    Raises
    ------
    InputError
        If the file is not UTF-8 or not JSON; the message names file and line.
    """
    with open_bytes(path) as file:
        text = _Characters(file, path)
        if not text.skip("["):
            while not text.at_end():
                yield text.line, text.value()
            return
        more = not text.skip("]")
        while more:
            text.at_end()  # past the blanks: the line is that of the value
            yield text.line, text.value()
            more = not text.skip("]")
            if more and not text.skip(","):
                raise text.error("expected a comma or the end of the list")
        if not text.at_end():
            raise text.error("something follows the list")


def find_field(record: Any, field: str) -> Any:
    """A field, or with dots a field within fields; one whose name has the dot comes first.

    KeyError if there is none.
    """
    if not isinstance(record, dict):
        raise KeyError(field)
    if field in record:
        return record[field]
    for outer, inner in _splits(field):
        if isinstance(record.get(outer), dict):
            try:
                return find_field(record[outer], inner)
            except KeyError:
                continue
    raise KeyError(field)


def _splits(field: str) -> Iterator[tuple[str, str]]:
    """Before and after each dot, the last one first: the longest name outside."""
    parts = field.split(".")
    for count in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:count]), ".".join(parts[count:])


def field_names(record: dict[str, Any]) -> list[str]:
    """Names of its fields, and with dots of those within."""
    found = []
    for name, value in record.items():
        within = field_names(value) if isinstance(value, dict) else []
        found += [f"{name}.{inner}" for inner in within] or [name]
    return found


def columns_holding(field: str, columns: Iterable[str]) -> list[str]:
    """The columns that may hold a field: of its name, else those that it may lie within."""
    if field in columns:
        return [field]
    return [outer for outer, _ in _splits(field) if outer in columns]


class _Characters:
    """Characters of a file, of which those of one value and a block are in memory."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._decoder = json.JSONDecoder()
        self._text, self._at, self._whole = "", 0, False
        self.line = 1
        """Of the next character that is not blank, once ``sees``, ``skip`` or ``at_end`` looked."""

    def error(self, reason: str) -> InputError:
        return InputError(f"{self._path}, line {self.line}: not valid JSON: {reason}")

    def sees(self, wanted: str) -> bool:
        """Whether this character comes next, after blanks."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANKS:
                self._advance(self._at + 1)
            if self._at < len(self._text):
                return self._text[self._at] == wanted
            if self._whole:
                return False
            self._read()

    def skip(self, wanted: str) -> bool:
        """Whether this character came next, after blanks; then it is behind."""
        found = self.sees(wanted)
        self._at += found
        return found

    def at_end(self) -> bool:
        """Whether nothing but blanks comes."""
        return not self.sees("") and self._at == len(self._text)

    def value(self) -> Any:
        """The value that comes next."""
        if self.at_end():
            raise self.error("the file ends within the list")
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated string") or (
                    error.pos + _LONGEST_WORD >= len(self._text)
                )
                if self._whole or not cut_off:
                    raise self.error(error.msg) from None
            except RecursionError:
                raise self.error("nested too deeply") from None
            except ValueError as error:  # an integer of thousands of digits
                raise self.error(str(error)) from None
            else:
                # A number at the end of what was read may go on.
                if end < len(self._text) or self._whole:
                    self._advance(end)
                    return value
            if len(self._text) - self._at > LARGEST_RECORD:
                raise self.error(f"a record has at most {LARGEST_RECORD:,} characters")
            self._read()

    def _advance(self, place: int) -> None:
        self.line += self._text.count("\n", self._at, place)
        self._at = place

    def _read(self) -> None:
        """More characters: as many as there are, so that a long value is not tried too often."""
        kept = self._text[self._at :]
        block = self._file.read(max(_BLOCK_BYTES, len(kept)))
        self._whole = not block
        try:
            self._text = kept + self._decode(block, self._whole)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self._path}: not UTF-8 text: byte {error.object[error.start]:#04x} in the record"
                f" that begins at line {self.line}; convert the file first"
            ) from None
        self._at = 0

"""A folder that ``mmfree verilog`` wrote: a chip to simulate as it lies there, altered or not."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmfree.chip.design import Design
from mmfree.chip.folder import (
    DESCRIPTION_NAME,
    IMAGE_NAME,
    MARK,
    TAPE_NAME,
    VERILOG_NAME,
    sources,
)
from mmfree.chip.layout import LayoutError, layout
from mmfree.chip.memory_image import read_memory_image
from mmfree.chip.memory_map import chip_memories, group_shape, loaded_shape, weight_memories
from mmfree.chip.sizing import stream_words
from mmfree.errors import InputError
from mmfree.files.atomic import read_json
from mmfree.tape.reading import AnyTape, open_tape
from sim.cosim.run_folder import write_tapes

_AGAIN = "write the folder again with `mmfree verilog`"


@dataclass(frozen=True, kw_only=True)
class ChipFolder:
    """A chip's folder, whose files fit each other.

    ``files``: the Verilog and the memory files, as they were read. ``altered``: names of those that
    are not as they were written; with an external memory its image may be among them.
    """

    path: Path
    design: Design
    tape: AnyTape
    files: dict[str, bytes]
    altered: tuple[str, ...]

    def copy_to(self, folder: Path) -> None:
        """Write what a simulation needs into its folder."""
        for name, data in self.files.items():
            # Verilog as it was written, less the line that names its design: then a simulation of
            # the tape, which has no such line, is found built.
            if name == VERILOG_NAME and name not in self.altered:
                data = data.partition(b"\n")[2]
            (folder / name).write_bytes(data)
        if self.design.external is not None:
            shutil.copyfile(self.path / IMAGE_NAME, folder / IMAGE_NAME)
        write_tapes(folder, [self.tape])


def read_chip_folder(path: Path) -> ChipFolder:
    """Read a folder, and check that its files belong together.

    Raises
    ------
    InputError
        If a file is missing or unreadable, or of another design or another tape, or a memory file
        has not as many words, and as wide ones, as the memory, or the image of an external memory
        is not whole; the message names the file.
    """
    description = _read_description(path)
    design = Design.from_dict(description["design"], f"{path / DESCRIPTION_NAME}: design")
    tape = open_tape(path / TAPE_NAME)
    if tape.sha256 != description["tape_sha256"]:
        raise InputError(
            f"{path / TAPE_NAME}: tape {tape.sha256[:12]}, but {DESCRIPTION_NAME} is of tape"
            f" {str(description['tape_sha256'])[:12]}: {_AGAIN}"
        )
    try:
        expected = layout(tape, design).memory_files()
    except LayoutError as error:
        raise InputError(f"{path}: {TAPE_NAME} and {DESCRIPTION_NAME} differ: {error}") from None
    files, altered = {}, []
    for name, source in sources(design, tape).items():
        data = _read(path / name)
        _check_source(path / name, data, source)
        files[name] = data
        if hashlib.sha256(data).hexdigest() != description["files"].get(name):
            altered.append(name)
    try:
        files[VERILOG_NAME].decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path / VERILOG_NAME}: not text in UTF-8: {_AGAIN}") from None
    for name in chip_memories(design):
        words = _words(path / f"{name}.hex", files[f"{name}.hex"])
        _check_words(path / f"{name}.hex", words, expected[name].count("\n"), _bits(design, name))
    if design.external is not None:
        _check_image(path / IMAGE_NAME, design, tape)
        with (path / IMAGE_NAME).open("rb") as image:
            digest = hashlib.file_digest(image, "sha256").hexdigest()
        if digest != description["files"].get(IMAGE_NAME):
            altered.append(IMAGE_NAME)
    return ChipFolder(path=path, design=design, tape=tape, files=files, altered=tuple(altered))


def _read_description(path: Path) -> dict[str, Any]:
    """What design.json says, of a folder with a tape."""
    file = path / DESCRIPTION_NAME
    if not file.is_file():
        raise InputError(
            f"{path}: {DESCRIPTION_NAME} is missing: not a folder that `mmfree verilog` wrote"
        )
    description = read_json(file)
    if not isinstance(description, dict) or "design" not in description:
        raise InputError(f"{file}: not the description of a design: {_AGAIN}")
    if not isinstance(description.get("files"), dict):
        raise InputError(f"{file}: says nothing of the folder's files: {_AGAIN}")
    if "tape_sha256" not in description:
        raise InputError(
            f"{path}: a design without a tape, made from sizes: there is nothing to play; give"
            " `mmfree verilog` a tape"
        )
    return description


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: {_AGAIN}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): {_AGAIN}") from None


def _check_source(path: Path, data: bytes, source: str) -> None:
    """InputError if the first line says that the file was made of something else.

    A line that says nothing is an alteration like any other.
    """
    first = data.partition(b"\n")[0].decode("utf-8", "replace").strip().removeprefix("// ")
    if first.startswith(MARK) and first != source:
        raise InputError(
            f"{path}: of another design or tape than {DESCRIPTION_NAME}: `{first}`, required"
            f" `{source}`: {_AGAIN}"
        )


def _check_image(path: Path, design: Design, tape: AnyTape) -> None:
    """InputError if an image is not the tape's, or has not as many words and rows as it needs."""
    image = read_memory_image(path, design, tape.sha256)
    for what, got, required in (
        ("words", image.words, stream_words(tape.config, design)),
        ("rows of the embedding", image.rows, tape.config.vocab_size),
    ):
        if got != required:
            raise InputError(
                f"{path}: {got:,} {what}, but this design and tape need {required:,}: {_AGAIN}"
            )


def _words(path: Path, data: bytes) -> list[int]:
    """The words of a memory file."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text: a memory file has hexadecimal words") from None
    words = []
    for number, line in enumerate(text.splitlines(), start=1):
        for word in line.partition("//")[0].split():
            if not set(word) <= set("0123456789abcdefABCDEF"):
                raise InputError(f"{path}, line {number}: {word[:20]!r} is not a hexadecimal word")
            words.append(int(word, 16))
    return words


def _check_words(path: Path, words: list[int], num_words: int, bits: int) -> None:
    if len(words) != num_words:
        much = "long" if len(words) > num_words else "short"
        raise InputError(
            f"{path}: too {much} for this design and tape: {len(words):,} words, required"
            f" {num_words:,}"
        )
    for number, word in enumerate(words):
        if word.bit_length() > bits:
            raise InputError(
                f"{path}: word {number} has {word.bit_length()} bits, and the memory {bits}"
            )


def _bits(design: Design, memory: str) -> int:
    """Bits of a word of a chip's memory, parity included."""
    shape = (
        group_shape(design) if memory in weight_memories(design) else loaded_shape(design, memory)
    )
    return shape.bits + shape.parity

"""A folder that ``mmfree verilog`` wrote: played as it is, altered or not, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import sim.cosim.chip_folder
from hdl.toolchain.emit import write_verilog
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.layout import layout
from mmfree.chip.memory_image import read_memory_image, write_memory_image
from mmfree.chip.sizing import design_for, design_for_memory
from mmfree.errors import InputError
from mmfree.tape.pow2 import write_tape
from sim.cosim.chip_folder import read_chip_folder
from sim.cosim.run import CosimResult, cosim_folder
from sim.cosim.run_folder import Sequence
from tests.support.sim.shapes import ODD

TAPE, OTHER_TAPE = ODD.tape(1, wild=False), ODD.tape(2, wild=False)
DESIGN = ODD.design()
OTHER_DESIGN = design_for(TAPE, 32)
WIDER = replace(DESIGN, embedding_rows=DESIGN.embedding_rows + 1)
"""Other limits: the same ports and words, but more of them in the embedding."""

PROMPT = [1, 2, 3]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a tape on a design ("own"), and of another tape, another design, and none."""
    path = tmp_path_factory.mktemp("written")
    write_verilog(DESIGN, path / "own", TAPE)
    write_verilog(DESIGN, path / "tape", OTHER_TAPE)
    write_verilog(OTHER_DESIGN, path / "design", TAPE)
    write_verilog(WIDER, path / "wider", TAPE)
    write_verilog(DESIGN, path / "limits")
    return path


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    shutil.copytree(written / "own", tmp_path / "chip")
    return tmp_path / "chip"


def play(folder: Path, simulator: str = "icarus") -> CosimResult:
    return cosim_folder(read_chip_folder(folder), [Sequence(prompt=PROMPT)], simulator=simulator)


def change_word(path: Path, line: int, change: Callable[[int], int]) -> None:
    """Exchange a word of a memory file (line 0 says what it is)."""
    lines = path.read_text().splitlines()
    lines[line] = f"{change(int(lines[line], 16)):x}"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_as_it_was_written_it_is_bit_exact(simulator: str, folder: Path) -> None:
    result = play(folder, simulator)
    assert result.bit_exact, result.divergence
    assert result.tokens == 3
    assert result.altered == ()


def test_a_flipped_bit_is_a_fault_of_its_memory_and_segment(folder: Path) -> None:
    """In the head's last word of weights."""
    words = len(layout(TAPE, DESIGN).words["weights"])
    change_word(folder / "weights_0.hex", words - 1, lambda word: word ^ 1 << 5)
    result = play(folder)
    assert not result.bit_exact
    assert result.divergence is not None
    place = {key: result.divergence[key] for key in ("position", "segment", "fault")}
    assert place == {"position": 0, "segment": "head", "fault": "weights"}
    assert result.altered == ("weights_0.hex",)
    assert result.tokens == 0
    assert result.due == 3 * 25


def test_two_flipped_bits_that_no_check_sees_are_the_first_value_that_differs(
    folder: Path,
) -> None:
    """Bits of the embedding of the second token."""
    change_word(folder / "embedding.hex", 1 + 2, lambda word: word ^ 0b11 << 4)
    result = play(folder)
    assert not result.bit_exact
    assert result.divergence is not None
    place = {key: result.divergence[key] for key in ("position", "segment", "vector", "index")}
    assert place == {"position": 1, "segment": "embedding", "vector": "x", "index": 0}
    assert result.altered == ("embedding.hex",)


def edit(folder: Path, before: str, after: str) -> None:
    path = folder / "mmfree.v"
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


@pytest.mark.slow
def test_an_edited_line_of_verilog_is_simulated(folder: Path) -> None:
    """The tables are read into other entries."""
    edit(folder, '("tables.hex", tables);', '("tables.hex", tables, 1);')
    result = play(folder)
    assert not result.bit_exact
    assert result.divergence is not None
    assert result.divergence["segment"] == "layer 0 gates"
    assert result.altered == ("mmfree.v",)


@pytest.mark.slow
def test_a_comment_changes_no_value(folder: Path) -> None:
    """Nor does the line that says what a file is, if somebody takes it out."""
    with (folder / "mmfree.v").open("a") as file:
        file.write("// looked at\n")
    path = folder / "biases.hex"
    path.write_text(path.read_text().partition("\n")[2])
    result = play(folder)
    assert result.bit_exact, result.divergence
    assert result.altered == ("mmfree.v", "biases.hex")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("module mmfree(", "module mmfree((", "port declarations"),
        ("input clk;", "input clk_in; wire clk;", "clk"),
        ("input clk;", "input clk; initial #50 $finish;", "the simulation ended prematurely"),
    ],
    ids=["no Verilog", "a port is gone", "it ends the simulation"],
)
def test_verilog_that_cannot_be_simulated_is_one_error(
    before: str, after: str, reason: str, folder: Path
) -> None:
    text = (folder / "mmfree.v").read_text()
    top = text.index("module mmfree(")
    changed = text[top:].replace(before, after, 1)
    assert changed != text[top:]
    (folder / "mmfree.v").write_text(text[:top] + changed)
    message = rf"mmfree\.v: altered, and cannot be simulated: .*{reason}"
    with pytest.raises(InputError, match=message):
        play(folder)


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("tape", "model.tape", "model.tape: tape .*, but design.json is of tape "),
        ("tape", "design.json", "model.tape: tape .*, but design.json is of tape "),
        ("tape", "weights_0.hex", "weights_0.hex: of another design or tape than design.json"),
        ("tape", "headers.hex", "headers.hex: of another design or tape than design.json"),
        ("wider", "embedding.hex", "embedding.hex: of another design or tape than design.json"),
        ("design", "design.json", "mmfree.v: of another design or tape than design.json"),
        ("design", "mmfree.v", "mmfree.v: of another design or tape than design.json"),
        ("wider", "mmfree.v", "mmfree.v: of another design or tape than design.json"),
        ("limits", "design.json", "a design without a tape, made from sizes: .* nothing to play"),
    ],
)
def test_a_file_of_another_folder_is_refused(
    source: str, name: str, message: str, written: Path, folder: Path
) -> None:
    shutil.copy(written / source / name, folder / name)
    with pytest.raises(InputError, match=message):
        read_chip_folder(folder)


def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / "tables.hex").unlink()
    (folder / "tables.hex").mkdir()
    with pytest.raises(InputError, match=r"tables.hex: cannot be read .*: write the folder again"):
        read_chip_folder(folder)


def test_a_memory_file_under_the_name_of_another_is_refused(folder: Path) -> None:
    shutil.copy(folder / "biases.hex", folder / "headers.hex")
    with pytest.raises(InputError, match=r"headers\.hex: of another .*`mmfree: biases\.hex of"):
        read_chip_folder(folder)


def test_a_constant_table_is_the_same_in_every_folder(written: Path, folder: Path) -> None:
    for name in ("gumbel.hex", "reciprocal_root.hex"):
        shutil.copy(written / "design" / name, folder / name)
    assert read_chip_folder(folder).altered == ()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights_0.hex", lambda t: t[: t.rindex("\n", 0, -1) + 1], "weights_0.hex: too short"),
        ("biases.hex", lambda t: t + "0\n", "biases.hex: too long for this design and tape"),
        ("biases.hex", lambda t: t + "0g\n", "biases.hex, line .*'0g' is not a hexadecimal word"),
        ("biases.hex", lambda t: t + "@0 1\n", "biases.hex, line .*'@0' is not a hexadecimal"),
        ("gumbel.hex", lambda t: t.replace("\n", "\nf", 1), "gumbel.hex: word 0 has .* bits, and"),
        ("biases.hex", lambda t: t + "\N{MICRO SIGN}", "biases.hex: not text"),
        ("mmfree.v", None, "mmfree.v: no such file"),
        ("tables.hex", None, "tables.hex: no such file"),
        ("model.tape", None, "model.tape: no such file"),
        ("model.tape", lambda t: t[:-1], "model.tape: .*checksum mismatch"),
        ("design.json", None, "design.json is missing: not a folder that `mmfree verilog` wrote"),
        ("design.json", lambda t: t[:-9], "design.json: not valid JSON"),
        ("design.json", lambda t: "[]", "design.json: not the description of a design"),
        ("design.json", lambda t: t.replace('"files"', '"file"'), "says nothing of the folder's"),
        ("design.json", lambda t: t.replace('"rows"', '"row"'), "design: unknown field 'row'"),
    ],
)
def test_a_missing_or_damaged_file_is_refused(
    name: str, change: Callable[[str], str] | None, message: str, folder: Path
) -> None:
    path = folder / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes().decode("latin-1")).encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_chip_folder(folder)


def test_verilog_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "mmfree.v").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"mmfree\.v: not text in UTF-8"):
        read_chip_folder(folder)


def test_a_tape_that_does_not_fit_the_design_is_refused(folder: Path) -> None:
    """Though design.json was made to name it."""
    description = json.loads((folder / "design.json").read_text())
    description["design"]["weight_words"] = 3
    (folder / "design.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match="the tape needs weight_words of "):
        read_chip_folder(folder)


def test_a_tape_beside_its_own_description_is_refused(folder: Path) -> None:
    """A tape and a description that name each other: the Verilog and memory files do not."""
    write_tape(OTHER_TAPE, folder / "model.tape")
    description = json.loads((folder / "design.json").read_text())
    description["tape_sha256"] = OTHER_TAPE.sha256
    (folder / "design.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"weights_0\.hex: of another design or tape"):
        read_chip_folder(folder)


EXTERNAL = design_for_memory(ODD.config, ExternalMemory(port_bits=64, ports=1))


@pytest.fixture(scope="module")
def with_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose design has an external memory."""
    path = tmp_path_factory.mktemp("with_image")
    write_verilog(EXTERNAL, path / "own", TAPE)
    return path / "own"


@pytest.fixture
def beside_image(with_image: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    shutil.copytree(with_image, tmp_path / "chip")
    return tmp_path / "chip"


def test_an_image_is_copied_as_it_lies_there(beside_image: Path, tmp_path: Path) -> None:
    """Altered or not: a pass checks its words."""
    path, copy = beside_image / "memory.bin", tmp_path / "copy"
    copy.mkdir()
    chip = read_chip_folder(beside_image)
    assert chip.altered == ()
    chip.copy_to(copy)
    assert (copy / "memory.bin").read_bytes() == path.read_bytes()
    data = bytearray(path.read_bytes())
    data[4096] ^= 1
    path.write_bytes(data)
    chip = read_chip_folder(beside_image)
    assert chip.altered == ("memory.bin",)
    chip.copy_to(copy)
    assert (copy / "memory.bin").read_bytes() == data


def test_a_truncated_or_missing_image_is_refused(beside_image: Path) -> None:
    path = beside_image / "memory.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(InputError, match=r"memory\.bin: truncated: 12,287 bytes, required 12,288"):
        read_chip_folder(beside_image)
    path.write_bytes(b"mmfree")
    with pytest.raises(InputError, match=r"memory\.bin: not an image: it does not begin with"):
        read_chip_folder(beside_image)
    path.unlink()
    with pytest.raises(InputError, match=r"memory\.bin: no such file"):
        read_chip_folder(beside_image)


def test_an_image_of_another_design_or_tape_is_refused(beside_image: Path) -> None:
    path = beside_image / "memory.bin"
    write_memory_image(OTHER_TAPE, EXTERNAL, path)
    with pytest.raises(InputError, match=r"memory\.bin: an image of another tape: "):
        read_chip_folder(beside_image)
    wider = replace(EXTERNAL, embedding_rows=EXTERNAL.embedding_rows + 1)
    write_memory_image(TAPE, wider, path)
    with pytest.raises(InputError, match=r"memory\.bin: an image of another design: "):
        read_chip_folder(beside_image)


@pytest.mark.parametrize(
    ("words", "rows", "message"),
    [
        (-1, 0, "129 words, but this design and tape need 130: write the folder again"),
        (0, -1, "6 rows of the embedding, but this design and tape need 7: write the folder"),
    ],
)
def test_an_image_that_is_shorter_than_the_tape_is_refused(
    words: int, rows: int, message: str, beside_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it says so itself, and names this design and tape."""
    image = read_memory_image(beside_image / "memory.bin", EXTERNAL)
    assert (image.words, image.rows) == (130, 7)
    shorter = replace(image, words=image.words + words, rows=image.rows + rows)
    monkeypatch.setattr(
        sim.cosim.chip_folder, "read_memory_image", lambda path, design, tape: shorter
    )
    with pytest.raises(InputError, match=rf"memory\.bin: {message}"):
        read_chip_folder(beside_image)

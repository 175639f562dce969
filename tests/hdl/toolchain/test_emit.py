# amaranth: UnusedElaboratable=no
"""Verilog and memory files."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import hdl.toolchain.emit
from hdl.accelerator import Accelerator
from hdl.pow2.rms_norm import num_squares
from hdl.toolchain.emit import (
    VerilogFormatError,
    constant_image,
    convert_rtlil,
    describe,
    initialise_memories,
    trigger_processes,
    write_verilog,
)
from hdl.toolchain.products import ProductUnit
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.folder import (
    DESCRIPTION_NAME,
    IMAGE_NAME,
    TAPE_NAME,
    VERILOG_FOLDER,
    VERILOG_NAME,
    sources,
)
from mmfree.chip.image import constant_words
from mmfree.chip.layout import LayoutError, layout
from mmfree.chip.memory_image import read_memory_image
from mmfree.chip.memory_map import chip_memories
from mmfree.chip.sizing import design_for_memory, padding_share
from mmfree.errors import InputError
from mmfree.tape.operations import count_operations
from tests.support.sim.shapes import ODD

NAMES = {
    *(VERILOG_NAME, TAPE_NAME, DESCRIPTION_NAME),
    *(f"{name}.hex" for name in chip_memories(ODD.design())),
}


def test_verilog_is_byte_identical_for_two_tapes(tmp_path: Path) -> None:
    """Of one design; what differs are the memory files."""
    design = ODD.design()
    for seed in (1, 2):
        write_verilog(design, tmp_path / str(seed), ODD.tape(seed, wild=False))
    one, other = tmp_path / "1", tmp_path / "2"
    assert {path.name for path in one.iterdir()} == NAMES
    assert (one / VERILOG_NAME).read_bytes() == (other / VERILOG_NAME).read_bytes()
    assert (one / "weights_0.hex").read_bytes() != (other / "weights_0.hex").read_bytes()
    assert (one / "reciprocal_root.hex").read_bytes() == (
        other / "reciprocal_root.hex"
    ).read_bytes()


def test_every_signal_has_a_name() -> None:
    """Amaranth calls one ``$signal`` that is made in the middle of an expression."""
    assert "$signal" not in convert_rtlil(Accelerator(ODD.design()))


def test_verilog_needs_no_tape(tmp_path: Path) -> None:
    """From limits alone: the same bytes, and no image."""
    design = ODD.design()
    write_verilog(design, tmp_path / "tape", ODD.tape(1, wild=False))
    description = write_verilog(Design.from_dict(design.to_dict()), tmp_path / "limits")
    assert {path.name for path in (tmp_path / "limits").iterdir()} == {
        VERILOG_NAME,
        "design.json",
        "reciprocal_root.hex",
        "gumbel.hex",
    }
    assert description["shift_and_add_products_per_token"] is None
    verilog = (tmp_path / "limits" / VERILOG_NAME).read_bytes()
    assert verilog == (tmp_path / "tape" / VERILOG_NAME).read_bytes()


def test_verilog_reads_each_memory_file_once_and_names_no_place(tmp_path: Path) -> None:
    """Two groups of rows: two memories of weights."""
    design = replace(ODD.design(), rows=8, columns=2)
    assert {"weights_0", "weights_1"} < set(chip_memories(design))
    write_verilog(design, tmp_path)
    verilog = (tmp_path / VERILOG_NAME).read_text()
    for name in chip_memories(design):
        assert verilog.count(f'$readmemh("{name}.hex"') == 1
    assert verilog.count("$readmem") == len(chip_memories(design))
    assert str(Path(__file__).parents[3]) not in verilog
    assert " * " not in "".join(
        line.partition("//")[0] for line in verilog.splitlines() if "(*" not in line
    )


def test_design_json_lists_every_product_unit(tmp_path: Path) -> None:
    design, tape = ODD.design(), ODD.tape(1, wild=False)
    written = write_verilog(design, tmp_path, tape)
    description = json.loads((tmp_path / "design.json").read_text())
    assert description == json.loads(json.dumps(written))
    assert Design.from_dict(description["design"]) == design
    assert description["multipliers"] == 0
    assert description["tape_sha256"] == tape.sha256
    units = {unit["use"]: unit for unit in description["shift_and_add_units"]}
    width = design.post_width
    counts = {"requantize": width, "square": num_squares(design.columns), "scale": 1}
    counts |= {"update_state": width, "gated_product": width}
    assert {use: unit["count"] for use, unit in units.items()} == counts
    products = dict(count_operations(tape).products)
    products["gated_product"] += products.pop("noise")  # one unit makes both
    assert {use: unit["uses_per_token"] for use, unit in units.items()} == products
    assert description["shift_and_add_products_per_token"] == sum(products.values())
    assert all(unit["luts_each"] > 50 for unit in units.values())
    total = sum(unit["count"] * unit["luts_each"] for unit in units.values())
    assert description["shift_and_add_luts"] == total


def test_product_units_of_the_verilog_are_those_of_design_json(tmp_path: Path) -> None:
    """Every instance of the unit in the emitted hierarchy is counted, and no other."""
    description = write_verilog(ODD.design(), tmp_path)
    verilog = (tmp_path / VERILOG_NAME).read_text()
    instances = sum(
        line.lstrip().startswith(r"\mmfree.")
        and (".square_" in line or ".product_" in line or ".scaler" in line)
        for line in verilog.splitlines()
    )
    assert instances == sum(unit["count"] for unit in description["shift_and_add_units"])


def test_a_tape_that_does_not_fit_writes_nothing(tmp_path: Path) -> None:
    design = replace(ODD.design(), weight_words=3)
    with pytest.raises(LayoutError, match="the tape needs weight_words"):
        write_verilog(design, tmp_path / "out", ODD.tape(1, wild=False))
    assert not (tmp_path / "out").exists()


def test_a_design_whose_values_have_no_arithmetic_is_refused(tmp_path: Path) -> None:
    """Also without a tape: nothing is written."""
    design = replace(ODD.design(), value_bits=28)
    with pytest.raises(LayoutError, match="the design has value_bits of 28, but docs/arithmetic"):
        write_verilog(design, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(LayoutError, match="the design has value_bits of 28"):
        Accelerator(design)


def test_memory_files_are_those_of_the_layout(tmp_path: Path) -> None:
    design, tape = ODD.design(), ODD.tape(1, wild=False)
    write_verilog(design, tmp_path, tape)
    for name, text in layout(tape, design).memory_files().items():
        heading, _, words = (tmp_path / f"{name}.hex").read_text().partition("\n")
        assert heading.startswith("// ")
        assert words == text


def test_every_file_says_what_it_was_made_of(tmp_path: Path) -> None:
    """The Verilog its design, a memory file also its tape, and design.json every file's bytes."""
    design, tape = ODD.design(), ODD.tape(1, wild=False)
    description = write_verilog(design, tmp_path, tape)
    assert (tmp_path / TAPE_NAME).read_bytes() == tape.data
    assert set(description["files"]) == NAMES - {DESCRIPTION_NAME}
    for name, digest in description["files"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    said = sources(design, tape)
    assert set(said) == NAMES - {DESCRIPTION_NAME, TAPE_NAME}
    for name, line in said.items():
        assert line.startswith(f"mmfree: {name} of ")
        assert (tmp_path / name).read_text().startswith(f"// {line}\n")
    other_tape = sources(design, ODD.tape(2, wild=False))
    assert {name for name in said if said[name] != other_tape[name]} == {
        *(f"{name}.hex" for name in chip_memories(design)[:-2]),
    }
    wider = replace(design, embedding_rows=design.embedding_rows + 1)
    other_design = sources(wider, tape)
    assert {name for name in said if said[name] == other_design[name]} == {
        "reciprocal_root.hex",
        "gumbel.hex",
    }


MEMORIES = """  wire c;
  reg [17:0] tables [511:0];
  initial $readmemb("design-1.mem", tables );
  always @(posedge clk) begin
  reg queue_0 [3:0];
  initial $readmemb("design-2.mem", queue_0 );
  reg [3:0] headers [3:0];
  reg [3:0] counter;
"""
TRIGGER = r"\$auto$verilog_backend.cc:2505:dump_module$3 "
PROCESSES = f"""module top(a, b);
  reg {TRIGGER} = 0;
  wire c;
  always @* begin
    if ({TRIGGER}) begin end
    b = 1'h0;
  end
  always @*
    d[1] = a;
  always @(posedge clk)
    e <= a;
endmodule
"""
"""What Yosys writes."""


def test_memories_are_initialised_from_their_files_or_not_at_all() -> None:
    """Whether or not they have initial values."""
    assert (
        initialise_memories(MEMORIES, ["tables", "headers"], 2)
        == """  wire c;
  reg [17:0] tables [511:0];
  initial $readmemh("tables.hex", tables);
  always @(posedge clk) begin
  reg queue_0 [3:0];
  reg [3:0] headers [3:0];
  initial $readmemh("headers.hex", headers);
  reg [3:0] counter;
"""
    )
    assert initialise_memories(MEMORIES, ["queue_0"], 2).count("$readmem") == 1


@pytest.mark.parametrize(
    ("verilog", "memories", "message"),
    [
        (
            MEMORIES.replace('$readmemb("design-2', '$readmemb( "design-2'),
            ["tables"],
            "2 memories with $readmemb, got 1",
        ),
        (MEMORIES.replace("readmemb", "readmemh"), [], "2 memories with $readmemb, got 0"),
        (MEMORIES, ["tables", "biases"], "one memory biases, got 0"),
        (MEMORIES, ["counter"], "one memory counter, got 0"),
        (MEMORIES.replace("queue_0", "tables"), ["tables"], "one memory tables, got 2"),
        (MEMORIES.replace("tables [", "tables["), ["tables"], "one memory tables, got 0"),
    ],
    ids=["one of two", "none", "missing", "register", "twice", "declaration"],
)
def test_memories_of_another_form_are_an_error(
    verilog: str, memories: list[str], message: str
) -> None:
    with pytest.raises(
        VerilogFormatError,
        match=re.escape(f"Yosys' Verilog must have {message}: its format has changed; use the"),
    ):
        initialise_memories(verilog, memories, 2)


def test_every_combinational_process_depends_on_a_trigger_that_is_set_last() -> None:
    verilog = trigger_processes(PROCESSES)
    assert verilog.count(f"always @* begin\n    if ({TRIGGER}) begin end\n") == 2
    assert "    d[1] = a;\n  end\n" in verilog
    assert f"  reg {TRIGGER};\n" in verilog
    assert verilog.endswith(f"  initial {TRIGGER} = 1'h0;\nendmodule\n")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("@*\n    d", "@*  d", "a trigger in each of 2 combinational processes, got 1"),
        (f"if ({TRIGGER})", "if (x)", "a trigger in each of 2 combinational processes, got 1"),
        (f"reg {TRIGGER}", "reg x", "a trigger in each of 2 combinational processes, got 1"),
        (
            f"  reg {TRIGGER} = 0;\n  wire c;\n  always @*",
            f"  reg {TRIGGER}= 1'h0;\n  wire c;\n  always @*",
            "a trigger in each of 2 combinational processes, got 1",
        ),
    ],
    ids=["process", "condition", "name", "declaration"],
)
def test_processes_of_another_form_are_an_error(before: str, after: str, message: str) -> None:
    assert before in PROCESSES
    with pytest.raises(VerilogFormatError, match=re.escape(message)):
        trigger_processes(PROCESSES.replace(before, after))


def test_a_trigger_that_is_not_set_last_is_an_error() -> None:
    """Where every process has a trigger of Yosys' own, the declaration alone can be missed."""
    verilog = PROCESSES.replace("  always @*\n    d[1] = a;\n", "").replace("= 0;", "= 1'h0;")
    message = f"`reg {TRIGGER} = 0;` in the module that uses it, got none"
    with pytest.raises(VerilogFormatError, match=re.escape(message)):
        trigger_processes(verilog)


def test_a_fresh_folder_is_finished_by_its_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written last, and what a folder of Verilog is known by: a killed process leaves none."""
    written: list[str] = []

    def write(path: Path, data: bytes) -> None:
        written.append(path.name)
        path.write_bytes(data)

    monkeypatch.setattr(hdl.toolchain.emit, "write_atomically", write)
    monkeypatch.setattr(hdl.toolchain.emit, "convert_verilog", lambda text, memories: "verilog")
    monkeypatch.setattr(hdl.toolchain.emit, "product_units", lambda accelerator, tape: [])
    monkeypatch.setattr(hdl.toolchain.emit, "Accelerator", lambda design: None)
    monkeypatch.setattr(hdl.toolchain.emit, "convert_rtlil", lambda accelerator: "  cell $add $1")
    design, tape = ODD.design(), ODD.tape(1, wild=False)
    description = write_verilog(design, tmp_path / "a" / "b", tape)
    assert set(written) == NAMES - {"model.tape"}
    assert (tmp_path / "a" / "b" / "model.tape").is_file()
    assert written[-1] == DESCRIPTION_NAME == VERILOG_FOLDER.last
    assert all(VERILOG_FOLDER.own.fullmatch(name) for name in NAMES)
    for name in ("weights_12.hex", "gumbel.hex"):
        assert VERILOG_FOLDER.own.fullmatch(name)
    for name in ("notes.hex", "weights_a.hex", "mmfree_v", "my mmfree.v", "weights_1.hex.old"):
        assert not VERILOG_FOLDER.own.fullmatch(name), name
    shares = padding_share(tape.config, design.rows, design.columns)
    assert description["padding_share"] == shares
    assert (description["lanes"], description["multipliers"]) == (16, 0)
    assert description["shift_and_add_products_per_token"] == 0


def test_a_folder_with_an_external_memory_holds_its_image(tmp_path: Path) -> None:
    """memory.bin, of which design.json says all that a host needs; the chip's memories less."""
    external, tape = find_memory("axi64x2"), ODD.tape(1, wild=False)
    assert external is not None
    design = design_for_memory(ODD.config, external)
    description = write_verilog(design, tmp_path / "tape", tape)
    image = read_memory_image(tmp_path / "tape" / IMAGE_NAME, design, tape.sha256)
    assert description["memory"] == {
        "name": "axi64x2",
        "port_bits": 64,
        "ports": 2,
        "file": "memory.bin",
        "words": image.words,
        "rows": 7,
        "num_bytes": image.file_bytes,
        "regions": [vars(region) for region in image.regions],
    }
    data = (tmp_path / "tape" / IMAGE_NAME).read_bytes()
    assert description["files"][IMAGE_NAME] == hashlib.sha256(data).hexdigest()
    names = {IMAGE_NAME, *NAMES} - {"weights_0.hex", "embedding.hex", "biases.hex"}
    assert {path.name for path in (tmp_path / "tape").iterdir()} == names
    assert set(description["files"]) == names - {DESCRIPTION_NAME}
    assert VERILOG_FOLDER.own.fullmatch(IMAGE_NAME)
    limits = write_verilog(design, tmp_path / "limits")
    assert limits["memory"] == {"name": "axi64x2", "port_bits": 64, "ports": 2}
    assert IMAGE_NAME not in limits["files"]
    assert not (tmp_path / "limits" / IMAGE_NAME).exists()
    verilog = (tmp_path / "tape" / VERILOG_NAME).read_text()
    assert verilog == (tmp_path / "limits" / VERILOG_NAME).read_text()
    assert verilog.count("$readmem") == len(chip_memories(design)) == 4


def test_an_image_is_written_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no other file of a folder stands beside an old one, should it not be written."""
    external = find_memory("axi64")
    assert external is not None
    design = design_for_memory(ODD.config, external)

    def write(tape: object, design: object, path: Path) -> None:
        assert not list(path.parent.iterdir())
        raise InputError(f"{path}: being written by another process")

    monkeypatch.setattr(hdl.toolchain.emit, "write_memory_image", write)
    monkeypatch.setattr(hdl.toolchain.emit, "convert_verilog", lambda text, memories: "verilog")
    monkeypatch.setattr(hdl.toolchain.emit, "product_units", lambda accelerator, tape: [])
    monkeypatch.setattr(hdl.toolchain.emit, "Accelerator", lambda design: None)
    monkeypatch.setattr(hdl.toolchain.emit, "convert_rtlil", lambda accelerator: "  cell $add $1")
    with pytest.raises(InputError, match="being written by another process"):
        write_verilog(design, tmp_path / "a", ODD.tape(1, wild=False))
    assert not list((tmp_path / "a").iterdir())


def test_a_chip_that_multiplies_says_so() -> None:
    """And how large its product units are, one by one and together."""
    unit = ProductUnit(
        use="scale", operands="a * b", a_bits=9, b_bits=8, count=3, luts_each=50, uses_per_token=8
    )
    text = "module \\top\n  cell $mul $1\n  end\n  cell $div $2\n  end\nend\n"
    found = describe(ODD.design(), text, [unit, replace(unit, count=2, uses_per_token=5)])
    assert found["multipliers"] == 2
    assert found["shift_and_add_luts"] == 5 * 50
    assert found["shift_and_add_products_per_token"] == 13
    assert found["shift_and_add_units"][1]["count"] == 2
    without = describe(ODD.design(), text, [unit, replace(unit, uses_per_token=None)])
    assert without["shift_and_add_products_per_token"] is None


def test_constant_tables_have_their_parity() -> None:
    """An even number of ones in every word, above the table's own bits."""
    image = constant_image(ODD.design())
    assert set(image.words) == {"reciprocal_root", "gumbel"}
    for name, bits in (("reciprocal_root", 8), ("gumbel", 14)):
        words = image.words[name]
        assert [word & (1 << bits) - 1 for word in words] == list(constant_words()[name])
        assert all(word.bit_count() % 2 == 0 for word in words)
        assert any(word >> bits for word in words)

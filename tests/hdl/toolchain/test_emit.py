"""Verilog and memory files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hdl.pow2.rms_norm import num_squares
from hdl.toolchain.emit import VERILOG_NAME, write_verilog
from mmfree.chip.design import Design
from mmfree.chip.layout import LayoutError, layout
from mmfree.tape.operations import count_operations
from tests.support.sim.shapes import ODD

NAMES = {VERILOG_NAME, "design.json", *(f"{name}.hex" for name in ODD.design().memories)}


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
    assert {"weights_0", "weights_1"} < set(design.memories)
    write_verilog(design, tmp_path)
    verilog = (tmp_path / VERILOG_NAME).read_text()
    for name in design.memories:
        assert verilog.count(f'$readmemh("{name}.hex"') == 1
    assert verilog.count("$readmem") == len(design.memories)
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


def test_memory_files_are_those_of_the_layout(tmp_path: Path) -> None:
    design, tape = ODD.design(), ODD.tape(1, wild=False)
    write_verilog(design, tmp_path, tape)
    for name, text in layout(tape, design).memory_files().items():
        assert (tmp_path / f"{name}.hex").read_text() == text

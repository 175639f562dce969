"""``mmfree verilog``: the accelerator as Verilog and memory files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmfree.chip.design import Design, describe_padding, design_for
from mmfree.cli.options import add_design, add_out
from mmfree.cli.outcome import Outcome
from mmfree.errors import InputError
from mmfree.files.atomic import read_json, refuse_to_overwrite
from mmfree.tape.reading import open_chip_tape

SUMMARY = "generate the accelerator: Verilog, memory files, design.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="TAPE|LIMITS.json",
        help="a tape, or the sizes of a design (docs/accelerator.md)",
    )
    add_design(parser)
    add_out(parser, "folder")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    from hdl.toolchain.emit import VERILOG_NAME, write_verilog

    refuse_to_overwrite(options.out / VERILOG_NAME, options.force)
    if options.source.suffix == ".json":
        tape, design = None, Design.from_dict(read_json(options.source), str(options.source))
        if design.multiplies:
            raise InputError(
                f"{options.source}: a design that multiplies is for comparison alone"
                " (tools/experiments/multiplying.py)"
            )
    else:
        tape = open_chip_tape(options.source)
        design = design_for(tape, options.lanes, options.bits)
    print("generating, and synthesizing the product units to count their LUTs ...", file=sys.stderr)
    description = write_verilog(design, options.out, tape)
    products = description["shift_and_add_products_per_token"]
    line = (
        f"{options.out}: {design.lanes} lanes ({design.rows} rows x {design.columns} columns), 0"
        f" multipliers, {sum(unit['count'] for unit in description['shift_and_add_units'])}"
        f" shift-and-add units of {description['shift_and_add_luts']:,} LUT4-equivalents (ECP5,"
        " Yosys estimate)"
    )
    if products is not None:
        line += (
            f", {products:,} products per token; {describe_padding(description['padding_share'])}"
        )
    return Outcome(description, line)

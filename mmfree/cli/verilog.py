"""``mmfree verilog``: the accelerator as Verilog and memory files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmfree import api
from mmfree.chip.design import Design
from mmfree.chip.sizing import describe_padding
from mmfree.cli.options import add_design_or_own, add_out
from mmfree.cli.outcome import Outcome

SUMMARY = "generate the accelerator: Verilog, memory files, the tape, design.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="TAPE|LIMITS.json",
        help="a tape, or the sizes of a design (docs/accelerator.md)",
    )
    add_design_or_own(parser)
    add_out(parser, "folder")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    description = api.verilog(
        options.source,
        options.out,
        lanes=options.lanes,
        bits=options.bits,
        force=options.force,
        progress=lambda line: print(line, file=sys.stderr),
    )
    design = Design.from_dict(description["design"])
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

"""``mmfree verilog``: the accelerator as Verilog and memory files."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmfree import api
from mmfree.chip.sizing import describe_padding
from mmfree.cli.options import add_design_or_own, add_memory, add_out
from mmfree.cli.outcome import Outcome
from mmfree.cli.progress import Stages

EXAMPLES = (
    "mmfree verilog text.tape --out chip",
    "mmfree verilog text.tape --lanes 256 --bits 1.6 --out chip",
    "mmfree verilog large.tape --memory axi128x4:512M --out chip",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="MODEL|LIMITS.json",
        help=(
            "a tape, a checkpoint folder, which is exported first, or a run folder with either; or"
            " the sizes of a design (docs/accelerator.md)"
        ),
    )
    add_design_or_own(parser)
    add_memory(parser)
    add_out(parser, "folder")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    with Stages() as say:
        made = api.verilog(
            options.source,
            options.out,
            lanes=options.lanes,
            bits=options.bits,
            memory=options.memory,
            force=options.force,
            progress=say,
        )
    design, image = made.design, made.description.get("memory", {})
    line = (
        f"{options.out}: {made.lanes:,} lanes ({design.rows} rows x {design.columns} columns),"
        f" {made.multipliers} multipliers, {sum(unit.count for unit in made.units):,} shift-and-add"
        f" units of {made.unit_luts:,} LUT4-equivalents (ECP5, Yosys estimate)"
    )
    if made.products_per_token is not None and made.padding_share is not None:
        line += (
            f", {made.products_per_token:,} products per token;"
            f" {describe_padding(made.padding_share)}"
        )
    if "file" in image:
        line += (
            f"; {image['file']} ({image['num_bytes']:,} bytes) goes into the memory that"
            f" {image['name']} reads"
        )
    return Outcome(made.to_dict(), line)

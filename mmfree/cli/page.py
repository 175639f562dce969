"""``mmfree page``: the chip of a tape in one HTML file, for anybody's browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.cli.options import add_chip_model, add_out, number_of_lanes
from mmfree.cli.outcome import Outcome
from mmfree.cli.progress import Stages
from mmfree.files.atomic import refuse_to_overwrite, write_atomically
from mmfree.files.claim import claimed
from mmfree.inference.backends import load_tape_or_export
from mmfree.inference.places import TAPE_NAME
from mmfree.shipped import card_of, shipped_tape

EXAMPLES = (
    "mmfree page stories --out stories.html",
    "mmfree page addition.tape --lanes 16 --out addition.html",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_chip_model(parser)
    parser.add_argument(
        "--lanes",
        type=number_of_lanes,
        metavar="N",
        help="ternary additions per cycle, a power of two (default: 64; of large models 256)",
    )
    parser.add_argument(
        "--bits", choices=tuple(WEIGHT_CODES), help="storage of a weight, in bits (default: 1.6)"
    )
    add_out(parser, "the page")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    with claimed(options.out):
        refuse_to_overwrite(options.out, options.force)
        return _page(options)


def _page(options: argparse.Namespace) -> Outcome:
    from sim.page.limits import design_of

    tape = load_tape_or_export(options.model)
    design = design_of(tape, options.lanes, options.bits)
    is_shipped = shipped_tape(options.model) is not None
    name = str(options.model) if is_shipped else _name(options.model.resolve())
    # Not before all is checked that can be without it.
    from sim.page.page import page_of

    with Stages() as say:
        page = page_of(tape, name, design, card=card_of(name) if is_shipped else "", progress=say)
    write_atomically(options.out, page)
    values = {
        "page": str(options.out),
        "bytes": len(page),
        "lanes": design.lanes,
        "tape_sha256": tape.sha256,
    }
    line = f"{len(page):,} bytes, a chip of {design.lanes:,} lanes; open it in a browser"
    return Outcome(values, f"{options.out}: {line}")


def _name(path: Path) -> str:
    """Of a model: of its file, or of its folder."""
    return path.parent.name if path.name == TAPE_NAME else path.stem

"""``mmfree build``: a tape as a bitstream for a board."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mmfree.chip.sizing import describe_padding, design_for
from mmfree.cli.options import add_design, add_out
from mmfree.cli.outcome import Outcome
from mmfree.errors import InputError
from mmfree.files.folders import refuse_to_replace_folder
from mmfree.tape.reading import open_chip_tape

SUMMARY = "synthesize, place and route the accelerator with a tape in it: a bitstream"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("tape", type=Path, metavar="TAPE", help="file")
    parser.add_argument("--board", required=True, metavar="NAME", help="ulx3s-85f")
    parser.add_argument(
        "--clock",
        type=float,
        default=100.0,
        metavar="MHZ",
        help="clock to ask for; the PLL comes within 1 %%, and not above",
    )
    parser.add_argument(
        "--allow-slow",
        action="store_true",
        help="keep a result that is slower than the clock asked for",
    )
    add_design(parser)
    add_out(parser, "folder")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    from hdl.boards import find_board
    from hdl.toolchain.build import BITSTREAM, Request, build

    board = find_board(options.board)
    if not 0 <= options.seed < 1 << 31:
        raise InputError(f"--seed must lie in 0..2^31-1 for placement, got {options.seed}")
    refuse_to_replace_folder(options.out, options.force)
    tape = open_chip_tape(options.tape)
    request = Request(
        tape=tape,
        design=design_for(tape, options.lanes, options.bits),
        board=board,
        clock_hz=options.clock * 1e6,
        seed=options.seed,
        allow_slow=options.allow_slow,
    )
    description = build(
        request, options.out, lambda line: print(line, file=sys.stderr), force=options.force
    )
    values = description | {"bitstream": str(options.out / BITSTREAM)}
    return Outcome(values, _describe(values))


def _describe(values: dict[str, Any]) -> str:
    """For people: what was built, and every count of its cells."""
    from hdl.toolchain.counts import describe_counts

    used, reached = values["utilisation"], f"{values['clock_hz'] / 1e6:.1f} MHz"
    clock = (
        f"{reached} routed, runs at {values['pll_hz'] / 1e6:g} MHz "
        f"(asked for {values['clock_asked_hz'] / 1e6:g})"
    )
    if not values["clock_met"]:
        clock += ": TOO SLOW, kept by --allow-slow"
    rows = [
        ("bitstream", values["bitstream"]),
        ("clock", clock),
        ("lanes", f"{values['lanes']:,}; {describe_padding(values['padding_share'])}"),
        ("LUTs", "{:,} of {:,}".format(*used["TRELLIS_COMB"])),
        ("registers", "{:,} of {:,}".format(*used["TRELLIS_FF"])),
        ("memory blocks", "{:,} of {:,}".format(*used["DP16KD"])),
        ("DSP blocks", f"{values['dsp']}"),
    ]
    if (possible_hz := values["clock_possible_hz"]) is not None:
        faster = (
            f"{reached} reached, {values['clock_asked_hz'] / 1e6:g} asked: --clock"
            f" {possible_hz / 1e6:g} would be legal, and the PLL makes it"
        )
        rows.insert(2, ("faster", faster))
    lines = [f"{name:<15}{text}" for name, text in rows]
    return "\n".join([*lines, "", describe_counts(values["counts"])])

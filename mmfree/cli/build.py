"""``mmfree build``: a model as a bitstream for a board."""

from __future__ import annotations

import argparse
from typing import Any

from mmfree import api
from mmfree.chip.sizing import describe_padding
from mmfree.cli.options import add_chip_model, add_design_or_own, add_out
from mmfree.cli.outcome import Outcome
from mmfree.cli.progress import Stages
from mmfree.cli.values import above_zero
from mmfree.errors import InputError
from mmfree.files.claim import claimed
from mmfree.files.folders import refuse_to_replace_folder
from mmfree.report.numbers import megahertz

EXAMPLES = (
    "mmfree build text.tape --board ulx3s-85f --out built",
    "mmfree build text.tape --board ulx3s-85f --lanes 128 --clock 80 --out built",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_chip_model(parser)
    parser.add_argument("--board", required=True, metavar="NAME", help="ulx3s-85f")
    parser.add_argument(
        "--clock",
        type=above_zero("MHz"),
        default=100.0,
        metavar="MHZ",
        help="clock to ask for; the PLL comes within 1 %%, and not above",
    )
    parser.add_argument(
        "--allow-slow",
        action="store_true",
        help="keep a result that is slower than the clock asked for",
    )
    add_design_or_own(parser)
    add_out(parser, "folder")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    from hdl.boards import find_board
    from hdl.boards.pll import pll_for

    board = find_board(options.board)
    if options.seed >= 1 << 31:
        raise InputError(f"--seed must lie in 0..2^31-1 for placement, got {options.seed}")
    pll_for(board.oscillator_hz, options.clock * 1e6)
    with Stages() as say, claimed(options.out):
        refuse_to_replace_folder(options.out, options.force)
        tape, design = api.chip_for(options.model, options.lanes, options.bits, progress=say)
        # Not before all is checked that was asked for.
        from hdl.toolchain.build import BITSTREAM, Request, build

        request = Request(
            tape=tape,
            design=design,
            board=board,
            clock_hz=options.clock * 1e6,
            seed=options.seed,
            allow_slow=options.allow_slow,
        )
        description = build(request, options.out, say, force=options.force)
    values = description | {"bitstream": str(options.out / BITSTREAM)}
    return Outcome(values, _describe(values))


def _describe(values: dict[str, Any]) -> str:
    """For people: what was built, and every count of its cells."""
    from hdl.toolchain.counts import describe_counts

    used, reached = values["utilisation"], megahertz(values["clock_hz"])
    asked, runs = megahertz(values["clock_asked_hz"]), megahertz(values["pll_hz"])
    clock = f"{reached} routed, runs at {runs} (asked for {asked})"
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
            f"{reached} reached, {asked} asked: --clock {possible_hz / 1e6:g} would be legal, and"
            " the PLL makes it"
        )
        rows.insert(2, ("faster", faster))
    lines = [f"{name:<15}{text}" for name, text in rows]
    return "\n".join([*lines, "", describe_counts(values["counts"])])

"""``mmfree build``: a tape as a bitstream for a board."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mmfree.design import describe_padding, design_for
from mmfree.files import refuse_to_overwrite
from mmfree.outcome import Outcome
from mmfree.tape import read_tape


def build(options: argparse.Namespace) -> Outcome:
    """``mmfree build``."""
    from hdl.boards import find_board
    from hdl.build import BITSTREAM, Request
    from hdl.build import build as run

    board = find_board(options.board)
    refuse_to_overwrite(options.out, options.force)
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"{options.out}: not a folder")
    tape = read_tape(options.tape)
    request = Request(
        tape=tape,
        design=design_for(tape, options.lanes, options.bits),
        board=board,
        clock_hz=options.clock * 1e6,
        seed=options.seed,
        allow_slow=options.allow_slow,
    )
    description = run(request, options.out, lambda line: print(line, file=sys.stderr))
    values = description | {"bitstream": str(options.out / BITSTREAM)}
    return Outcome(values, _describe(values))


def _describe(values: dict[str, Any]) -> str:
    used = values["utilisation"]
    clock = (
        f"{values['clock_hz'] / 1e6:.1f} MHz routed, runs at {values['pll_hz'] / 1e6:g} MHz "
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
    return "\n".join(f"{name:<15}{text}" for name, text in rows)

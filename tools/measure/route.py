"""Clock of a tape's accelerator on a board: one synthesis, placed and routed with several seeds.

python -m tools.measure.route a.tape --lanes 256 --bits 1.6 --seeds 5 --freq 140
python -m tools.measure.route --published 128 384 3 256 --lanes 64 --bits 1.6 --seeds 3 --freq 100
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from hdl.boards import BOARDS
from hdl.boards.plan import plan
from hdl.toolchain.audit import ECP5_DSP_CELLS, luts
from hdl.toolchain.place_and_route import (
    DETAILED,
    REPORT,
    check_fit,
    describe_path,
    route,
    slow_ends,
    synthesize,
)
from hdl.toolchain.yosys import read_cells
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.contract.shape import AbsmaxConfig
from mmfree.tape.reading import AnyTape, open_tape
from tests.support.integers.absmax_tapes import random_absmax_tape


def main() -> None:
    """Print one JSON object; progress and critical paths go to stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tape", type=Path, nargs="?", metavar="TAPE")
    parser.add_argument(
        "--published",
        type=int,
        nargs=4,
        metavar=("D", "I", "LAYERS", "WORDS"),
        help="a random published checkpoint of these sizes instead of TAPE",
    )
    parser.add_argument("--board", choices=tuple(BOARDS), default="ulx3s-85f")
    parser.add_argument("--lanes", type=int, default=64, metavar="N")
    parser.add_argument("--bits", choices=tuple(WEIGHT_CODES), default="2")
    parser.add_argument("--freq", type=float, default=140, metavar="MHZ", help="clock to ask for")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 1 to N")
    parser.add_argument("--first-seed", type=int, default=1, metavar="K")
    parser.add_argument(
        "--yosys", default="", metavar="OPTIONS", help="of synth_ecp5, in one string"
    )
    parser.add_argument(
        "--nextpnr", default="", metavar="OPTIONS", help="of nextpnr-ecp5, in one string"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave all files there")
    parser.add_argument("--reuse", action="store_true", help="take the netlist that is in FOLDER")
    parser.add_argument(
        "--slow",
        type=float,
        metavar="NS",
        help="list all registers that values reach later than that",
    )
    options = parser.parse_args()
    if (options.tape is None) == (options.published is None):
        parser.error("give a TAPE, or --published")

    board = BOARDS[options.board]
    with ExitStack() as stack:
        tape = _tape(options, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        design = design_for(tape, options.lanes, options.bits)
        planned = plan(board, design, layout(tape, design), options.freq * 1e6)
        if options.keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = options.keep
            folder.mkdir(parents=True, exist_ok=True)
        if options.reuse:
            cells = read_cells(folder)
        else:
            start = time.monotonic()
            cells = synthesize(planned.rtlil, folder, options=options.yosys.split())
            print(f"synthesis: {time.monotonic() - start:.0f} s", file=sys.stderr)
        check_fit(folder, board.target)
        runs = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            start = time.monotonic()
            extra = options.nextpnr.split() + ([DETAILED] if options.slow is not None else [])
            routed = route(
                folder, board.target, seed=seed, constraints=planned.constraints, options=extra
            )
            print(
                f"seed {seed}: {routed.fmax_hz / 1e6:.1f} MHz, {time.monotonic() - start:.0f}"
                f" s\n{describe_path(routed.path)}",
                file=sys.stderr,
            )
            if options.slow is not None:
                for end in slow_ends(json.loads((folder / REPORT).read_text()), options.slow):
                    text = (
                        f"{end.arrival_ns:6.2f} ns x {end.count:<4} {end.driver} -> {end.cell} "
                        f" (net {end.net})"
                    )
                    print(text, file=sys.stderr)
            runs.append(routed)
    clocks = [routed.fmax_hz for routed in runs]
    result = {
        "board": board.name,
        "lanes": design.lanes,
        "rows": design.rows,
        "columns": design.columns,
        "post_width": design.post_width,
        "bits": options.bits,
        "clock_asked_hz": options.freq * 1e6,
        "pll_hz": planned.pll.output_hz,
        "median_hz": statistics.median(clocks),
        "min_hz": min(clocks),
        "max_hz": max(clocks),
        "luts": luts(cells),
        "dsp": sum(cells.get(kind, 0) for kind in ECP5_DSP_CELLS),
        "cells": cells,
        "utilisation": {kind: used for kind, used in runs[0].utilisation.items() if used[0]},
        "seeds": [
            {
                "seed": r.seed,
                "clock_hz": r.fmax_hz,
                "met": r.met,
                "critical_path": [asdict(hop) for hop in r.path],
            }
            for r in runs
        ],
    }
    print(json.dumps(result))


def _tape(options: argparse.Namespace, folder: Path) -> AnyTape:
    if options.tape is not None:
        return open_tape(options.tape)
    d, i, layers, words = options.published
    config = AbsmaxConfig(vocab_size=words, hidden_size=d, intermediate_size=i, num_layers=layers)
    return random_absmax_tape(folder, config, seed=1)


if __name__ == "__main__":
    main()

"""Cells of a tape's accelerator on the ECP5: a Yosys estimate, neither placed nor routed.

    python tools/synthesis.py runs/addition/model.tape --lanes 64
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from hdl.audit import ECP5_DSP_CELLS, ecp5_cells, luts
from hdl.emit import TOP, write_verilog
from mmfree.design import design_for
from mmfree.tape import read_tape


def main() -> None:
    """Print the counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tape", type=Path)
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--bits", default="2", help="storage of a weight")
    options = parser.parse_args()
    tape = read_tape(options.tape)
    with tempfile.TemporaryDirectory() as name:
        write_verilog(design_for(tape, options.lanes, options.bits), Path(name), tape)
        files = {path.name: path.read_text() for path in Path(name).iterdir() if path.suffix != ".json"}
    cells = ecp5_cells(files, TOP)
    result = {
        "lut4_equivalents": luts(cells),
        "flip_flops": cells.get("TRELLIS_FF", 0),
        "dp16kd": cells.get("DP16KD", 0),
        "dsp": sum(cells.get(kind, 0) for kind in ECP5_DSP_CELLS),
        "cells": cells,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

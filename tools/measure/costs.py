"""Cells of accelerators of many sizes on the ECP5, from which the cost model predicts others.

    python -m tools.measure.costs [--arithmetic absmax] [--only TEXT] [--missing]

Synthesizes each, and writes hdl/planning/measured/ecp5.json, or ecp5_absmax.json, which
hdl/planning/cost.py reads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from amaranth.back import rtlil

from hdl.accelerator import Accelerator
from hdl.fabric.technology import Technology
from hdl.planning.cost import MEASURED
from hdl.toolchain.audit import ecp5_cells, ram_blocks
from hdl.toolchain.emit import TOP
from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for_model
from mmfree.contract.shape import AbsmaxConfig, AnyConfig, ModelConfig

Configuration = tuple[int, int, int, int, int, str]
"""Hidden and intermediate size, layers, vocabulary; lanes and weight code."""

POW2 = [
    (20, 37, 1, 7, 16, "2"),
    (64, 128, 2, 31, 16, "2"),
    (64, 128, 2, 31, 32, "1.67"),
    (64, 128, 2, 31, 64, "2"),
    (64, 128, 2, 31, 64, "1.67"),
    (64, 128, 2, 31, 64, "1.6"),
    (64, 128, 2, 31, 128, "2"),
    (64, 128, 2, 31, 256, "1.6"),
    (48, 96, 2, 64, 32, "2"),
    (96, 256, 1, 128, 128, "1.67"),
    (128, 256, 2, 256, 64, "1.6"),
    (128, 256, 2, 256, 128, "2"),
    (128, 256, 2, 256, 256, "1.67"),
    (128, 256, 2, 256, 512, "2"),
    (192, 512, 3, 512, 128, "1.6"),
    (192, 512, 3, 512, 256, "1.6"),
    (192, 512, 3, 512, 512, "1.67"),
    (192, 512, 3, 512, 512, "2"),
    (256, 704, 1, 256, 256, "2"),
    (256, 704, 1, 256, 512, "1.6"),
    (256, 704, 1, 256, 1024, "2"),
    (512, 1408, 1, 64, 256, "1.67"),
    (512, 1408, 1, 64, 512, "2"),
]

ABSMAX = [
    (20, 37, 1, 7, 16, "2"),
    (64, 128, 1, 31, 16, "2"),
    (64, 128, 2, 31, 32, "1.67"),
    (64, 128, 1, 31, 64, "2"),
    (96, 256, 1, 64, 64, "1.6"),
    (64, 128, 1, 31, 128, "2"),
    (128, 384, 3, 256, 64, "1.6"),
    (128, 256, 2, 256, 128, "1.67"),
    (128, 256, 1, 64, 256, "2"),
    (192, 512, 2, 128, 256, "1.6"),
    (256, 704, 1, 64, 128, "1.6"),
    (256, 704, 1, 256, 512, "1.67"),
    (512, 1408, 1, 64, 256, "2"),
    (512, 1408, 1, 64, 512, "1.6"),
]

CONFIGURATIONS: dict[str, list[Configuration]] = {"pow2": POW2, "absmax": ABSMAX}
"""By arithmetic."""


def design_of(arithmetic: str, configuration: Configuration) -> Design:
    """The accelerator for a configuration."""
    d, i, layers, vocabulary, lanes, code = configuration
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": d,
        "intermediate_size": i,
        "num_layers": layers,
    }
    config: AnyConfig = AbsmaxConfig(**sizes)
    if arithmetic == "pow2":
        config = ModelConfig(head_size=vocabulary, gate="hard", **sizes)
    return design_for_model(config, lanes, code)


def measure(design: Design) -> dict[str, int]:
    """Cells of a design after synthesis, memories empty."""
    text = rtlil.convert(Accelerator(design), name=TOP, emit_src=False, platform=Technology.ECP5)
    cells = ecp5_cells({f"{TOP}.il": text}, TOP)
    return {
        "lut4": cells.get("LUT4", 0),
        "ccu2c": cells.get("CCU2C", 0),
        "ff": cells.get("TRELLIS_FF", 0),
        "distributed": cells.get("TRELLIS_DPR16X4", 0),
        "blocks": ram_blocks(cells),
    }


def main() -> None:
    """Measure, and write after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--arithmetic",
        choices=tuple(CONFIGURATIONS),
        default="pow2",
        help="of the designs (default %(default)s)",
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="configurations whose JSON holds this"
    )
    parser.add_argument(
        "--missing", action="store_true", help="only those that are not in the file"
    )
    options = parser.parse_args()
    path, configurations = MEASURED[options.arithmetic], CONFIGURATIONS[options.arithmetic]
    rows: dict[str, Any] = {}
    if path.exists():
        rows = {json.dumps(row["configuration"]): row for row in json.loads(path.read_text())}
    for configuration in configurations:
        key = json.dumps(configuration)
        if options.only not in key or (options.missing and key in rows):
            continue
        start = time.monotonic()
        design = design_of(options.arithmetic, configuration)
        rows[key] = {
            "configuration": list(configuration),
            "design": design.to_dict(),
            **measure(design),
        }
        print(f"{key}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        ordered = [rows[k] for k in map(json.dumps, configurations) if k in rows]
        lines = ",\n".join(json.dumps(row) for row in ordered)
        path.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()

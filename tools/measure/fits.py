"""Cells of a few accelerators on every family of FPGAs, below which hdl/planning/fit.py must stay.

    python -m tools.measure.fits [--only FAMILY]

Synthesizes each by block, as `mmfree power` does, and writes hdl/planning/measured/fits.json; some
minutes for each.
"""

from __future__ import annotations

import argparse
import json
import math

from hdl.planning.cost import MEASURED
from hdl.toolchain.families import FAMILIES, area_by_block
from mmfree.chip.sizing import design_for_model
from mmfree.training.presets import PRESETS

PATH = MEASURED["pow2"].with_name("fits.json")

CASES = (("addition", 16), ("addition", 64), ("text", 64))
"""Preset and lanes."""


def measure(preset: str, lanes: int, family: str) -> dict[str, object]:
    """A design, and what of each kind of cell its blocks take together."""
    design = design_for_model(PRESETS[preset]().model, lanes)
    areas = area_by_block(design, family).values()
    return {
        "name": f"{preset}, {lanes} lanes",
        "family": family,
        "luts": sum(area.luts + area.lut_rams for area in areas),
        "flip_flops": sum(area.flip_flops for area in areas),
        "ram_blocks": math.ceil(sum(area.ram_blocks for area in areas)),
        "design": design.to_dict(),
    }


def main() -> None:
    """Measure all, or one family again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=tuple(FAMILIES))
    only = parser.parse_args().only
    rows = [row for row in json.loads(PATH.read_text()) if row["family"] != only] if only else []
    for preset, lanes in CASES:
        for family in (only,) if only else FAMILIES:
            rows.append(measure(preset, lanes, family))
            print(*[f"{key} {value}" for key, value in rows[-1].items() if key != "design"])
            PATH.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What `power` asks for and says."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import ANY

from hdl.toolchain.built import Built
from hdl.toolchain.counts import ROUTED, WAYS, Count
from hdl.toolchain.families import Area
from mmfree.chip.sizing import design_for
from sim.power.activity import Activity, BlockActivity
from sim.power.basis import Cells, Clock
from sim.power.cells import CellEnergy
from sim.power.coefficients import load_part
from sim.power.estimate import Power
from sim.power.interval import Interval
from sim.power.validation import Prediction
from tests.support.below import REAL
from tests.support.verbs.case import GONE, MADE, OUT, TEXT_TAPE, Case, Row
from tests.support.verbs.chips import DESIGN
from tests.support.verbs.models import REAL_DATA
from tests.support.verbs.training import NOT_DRAWN

ACTIVITY = Activity(
    tape_sha256=TEXT_TAPE.sha256,
    design=DESIGN.to_dict(),
    text="a test",
    tokens=20,
    cycles=10_000,
    blocks={
        name: BlockActivity(registers=100, register_toggles=5000) for name in ("array", "post")
    },
)
AREAS = {"array": Area(luts=234, flip_flops=333), "post": Area(luts=1051, flip_flops=1757)}
JOULES = Interval(1e-6, 2e-6, 4e-6)
PART = load_part("ecp5-85")
POWER_FOUND = Power(
    part="ecp5-85",
    device="LFE5U-85F",
    clock_hz=62.5e6,
    clock_label="as asked",
    cycles_per_token=500.4,
    tokens_per_second=124_900.2,
    watts=Interval(0.0125, 0.25, 1.5),
    joules_per_token=JOULES,
    by_kind={
        "logic": Interval(5e-7, 1.5e-6, 3e-6),
        "none": Interval(0, 0, 0),
        "clock": Interval(0, 5e-10, 1e-9),
    },
    by_block={
        f"block {number}": Interval(0, number * 1e-9, number * 2e-9) for number in range(1, 11)
    },
    by_segment={"head": JOULES},
    utilisation={"luts": (1285, 83640)},
    assumptions=("all is assumed", "and more"),
)
CELL_ENERGIES = [
    CellEnergy(
        node="7 nm",
        weights_are="int8",
        arithmetic=Interval(1e-12, 2.5e-12, 3e-12),
        weight_memory=Interval(1e-3, 2e-3, 3e-3),
    )
]
COUNT = Count(way=ROUTED, luts=1500, flip_flops=2200, ram_blocks=2)
BUILT_CHIP = Built(
    device="LFE5U-85F",
    tape_sha256=TEXT_TAPE.sha256,
    design=design_for(TEXT_TAPE, 32, "1.6"),
    pll_hz=100e6,
    routed_hz=120e6,
    counts=(COUNT,),
)
CELLS = Cells(areas=AREAS, counts=(COUNT,), text="cells: counted")
ON_THE_CHIP = "weights on the chip, one sequence, the host answers at once"
POWER_VALUES: dict[str, Any] = {
    "tape_sha256": TEXT_TAPE.sha256,
    "lanes": 64,
    "weight_code": "2",
    "ternary_weights": 6272,
    "part": "ecp5-85",
    "device": "LFE5U-85F",
    "clock_hz": 62.5e6,
    "clock_label": "as asked",
    "cycles_per_token": 500.4,
    "tokens_per_second": 124_900.2,
    "watts": {"low": 0.0125, "best": 0.25, "high": 1.5},
    "joules_per_token": {"low": 1e-6, "best": 2e-6, "high": 4e-6},
    "by_kind": ANY,
    "by_block": ANY,
    "by_segment": {"head": {"low": 1e-6, "best": 2e-6, "high": 4e-6}},
    "utilisation": {"luts": [1285, 83640]},
    "assumptions": ["all is assumed", "and more"],
    "label": "estimated",
    "clock_limit_hz": 80e6,
    "counts": {"routed": {"luts": 1500, "flip_flops": 2200, "ram_blocks": 2, "what": WAYS[ROUTED]}},
    "cells": [
        {
            "node": "7 nm",
            "weights_are": "int8",
            "arithmetic": {"low": 1e-12, "best": 2.5e-12, "high": 3e-12},
            "weight_memory": {"low": 1e-3, "best": 2e-3, "high": 3e-3},
        }
    ],
}
POWER_OUT = {
    "refuse_to_replace_folder(path)": OUT,
    "refuse_to_replace_folder(force)": False,
    "new_folder(path)": OUT,
    "new_folder(kind)": ANY,
    "new_folder(force)": False,
    "power_page(found)": POWER_FOUND,
    "power_page(part)": PART,
    "power_page(activity)": ACTIVITY,
    "power_page(tape)": TEXT_TAPE,
    "power_page(design)": DESIGN,
    "power_page(cells)": CELL_ENERGIES,
    "power_page(counts)": (COUNT,),
}
MEASURED = ("tape", "design", "prompt", "text", "image", "array")
ASSUMED_OF_BUILD = (
    ON_THE_CHIP,
    "activity: a test, 20 tokens, zero-delay RTL simulation: no glitches seen (a coefficient stands"
    " for them)",
    "cells: counted",
    "without board and regulators",
)

POWER = Case(
    words="power text.tape",
    below={
        "hdl.toolchain.built:read_built": BUILT_CHIP,
        "sim.power.coefficients:load_part": PART,
        "mmfree.inference.backends:load_tape_or_export": TEXT_TAPE,
        "mmfree.cli.power:refuse_to_replace_folder": None,
        "mmfree.cli.power:new_folder": nullcontext(MADE),
        "mmfree.chip.sizing:design_for": REAL,
        "sim.power.basis:refuse_small_part": None,
        "sim.power.basis:clock_of": Clock(hz=62.5e6, label="as asked", limit_hz=80e6),
        "mmfree.inference.ranges:real_data": REAL_DATA,
        "sim.power.activity:measure_activity": ACTIVITY,
        "mmfree.cli.power:read_json": {},
        "sim.power.activity:read_activity": ACTIVITY,
        "sim.power.basis:cells_of": CELLS,
        "sim.power.estimate:estimate": POWER_FOUND,
        "sim.power.cells:cell_energies": CELL_ENERGIES,
        "sim.power.page:power_page": "the page",
    },
    asked={
        "load_part(name)": "ecp5-85",
        "load_part(technology)": None,
        "load_tape_or_export(path)": Path("text.tape"),
        "design_for(tape)": TEXT_TAPE,
        "design_for(lanes)": None,
        "design_for(weight_code)": None,
        "refuse_small_part(part)": PART,
        "refuse_small_part(design)": DESIGN,
        "clock_of(part)": PART,
        "clock_of(design)": DESIGN,
        "clock_of(asked_hz)": None,
        "clock_of(built)": None,
        "real_data(tokenizer)": ANY,
        "real_data(data)": [],
        "real_data(field)": "text",
        "real_data(run)": None,
        "measure_activity(tape)": TEXT_TAPE,
        "measure_activity(design)": DESIGN,
        "measure_activity(prompt)": list(range(32)),
        "measure_activity(text)": "numbers",
        "measure_activity(image)": None,
        "measure_activity(array)": ANY,
        "cells_of(part)": PART,
        "cells_of(design)": DESIGN,
        "cells_of(built)": None,
        "cells_of(source)": None,
        "estimate(part)": PART,
        "estimate(load)": ANY,
        "estimate(clock_hz)": 62.5e6,
        "estimate(clock_label)": "as asked",
        "estimate(segments)": ANY,
        "estimate(assumptions)": (
            *ASSUMED_OF_BUILD[:3],
            "without board and regulators, and without the host's link",
        ),
        "estimate(external)": None,
        "cell_energies(ternary_weights)": 6272,
        "cell_energies(design)": DESIGN,
    },
    values=POWER_VALUES,
    said="""\
LFE5U-85F, 64 lanes at 62.5 MHz (as asked)
energy per token  2 uJ (1 to 4)  (estimated; 319 pJ per ternary weight)
power             250 mW (12.5 to 1,500)  at 124,900 tokens/s (500 cycles per token,\
 simulated)

where it goes, per token: low, best, high
  logic            1.5 uJ (0.5 to 3)   75.0 %
  clock            500 pJ (0 to 1,000)    0.0 %

largest blocks
  block 10            10 nJ (0 to 20)
  block 9              9 nJ (0 to 18)
  block 8              8 nJ (0 to 16)
  block 7              7 nJ (0 to 14)
  block 6              6 nJ (0 to 12)
  block 5              5 nJ (0 to 10)
  block 4              4 nJ (0 to 8)
  block 3              3 nJ (0 to 6)

cells            LUTs  flip-flops  block RAMs
routed          1,500       2,200           2  the whole board, placed and routed by nextpnr: what\
 the device has in use

the matrices alone in bare cells of an ASIC (no wires, registers, clock or control): arithmetic;\
 weights from SRAM
  7 nm, int8           2.5 pJ (1 to 3);        2 mJ (1 to 3)

- all is assumed
- and more""",
    rows={
        "model": Row(
            instead={"text.tape": "sums.tape"},
            changes={"load_tape_or_export(path)": Path("sums.tape")},
        ),
        "part": Row(words="--part xc7a35t", changes={"load_part(name)": "xc7a35t"}),
        "technology": Row(
            words="--technology technology.toml",
            changes={"load_part(technology)": Path("technology.toml")},
        ),
        "clock": Row(words="--clock 75.5", changes={"clock_of(asked_hz)": 75.5e6}),
        "build": Row(
            words="--build b",
            changes={
                "read_built(folder)": Path("b"),
                "refuse_small_part(part)": GONE,
                "refuse_small_part(design)": GONE,
                "clock_of(design)": BUILT_CHIP.design,
                "clock_of(built)": BUILT_CHIP,
                "measure_activity(design)": BUILT_CHIP.design,
                "cells_of(design)": BUILT_CHIP.design,
                "cells_of(built)": BUILT_CHIP,
                "cells_of(source)": Path("b"),
                "estimate(assumptions)": ASSUMED_OF_BUILD,
                "cell_energies(design)": BUILT_CHIP.design,
            },
        ),
        "activity": Row(
            words="--activity a.json",
            changes=dict.fromkeys(
                (
                    *(f"real_data({name})" for name in ("tokenizer", "data", "field", "run")),
                    *(f"measure_activity({name})" for name in MEASURED),
                ),
                GONE,
            )
            | dict.fromkeys(("read_json(path)", "read_activity(path)"), Path("a.json")),
        ),
        "prompt": Row(
            words="--prompt ab",
            changes=dict.fromkeys(
                (f"real_data({name})" for name in ("tokenizer", "data", "field", "run")), GONE
            )
            | {
                "measure_activity(prompt)": [0, 97, 98],
                "measure_activity(text)": "the prompt given",
            },
        ),
        "lanes": Row(
            words="--lanes 16",
            changes={"design_for(lanes)": 16}
            | dict.fromkeys(
                (
                    f"{name}(design)"
                    for name in (
                        "refuse_small_part",
                        "clock_of",
                        "measure_activity",
                        "cells_of",
                        "cell_energies",
                    )
                ),
                design_for(TEXT_TAPE, 16),
            ),
        ),
        "bits": Row(
            words="--bits 1.6",
            changes={"design_for(weight_code)": "1.6"}
            | dict.fromkeys(
                (
                    f"{name}(design)"
                    for name in (
                        "refuse_small_part",
                        "clock_of",
                        "measure_activity",
                        "cells_of",
                        "cell_energies",
                    )
                ),
                design_for(TEXT_TAPE, 64, "1.6"),
            ),
        ),
        "out": Row(words="--out out", changes=POWER_OUT),
        "force": Row(
            words="--out out --force",
            changes=POWER_OUT
            | {"refuse_to_replace_folder(force)": True, "new_folder(force)": True},
        ),
        "seed": NOT_DRAWN,
    },
)

VALIDATION = Case(
    words="power --validate",
    below={
        "sim.power.validation:predictions": [
            Prediction(
                name=name,
                held_out=held_out,
                kind="meter",
                what="all of it",
                watts=Interval(1, 2.5, 4),
                published=published,
                source="a paper",
            )
            for name, held_out, published in (
                ("seen", False, 3.0),
                ("within", True, 4.0),
                ("outside", True, 4.5),
                ("below", True, 0.5),
            )
        ]
    },
    asked={},
    values={"systems": ANY, "held_out": 3, "held_out_inside": 1},
    said="""\
system                                       low    best    high  published  watts
seen                                           1     2.5       4          3  inside, seen, meter:\
 all of it
within                                         1     2.5       4          4  inside, held out,\
 meter: all of it
outside                                        1     2.5       4        4.5  OUTSIDE, held out,\
 meter: all of it
below                                          1     2.5       4        0.5  OUTSIDE, held out,\
 meter: all of it

held out: 1 of 3 inside (estimated against published)""",
    rows={"validate": Row(why="this line is its own")},
)

"""What `fit` asks for and says."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY

from hdl.planning.parts import Fact, Memory, Part, find_part
from hdl.planning.projection import Projection
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.sizing import design_for_memory
from mmfree.inference.shapes import SHAPES, Shape
from sim.power.interval import Interval
from tests.support.verbs.case import Case, Row
from tests.support.verbs.training import NOT_DRAWN

SHAPE = Shape(name="370m", config=SHAPES["370m"], published=True)
DESIGN = design_for_memory(SHAPE.config, ExternalMemory(port_bits=64, ports=2))
MEMORY = Memory(
    kind="ddr4",
    name="a memory",
    port_bits=(64,),
    most_ports=2,
    channels=1,
    capacity=Fact(value=2e9, label="K", source="a book"),
    peak=Fact(value=10e9, label="V", source="a data sheet"),
    rates=(
        Fact(value=8e9, label="A", source="four fifths"),
        Fact(value=5e9, label="S", source="somebody"),
    ),
    controller={"luts": 1, "flip_flops": 2, "ram_blocks": 3},
    sources={"ports": "a drawing (V)", "controller": "a guess (K)"},
)
PART = Part(
    name="kv260",
    board="A board",
    device="zu5ev",
    device_name="A device",
    family="xcup",
    capacity={"luts": 1000, "flip_flops": 2000, "ram_blocks": 30},
    capacity_source="a table (V)",
    clock=None,
    memories=(MEMORY,),
)
PLAN = Projection(
    part=PART,
    design=DESIGN,
    memory=MEMORY,
    cells={"luts": 700, "flip_flops": 1500, "ram_blocks": 20},
    usable={"luts": 800, "flip_flops": 1600, "ram_blocks": 30},
    shortages=(),
    clock=Fact(value=125.5e6, label="A", source="nothing was routed"),
    cycles=1_255_000,
    beats=1_000_000,
    token_bytes=100_000_000,
    image_bytes=1_000_000_000,
)
JOULES = Interval(1e-3, 2e-3, 4e-3)

FIT = Case(
    words="fit 370m --part kv260",
    below={
        "mmfree.inference.shapes:find_shape": SHAPE,
        "hdl.planning.projection:project": PLAN,
        "sim.power.projected:projected_joules": JOULES,
    },
    asked={
        "find_shape(model)": Path("370m"),
        "project(config)": SHAPE.config,
        "project(part)": find_part("kv260"),
        "project(memory)": None,
        "projected_joules(projection)": PLAN,
    },
    values={
        "model": "370m",
        "config": SHAPE.config.to_dict(),
        "ternary_weights": 341_049_344,
        "published": True,
        "batch": 1,
        "label": "projected",
        "parts": [
            {
                "part": "kv260",
                "board": "A board",
                "device": "A device",
                "label": "projected",
                "fits": True,
                "limited_by": "memory",
                "lanes": 80,
                "clock_hz": 125.5e6,
                "cycles_per_token": 1_255_000,
                "tokens_per_second": 80.0,
                "shortages": [],
                "clock": {"value": 125.5e6, "label": "A", "source": "nothing was routed"},
                "memory": "axi64x2",
                "memory_name": "a memory",
                "token_bytes": 100_000_000,
                "image_bytes": 1_000_000_000,
                "needed_bytes_per_second": 10e9,
                "rates": [
                    {
                        "value": 8e9,
                        "label": "A",
                        "source": "four fifths",
                        "bytes_per_second": 8e9,
                        "sufficient_clock_hz": 100.4e6,
                        "tokens_per_second": 80.0,
                    },
                    {
                        "value": 5e9,
                        "label": "S",
                        "source": "somebody",
                        "bytes_per_second": 5e9,
                        "sufficient_clock_hz": 62.75e6,
                        "tokens_per_second": 50.0,
                    },
                ],
                "cells": {
                    "luts": {"needed": 700, "usable": 800},
                    "flip_flops": {"needed": 1500, "usable": 1600},
                    "ram_blocks": {"needed": 20, "usable": 30},
                },
                "design": DESIGN.to_dict(),
                "joules_per_token": {"low": 1e-3, "best": 2e-3, "high": 4e-3},
                "peers": [ANY],
            }
        ],
    },
    said="""\
370m: d 1,024, intermediate 2,816, layers 24, vocabulary 32,000; 341,049,344 ternary weights, 68.2
MB at 1.6 bits. Projected, nothing was built: one sequence, head and embedding included; in the
arithmetic of published checkpoints (absmax)

part          kv260: A board, A device
fits          yes
design        axi64x2: 80 lanes (10 rows x 8 columns), post-processing of 1 per cycle, 1.6 bits a
              weight; 1,255,000 cycles per token
speed         ~80 tokens/s, projected, limited by the memory; the array alone would reach 100; the
              memory allows 80
clock         125.5 MHz, assumed: nothing was routed
memory        a memory, 10 GB/s peak: the image takes 1 GB of 2 GB; a token reads 100 MB, for which
              the array needs 10 GB/s
at            8 GB/s: ~80 tokens/s, for which 100.4 MHz (assumed) suffice; assumed: four fifths
at            5 GB/s: ~50 tokens/s, for which 62.8 MHz (assumed) suffice; quoted by another source:
              somebody
ports         a drawing (V)
controller    a guess (K)
LUTs          700 of 800 (1,000 there; fuller parts hardly route)
flip-flops    1,500 of 1,600 (2,000 there; fuller parts hardly route)
block RAMs    20 of 30
energy        2 mJ (1 to 4) per token, rough: cells by the cost model, activity as of published
              systems (docs/power.md); the part and what is read from its memory, without board,
              regulators and processor
capacity      a table (V)

published                 part   streams  tokens/s    here  theirs excludes
matmulfree_KRIA           kv260        1      30.6     ~80  nothing; the host does all but matrices\
""",
    rows={
        "model": Row(instead={"370m": "2.7b"}, changes={"find_shape(model)": Path("2.7b")}),
        "part": Row(instead={"kv260": "u250"}, changes={"project(part)": find_part("u250")}),
        "memory": Row(words="--memory axi64", changes={"project(memory)": "axi64"}),
        "seed": NOT_DRAWN,
    },
)

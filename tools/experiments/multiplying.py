"""The same accelerator with ternary lanes, and with int8 lanes that multiply: cells and energy.

    python -m tools.experiments.multiplying runs/addition/model.tape --lanes 64 --clock 100

Same tape sizes, lanes, clock, and cycles but for the array's own latency. Multiplications are made
in LUTs, or in DSP blocks. Estimated: cells by Yosys, activity simulated (zero-delay), energies of
sim/power/technology. Weights of the int8 chips are drawn from the normal distribution whose absmean
quantization has the tape's signs; requantization is moved by as many bits as they are larger. None
is routed: that all reach the same clock favours the multipliers. Yosys leaves the DSP blocks' own
registers and adders unused: ``dsp_joules``, their operations alone, is the lower bound of an array
that used them for everything.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.planning.cycles import segment_cycles
from hdl.toolchain.families import area_by_block
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import arrange_weights, layout
from mmfree.chip.sizing import design_for
from mmfree.chip.weight_codes import INT8
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import open_pow2_tape
from sim.power.activity import Activity, measure_activity
from sim.power.coefficients import load_part
from sim.power.estimate import Load, estimate
from sim.power.interval import Interval
from tools.experiments.multiplying_array import MultiplyingArray, Unit

SIGMA_BITS = 5
"""int8 weights have a standard deviation of 2^5: so 4 sigma are the largest number."""

ZERO_BELOW = 0.5 * np.sqrt(2 / np.pi)
"""Below this many standard deviations absmean quantization gives 0."""


def int8_weights(rng: np.random.Generator, trits: NDArray[np.int8]) -> NDArray[np.int8]:
    """Weights of a normal distribution, given what their absmean quantization is."""
    pool = np.abs(rng.standard_normal(400_000))
    small, large = pool[pool < ZERO_BELOW], pool[pool >= ZERO_BELOW]
    signs = np.where(trits == 0, rng.choice([-1, 1], trits.shape), trits)
    sizes = np.where(trits == 0, rng.choice(small, trits.shape), rng.choice(large, trits.shape))
    return np.clip(np.rint(signs * sizes * (1 << SIGMA_BITS)), -128, 127).astype(np.int8)


def int8_image(tape: Tape, design: Design) -> Image:
    """The tape's image with int8 weights in the place of its trits."""
    rng = np.random.default_rng(0)
    matrices = [
        [int8_weights(rng, matrix.trits) for matrix in segment.matrices]
        for segment in tape.segments
    ]
    image = layout(_scaled(tape), design)
    return replace(image, words=image.words | {"weights": list(arrange_weights(matrices, design))})


def _scaled(tape: Tape) -> Tape:
    """Requantization by SIGMA_BITS further: the sums are as many bits longer."""
    segments = tuple(
        replace(s, matrices=tuple(replace(m, exponent=m.exponent - SIGMA_BITS) for m in s.matrices))
        for s in tape.segments
    )
    return replace(tape, segments=segments)


def activity_of(tape: Tape, design: Design, array: ArrayOf, prompt: list[int]) -> Activity:
    """Of the ternary chip with its tape, of another with int8 weights."""
    image = int8_image(tape, design) if design.weight_code == INT8.name else None
    return measure_activity(tape, design, prompt, text="random tokens", image=image, array=array)


ARRAYS: dict[str, tuple[str, ArrayOf]] = {
    "ternary": ("2", TernaryArray),
    **{unit.value: (INT8.name, partial(MultiplyingArray, unit=unit)) for unit in Unit},
}
"""What lanes are -> weight code, and the array."""


def compare(
    tape: Tape, lanes: int, part_name: str, clock_hz: float, tokens: int
) -> list[dict[str, object]]:
    """One entry for each kind of lane."""
    part = load_part(part_name)
    prompt = np.random.default_rng(0).integers(0, tape.config.vocab_size, tokens).tolist()
    found = []
    for lanes_are, (code, array_of) in ARRAYS.items():
        design = design_for(tape, lanes, code)
        segments = segment_cycles(tape.config, design)
        areas = area_by_block(design, part.family, array=array_of)
        power = estimate(
            part,
            Load.of(areas, activity_of(tape, design, array_of, prompt), segments),
            clock_hz,
            clock_label="assumed equal",
            segments=segments,
        )
        array, source = power.by_block["array"], power.by_block["source"]
        dynamic = power.joules_per_token.best - power.by_kind["static"].best
        total = {
            name: sum(getattr(area, name) for area in areas.values())
            for name in asdict(areas["array"])
        }
        found.append(
            {
                "lanes_are": lanes_are,
                "cells": total,
                "array_cells": asdict(areas["array"]),
                "weight_memory_blocks": areas["source"].ram_blocks,
                "cycles_per_token": power.cycles_per_token,
                "joules_per_token": asdict(power.joules_per_token),
                "static_joules": asdict(power.by_kind["static"]),
                "array_joules": asdict(array),
                "weight_memory_joules": asdict(source),
                "dsp_joules": asdict(power.by_kind["dsp"]),
                "dynamic_joules_without_weight_memory": dynamic - source.best,
            }
        )
        print(
            f"{lanes_are}: {_microjoules(power.joules_per_token)} per token, array"
            f" {_microjoules(array)}",
            file=sys.stderr,
        )
    return found


def _microjoules(found: Interval) -> str:
    return f"{1e6 * found.best:.3g} uJ ({1e6 * found.low:.3g} to {1e6 * found.high:.3g})"


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tape", type=Path, metavar="TAPE")
    parser.add_argument("--lanes", type=int, default=64, metavar="N")
    parser.add_argument("--part", default="ecp5-85", metavar="NAME")
    parser.add_argument("--clock", type=float, default=100, metavar="MHZ")
    parser.add_argument("--tokens", type=int, default=20, metavar="N", help="random ones")
    options = parser.parse_args()
    tape = open_pow2_tape(options.tape)
    result = {
        "label": "estimated",
        "part": options.part,
        "lanes": options.lanes,
        "clock_hz": options.clock * 1e6,
        "chips": compare(tape, options.lanes, options.part, options.clock * 1e6, options.tokens),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

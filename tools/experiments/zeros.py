"""What zero weights save: toggles of the array and of the whole chip against the share of zeros.

    python -m tools.experiments.zeros a.tape --lanes 64 [--shares 0.1 0.3 0.5 0.7 0.9]

Simulated (zero-delay), on the same tokens. The tape's weights are drawn again with each share of
zeros, with as many +1 as -1; all else stays. A lane with weight 0 adds nothing: its operand ends in
the adder's own gate, and only the sum of its neighbours passes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from hdl.planning.cycles import segment_cycles
from hdl.toolchain.families import Area, area_by_block
from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import open_pow2_tape
from sim.power.activity import measure_activity
from sim.power.coefficients import Part, load_part
from sim.power.estimate import Load, estimate


def with_zeros(tape: Tape, share: float) -> Tape:
    """The tape with other trits, of which about ``share`` are 0."""
    rng = np.random.default_rng(1)
    odds = [(1 - share) / 2, share, (1 - share) / 2]
    segments = tuple(
        replace(
            segment,
            matrices=tuple(
                m.with_trits(
                    rng.choice(np.array([-1, 0, 1], dtype=np.int8), (m.rows, m.fan_in), p=odds)
                )
                for m in segment.matrices
            ),
        )
        for segment in tape.segments
    )
    return replace(tape, segments=segments)


def measure(
    tape: Tape,
    design: Design,
    part: Part,
    areas: dict[str, Area],
    clock_hz: float,
    share: float,
    tokens: int,
) -> dict[str, float]:
    """Toggles per lane and tile of the array, and energy per token, at a share of zeros."""
    other = with_zeros(tape, share)
    prompt = np.random.default_rng(0).integers(0, tape.config.vocab_size, tokens).tolist()
    activity = measure_activity(other, design, prompt, text="random tokens")
    segments = segment_cycles(tape.config, design)
    load = Load.of(areas, activity, segments)
    power = estimate(part, load, clock_hz, clock_label="asked for", segments=segments)
    tiles = tokens * sum(segment.beats for segment in segments)
    return {
        "zeros": share,
        "array_toggles_per_lane_and_tile": activity.blocks["array"].register_toggles
        / tiles
        / design.lanes,
        "array_nanojoules": 1e9 * power.by_block["array"].best,
        "dynamic_nanojoules": 1e9 * (power.joules_per_token.best - power.by_kind["static"].best),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tape", type=Path, metavar="TAPE")
    parser.add_argument("--lanes", type=int, default=64, metavar="N")
    parser.add_argument("--part", default="ecp5-85", metavar="NAME")
    parser.add_argument("--clock", type=float, default=100, metavar="MHZ")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.1, 0.3, 0.5, 0.7, 0.9], metavar="S"
    )
    parser.add_argument("--tokens", type=int, default=20, metavar="N", help="random ones")
    options = parser.parse_args()
    tape = open_pow2_tape(options.tape)
    design, part = design_for(tape, options.lanes), load_part(options.part)
    areas = area_by_block(design, part.family)
    rows = [
        measure(tape, design, part, areas, options.clock * 1e6, share, options.tokens)
        for share in options.shares
    ]
    print(
        json.dumps(
            {"label": "estimated", "part": options.part, "lanes": options.lanes, "rows": rows},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()

"""Activity of the RTL against that of the synthesized netlist, on the same tokens.

    python -m tools.measure.activity a.tape --lanes 16 [--tokens 20]

Shows how well the estimate of power knows what switches. Simulated, zero-delay, ECP5 cells: neither
sees glitches. The netlist's simulation takes minutes to build.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mmfree.chip.sizing import design_for
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.tape.reading import open_pow2_tape
from sim.power.activity import measure_activity
from sim.power.netlist import NetlistBlock, netlist_activity, predicted_toggles


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tape", type=Path, metavar="TAPE")
    parser.add_argument("--lanes", type=int, default=16, metavar="N")
    parser.add_argument("--bits", choices=tuple(WEIGHT_CODES), default="2")
    parser.add_argument("--tokens", type=int, default=20, metavar="N", help="random ones")
    options = parser.parse_args()
    tape = open_pow2_tape(options.tape)
    design = design_for(tape, options.lanes, options.bits)
    prompt = np.random.default_rng(0).integers(0, tape.config.vocab_size, options.tokens).tolist()
    activity = measure_activity(tape, design, prompt, text="random tokens")
    cycles, blocks = netlist_activity(tape, design, prompt)
    assert cycles == activity.cycles, "the netlist takes as many cycles as the RTL"
    counted = sum(block.lut_toggles + block.flip_flop_toggles for block in blocks.values())
    predicted = predicted_toggles(activity, blocks)
    result = {
        "cycles": cycles,
        "netlist_toggles": counted,
        "predicted_toggles": round(predicted),
        "ratio": round(predicted / counted, 4),
        "lut_rate": round(_rate(blocks), 4),
        "register_toggles_rtl": sum(block.register_toggles for block in activity.blocks.values()),
        "flip_flop_toggles_netlist": sum(block.flip_flop_toggles for block in blocks.values()),
        "blocks": {name: asdict(block) for name, block in blocks.items()},
    }
    print(json.dumps(result, indent=1))


def _rate(blocks: dict[str, NetlistBlock]) -> float:
    """Toggles per LUT output over toggles per flip-flop, of the whole netlist."""
    luts, flip_flops = (
        sum(getattr(b, name) for b in blocks.values()) for name in ("luts", "flip_flops")
    )
    lut_toggles = sum(block.lut_toggles for block in blocks.values())
    return (
        lut_toggles
        / luts
        / (sum(block.flip_flop_toggles for block in blocks.values()) / flip_flops)
    )


if __name__ == "__main__":
    main()

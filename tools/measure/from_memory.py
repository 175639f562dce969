"""A large model, token by token, from a simulated external memory: every bit, and its bandwidth.

    python -m tools.measure.from_memory --memory axi128x4 --tokens 16 --withheld 0 10 25
    python -m tools.measure.from_memory --lanes 256 --tokens 2 --json
    python -m tools.measure.from_memory --published

A random tape with values as trained models have them, with ``--published`` in the arithmetic of
published checkpoints, and random tokens. Each run compares every
logit and every state word with the golden model; its cycles are compared with the cost model, of
which only the wait for a row of the embedding is random: it lies between those of the memory's
least and most latency. With ``--lanes`` the weights are in block RAM. Seconds are those of the
whole comparison: golden model, Verilog, build (unless it is found built) and simulation.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdl.planning.cycles import cycles_per_token
from mmfree.chip.external_memory import find_memory
from mmfree.chip.sizing import design_for_memory, design_for_model
from mmfree.inference.shapes import PUBLISHED, SHAPES
from mmfree.tape.reading import AnyTape
from sim.cosim.run import cosim
from sim.cosim.run_folder import Sequence
from sim.memory.model import Behaviour
from tools.measure.large_model import random_tape

ADDRESS_CYCLES = 20
"""Cycles that an address may be withheld."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """Tokens that were played; ``as_predicted``: in the cycles of the cost model.

    Nothing is predicted of a memory that withholds beats. ``withheld``: percent of the cycles.
    ``peak_gb``: of this process and of the largest simulation.
    """

    memory: str
    lanes: int
    withheld: float
    tokens: int
    bit_exact: bool
    compared: int
    due: int
    cycles_per_token: float
    predicted: tuple[int, int]
    as_predicted: bool | None
    lane_utilization: float
    bandwidth_utilization: float | None
    seconds: float
    peak_gb: float


def play(tape: AnyTape, options: argparse.Namespace, withheld: float) -> Played:
    """One run."""
    config, low_high = tape.config, tuple(options.latency)
    behaviour, latencies = None, (0, 0)
    if options.lanes is not None:
        design = design_for_model(config, options.lanes)
    else:
        external = find_memory(options.memory)
        assert external is not None, "of block RAM the lanes are asked for"
        design = design_for_memory(config, external)
        behaviour = Behaviour(withheld=withheld, latency=low_high, seed=options.seed)
        # Until a burst is accepted passes an address that is withheld, at times more than one.
        latencies = (low_high[0], low_high[1] + ADDRESS_CYCLES)
    rng = np.random.default_rng(options.seed)
    prompt = rng.integers(0, config.vocab_size, options.tokens).tolist()
    began = time.perf_counter()
    result = cosim([tape], design, [Sequence(prompt=prompt)], behaviour=behaviour)
    seconds = time.perf_counter() - began
    low, high = (cycles_per_token(config, design, memory_latency=each) for each in latencies)
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    found = Played(
        memory=design.memory,
        lanes=design.lanes,
        withheld=withheld,
        tokens=result.tokens,
        bit_exact=result.bit_exact,
        compared=result.compared,
        due=result.due,
        cycles_per_token=result.cycles_per_token,
        predicted=(low, high),
        as_predicted=low <= result.cycles_per_token <= high if not withheld else None,
        lane_utilization=round(result.lane_utilization, 5),
        bandwidth_utilization=result.bandwidth_utilization,
        seconds=round(seconds, 1),
        peak_gb=round(sum(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1e6, 2),
    )
    print(describe(found), file=sys.stderr, flush=True)
    return found


def describe(run: Played) -> str:
    """A line for people."""
    bandwidth = run.bandwidth_utilization
    return (
        f"{run.memory}, {run.lanes} lanes, {run.withheld:g} % withheld: {run.tokens} tokens,"
        f" {run.compared:,} of {run.due:,} values {'equal' if run.bit_exact else 'NOT EQUAL'},"
        f" {run.cycles_per_token:,.1f} cycles per token (predicted {run.predicted[0]:,} to"
        f" {run.predicted[1]:,}), utilization {100 * run.lane_utilization:.2f} %"
        + ("" if bandwidth is None else f", bandwidth {100 * bandwidth:.2f} %")
        + f"; {run.seconds:.0f} s, {run.peak_gb:.2f} GB"
    )


def main() -> int:
    """Print a line for each run, or JSON; exit code 1 if one is not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape", choices=sorted(SHAPES), default="370m", help="of the model (default %(default)s)"
    )
    parser.add_argument(
        "--published", action="store_true", help="in the arithmetic of published checkpoints"
    )
    parser.add_argument(
        "--memory", default="axi128x4", help="where the weights are (default %(default)s)"
    )
    parser.add_argument("--lanes", type=int, help="of a design in block RAM instead")
    parser.add_argument("--tokens", type=int, default=16, help="(default %(default)s)")
    parser.add_argument(
        "--withheld",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="PERCENT",
        help="of the cycles in which the memory gives no beat, a run for each (default 0)",
    )
    parser.add_argument(
        "--latency",
        type=int,
        nargs=2,
        default=[60, 200],
        metavar="CYCLES",
        help="least and most from an address to its beats (default 60 200)",
    )
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    config = (PUBLISHED if options.published else SHAPES)[options.shape]
    with tempfile.TemporaryDirectory() as name:
        tape = random_tape(config, options.seed, Path(name))
        runs = [play(tape, options, withheld) for withheld in options.withheld]
    if options.json:
        values: dict[str, Any] = {"shape": options.shape, "tape_sha256": tape.sha256}
        print(json.dumps(values | {"runs": [asdict(run) for run in runs]}, indent=1))
    else:
        print("\n".join(describe(run) for run in runs))
    return int(any(not run.bit_exact or run.as_predicted is False for run in runs))


if __name__ == "__main__":
    sys.exit(main())

"""Time and memory that a model of hundreds of millions of weights takes, step by step.

    python -m tools.measure.large_model --memory axi128x4 --tokens 16
    python -m tools.measure.large_model --lanes 256 --out 370m.tape --json
    python -m tools.measure.large_model --published

A random tape with values as trained models have them (tests/support/random_tapes.py), or with
``--published`` in the arithmetic of published checkpoints (tests/support/integers), written and
opened; tokens of the golden model, with the share of values that it saturated; for each design its
RTLIL, its Verilog and what a tape adds: memory files, or the image of an external memory. CPU time
includes Yosys; the memory is the most that the process has taken so far.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from threadpoolctl import threadpool_limits

from hdl.accelerator import Accelerator
from hdl.toolchain.emit import convert_rtlil, convert_verilog, write_memory_files
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.layout import layout
from mmfree.chip.memory_image import write_memory_image
from mmfree.chip.memory_map import chip_memories
from mmfree.chip.sizing import design_for_memory, design_for_model
from mmfree.contract.shape import AbsmaxConfig, AnyConfig
from mmfree.golden.opening import golden_of
from mmfree.golden.rounding import PlaysTokens, play_sequence
from mmfree.inference.shapes import PUBLISHED, SHAPES
from mmfree.tape.reading import AnyTape, copy_tape, open_tape
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.random_tapes import realistic_tape

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step took. ``peak_gb``: of the process, from its start to the step's end."""

    name: str
    cpu_s: float
    wall_s: float
    peak_gb: float


class Steps:
    """Times steps, and says each on stderr when it has ended."""

    def __init__(self) -> None:
        self.taken: list[Step] = []

    def take(self, name: str, work: Callable[[], _Result], count: int = 1) -> _Result:
        """Do ``count`` things at once; the times are those of one."""
        before, began = os.times(), time.perf_counter()
        result = work()
        now, ended = os.times(), time.perf_counter()
        step = Step(
            name=name,
            cpu_s=round((sum(now[:4]) - sum(before[:4])) / count, 3),
            wall_s=round((ended - began) / count, 3),
            peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        )
        print(f"{name}: {step.cpu_s} CPU s", file=sys.stderr, flush=True)
        self.taken.append(step)
        return result


def random_tape(config: AnyConfig, seed: int, folder: Path) -> AnyTape:
    """A tape of a shape; a published one's is in a file of the folder."""
    if isinstance(config, AbsmaxConfig):
        return random_absmax_tape(folder, config, seed)
    return realistic_tape(seed, config)


def make_tape(steps: Steps, config: AnyConfig, seed: int, path: Path, folder: Path) -> None:
    """Write a random tape."""
    tape = steps.take("tape made", lambda: random_tape(config, seed, folder))
    steps.take("tape written", lambda: copy_tape(tape, path))


def play(golden: PlaysTokens[Any], tape: AnyTape, tokens: int, seed: int) -> dict[str, int]:
    """Play random tokens; values that were saturated, by site."""
    ids = np.random.default_rng(seed).integers(0, tape.config.vocab_size, tokens)
    with threadpool_limits(1, user_api="blas"):
        play_sequence(golden, ids, None)
    return golden.saturations


def emit(steps: Steps, name: str, design: Design, tape: AnyTape, folder: Path) -> None:
    """Write what a folder of Verilog holds, step by step."""
    text = steps.take(f"{name}: RTLIL", lambda: convert_rtlil(Accelerator(design)))
    steps.take(f"{name}: Verilog", lambda: convert_verilog(text, chip_memories(design)))
    image = steps.take(f"{name}: layout", lambda: layout(tape, design))
    steps.take(f"{name}: memory files", lambda: write_memory_files(image, folder))
    if design.external is not None:
        path = folder / "memory.bin"
        steps.take(f"{name}: image", lambda: write_memory_image(tape, design, path))


def table(steps: list[Step]) -> Iterator[str]:
    """The steps for people."""
    yield f"{'step':<32} {'CPU s':>8} {'wall s':>8} {'peak GB':>8}"
    for step in steps:
        yield f"{step.name:<32} {step.cpu_s:8.2f} {step.wall_s:8.2f} {step.peak_gb:8.2f}"


def main() -> None:
    """Print the table, or JSON."""
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
        "--lanes", type=int, action="append", help="of a design in block RAM (default 256)"
    )
    parser.add_argument(
        "--memory", action="append", help="of a design that reads one (default axi128x4)"
    )
    parser.add_argument(
        "--tokens", type=int, default=4, help="of the golden model (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the tape (default %(default)s)")
    parser.add_argument("--out", type=Path, help="keep the tape as this file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    config = (PUBLISHED if options.published else SHAPES)[options.shape]
    steps = Steps()
    designs = {f"{lanes} lanes": design_for_model(config, lanes) for lanes in options.lanes or []}
    memories = options.memory or []
    if not designs and not memories:
        designs, memories = {"256 lanes": design_for_model(config, 256)}, ["axi128x4"]
    for name in memories:
        if (external := find_memory(name)) is not None:
            designs[name] = design_for_memory(config, external)
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        path = options.out or folder / "model.tape"
        make_tape(steps, config, options.seed, path, folder)
        tape = steps.take("tape opened", lambda: open_tape(path))
        golden = cast(PlaysTokens[Any], golden_of(tape))
        saturations = steps.take(
            "golden model, a token",
            lambda: play(golden, tape, options.tokens, options.seed),
            options.tokens,
        )
        for name, design in designs.items():
            emit(steps, name, design, tape, folder)
    if options.json:
        result = {
            "shape": options.shape,
            "tape_sha256": tape.sha256,
            "tokens": options.tokens,
            "saturations": saturations,
            "steps": [asdict(step) for step in steps.taken],
        }
        print(json.dumps(result, indent=1))
        return
    print("\n".join(table(steps.taken)))
    sites = ", ".join(f"{site} {count}" for site, count in saturations.items())
    print(f"saturated in {options.tokens} tokens: {sites}")


if __name__ == "__main__":
    main()

"""``mmfree config``: a whole config, as JSON that ``mmfree train`` takes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmfree.cli.outcome import Outcome
from mmfree.cli.values import above_zero, whole
from mmfree.contract.pow2 import GATES
from mmfree.training.presets import PRESETS, run_config

EXAMPLES = (
    "mmfree config text > my.json",
    "mmfree config text --width 256 --layers 4 --steps 5000 > larger.json",
    "mmfree config my.json --rate 4e-3",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_config(parser)


def add_config(parser: argparse.ArgumentParser) -> None:
    """A preset or a file, and what is to be otherwise than it says."""
    parser.add_argument(
        "config", metavar="PRESET|CONFIG.json", help=f"{', '.join(PRESETS)}, or a file"
    )
    parser.add_argument(
        "--gate", choices=GATES, help="forget gate of a preset (default: the preset's own)"
    )
    for name, symbol, meaning in (
        ("steps", "N", "steps to train"),
        ("width", "D", "hidden size; the intermediate size changes in proportion"),
        ("layers", "L", "layers of the model"),
        ("batch", "N", "sequences of a step"),
        ("length", "N", "tokens of a sequence; for a task most columns or bits"),
    ):
        parser.add_argument(
            f"--{name}",
            type=whole(1),
            metavar=symbol,
            help=f"{meaning} (default: as the preset or the file says)",
        )
    parser.add_argument(
        "--rate",
        type=above_zero(),
        metavar="R",
        help="largest learning rate (default: as the preset or the file says)",
    )


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    config = run_config(
        options.config,
        gate=options.gate,
        steps=options.steps,
        width=options.width,
        layers=options.layers,
        rate=options.rate,
        batch=options.batch,
        length=options.length,
    )
    values = config.to_dict()
    if config.subword is not None:
        # A config names its tokenizer's file from its own folder; this one has no folder yet.
        named = json.loads(Path(options.config).read_bytes())["tokenizer"]
        file = named if isinstance(named, str) else named["file"]
        values["tokenizer"]["file"] = str(Path(options.config).absolute().parent / file)
    return Outcome(values, json.dumps(values, indent=1))

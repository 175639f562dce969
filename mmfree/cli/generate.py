"""``mmfree generate``: a text as it comes."""

from __future__ import annotations

import argparse
from typing import Any

from mmfree.cli.options import add_backend, add_model, add_temperature
from mmfree.cli.outcome import Outcome
from mmfree.cli.streams import holds_every_text, write_exactly
from mmfree.cli.values import whole
from mmfree.inference.backends import HARDWARE, load_backend, tokenizer_at
from mmfree.inference.generate import (
    TEXT_TEMPERATURE,
    TEXT_TOKENS,
    generate,
    temperature_of,
    wanted,
)

EXAMPLES = (
    "mmfree generate runs/text --prompt 'A function' --tokens 60",
    "mmfree generate runs/text --prompt Once --temperature 0.8 --top-k 40 --stop . --seed 1",
    "mmfree generate runs/addition --prompt '95 + 5'",
    "mmfree generate runs/addition --prompt '95 + 5' --backend rtl",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_model(parser)
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="text to go on from")
    parser.add_argument(
        "--tokens",
        type=whole(1),
        metavar="N",
        help=f"tokens to generate (default: {TEXT_TOKENS}; not for a task's answer)",
    )
    add_temperature(parser, None, f" (default: {TEXT_TEMPERATURE} for text, else 0)")
    parser.add_argument(
        "--top-k",
        type=whole(1),
        metavar="K",
        help="draw from the K likeliest tokens (default: from all; not for rtl)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help=(
            "draw from the fewest tokens whose probabilities reach P, above 0 and at most 1"
            " (default: from all; not for rtl)"
        ),
    )
    parser.add_argument(
        "--stop",
        metavar="TEXT",
        help=(
            "end before this text, which in bash may be $'\\n' (default: after --tokens, or where"
            " the model ends it)"
        ),
    )
    add_backend(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    tokenizer = tokenizer_at(options.model)
    temperature = temperature_of(tokenizer, options.temperature)
    asked: dict[str, Any] = {
        "temperature": temperature,
        "seed": options.seed,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "stop": options.stop,
    }
    in_hardware = options.backend in HARDWARE
    # Everything is refused here that can be before torch or a simulator is loaded.
    wanted(tokenizer, options.prompt, options.tokens, **asked, in_hardware=in_hardware)
    backend = load_backend(options.model, options.backend, options.lanes)
    pieces = generate(backend, options.prompt, options.tokens, **asked)
    # A text begins with its prompt; an answer is by itself.
    before = options.prompt if tokenizer.feeds_back else ""
    live = not options.json and holds_every_text()
    texts: list[str] = []
    rows: list[int] = []
    for text, chosen in pieces:
        if live:  # nothing before there is something: the first position may be refused
            write_exactly(text if texts else f"{before}{text}")
        texts.append(text)
        rows += chosen
    whole = "".join(texts)
    if not options.json:
        write_exactly("\n" if live else f"{before}{whole}\n")
    values = {
        "backend": backend.name,
        "prompt": options.prompt,
        "text": whole,
        "ids": rows,
        "temperature": temperature,
        "seed": options.seed,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "stop": options.stop,
    }
    return Outcome(values, "")

"""``mmfree generate``: a text as it comes."""

from __future__ import annotations

import argparse
from typing import Any

from mmfree.cli.options import add_backend, add_model, add_temperature
from mmfree.cli.outcome import Outcome
from mmfree.cli.streams import holds_every_text, write_exactly
from mmfree.cli.values import whole
from mmfree.errors import InputError
from mmfree.inference.backends import HARDWARE, at_once, load_backend, tokenizer_at
from mmfree.inference.generate import (
    TEXT_TEMPERATURE,
    TEXT_TOKENS,
    generate,
    temperature_of,
    wanted,
)
from mmfree.shipped import UNASKED, shipped_tape

EXAMPLES = (
    "mmfree generate stories",
    "mmfree generate runs/text --prompt 'A function' --tokens 60",
    "mmfree generate runs/text --prompt Once --temperature 0.8 --top-k 40 --stop . --seed 1",
    "mmfree generate runs/addition --prompt '95 + 5' --backend rtl",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_model(parser)
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help=f"text to go on from (default: of stories {UNASKED['stories'].prompt!r})",
    )
    parser.add_argument(
        "--tokens",
        type=whole(1),
        metavar="N",
        help=(
            f"tokens to generate (default: {TEXT_TOKENS}, of stories"
            f" {UNASKED['stories'].tokens}; not for a task's answer)"
        ),
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
    prompt, tokens = options.prompt, options.tokens
    if shipped_tape(options.model) is not None:
        unasked = UNASKED[str(options.model)]
        prompt = unasked.prompt if prompt is None else prompt
        tokens = unasked.tokens if tokens is None else tokens
    if prompt is None:
        raise InputError(f"mmfree generate needs --prompt: for example, {EXAMPLES[1]}")
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
    wanted(tokenizer, prompt, tokens, **asked, in_hardware=in_hardware)
    backend = load_backend(options.model, options.backend or at_once(options.model), options.lanes)
    pieces = generate(backend, prompt, tokens, **asked)
    # A text begins with its prompt; an answer is by itself.
    before = prompt if tokenizer.feeds_back else ""
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
        "prompt": prompt,
        "text": whole,
        "ids": rows,
        "temperature": temperature,
        "seed": options.seed,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "stop": options.stop,
    }
    return Outcome(values, "")

"""``mmfree generate``: a text as it comes."""

from __future__ import annotations

import argparse

from mmfree.cli.options import add_backend, add_model, add_sampling
from mmfree.cli.outcome import Outcome
from mmfree.cli.streams import holds_every_text, write_exactly
from mmfree.inference.backends import load_backend
from mmfree.inference.generate import generate

SUMMARY = "continue a prompt, or add: --prompt 123+456"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_model(parser)
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="text to go on from")
    parser.add_argument("--tokens", type=int, default=200, metavar="N", help="tokens to generate")
    add_sampling(parser)
    add_backend(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    backend = load_backend(options.model, options.backend, options.lanes)
    texts: list[str] = []
    rows: list[int] = []
    live = not options.json and holds_every_text()
    pieces = generate(
        backend,
        options.prompt,
        options.tokens,
        temperature=options.temperature,
        seed=options.seed,
        stop=options.stop,
    )
    for text, chosen in pieces:
        texts.append(text)
        rows += chosen
        if live:
            write_exactly(text)
    whole = "".join(texts)
    if not options.json:
        write_exactly("\n" if live else f"{whole}\n")
    return Outcome({"backend": backend.name, "text": whole, "ids": rows}, "")

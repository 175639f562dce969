"""The project's page: docs/index.html, and the two chips that it shows.

    python -m tools.figures.project_page runs/addition/model.tape

Takes the tape of `make demo`, and that of stories, and writes docs/chips/addition.html,
stories.html and docs/index.html, whose figures are README's. All three can be served as they are.
"""

from __future__ import annotations

import argparse
import re
import sys
from html import escape
from pathlib import Path

from mmfree.errors import InputError, ToolMissing
from mmfree.files.atomic import write_atomically
from mmfree.inference.backends import load_tape_or_export
from mmfree.report.page import html_page
from mmfree.report.palette import LINE, themed
from mmfree.shipped import card_of
from sim.page.limits import design_of
from sim.page.page import page_of

DOCS = Path(__file__).parents[2] / "docs"

INTRODUCTION = """A language model without matrix multiplication, from text to a chip that only
adds: train ternary weights in PyTorch, export one file, generate the accelerator as Verilog, and
prove in simulation that chip and software agree in every bit. Below are the chips themselves: their
RTL, compiled to WebAssembly, plays in your browser; row and state of every token are compared
with the golden model."""

_FRAMES = themed(
    f"<style>iframe{{width:100%;height:700px;border:1px solid {LINE}}}"
    "@media(max-width:860px){iframe{height:1000px}}</style>"
)
"""As high as what a chip gives, and what is asked for above it."""

_HOW = '<p class="note">How each was got: <a href="results.md">docs/results.md</a>.</p>'

CHIPS = {
    "addition": "The chip adds two numbers digit by digit: 64 lanes, 84,672 parameters.",
    "stories": "The chip writes a story: 256 lanes, 1.2 million ternary weights.",
}


def figures(readme: str) -> list[str]:
    """README's figures, each in one line, without its links."""
    text = readme.partition("## Figures")[2].partition("\n\n[")[0]
    items = re.findall(r"^- (.*(?:\n  .*)*)", text, re.M)
    return [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(item.split())) for item in items]


def index(readme: str) -> str:
    """The page: what it is, the chips, figures."""
    chips = [
        (
            name.capitalize(),
            f'<p>{escape(told)} <a href="chips/{name}.html">Alone on a page</a></p>'
            f'<iframe src="chips/{name}.html" title="the chip: {name}" loading="lazy"></iframe>',
        )
        for name, told in CHIPS.items()
    ]
    listed = "".join(f"<li>{escape(item)}</li>" for item in figures(readme))
    sections = [
        ("What it is", f"{_FRAMES}<p>{escape(' '.join(INTRODUCTION.split()))}</p>"),
        *chips,
        ("Figures", f"<ul>{listed}</ul>{_HOW}"),
        ("Try it", "<pre>make demo\nmake test</pre>"),
    ]
    return html_page("a language model that only adds", sections)


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("addition", type=Path, help="a tape that adds")
    options = parser.parse_args()
    try:
        for name, path in (("addition", options.addition), ("stories", Path("stories"))):
            tape = load_tape_or_export(path)
            card = card_of(name) if name == "stories" else ""
            page = page_of(tape, name, design_of(tape), card=card)
            write_atomically(DOCS / "chips" / f"{name}.html", page)
    except (InputError, ToolMissing) as error:
        sys.exit(f"error: {error}")
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    write_atomically(DOCS / "index.html", index(readme).encode())
    print(f"{DOCS / 'index.html'}: {', '.join(CHIPS)}")


if __name__ == "__main__":
    main()

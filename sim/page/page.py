"""One self-contained HTML file: the chip of a tape, the tape, what checks it, and what one sees.

page = page_of(tape, "stories", design_of(tape), card="...")      # bytes
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from html import escape
from pathlib import Path
from string import Template

from mmfree.chip.design import Design
from mmfree.chip.layout import layout
from mmfree.report import palette
from mmfree.report.page import STYLE
from mmfree.report.story import BITS, meaning, shades
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import AnyTape
from sim.cosim.chip import generic_verilog
from sim.page.chip_module import chip_module
from sim.page.contents import about_chip, about_code, about_image, about_model
from sim.page.golden_module import golden_module
from sim.page.tokenizers import about_tokenizer

WEB = Path(__file__).parent / "web"

IN_WORKER = ("inflate", "image", "chip", "golden", "session", "worker")
IN_PAGE = ("inflate", "tokenizers", "views", "inside", "page", "start")
"""Scripts, in their order; ``whole`` comes before all."""

_KINDS = {"addition": "addition", "bytes": "text", "byte-pairs": "text"}
"""Kind of tokenizer -> kind of page."""

_FIELDS = {
    "addition": (
        '<label class="field">First number <input id="a" inputmode="numeric" value="$a"></label>\n'
        '<label class="field">Second <input id="b" inputmode="numeric" value="$b"></label>'
    ),
    "text": (
        '<label for="prompt">Begin with</label><textarea id="prompt" rows="2">$prompt</textarea>\n'
        '<label class="short field">Temperature <input id="temperature" inputmode="decimal"'
        ' value="0.5"></label>\n'
        '<label class="short field">Seed <input id="seed" inputmode="numeric" value="1"></label>\n'
        '<label class="short field">Tokens <input id="tokens" inputmode="numeric" value="250">'
        "</label>"
    ),
    "task": '<label class="field">Problem <input id="prompt" value="$prompt"></label>',
}
_VERBS = {"addition": "Add", "text": "Write", "task": "Answer"}
_RESULTS = {
    "addition": '<div class="scroll"><table id="columns"></table></div>',
    "text": (
        f'<pre id="text" class="text"></pre><p class="note">{meaning("before the temperature")}</p>'
    ),
    "task": '<pre id="text" class="text"></pre>',
}
_CARD = '<details><summary>Card</summary><pre class="text">{}</pre></details>'
_EXAMPLES = {"parity": "0110", "modular-addition": "12+96"}


def page_of(
    tape: AnyTape,
    name: str,
    design: Design,
    *,
    card: str = "",
    progress: Callable[[str], None] = lambda stage: None,
) -> bytes:
    """The page of a tape on a chip of ``design``, which ``sim.page.limits.design_of`` gives.

    The same tape and design give the same bytes, with the same versions of the tools.

    Parameters
    ----------
    name, card
        Of the model, for people; the card is plain text.
    progress
        Called with the name of every stage as it begins.

    Raises
    ------
    ToolMissing
        If Verilator or zig is not installed.
    """
    assert isinstance(tape, Tape), "design_of has refused it"
    tokenizer = about_tokenizer(tape.tokenizer)
    progress(f"Verilog of {design.lanes:,} lanes")
    verilog = generic_verilog(design)
    progress("the chip in WebAssembly")
    module = chip_module(verilog)
    progress("the golden model in WebAssembly")
    golden = golden_module()
    memories, image = about_image(layout(tape, design))
    about = {
        **about_chip(module, design),
        "model": about_model(tape, design),
        "code": about_code(design),
        "memories": memories,
        "tokenizer": tokenizer,
        "shades": BITS,
    }
    parts = {
        "manifest": json.dumps(about, separators=(",", ":")).encode(),
        "chip": module.code,
        "golden": golden,
        "image": image,
    }
    kind = _KINDS.get(tokenizer["kind"], "task")
    example = "Once upon a time" if kind == "text" else _EXAMPLES.get(tokenizer["kind"], "")
    page = Template((WEB / "page.html").read_text(encoding="utf-8")).substitute(
        {part: packed(data) for part, data in parts.items()},
        first=_script("whole"),
        title=escape(f"{name}, the chip in a page"),
        style=_style(),
        lanes=f"{design.lanes:,}",
        fields=Template(_FIELDS[kind]).substitute(
            a="98765432109876543210", b="12345678901234567890", prompt=escape(example)
        ),
        verb=_VERBS[kind],
        result=_RESULTS[kind],
        besides=_besides(tape),
        about=escape(_about(tape, name, design)),
        card=_CARD.format(escape(card)) if card else "",
        worker="\n".join(
            f'<script type="text/plain" class="worker">\n{_script(name)}</script>'
            for name in IN_WORKER
        ),
        scripts="\n".join(map(_script, IN_PAGE)),
    )
    # A file's name may be no text.
    return page.encode(errors="replace")


def packed(data: bytes) -> str:
    """Bytes as the page carries them: compressed, in base64."""
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def _script(name: str) -> str:
    text = (WEB / f"{name}.js").read_text(encoding="utf-8")
    assert "</" not in text, f"{name}.js would end its own element"
    return text


def _style() -> str:
    own = (WEB / "page.css").read_text(encoding="utf-8")
    colours = {name: value for name, value in vars(palette).items() if name.isupper()}
    own = re.sub(
        r"\b[A-Z]{3,}\b", lambda found: str(colours.get(found.group(), found.group())), own
    )
    names = {"paper": "PAPER", "ink": "INK", "green": "GREEN", "red": "RED", "line": "LINE"}
    rules = "".join(f"--{name}:{colours[colour]};" for name, colour in names.items())
    return STYLE + palette.themed(f"body{{{rules}}}" + own) + shades()


def _besides(tape: Tape) -> str:
    """What a state has besides h."""
    channels = tape.config.token_shift
    if not channels:
        return ""
    return f", but for {channels} channels of the token before, kept at two places of each layer"


def _about(tape: Tape, name: str, design: Design) -> str:
    config = tape.config
    return (
        f"{name}: {config.num_layers} layers of {config.hidden_size} channels,"
        f" {config.num_ternary_weights:,} ternary weights; tape sha256 {tape.sha256}. Chip:"
        f" {design.rows} x {design.columns} lanes, {design.weight_code} bits a weight; its image"
        " goes in through the load port, as on a board."
    )

"""A picture of an accelerator with its sizes, as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOADED_MEMORIES, loaded_shape, word_bits
from mmfree.chip.weight_codes import find_code
from mmfree.report.figures import WIDE, is_wide
from mmfree.report.palette import ARRAY, INK, MEMORY, MINT, PANEL

Point = tuple[int, int]
Box = tuple[int, int, int, int]
"""Left, top, width, height."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where blocks stand, and the corners of the arrows between them."""

    size: Point
    array: Box
    boxes: dict[str, Box]
    arrows: tuple[tuple[Point, ...], ...]


_WIDE = _Layout(
    size=(960, 475),
    array=(220, 30, 330, 240),
    boxes={
        "requests": (20, 30, 150, 60),
        "sequencer": (20, 120, 150, 60),
        "embedding": (20, 210, 150, 60),
        "vectors x, u": (20, 300, 150, 60),
        "quantizer, RMS norm": (220, 300, 170, 60),
        "weights": (220, 390, 330, 60),
        "decoder": (410, 300, 140, 60),
        "row blocks": (600, 300, 150, 60),
        "weight check": (600, 390, 150, 60),
        "requantize": (790, 300, 150, 60),
        "gates, products": (790, 210, 150, 60),
        "state, two banks": (790, 120, 150, 60),
        "argmax, noise": (790, 30, 150, 60),
        "load port, faults": (600, 30, 150, 60),
    },
    arrows=(
        ((95, 90), (95, 120)),
        ((95, 180), (95, 210)),
        ((95, 270), (95, 300)),
        ((170, 330), (220, 330)),
        ((295, 300), (295, 270)),
        ((480, 390), (480, 360)),
        ((480, 300), (480, 270)),
        ((550, 150), (575, 150), (575, 330), (600, 330)),
        ((550, 420), (600, 420)),
        ((750, 330), (790, 330)),
        ((865, 300), (865, 270)),
        ((865, 210), (865, 180)),
        ((940, 330), (953, 330), (953, 60), (940, 60)),
        ((790, 250), (770, 250), (770, 464), (95, 464), (95, 360)),
    ),
)
_NARROW = _Layout(
    size=(320, 744),
    array=(4, 344, 304, 190),
    boxes={
        "requests": (4, 4, 144, 50),
        "sequencer": (4, 72, 144, 50),
        "embedding": (4, 140, 144, 50),
        "vectors x, u": (4, 208, 144, 50),
        "quantizer, RMS norm": (4, 276, 144, 50),
        "argmax, noise": (164, 4, 144, 50),
        "state, two banks": (164, 72, 144, 50),
        "gates, products": (164, 140, 144, 50),
        "requantize": (164, 208, 144, 50),
        "row blocks": (164, 276, 144, 50),
        "decoder": (4, 552, 144, 50),
        "weight check": (164, 552, 144, 50),
        "weights": (4, 620, 304, 50),
        "load port, faults": (4, 688, 304, 50),
    },
    arrows=(
        ((76, 54), (76, 72)),
        ((76, 122), (76, 140)),
        ((76, 190), (76, 208)),
        ((76, 258), (76, 276)),
        ((76, 326), (76, 344)),
        ((76, 620), (76, 602)),
        ((76, 552), (76, 534)),
        ((236, 344), (236, 326)),
        ((236, 620), (236, 602)),
        ((236, 276), (236, 258)),
        ((236, 208), (236, 190)),
        ((236, 140), (236, 122)),
        ((308, 233), (315, 233), (315, 29), (308, 29)),
        ((164, 165), (156, 165), (156, 233), (148, 233)),
    ),
)
_MEMORIES = ("embedding", "vectors x, u", "weights", "state, two banks")


def draw_accelerator(design: Design, *, width: float = WIDE) -> str:
    """The blocks of a design and what flows between them, for a figure of ``width`` inches."""
    layout = _WIDE if is_wide(width) else _NARROW
    texts = _sizes(design)
    parts = [_array(layout.array, design)]
    parts += [
        _box(place, MEMORY if name in _MEMORIES else PANEL, name, texts[name])
        for name, place in layout.boxes.items()
    ]
    # Two pictures of a page may not share a name, or one looks for its tips in the hidden other.
    tip = f"tip{layout.size[0]}"
    for points in layout.arrows:
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" style="fill:none;stroke:{INK}" stroke-width="1.5"'
            f' marker-end="url(#{tip})"/>'
        )
    return (
        f'<svg viewBox="0 0 {layout.size[0]} {layout.size[1]}" role="img"'
        ' aria-label="blocks of the accelerator" xmlns="http://www.w3.org/2000/svg"><defs>'
        f'<marker id="{tip}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto"><path d="M0 0 8 4 0 8z" style="fill:{INK}"/></marker></defs>'
        f"{''.join(parts)}</svg>"
    )


def _sizes(design: Design) -> dict[str, str]:
    """Name of a block -> what stands below it."""
    code = find_code(design.weight_code)
    loaded = sum(
        (shape.bits + shape.parity) * shape.depth
        for shape in (loaded_shape(design, name) for name in LOADED_MEMORIES)
    )
    per_cycle = f"{design.post_width} per cycle"
    return {
        "requests": "stop, limit, cancel",
        "sequencer": f"{design.header_words} segments",
        "embedding": f"{design.embedding_rows:,} x {design.embedding_width} x 8 bits",
        "vectors x, u": f"16 bits, to {design.max_width:,}",
        "quantizer, RMS norm": f"{design.columns} per cycle",
        "weights": (
            f"{design.weight_words:,} x {word_bits(design)} bits, {code.name} bits per weight"
        ),
        "decoder": f"{design.lanes:,} weights per cycle",
        "row blocks": f"{design.rows} sums of {design.accumulator_bits} bits",
        "weight check": "CRC-32 per segment",
        "requantize": per_cycle,
        "gates, products": "shift-and-add",
        "state, two banks": f"{design.kept_words:,} x {16 * design.post_width} bits",
        "argmax, noise": per_cycle,
        "load port, faults": f"{loaded / 8192:,.1f} KiB loaded",
    }


def _box(place: Box, fill: str, title: str, text: str) -> str:
    """A block with its name, and a line of text below that."""
    x, y, width, height = place
    centre = x + width / 2
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"'
        f' style="fill:{fill};stroke:{INK}"/>'
        f'<text x="{centre}" y="{y + 22}" class="name">{escape(title)}</text>'
        f'<text x="{centre}" y="{y + 40}" class="size">{escape(text)}</text>'
    )


def _array(place: Box, design: Design) -> str:
    """The ternary array: its rows and columns, at most 16 of each drawn."""
    x, y, width, height = place
    rows, columns = min(design.rows, 16), min(design.columns, 16)
    left, top, wide, high = x + 20, y + 52, width - 40, height - 72
    text = f"{design.rows} rows x {design.columns} columns = {design.lanes:,} additions per cycle"
    parts = [_box(place, ARRAY, "ternary array", text)]
    for row in range(rows):
        for column in range(columns):
            cell_x = left + wide * column / columns
            cell_y = top + high * row / rows
            parts.append(
                f'<rect x="{cell_x:.1f}" y="{cell_y:.1f}" width="{wide / columns - 2:.1f}" '
                f'height="{high / rows - 2:.1f}" rx="1.5" style="fill:{MINT}"'
                ' fill-opacity="0.55"/>'
            )
    return "".join(parts)

"""A picture of an accelerator with its sizes, as SVG."""

from __future__ import annotations

from html import escape

from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOADED_MEMORIES, loaded_shape, word_bits
from mmfree.chip.weight_codes import find_code

_INK, _FILL, _ARRAY, _MEMORY = "#1f2937", "#f8fafc", "#d1fae5", "#e0e7ff"


def draw_accelerator(design: Design) -> str:
    """The blocks of a design and what flows between them, 960 x 470."""
    code = find_code(design.weight_code)
    weights = f"{design.weight_words:,} x {word_bits(design)} bits"
    loaded = sum(
        (shape.bits + shape.parity) * shape.depth
        for shape in (loaded_shape(design, name) for name in LOADED_MEMORIES)
    )
    embedding = f"{design.embedding_rows:,} x {design.embedding_width} x 8 bits"
    sums = f"{design.rows} sums of {design.accumulator_bits} bits"
    state = f"{design.state_words:,} x {16 * design.post_width} bits"
    per_cycle = f"{design.post_width} per cycle"
    # x, y, width, height, color, title, text
    # fmt: off
    boxes = [
        (20, 30, 150, 60, _FILL, "requests", "stop token, limit, cancel"),
        (20, 120, 150, 60, _FILL, "sequencer", f"{design.header_words} segments"),
        (20, 210, 150, 60, _MEMORY, "embedding", embedding),
        (20, 300, 150, 60, _MEMORY, "vectors x, u", f"16 bits, to {design.max_width:,}"),
        (220, 300, 170, 60, _FILL, "quantizer, RMS norm", f"{design.columns} per cycle"),
        (220, 390, 330, 60, _MEMORY, "weights", f"{weights}, {code.name} bits per weight"),
        (420, 300, 130, 60, _FILL, "decoder", f"{design.lanes:,} weights per cycle"),
        (600, 300, 150, 60, _FILL, "row blocks", sums),
        (600, 390, 150, 60, _FILL, "weight check", "CRC-32 per segment"),
        (790, 300, 150, 60, _FILL, "requantize", per_cycle),
        (790, 210, 150, 60, _FILL, "gates, products", "shift-and-add"),
        (790, 120, 150, 60, _MEMORY, "state, two banks", state),
        (790, 30, 150, 60, _FILL, "argmax, noise", per_cycle),
        (600, 30, 150, 60, _FILL, "load port, faults", f"{loaded / 8192:,.1f} KiB loaded"),
    ]
    # fmt: on
    parts = [_array(220, 30, 330, 240, design)]
    parts += [_box(*box) for box in boxes]
    for points in (
        [(95, 90), (95, 120)],
        [(95, 180), (95, 210)],
        [(95, 270), (95, 300)],
        [(170, 330), (220, 330)],
        [(295, 300), (295, 270)],
        [(485, 390), (485, 360)],
        [(485, 300), (485, 270)],
        [(550, 150), (575, 150), (575, 330), (600, 330)],
        [(550, 420), (600, 420)],
        [(750, 330), (790, 330)],
        [(865, 300), (865, 270)],
        [(865, 210), (865, 180)],
        [(940, 330), (953, 330), (953, 60), (940, 60)],
        [(790, 250), (770, 250), (770, 464), (95, 464), (95, 360)],
    ):
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{_INK}" stroke-width="1.5"'
            ' marker-end="url(#tip)"/>'
        )
    return (
        '<svg viewBox="0 0 960 475" role="img" aria-label="blocks of the accelerator"'
        ' xmlns="http://www.w3.org/2000/svg"><defs><marker id="tip" viewBox="0 0 8 8" refX="7"'
        ' refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"'
        f' fill="{_INK}"/></marker></defs>{"".join(parts)}</svg>'
    )


def _box(x: int, y: int, width: int, height: int, fill: str, title: str, text: str) -> str:
    """A block with its name, and a line of text below that."""
    centre = x + width / 2
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}"'
        f' stroke="{_INK}"/>'
        f'<text x="{centre}" y="{y + 22}" class="name">{escape(title)}</text>'
        f'<text x="{centre}" y="{y + 40}" class="size">{escape(text)}</text>'
    )


def _array(x: int, y: int, width: int, height: int, design: Design) -> str:
    """The ternary array: its rows and columns, at most 16 of each drawn."""
    rows, columns = min(design.rows, 16), min(design.columns, 16)
    left, top, wide, high = x + 20, y + 52, width - 40, height - 72
    text = f"{design.rows} rows x {design.columns} columns = {design.lanes:,} additions per cycle"
    parts = [_box(x, y, width, height, _ARRAY, "ternary array", text)]
    for row in range(rows):
        for column in range(columns):
            cell_x = left + wide * column / columns
            cell_y = top + high * row / rows
            parts.append(
                f'<rect x="{cell_x:.1f}" y="{cell_y:.1f}" width="{wide / columns - 2:.1f}" '
                f'height="{high / rows - 2:.1f}" rx="1.5" fill="#10b981" fill-opacity="0.55"/>'
            )
    return "".join(parts)

"""The picture of an accelerator: every size in it, worked by hand."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from mmfree.chip.sizing import design_for
from mmfree.report.figures import NARROW, WIDE
from mmfree.report.picture import draw_accelerator
from tests.support.verbs.case import SUM_TAPE


def sizes_of(picture: str) -> dict[str, str]:
    """Name of a block -> what stands below it."""
    return dict(re.findall(r'class="name">([^<]*)</text><text [^>]*class="size">([^<]*)<', picture))


def test_every_size_is_the_designs() -> None:
    """64 lanes, 8 by 8, for d 16, I 24, one layer, 31 ids and 10 rows of the head.

    Tiles of 8 x 8: 12 of gates, 4 of output, 12 of gate and up, 6 of down and 4 of the head, and a
    check word for each of five segments: 43 words of 64 weights of 2 bits. A header of 60 bits for
    each segment and one that ends them. Words that the host loads, with a parity bit but for
    weights: 43 x 128, 6 x 61, 62 x 65 of the embedding, 2 x 129 biases, 512 x 17 of two tables,
    256 x 9 roots and 2,048 x 15 of noise: 51,886 bits.
    """
    design = design_for(SUM_TAPE, 64)
    assert sizes_of(draw_accelerator(design)) == {
        "ternary array": "8 rows x 8 columns = 64 additions per cycle",
        "requests": "stop, limit, cancel",
        "sequencer": "6 segments",
        "embedding": "31 x 16 x 8 bits",
        "vectors x, u": "16 bits, to 24",
        "quantizer, RMS norm": "8 per cycle",
        "weights": "43 x 128 bits, 2 bits per weight",
        "decoder": "64 weights per cycle",
        "row blocks": "8 sums of 14 bits",
        "weight check": "CRC-32 per segment",
        "requantize": "8 per cycle",
        "gates, products": "shift-and-add",
        "state, two banks": "2 x 128 bits",
        "argmax, noise": "8 per cycle",
        "load port, faults": f"{51886 / 8 / 1024:.1f} KiB loaded",
    }


@pytest.mark.parametrize(("lanes", "rows", "columns"), [(16, 4, 4), (512, 32, 16)])
def test_at_most_sixteen_rows_and_columns_are_drawn(lanes: int, rows: int, columns: int) -> None:
    picture = draw_accelerator(design_for(SUM_TAPE, lanes))
    text = f"{rows} rows x {columns} columns = {lanes} additions per cycle"
    assert sizes_of(picture)["ternary array"] == text
    cells = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" rx="1.5"', picture
    )
    assert len(cells) == min(rows, 16) * min(columns, 16)
    assert len({x for x, *_ in cells}) == min(columns, 16)
    assert len({y for _, y, *_ in cells}) == min(rows, 16)
    # Within the array's box, 330 by 240 at (220, 30), below its text.
    for x, y, width, height in (tuple(map(float, cell)) for cell in cells):
        assert 220 < x < x + width < 550
        assert 30 + 40 < y < y + height < 270


def test_the_code_of_the_weights_is_named() -> None:
    design = design_for(SUM_TAPE, 64, "1.6")
    assert sizes_of(draw_accelerator(design))["weights"].endswith(" bits, 1.6 bits per weight")


Box = tuple[float, float, float, float]


def is_on_border(x: float, y: float, box: Box) -> bool:
    left, top, width, height = box
    inside = left <= x <= left + width and top <= y <= top + height
    return inside and (x in (left, left + width) or y in (top, top + height))


@pytest.mark.parametrize(("inches", "size"), [(WIDE, (960, 475)), (NARROW, (320, 744))])
def test_every_arrow_joins_two_blocks_and_no_block_covers_another(
    inches: float, size: tuple[int, int]
) -> None:
    picture = draw_accelerator(design_for(SUM_TAPE, 64), width=inches)
    assert f'viewBox="0 0 {size[0]} {size[1]}"' in picture
    found = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" rx="6"', picture)
    boxes: list[Box] = [tuple(map(float, box)) for box in found]  # type: ignore[misc]
    assert len(boxes) == 15
    for one, (x, y, width, height) in enumerate(boxes):
        assert 0 <= x < x + width <= size[0]
        assert 0 <= y < y + height <= size[1]
        for left, top, wide, high in boxes[:one]:
            apart = left + wide < x or x + width < left or top + high < y or y + height < top
            assert apart
    arrows = [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(
            r'<polyline points="([^"]*)"[^>]*marker-end="url\(#tip\d+\)"/>', picture
        )
    ]
    assert len(arrows) == 14
    reached = set()
    for arrow in arrows:
        for x, y in (arrow[0], arrow[-1]):
            (box,) = (number for number, box in enumerate(boxes) if is_on_border(x, y, box))
            reached.add(box)
        for (x, y), (then_x, then_y) in pairwise(arrow):
            assert (x == then_x) != (y == then_y), "straight, or around a corner"
    assert len(reached) == 14, "all but the load port, which reaches every memory"


def test_both_screens_show_the_same_flow() -> None:
    """The same blocks of the same sizes, joined by the same arrows."""
    design = design_for(SUM_TAPE, 64)
    wide, narrow = (draw_accelerator(design, width=inches) for inches in (WIDE, NARROW))
    assert sizes_of(wide) == sizes_of(narrow)
    assert flow_of(wide) == flow_of(narrow)


def flow_of(picture: str) -> set[tuple[str, str]]:
    """From the name of a block to that of the next one."""
    found = re.findall(
        r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" rx="6"[^>]*>'
        r'<text [^>]*class="name">([^<]*)<',
        picture,
    )
    boxes = {name: (float(x), float(y), float(w), float(h)) for x, y, w, h, name in found}
    ends = [
        (points.split()[0], points.split()[-1])
        for points in re.findall(r'<polyline points="([^"]*)"', picture)
    ]
    return {(name_at(first, boxes), name_at(last, boxes)) for first, last in ends}


def name_at(point: str, boxes: dict[str, Box]) -> str:
    """The block on whose border a point lies."""
    x, y = map(float, point.split(","))
    (name,) = (name for name, box in boxes.items() if is_on_border(x, y, box))
    return name

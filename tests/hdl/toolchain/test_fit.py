"""What cannot fit a part is told from the design alone, and what could fit is not refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import hdl.toolchain.fit
from hdl.toolchain.cost import measured_rows, memory_bits
from hdl.toolchain.fit import Shortage, find_shortage, least_cells
from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOADED_MEMORIES, loaded_shape
from sim.power.coefficients import known_parts
from tests.support.sim.shapes import ADDITION

FITS = json.loads((Path(__file__).parents[3] / "hdl/toolchain/measured/fits.json").read_text())
"""Syntheses by block for every family."""


@pytest.mark.parametrize("row", FITS, ids=lambda row: f"{row['family']}, {row['name']}")
def test_no_synthesis_took_less(row: dict[str, object]) -> None:
    """And the bounds are worth something: at most three times lower."""
    least = least_cells(Design.from_dict(row["design"]), str(row["family"]))
    for kind, count in least.items():
        assert 0.35 * row[kind] <= count <= row[kind], kind  # type: ignore[operator]


def test_the_ecp5_is_known_best() -> None:
    for design, cells in measured_rows():
        least = least_cells(design, "ecp5")
        assert 0.95 * cells["blocks"] - 1 <= least["ram_blocks"] <= cells["blocks"]
        assert 0.95 * cells["flip_flops"] <= least["flip_flops"] <= cells["flip_flops"]


def test_memory_is_counted_to_the_bit() -> None:
    design = ADDITION.design()
    shapes = [loaded_shape(design, name) for name in LOADED_MEMORIES]
    assert memory_bits(design) == sum(s.depth * s.parts * s.part_bits for s in shapes)
    assert least_cells(design, "ice40")["ram_blocks"] == int(0.95 * memory_bits(design) / 4096)
    assert least_cells(design, "xc7")["ram_blocks"] == int(0.95 * memory_bits(design) / 36_864)


def test_a_model_of_billions_is_refused_without_a_plan_of_its_memories(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hdl.toolchain.fit, "resources", None)
    huge = replace(ADDITION.design(), weight_words=30_000_000)
    needed = int(0.95 * memory_bits(huge) / 18_432)
    fits = dict.fromkeys(("luts", "flip_flops"), 0) | {"ram_blocks": needed - 1}
    shortage = Shortage(kind="ram_blocks", needed=needed, available=needed - 1)
    assert find_shortage(huge, "ecp5", fits) == shortage


@pytest.mark.parametrize("kind", ["luts", "flip_flops", "ram_blocks"])
def test_one_cell_too_few_is_a_shortage(kind: str) -> None:
    design = ADDITION.design()
    least = least_cells(design, "xcup")
    assert find_shortage(design, "xcup", least) is None
    fewer = least | {kind: least[kind] - 1}
    assert find_shortage(design, "xcup", fewer) == Shortage(
        kind=kind, needed=least[kind], available=least[kind] - 1
    )


def test_every_part_has_a_bound() -> None:
    for part in known_parts().values():
        assert set(least_cells(ADDITION.design(), part.family)) < set(part.capacity)

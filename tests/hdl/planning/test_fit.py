"""What cannot fit a part is told from the design alone, and what could fit is not refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import hdl.planning.fit
from hdl.planning.cost import measured_rows
from hdl.planning.fit import Shortage, find_shortage, least_cells, usual_cells
from hdl.planning.memories import memory_bits
from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOADED_MEMORIES, loaded_shape
from sim.power.coefficients import known_parts
from tests.support.sim.shapes import ADDITION

FITS = json.loads((Path(__file__).parents[3] / "hdl/planning/measured/fits.json").read_text())
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
    monkeypatch.setattr(hdl.planning.fit, "resources", None)
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


@pytest.mark.parametrize(
    "row",
    [row for row in FITS if row["family"] == "xcup"],
    ids=lambda row: str(row["name"]),
)
def test_usual_cells_are_about_those_of_a_synthesis(row: dict[str, object]) -> None:
    usual = usual_cells(Design.from_dict(row["design"]), "xcup")
    for kind, (low, high) in {
        "luts": (0.99, 1.03),
        "flip_flops": (1.0, 1.12),
        "ram_blocks": (0.84, 1.12),
    }.items():
        assert low <= usual[kind] / row[kind] <= high, kind  # type: ignore[operator]


def test_usual_cells_of_the_ecp5_are_those_of_a_board_that_was_routed() -> None:
    """docs/power.md, which count is which: 11,418 LUTs, 10,710 flip-flops, 22 block RAMs."""
    usual = usual_cells(ADDITION.design(), "ecp5")
    assert usual["luts"] == pytest.approx(11_418, rel=0.01)
    assert usual["flip_flops"] == pytest.approx(10_710, rel=0.01)
    assert usual["ram_blocks"] == 22


def test_usual_cells_are_no_fewer_than_the_least() -> None:
    for design, _ in measured_rows():
        for family in ("ecp5", "xcup"):
            least = least_cells(design, family)
            for kind, count in usual_cells(design, family).items():
                assert count >= 0.95 * least[kind], (family, kind)


def test_blocks_of_36_kbit_by_hand() -> None:
    """In halves, each memory in its best shape.

    Weights, 1,301 x 128: 3 x 4 of 512 x 36; embedding, 124 x 136: 4; tables, 512 x 17, for four
    ports in two copies: 2; reciprocal root, 256 x 9, and residual, 128 x 32: 1 each; noise, 2,048 x
    15 for two ports: 2 of 1,024 x 18. Nothing else is deeper than 64 words.
    """
    assert usual_cells(ADDITION.design(), "xcup")["ram_blocks"] == (3 * 4 + 4 + 2 + 1 + 1 + 2) // 2


def test_a_shortage_says_how_much_is_missing() -> None:
    assert Shortage(kind="luts", needed=12, available=5).missing == 7

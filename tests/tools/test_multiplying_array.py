"""The array of multipliers that the ternary one is compared with: exact, of the cells it names."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil

from hdl.fabric.technology import Technology
from hdl.toolchain.audit import ECP5_DSP_CELLS, ecp5_cells, forbidden_cells
from mmfree.chip.sizing import design_for
from mmfree.chip.weight_codes import INT8, WEIGHT_CODES
from mmfree.cli.main import main
from sim.cosim.run import cosim
from tests.support.hdl.array_bench import play_blocks
from tests.support.hdl.values import IDLE, ints, small_design
from tests.support.sim.shapes import ODD, random_tokens
from tools.experiments.multiplying_array import MultiplyingArray, Unit


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (4, 4), (8, 8)])
@pytest.mark.parametrize("idle", IDLE)
def test_sums_are_exact(unit: Unit, rows: int, columns: int, idle: float) -> None:
    rng = np.random.default_rng(rows + columns)
    blocks = []
    for tiles in (1, 1, 2, 3, 1, 5):
        weights = rng.integers(-128, 128, (rows, tiles * columns)).astype(np.int8)
        blocks.append((weights, ints(rng.integers(-128, 128, tiles * columns))))
    design = small_design(rows, columns, 5 * columns, weight_code=INT8.name)
    play_blocks(MultiplyingArray(design, unit), design, blocks, idle)


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize(("weight", "value"), [(-128, -128), (-128, 127), (127, -128)])
def test_the_largest_sums_fit(unit: Unit, weight: int, value: int) -> None:
    columns, width = 4, 4 * 31
    design = small_design(2, columns, width, weight_code=INT8.name)
    weights = np.full((2, width), weight, dtype=np.int8)
    play_blocks(MultiplyingArray(design, unit), design, [(weights, ints([value] * width))], 0.0)


def test_one_is_made_of_adders_and_the_other_of_dsp_blocks() -> None:
    for unit, expected in ((Unit.LUT, 0), (Unit.DSP, 16)):
        design = small_design(4, 4, 64, weight_code=INT8.name)
        text = rtlil.convert(
            MultiplyingArray(design, unit), name="array", emit_src=False, platform=Technology.ECP5
        )
        assert len(forbidden_cells(text)) == expected
        cells = ecp5_cells({"array.il": text}, "array")
        assert sum(cells.get(kind, 0) for kind in ECP5_DSP_CELLS) == expected


def test_the_product_does_not_offer_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither as an option of the command line nor in a design file of a user."""
    assert INT8.name not in WEIGHT_CODES
    design = design_for(ODD.tape(1, wild=False), 16, INT8.name)
    path = tmp_path / "limits.json"
    path.write_text(json.dumps(design.to_dict()))
    assert main(["verilog", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "weight_code must be one of 2, 1.67, 1.6, got 'int8'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("unit", Unit)
def test_a_chip_with_it_plays_a_tape_bit_for_bit(unit: Unit) -> None:
    """Trits are int8 numbers as well: the whole chip around the array is the same."""
    tape = ODD.tape(1, wild=True)
    result = cosim(
        [tape],
        design_for(tape, ODD.lanes, INT8.name),
        random_tokens(ODD.config, 20, seed=2),
        array=partial(MultiplyingArray, unit=unit),
    )
    assert result.bit_exact, result.divergence

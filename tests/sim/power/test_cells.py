"""Energies in bare cells, worked by hand."""

from __future__ import annotations

import pytest

from mmfree.chip.sizing import design_for
from sim.power.cells import NODES, cell_energies
from sim.power.coefficients import load_quantities
from tests.support.sim.shapes import ODD

TAPE = ODD.tape(1, wild=False)


def test_additions_by_their_width_and_weights_by_their_bits() -> None:
    design = design_for(TAPE, 16, "2")
    found = {(cell.node, cell.weights_are): cell for cell in cell_energies(1000, design)}
    assert set(found) == {(node, weights) for node in NODES for weights in ("ternary", "int8")}
    ternary, int8 = found["45 nm", "ternary"], found["45 nm", "int8"]
    width = design.accumulator_bits
    assert ternary.arithmetic.best == pytest.approx(1e-9 * (0.03 + 0.07 * (width - 8) / 24))
    assert int8.arithmetic.best == pytest.approx(1e-9 * (0.2 + 0.03 + 0.07 * (width + 7 - 8) / 24))
    assert ternary.weight_memory.best == pytest.approx(1e-9 * 20 * 2 / 64)
    assert int8.weight_memory.best == pytest.approx(4 * ternary.weight_memory.best)
    # 7 nm: 0.007 and 0.03 pJ for 8 and 32 bits, 0.07 for a product, 8.5 for 64 bits of SRAM.
    ternary, int8 = found["7 nm", "ternary"], found["7 nm", "int8"]
    assert ternary.arithmetic.best == pytest.approx(1e-9 * (0.007 + 0.023 * (width - 8) / 24))
    assert int8.arithmetic.best == pytest.approx(1e-9 * (0.077 + 0.023 * (width - 1) / 24))
    assert ternary.weight_memory.best == pytest.approx(1e-9 * 8.5 * 2 / 64)
    assert ternary.weight_memory.low == pytest.approx(1e-9 * 7.5 * 2 / 64)
    assert int8.weight_memory.high == pytest.approx(1e-9 * 14 * 8 / 64)
    assert all(
        cell.arithmetic.low < cell.arithmetic.best < cell.arithmetic.high for cell in found.values()
    )


def test_a_denser_code_reads_fewer_bits() -> None:
    dense, plain = (
        cell_energies(1000, design_for(TAPE, 64, code))[0].weight_memory.best
        for code in ("1.6", "2")
    )
    assert dense == pytest.approx(1.75 / 2 * plain), "seven bits for four weights"


@pytest.mark.parametrize("node", NODES)
def test_every_cell_has_a_source(node: str) -> None:
    assert {quantity.unit for quantity in load_quantities("cells", node).values()} == {"pJ"}
    assert all(quantity.source for quantity in load_quantities("cells", node).values())

"""What a token's matrices take in bare cells of an ASIC: arithmetic, and weights out of SRAM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_bits
from sim.power.coefficients import load_quantities
from sim.power.interval import Interval, Values, interval

NODES = ("45 nm", "7 nm")
_INT8_BITS = 7
"""By which sums of products with int8 weights are wider than sums of activations."""


@dataclass(frozen=True, kw_only=True)
class CellEnergy:
    """Joules per token of all matrices in cells of a node.

    ``arithmetic``: of ``weights_are`` "ternary" or "int8". ``weight_memory``: every weight is read
    from SRAM once.
    """

    node: str
    weights_are: str
    arithmetic: Interval
    weight_memory: Interval


def cell_energies(ternary_weights: int, design: Design) -> list[CellEnergy]:
    """Energies of ternary weights in a design's code, and of as many int8 weights, at each node.

    A ternary weight, a zero too, adds an activation to an accumulator of the design's width; an
    int8 weight multiplies, and adds to as many bits more as its product has. An addition's energy
    is taken to be linear in its bits.
    """
    code_bits = design.num_groups * group_bits(design) / design.lanes

    def per_weight(energy: Callable[[Values], float], node: str) -> Interval:
        return interval(energy, load_quantities("cells", node)) * (1e-12 * ternary_weights)

    found = []
    for node in NODES:
        for name, bits, arithmetic in (
            ("ternary", code_bits, lambda values: _add(values, design.accumulator_bits)),
            (
                "int8",
                8,
                lambda values: (
                    values["multiply_8"] + _add(values, design.accumulator_bits + _INT8_BITS)
                ),
            ),
        ):
            memory = per_weight(_read(bits), node)
            found.append(
                CellEnergy(
                    node=node,
                    weights_are=name,
                    arithmetic=per_weight(arithmetic, node),
                    weight_memory=memory,
                )
            )
    return found


def _read(bits: float) -> Callable[[Values], float]:
    """Picojoules of reading a weight."""
    return lambda values: bits / 64 * values["sram_64"]


def _add(values: Values, bits: int) -> float:
    """Picojoules of an addition."""
    return values["add_8"] + (values["add_32"] - values["add_8"]) * (bits - 8) / 24

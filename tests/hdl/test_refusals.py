# amaranth: UnusedElaboratable=no
"""What no block can be made of: it says so at once, not with a wrong sum on a chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from amaranth.hdl import Fragment, signed

from hdl.accelerator import Accelerator
from hdl.arithmetic.product import Product
from hdl.array.ternary_array import TernaryArray
from hdl.control.counters import Counters
from hdl.control.sequencer import Sequencer
from hdl.link.limits import largest_value
from hdl.link.serial import Receiver, Transmitter
from hdl.pow2.activations import Activations
from hdl.pow2.vector_size import VectorSize
from mmfree.chip.layout import LayoutError
from mmfree.contract.pow2 import SATURATION_SITES
from tests.support.hdl.values import small_design

DESIGN = small_design(2, 4, 8)
WIDER = replace(DESIGN, value_bits=18)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TernaryArray(replace(DESIGN, weight_code="int8")), "no other weights than trits"),
        (lambda: Activations(WIDER), "takes values of the contract"),
        (lambda: VectorSize(WIDER), "0 to 15 bits"),
        (lambda: Receiver(3), None),
        (lambda: Transmitter(3), None),
        (lambda: Sequencer(DESIGN, own_activations=(True, True)), None),
        (lambda: Sequencer(DESIGN, own_activations=(False, True, True)), "none to take over"),
        (lambda: Counters(dict.fromkeys(reversed(SATURATION_SITES), 2), 5), None),
        (lambda: largest_value(range(1, 5)), None),
    ],
)
def test_a_block_of_another_size_is_a_bug_of_its_caller(
    make: Callable[[], Any], message: str | None
) -> None:
    with pytest.raises(AssertionError, match=message):
        make()


def test_there_is_no_chip_for_values_of_another_width() -> None:
    with pytest.raises(LayoutError, match="the design has value_bits of 18"):
        Accelerator(WIDER)


def test_the_least_that_blocks_can_be_made_of() -> None:
    for make in (
        lambda: TernaryArray(DESIGN),
        lambda: Activations(DESIGN),
        lambda: VectorSize(DESIGN),
        lambda: Receiver(4),
        lambda: Transmitter(4),
        lambda: Product(signed(4), signed(2)),
    ):
        Fragment.get(make(), None)

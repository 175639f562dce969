# amaranth: UnusedElaboratable=no
"""Sums in LUT6_2 and CARRY8: proven, and the models of these cells against Yosys' own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.carry8 import Position, carry8_sum
from hdl.arithmetic.gated_adder import gated_sum
from hdl.fabric.technology import technology_of
from hdl.toolchain.yosys import YosysError, run_yosys
from mmfree.errors import InputError
from tests.support.hdl.ultrascale import CELL_MODELS, prove_equal


class GatedSum(wiring.Component):
    """a + (b, or its complement, or nothing) + carry."""

    def __init__(self, a_bits: int, b_bits: int, bits: int) -> None:
        self._bits = bits
        ports: dict[str, Any] = {
            "a": In(signed(a_bits)),
            "b": In(signed(b_bits)),
            "o": Out(signed(bits)),
        }
        super().__init__(ports | dict.fromkeys(("negative", "enable", "carry"), In(1)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = gated_sum(
            m,
            technology_of(platform),
            self.a,
            self.b,
            bits=self._bits,
            enable=self.enable,
            negative=self.negative,
            carry=self.carry,
        )
        m.d.comb += self.o.eq(total)
        m.d.sync += Signal().eq(0)
        return m


@pytest.mark.parametrize(
    "widths", [(1, 1, 2), (4, 3, 5), (3, 4, 7), (5, 5, 8), (9, 9, 9), (13, 20, 20)], ids=str
)
def test_gated_sums_are_those_of_the_generic_body(
    widths: tuple[int, int, int], tmp_path: Path
) -> None:
    """Sums in part of a CARRY8, in exactly one, and in up to three, the accumulator's widths."""
    prove_equal(GatedSum(*widths), tmp_path, clocked=False)


def test_a_wrong_summand_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hdl.arithmetic.gated_adder._gated",
        lambda a, b, negative, enable: (a, b & enable ^ negative),
    )
    with pytest.raises(YosysError, match="proof did fail"):
        prove_equal(GatedSum(4, 3, 5), tmp_path, clocked=False)


def test_a_position_has_at_most_six_inputs() -> None:
    bits = Signal(7)
    with pytest.raises(InputError, match="a position of a sum has at most 6 inputs, not 7"):
        carry8_sum(Module(), [Position(tuple(bits), lambda *values: (0, 0))], Const(0, 1))


def test_the_last_of_six_inputs_gates_the_second_summand() -> None:
    def summands(a: int, *others: int) -> tuple[int, int]:
        return a, others[0]

    bits = Signal(6)
    with pytest.raises(InputError, match="the last of six inputs must gate the second summand"):
        carry8_sum(Module(), [Position(tuple(bits), summands)], Const(0, 1))


def test_the_cell_models_agree_with_those_of_yosys(tmp_path: Path) -> None:
    """CARRY8, and LUT6_2 with a random table."""
    (tmp_path / "cells.v").write_text(CELL_MODELS.read_text())
    table = f"chparam -set INIT 64'h{random.Random(0).getrandbits(64):x}"
    commands = ["read_verilog -sv cells.v"]
    commands += [f"rename {cell} gold_{cell}" for cell in ("LUT6_2", "CARRY8")]
    commands += [
        "read_verilog +/xilinx/cells_sim.v",
        f"{table} LUT6_2",
        f"{table} gold_LUT6_2",
        "proc",
    ]
    for cell in ("LUT6_2", "CARRY8"):
        commands += [
            f"miter -equiv -flatten gold_{cell} {cell} miter_{cell}",
            f"sat -verify -prove trigger 0 miter_{cell}",
        ]
    run_yosys(commands, tmp_path)

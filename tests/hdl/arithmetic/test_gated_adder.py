"""Adders with a gated operand: the generic body exhaustively, the ECP5's cells proven equal."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.gated_adder import gated_pair, gated_sum, gated_sums
from hdl.fabric.technology import Technology, technology_of
from hdl.toolchain.yosys import YosysError, run_yosys
from tests.support.hdl.bench import simulate

CARRY_CELLS = "+/lattice/common_sim.vh +/lattice/ccu2c_sim.vh"
"""Yosys' own models of the ECP5's cells."""


class Sum(wiring.Component):
    """a + (b, or its complement, or nothing) + carry; ``gates``: the arguments that are ports."""

    def __init__(self, a_bits: int, b_bits: int, bits: int, gates: tuple[str, ...]) -> None:
        self.gates, self._bits = gates, bits
        ports: dict[str, Any] = {
            "a": In(signed(a_bits)),
            "b": In(signed(b_bits)),
            "o": Out(signed(bits)),
        }
        super().__init__(ports | dict.fromkeys(gates, In(1)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        gates = {name: getattr(self, name) for name in self.gates}
        m.d.comb += self.o.eq(
            gated_sum(m, technology_of(platform), self.a, self.b, bits=self._bits, **gates)
        )
        m.d.sync += Signal().eq(0)
        return m


class Pair(wiring.Component):
    """a, if low, and twice a, if high, added or subtracted."""

    def __init__(self, a_shape: Shape, *, subtract: bool) -> None:
        self.a_shape, self.subtract = a_shape, subtract
        out_bits = a_shape.width + 2 + (not a_shape.signed)
        super().__init__(
            {"a": In(a_shape), "low": In(1), "high": In(1), "o": Out(signed(out_bits))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Value.cast(self.a)
        pair = gated_pair(
            m, technology_of(platform), a, self.low, self.high, subtract=self.subtract
        )
        assert pair.shape() == self.o.shape()
        m.d.comb += self.o.eq(pair)
        m.d.sync += Signal().eq(0)
        return m


class Sums(wiring.Component):
    """a, if takes_a, and b, if takes_b."""

    def __init__(self, a_bits: int, b_bits: int) -> None:
        bits = max(a_bits, b_bits) + 1
        gates = {"takes_a": In(1), "takes_b": In(1)}
        super().__init__({"a": In(a_bits), "b": In(b_bits), **gates, "o": Out(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology = technology_of(platform)
        m.d.comb += self.o.eq(gated_sums(m, technology, self.a, self.takes_a, self.b, self.takes_b))
        m.d.sync += Signal().eq(0)
        return m


GATES = [
    (),
    ("carry",),
    ("negative", "enable"),
    ("enable", "carry"),
    ("negative", "enable", "carry"),
]
WIDTHS = [(4, 3, 5), (3, 4, 6), (2, 2, 2), (1, 3, 4)]


def wrapped(value: int, bits: int) -> int:
    """The signed number of the lowest bits."""
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


@pytest.mark.parametrize("gates", GATES, ids="-".join)
@pytest.mark.parametrize(("a_bits", "b_bits", "bits"), WIDTHS)
def test_generic_sums_are_exact(
    a_bits: int, b_bits: int, bits: int, gates: tuple[str, ...]
) -> None:
    """Unless a carry is given, a negative operand is subtracted; a disabled one does not count."""
    block = Sum(a_bits, b_bits, bits, gates)

    async def bench(ctx: Any) -> None:
        ranges = [range(-(1 << n - 1), 1 << n - 1) for n in (a_bits, b_bits)]
        for a, b, *flags in itertools.product(*ranges, *[(0, 1)] * len(gates)):
            given = dict(zip(gates, flags, strict=True))
            for name, value in {"a": a, "b": b, **given}.items():
                ctx.set(getattr(block, name), value)
            negative = given.get("negative", 0)
            operand = (~b if negative else b) if given.get("enable", 1) else 0
            expected = wrapped(a + operand + given.get("carry", negative), bits)
            assert ctx.get(block.o) == expected, (a, b, given)

    simulate(block, bench)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("a_shape", [unsigned(1), unsigned(4), signed(1), signed(4)], ids=str)
def test_generic_pairs_are_exact(a_shape: Shape, subtract: bool) -> None:
    block = Pair(a_shape, subtract=subtract)
    least = -(1 << a_shape.width - 1) if a_shape.signed else 0

    async def bench(ctx: Any) -> None:
        for a, low, high in itertools.product(
            range(least, least + (1 << a_shape.width)), (0, 1), (0, 1)
        ):
            for name, value in {"a": a, "low": low, "high": high}.items():
                ctx.set(getattr(block, name), value)
            expected = low * a + (-2 if subtract else 2) * high * a
            assert ctx.get(block.o) == expected, (a, low, high)

    simulate(block, bench)


@pytest.mark.parametrize(("a_bits", "b_bits"), [(3, 4), (4, 2), (1, 1)])
def test_generic_sums_of_two_gated_operands_are_exact(a_bits: int, b_bits: int) -> None:
    block = Sums(a_bits, b_bits)

    async def bench(ctx: Any) -> None:
        for a, b, takes_a, takes_b in itertools.product(
            range(1 << a_bits), range(1 << b_bits), (0, 1), (0, 1)
        ):
            given = {"a": a, "b": b, "takes_a": takes_a, "takes_b": takes_b}
            for name, value in given.items():
                ctx.set(getattr(block, name), value)
            assert ctx.get(block.o) == takes_a * a + takes_b * b, given

    simulate(block, bench)


def prove_equal(pairs: dict[str, tuple[Any, Any]], folder: Path) -> None:
    """Prove that the ECP5 body of each pair's second block equals the generic one of its first."""
    commands = [f"read_verilog {CARRY_CELLS}"]
    for name, (block, other) in pairs.items():
        gold = rtlil.convert(block, name=f"gold_{name}", emit_src=False)
        gate = rtlil.convert(other, name=f"gate_{name}", platform=Technology.ECP5, emit_src=False)
        assert [r"cell \CCU2C " in text for text in (gold, gate)] == [False, True]
        (folder / f"{name}.il").write_text(gold + gate)
        commands.append(f"read_rtlil {name}.il")
    # With a top module, its hierarchy alone would be kept.
    commands += ["setattr -mod -unset top", "hierarchy", "proc", "flatten"]
    for name in pairs:
        commands += [
            f"miter -equiv -flatten gold_{name} gate_{name} miter_{name}",
            f"sat -verify -prove trigger 0 miter_{name}",
        ]
    run_yosys(commands, folder)


def test_the_cells_of_the_ecp5_do_the_same(tmp_path: Path) -> None:
    """At small widths, and at those in use."""
    pairs: dict[str, tuple[Any, Any]] = {}
    for gates, widths in itertools.product(GATES, [*WIDTHS, (11, 17, 17)]):
        block = Sum(*widths, gates)
        pairs["_".join(["sum", *map(str, widths), *gates])] = (block, block)
    for width, sign, subtract in itertools.product((1, 4, 17), (False, True), (False, True)):
        block = Pair(Shape(width, sign), subtract=subtract)
        pairs[f"pair_{width}_{sign}_{subtract}"] = (block, block)
    for a_bits, b_bits in ((3, 4), (4, 2), (17, 19)):
        sums = Sums(a_bits, b_bits)
        pairs[f"sums_{a_bits}_{b_bits}"] = (sums, sums)
    prove_equal(pairs, tmp_path)


def test_a_difference_would_be_found(tmp_path: Path) -> None:
    added, subtracted = (Pair(signed(4), subtract=subtract) for subtract in (False, True))
    with pytest.raises(YosysError, match="proof did fail"):
        prove_equal({"pair": (added, subtracted)}, tmp_path)

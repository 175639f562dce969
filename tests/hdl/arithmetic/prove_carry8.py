"""Sums in LUT6_2 and CARRY8 against plain ones, with Yosys' models of the cells."""

from __future__ import annotations

from amaranth.hdl import Cat, Signal, Value

from hdl.arithmetic.carry8 import Position, carry8_sum
from hdl.fabric.technology import Technology
from tests.support.proofs.bench import Bench, Proof


def _xor_and_gated(a: int, b: int, c: int, d: int, e: int, gate: int) -> tuple[int, int]:
    """Six inputs, of which the last gates the second summand."""
    return a ^ b ^ c, (d ^ e) & gate


def _majority_and_plain(a: int, b: int, c: int, d: int) -> tuple[int, int]:
    return int(a + b + c >= 2), d


def _plain(a: int, b: int) -> tuple[int, int]:
    return a, b


def _sum(bench: Bench, name: str, bits: int) -> None:
    """Positions of two, four and six inputs in turn."""
    carry = bench.any(1, f"{name}_carry")
    positions = []
    first = Signal(bits, name=f"{name}_first")
    second = Signal(bits, name=f"{name}_second")
    for n in range(bits):
        count = (2, 4, 6)[n % 3]
        inputs = bench.any(count, f"{name}_inputs_{n}")
        summands = (_plain, _majority_and_plain, _xor_and_gated)[n % 3]
        positions.append(Position(tuple(inputs), summands))
        a, b, c, d, e, gate = (inputs[k] if k < count else Value.cast(0)[0:1] for k in range(6))
        majority = a & b | a & c | b & c
        bench.m.d.comb += [
            first[n].eq((a, majority, a ^ b ^ c)[n % 3]),
            second[n].eq((b, d, (d ^ e) & gate)[n % 3]),
        ]
    result = carry8_sum(bench.m, positions, carry)
    total = Cat(result.total, result.carry)
    bench.prove(f"{name}: the sum, and the carry out of it", total == first + second + carry)
    differ = first[-1] ^ second[-1]
    bench.prove(f"{name}: whether the last summands differ", result.propagate == differ)
    bench.cover(f"{name}: a carry runs through all", carry & (first ^ second).all() & result.carry)


def sums() -> Bench:
    """In part of a cell, in exactly one, and in three."""
    bench = Bench()
    for name, bits in (("five", 5), ("eight", 8), ("seventeen", 17)):
        _sum(bench, name, bits)
    return bench


PROOFS = [
    Proof(
        "carry8_sums",
        sums,
        depth=1,
        reach=1,
        technology=Technology.ULTRASCALE_PLUS,
        quick=True,
    )
]

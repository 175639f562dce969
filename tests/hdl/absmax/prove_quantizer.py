"""The quantizer: section 7 of docs/arithmetic_absmax.md, for every element and every largest."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed, unsigned

from hdl.absmax.quantizer import LATENCY, QUOTIENT_BITS, Quantizer, rounds_to_nothing
from hdl.fabric.technology import Technology
from mmfree.contract.absmax import CUT_BITS
from tests.support.proofs.bench import Bench, Inside, Proof, per_technology

ALIGNED = 3
"""Cycle in which the division begins."""

MOST_SHIFT = 8
HIGHEST = 1 << CUT_BITS - 1
WIDTH = CUT_BITS + QUOTIENT_BITS + 1
"""Bits of a dividend, signed."""


def small() -> Bench:
    """What the block leaves out."""
    bench = Bench()
    mantissa = bench.any(unsigned(CUT_BITS), "mantissa")
    largest = bench.any(unsigned(CUT_BITS), "largest")
    shift = bench.any(unsigned(7), "shift")
    bench.assume("the largest is not 0", largest[-1], by="Largest")
    rounds_up = 254 * (mantissa >> shift) >= largest
    bench.prove("shifted by more than 8, it rounds to 0", (shift <= MOST_SHIFT) | ~rounds_up)
    left_out = rounds_to_nothing(shift)
    bench.prove("what the block leaves out rounds to 0", ~left_out | ~rounds_up)
    bench.cover("shifted by 8, not always", (shift == MOST_SHIFT) & rounds_up)
    return bench


def division(technology: Technology) -> Bench:
    """Long division beside the block, a bit of the quotient in each cycle."""
    bench = Bench(Quantizer(1))
    block = bench.block
    element, largest, dropped = block.element[0], block.largest, block.dropped[0]
    inner = bench.inside(block, technology)
    shift = (largest.exponent - element.exponent)[:8]
    bench.assume(
        "no element that counts is larger than the largest",
        dropped
        | (Cat(element.mantissa, element.exponent) <= Cat(largest.mantissa, largest.exponent)),
        by="Largest",
    )
    bench.assume(
        "the highest bit of a mantissa is set, or all is 0",
        largest.mantissa[-1] | (Cat(largest.mantissa, largest.exponent) == 0),
        by="Cut",
    )
    reached = _reached(bench)
    fine, known = _aligned(bench, inner, shift, reached)
    quotient = _divided(bench, inner, fine, known, reached)
    negative: Value = element.negative
    for sign in inner.all("register")[-(LATENCY - 1) :]:
        negative = bench.past(negative)
        bench.lemma(sign == negative)
    filled = reached[LATENCY]
    negative, magnitude = bench.past(negative), bench.past(quotient)
    expected = Mux(negative, -magnitude, magnitude)
    bench.prove("q is the quotient, with the element's sign", ~filled | (block.q[0] == expected))
    bench.prove("at most 127", ~filled | (block.q[0] >= -127))
    bench.cover("-127 after 1", filled & (block.q[0] == -127) & (bench.past(block.q[0]) == 1))
    return bench


def _reached(bench: Bench) -> list[Value]:
    """Whether what entered in the first cycle can be in each cycle of the block."""
    reached: list[Value] = [bench.after(0)]
    for _ in range(LATENCY):
        reached.append(bench.past(reached[-1]))
        bench.lemma(~reached[-1] | reached[-2])
    return reached


def _aligned(
    bench: Bench, inner: Inside, shift: Value, reached: list[Value]
) -> tuple[Value, Value]:
    """(the element's mantissa, that of the largest) in cycle ALIGNED, with a highest bit."""
    element, dropped = bench.block.element[0], bench.block.dropped[0]
    first, second, mantissa, gone, ones = inner.all("register")[: ALIGNED + 2]
    divisor, fine = inner.all("copy_0")[0], inner["fine"]
    known = [Cat(bench.block.largest.mantissa[:-1], Const(1, 1))]
    aligned = [Mux(dropped | (shift > MOST_SHIFT), 0, element.mantissa >> shift)]
    for _ in range(ALIGNED):
        known.append(bench.past(known[-1]))
        aligned.append(bench.past(aligned[-1]))
        bench.lemma(~reached[len(known) - 1] | known[-1][-1])
    taken = (inner["shift"] == bench.past(shift)) & (gone == bench.past(dropped))
    taken &= mantissa == bench.past(element.mantissa)
    bench.lemma(~reached[1] | (taken & (first == known[1]) & (aligned[1] <= known[1])))
    halfway = (inner["coarse"] >> ones) == aligned[2]
    bench.lemma(~reached[2] | (halfway & (second == known[2]) & (aligned[2] <= known[2])))
    bench.lemma(~reached[3] | ((divisor == known[3]) & (aligned[3] <= known[3])))
    exact = ~reached[3] | (fine == aligned[3])
    bench.prove("aligned: shifted, and 0 if by more than 8 or dropped", exact)
    return fine, known[3]


def _divisors(inner: Inside) -> dict[int, Value]:
    """The block's divisor by cycle of the division: M, then -M.

    On the ECP5 that of cycle 1 is between two placed registers alone, and has no name here.
    """
    found = inner.all("copy_0")
    cycles = [n for n in range(QUOTIENT_BITS + 1) if n != 1 or len(found) > QUOTIENT_BITS]
    return dict(zip(cycles, found, strict=True))


def _divided(bench: Bench, inner: Inside, fine: Value, known: Value, reached: list[Value]) -> Value:
    """The quotient after the last step."""
    remainders, rests, divisors = inner.all("remainder"), inner.all("rest"), _divisors(inner)
    assert len(remainders) == len(rests) == QUOTIENT_BITS

    # The next cycle, in which the block has M - 2 a. What is divided is 127 a + floor(M / 2).
    begun = reached[ALIGNED + 1]
    left = Signal(signed(WIDTH), name="divided")
    bench.m.d.comb += left.eq(bench.past(127 * fine + (known >> 1)))
    quotient: Value = Const(0, QUOTIENT_BITS)
    known = bench.past(known)
    bench.lemma(~begun | known[-1])
    opposite = inner["opposite"]
    bench.lemma(~begun | (opposite == known - (bench.past(fine) << 1)))
    bench.lemma(~begun | (divisors.get(1, -known) == -known))
    bench.lemma(~begun | (left >= 0) & (left < (known << QUOTIENT_BITS)))
    # Then a step in each cycle: what is left, and the quotient so far.
    for step, (remainder, rest) in enumerate(zip(remainders, rests, strict=True)):
        weight = QUOTIENT_BITS - 1 - step
        reduced = Signal(signed(WIDTH), name=f"reduced_{step}")
        bench.m.d.comb += reduced.eq(left - (known << weight))
        fits = reduced >= 0
        rest_of_it = bench.past(reduced)
        left = bench.past(Mux(fits, reduced, left))
        quotient = bench.past((quotient | Mux(fits, 1 << weight, 0))[:QUOTIENT_BITS])
        known, begun = bench.past(known), reached[ALIGNED + 2 + step]
        bench.lemma(~begun | known[-1])
        bench.lemma(~begun | (Cat(rest[step:], remainder).as_signed() == rest_of_it))
        # The quotient's bits are in the block as their complements, the last as a sign.
        so_far = Cat(remainder[-1], rest[:step])
        bench.lemma(~begun | (quotient == (~so_far << weight)))
        if step < QUOTIENT_BITS - 1:
            bench.lemma(~begun | (divisors[step + 2] == -known))
        bench.lemma(~begun | ((left >= 0) & (left < (known << weight))))
    return quotient


PROOFS = [
    Proof("absmax_quantizer_small", small, depth=1, reach=1, section="absmax 7", quick=True),
    *per_technology(
        "absmax_quantizer", division, *Technology, depth=3, section="absmax 7", reach=LATENCY + 4
    ),
]

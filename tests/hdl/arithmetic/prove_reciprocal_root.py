"""Quotient and root without restoring: for every divisor what integers say."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Signal, signed

from hdl.arithmetic.reciprocal_root import LATENCY, ROOT_BITS, ReciprocalRoot
from tests.support.proofs.bench import Bench, Proof

STEPS = 2 * ROOT_BITS
QUOTIENT_BITS = 35


def root() -> Bench:
    """Beside the unit: q * d and r * r, each by additions as its bits come."""
    bench = Bench(ReciprocalRoot())
    block, m = bench.block, bench.m
    inner = bench.inside(block)
    left, rest, root_rest, bits = (inner[name] for name in ("left", "rest", "root_rest", "bits"))
    begun, divisor = Signal(), Signal(30)
    busy = left != 0
    with m.If(block.start):
        m.d.sync += begun.eq(1)
    m.d.comb += divisor.eq(block.divisor)
    held = bench.past(block.divisor)
    age = Signal(range(LATENCY))
    m.d.sync += age.eq(Mux(block.start, 0, Mux(age == LATENCY - 1, age, age + 1)))
    bench.assume(
        "the divisor stays while it divides",
        ~busy | (left == STEPS) | (block.divisor == held),
        by="Scalars",
    )
    bench.assume("it has 29 bits or 30", divisor >= 1 << 28, by="Scalars: the highest bit is set")
    # After the first step ``quotient`` has its highest bit, and zeros follow the last.
    wide = 66
    quotient, product = Signal(STEPS), Signal(wide)
    square, radicand = Signal(STEPS), Signal(STEPS)
    divides = left > STEPS - QUOTIENT_BITS
    next_bit = ~(bench_sum(rest, divisor)[30]) & divides
    with m.If(busy):
        m.d.sync += quotient.eq(Cat(next_bit, quotient[:-1]))
        with m.If(divides):
            m.d.sync += product.eq((product << 1) + Mux(next_bit, divisor, 0))
    root_bit = ~root_sum(bits, root_rest, block.root)[-1]
    with m.If(busy & left[0]):
        m.d.sync += [
            radicand.eq(Cat(bits, radicand[:-2])),
            square.eq((square << 2) + Mux(root_bit, (block.root << 2) + 1, 0)),
        ]
    with m.If(block.start):
        m.d.sync += [quotient.eq(0), product.eq(0), square.eq(0), radicand.eq(0)]
    running = begun & busy
    # What is divided up to now is 2^27, shifted up by the steps that were made.
    made = Signal(range(STEPS + 1))
    m.d.comb += made.eq(Mux(divides, STEPS - left, QUOTIENT_BITS))
    dividend = Signal(wide)
    m.d.comb += dividend.eq((Const(1 << 27, wide) << made)[:wide])
    restored = Signal(signed(33))
    m.d.comb += restored.eq(Mux(rest < 0, rest + divisor, rest))
    first = left == STEPS
    dividing = begun & (left > STEPS - QUOTIENT_BITS)
    after_division = begun & (left == STEPS - QUOTIENT_BITS)
    whole = ~(dividing | after_division)
    bench.lemma(left <= STEPS)
    bench.lemma(whole | first | ((restored >= 0) & (restored < divisor)))
    bench.lemma(whole | ~first | ((rest == 1 << 27) & (product == 0)))
    bench.lemma(whole | (dividend == product + restored))
    bench.prove(
        "the quotient is 2^62 / d, rounded down",
        ~after_division | ((product <= 1 << 62) & (product + divisor > 1 << 62)),
    )
    root_restored = Signal(signed(34))
    doubled = (block.root << 1) + 1
    m.d.comb += root_restored.eq(Mux(root_rest < 0, root_rest + doubled, root_rest))
    ended = begun & ~busy
    known = running | ended
    shown = Mux(left[0], quotient >> 2, quotient >> 1)
    bench.lemma(~known | ((root_restored >= 0) & (root_restored < doubled)))
    bench.lemma(~known | (radicand == square + root_restored))
    bench.lemma(~running | first | (radicand == shown))
    bench.lemma(~running | (bits == quotient[:2]))
    bench.lemma(~ended | (radicand == quotient >> 1))
    bench.lemma(~running | ((quotient >> (STEPS - left)[:6]) == 0))
    root_made = Signal(range(ROOT_BITS + 1))
    m.d.comb += root_made.eq((STEPS - left) >> 1)
    bench.lemma(~running | ((block.root >> root_made) == 0))
    bench.lemma(~running | ((radicand >> Cat(Const(0, 1), root_made)) == 0))
    bench.prove(
        "the root is that of the quotient times 2^14, rounded down: r^2 <= it < (r + 1)^2",
        ~ended | ((square <= radicand) & (radicand < square + (block.root << 1) + 1)),
    )
    bench.lemma((age <= STEPS) & (~begun | (left == STEPS - age)))
    bench.prove("it is there LATENCY cycles after start", ~begun | (age < LATENCY - 1) | ~busy)
    bench.cover("a root has ended", ended & (block.root > 1 << 23))
    return bench


def bench_sum(rest: Signal, divisor: Signal) -> Signal:
    """The next rest: 31 bits."""
    return (Mux(rest < 0, (rest << 1) + divisor, (rest << 1) - divisor))[:31]


def root_sum(bits: Signal, rest: Signal, root: Signal) -> Signal:
    """The next rest of the root: 28 bits."""
    moved = Cat(bits, rest).as_signed()
    up, down = moved + ((root << 2) + 3), moved - ((root << 2) + 1)
    return Mux(rest < 0, up, down)[: ROOT_BITS + 3]


PROOFS = [Proof("reciprocal_root", root, depth=2, reach=LATENCY + 3, section="absmax 6")]

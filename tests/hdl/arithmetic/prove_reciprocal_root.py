"""Quotient and root without restoring: for every divisor what integers say."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed

from hdl.arithmetic.reciprocal_root import LATENCY, ROOT_BITS, ReciprocalRoot
from tests.support.proofs.bench import Bench, Proof

STEPS = 2 * ROOT_BITS
QUOTIENT_BITS = 35
WIDE = 66


class RootBench(Bench):
    """Beside the unit: quotient and radicand as bits come, q * d and r * r by additions."""

    def __init__(self) -> None:
        super().__init__(ReciprocalRoot())
        block, m, inner = self.block, self.m, self.inside(self.block)
        self.left, self.rest, self.bits = (inner[name] for name in ("left", "rest", "bits"))
        self.root_rest = inner["root_rest"]
        self.busy, self.begun = self.left != 0, Signal()
        self.divides = self.left > STEPS - QUOTIENT_BITS
        self.age = Signal(range(LATENCY))
        self.assume(
            "the divisor stays while it divides",
            ~self.busy | (self.left == STEPS) | (block.divisor == self.past(block.divisor)),
            by="Scalars",
        )
        self.assume(
            "it has 29 bits or 30", block.divisor >= 1 << 28, by="Scalars: its highest bit is set"
        )
        self.quotient, self.product = Signal(STEPS), Signal(WIDE)
        self.square, self.radicand = Signal(STEPS), Signal(STEPS)
        next_bit = ~_next_rest(self.rest, block.divisor)[30] & self.divides
        with m.If(self.busy):
            m.d.sync += self.quotient.eq(Cat(next_bit, self.quotient[:-1]))
            with m.If(self.divides):
                added = Mux(next_bit, block.divisor, 0)
                m.d.sync += self.product.eq((self.product << 1) + added)
        root_bit = ~_next_root_rest(self.bits, self.root_rest, block.root)[-1]
        with m.If(self.busy & self.left[0]):
            # (2 r + 1)^2 is 4 r^2 + 4 r + 1.
            added = Mux(root_bit, (block.root << 2) + 1, 0)
            m.d.sync += [
                self.radicand.eq(Cat(self.bits, self.radicand[:-2])),
                self.square.eq((self.square << 2) + added),
            ]
        m.d.sync += self.age.eq(Mux(self.age == LATENCY - 1, self.age, self.age + 1))
        with m.If(block.start):
            m.d.sync += [self.begun.eq(1), self.age.eq(0)]
            m.d.sync += [self.quotient.eq(0), self.product.eq(0)]
            m.d.sync += [self.square.eq(0), self.radicand.eq(0)]


def _next_rest(rest: Value, divisor: Value) -> Value:
    return Mux(rest < 0, (rest << 1) + divisor, (rest << 1) - divisor)[:31]


def _next_root_rest(bits: Value, rest: Value, root: Value) -> Value:
    moved = Cat(bits, rest).as_signed()
    up, down = moved + ((root << 2) + 3), moved - ((root << 2) + 1)
    return Mux(rest < 0, up, down)[: ROOT_BITS + 3]


def root() -> Bench:
    bench = RootBench()
    _quotient(bench)
    block, left, radicand = bench.block, bench.left, bench.radicand
    running, ended = bench.begun & bench.busy, bench.begun & ~bench.busy
    twice = (block.root << 1) + 1
    restored = Signal(signed(34))
    bench.m.d.comb += restored.eq(bench.root_rest + Mux(bench.root_rest < 0, twice, 0))
    bench.lemma(~bench.begun | ((restored >= 0) & (restored < twice)))
    bench.lemma(~bench.begun | (radicand == bench.square + restored))
    # The root takes two bits of the quotient in every other cycle.
    taken = Mux(left[0], bench.quotient >> 2, bench.quotient >> 1)
    bench.lemma(~running | (left == STEPS) | (radicand == taken))
    bench.lemma(~running | (bench.bits == bench.quotient[:2]))
    bench.lemma(~ended | (radicand == bench.quotient >> 1))
    bench.lemma(~running | ((bench.quotient >> (STEPS - left)[:6]) == 0))
    root_bits = Signal(range(ROOT_BITS + 1))
    bench.m.d.comb += root_bits.eq((STEPS - left) >> 1)
    bench.lemma(~running | ((block.root >> root_bits) == 0))
    bench.lemma(~running | ((radicand >> Cat(Const(0, 1), root_bits)) == 0))
    bench.prove(
        "the root is that of the quotient times 2^14, rounded down: r^2 <= it < (r + 1)^2",
        ~ended | ((bench.square <= radicand) & (radicand < bench.square + twice)),
    )
    bench.lemma((bench.age <= STEPS) & (~bench.begun | (left == STEPS - bench.age)))
    bench.prove(
        "it is there LATENCY cycles after start",
        ~bench.begun | (bench.age < LATENCY - 1) | ~bench.busy,
    )
    bench.cover("a root has ended", ended & (block.root > 1 << 23))
    return bench


def _quotient(bench: RootBench) -> None:
    """What is divided up to now is 2^27, shifted up by the steps that were made."""
    divisor, left, product = bench.block.divisor, bench.left, bench.product
    made = Mux(bench.divides, STEPS - left, QUOTIENT_BITS)[:6]
    dividend = (Const(1 << 27, WIDE) << made)[:WIDE]
    restored = Signal(signed(33))
    bench.m.d.comb += restored.eq(bench.rest + Mux(bench.rest < 0, divisor, 0))
    first, divided = left == STEPS, bench.begun & (left == STEPS - QUOTIENT_BITS)
    other = ~(divided | (bench.begun & bench.divides))
    bench.lemma(left <= STEPS)
    bench.lemma(other | first | ((restored >= 0) & (restored < divisor)))
    bench.lemma(other | ~first | ((bench.rest == 1 << 27) & (product == 0)))
    bench.lemma(other | (dividend == product + restored))
    bench.prove(
        "the quotient is 2^62 / d, rounded down",
        ~divided | ((product <= 1 << 62) & (product + divisor > 1 << 62)),
    )


PROOFS = [Proof("reciprocal_root", root, depth=2, reach=LATENCY + 3, section="absmax 6")]

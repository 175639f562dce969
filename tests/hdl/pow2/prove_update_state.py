"""The state update: section 10 of the contract, and that it cannot overflow."""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Signal, Value, signed, unsigned

from hdl.fabric.technology import Technology
from hdl.pow2.update_state import LATENCY, UpdateState
from tests.support.proofs.bench import Bench, Proof, per_technology
from tests.support.proofs.product_tree import product_tree

ONE = 256
"""1 as a value of f."""

BITS = 16


class StateBench(Bench):
    """One lane. ``exact``: h' in more bits than it has; ``s``, ``c``: it lies between them."""

    def __init__(self, technology: Technology) -> None:
        super().__init__(UpdateState(1, BITS))
        block, m = self.block, self.m
        f, c, h = block.f[0], block.c[0], block.h[0]
        self.assume(
            "f is from -1 to 1",
            (f >= -ONE) & (f <= ONE),
            by="ForgetGate, and the check of a tape: entries of the sigmoid are 0..256",
            proof="forget_gate_hard",
        )
        self.least = 1 - (1 << BITS - 1)
        self.assume(
            "with a negative f, c is not -32768",
            (f >= 0) | (c >= self.least),
            by="the check of a tape: with the signed gate SiLU entries are at least -32767",
        )
        self.assume(
            "with a negative f, h is not -32768",
            (f >= 0) | (h >= self.least),
            by="UpdateState itself: h' lies between s and c; and the check of a written state",
            proof="update_state_between",
        )
        self.f, self.h = self.past(f, LATENCY), self.past(h, LATENCY)
        s, step = Signal(signed(BITS + 1)), Signal(signed(BITS + 1))
        load = Signal(unsigned(9))
        start = Mux(f < 0, -h, h)
        m.d.sync += [s.eq(start), step.eq(c - start), load.eq(ONE - Mux(f < 0, -f, f))]
        inner = self.inside(block, technology)
        filled = self.after(1)
        self.lemma(~filled | ((inner["step_0"] == step) & (inner["load_0"] == load)))
        self.lemma(load <= ONE)
        product = block.products[0]
        total = product_tree(
            self,
            product,
            step,
            load,
            Const(ONE // 2, unsigned(8)),
            say=lambda words, condition: self.lemma(condition),
            technology=technology,
        )
        self.s, self.c = self.past(s, product.latency + 1), self.past(c, LATENCY)
        change = self.past(Value.cast(total >> 8).as_signed())
        self.exact = Signal(signed(BITS + 4))
        m.d.comb += self.exact.eq(self.s + change)
        self.load, self.step = load, step


def exact(technology: Technology) -> Bench:
    bench = StateBench(technology)
    o, filled = bench.block.o[0], bench.after(LATENCY)
    bench.prove("h' is s and the rounded product, in 16 bits", ~filled | (o == bench.exact))
    bench.prove("f = 1 holds h", ~filled | (bench.f != ONE) | (o == bench.h))
    bench.prove("f = -1 turns its sign", ~filled | (bench.f != -ONE) | (o == -bench.h))
    bench.prove("f = 0 loads c", ~filled | (bench.f != 0) | (o == bench.c))
    bench.cover(
        "a turn, and a cycle later 1 / 2",
        filled & (bench.f == 128) & (o == 257) & (bench.past(bench.f) == -ONE),
    )
    return bench


def between() -> Bench:
    bench = StateBench(Technology.GENERIC)
    o, filled, s, c = bench.block.o[0], bench.after(LATENCY), bench.s, bench.c
    bench.lemma(~filled | (o == bench.exact))
    bench.prove("c is the higher: h' is between", ~filled | (c < s) | ((o >= s) & (o <= c)))
    bench.prove("c is the lower: h' is between", ~filled | (c > s) | ((o <= s) & (o >= c)))
    bench.prove(
        "-32768 does not come of other values",
        ~filled | (bench.h < bench.least) | (c < bench.least) | (o >= bench.least),
    )
    bench.cover("halfway", filled & (s == 100) & (c == -100) & (o == 0))
    return bench


PROOFS = [
    *per_technology(
        "update_state", exact, Technology.GENERIC, Technology.ECP5, depth=9, section="10"
    ),
    Proof("update_state_between", between, depth=9, section="10"),
]

"""Cuts: the highest bits of every integer, and its bit length."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Cat, Const, Mux, Signal

from hdl.absmax.norm.gains import GAIN
from hdl.arithmetic.cut import Cut
from hdl.payloads import CUT
from tests.support.proofs.bench import Bench, Proof


def cuts(bits: int, mantissa_bits: int) -> Bench:
    block = Cut(bits, 1, CUT if mantissa_bits == CUT["mantissa"].width else GAIN)
    bench = Bench(block)
    value = bench.past(block.value[0], block.latency)
    o = block.o[0]
    filled = bench.after(block.latency)
    magnitude = Signal(bits)
    bench.m.d.comb += magnitude.eq(Mux(value < 0, -value, value))
    found = magnitude != 0
    bench.prove(
        "of 0 all is 0",
        ~filled | found | ~Cat(o.mantissa, o.exponent, o.negative).any(),
    )
    bench.prove(
        "the exponent is the bit length",
        ~filled | ~found | (magnitude >> (o.exponent - 1)[:7] == 1),
    )
    # The magnitude with its highest bit at the top: as many bits of it as the mantissa has.
    top = (Cat(Const(0, 64), magnitude) >> o.exponent)[:64]
    bench.prove(
        "the mantissa is the highest bits, and zeros after the last",
        ~filled | ~found | (o.mantissa == top[64 - mantissa_bits :]),
    )
    bench.prove("the sign is the integer's", ~filled | (o.negative == (value < 0)))
    bench.cover("the lowest integer", filled & (value == -1 << bits - 1) & (o.exponent == bits))
    return bench


PROOFS = [
    Proof("cut_24", partial(cuts, 24, 24), depth=7, section="absmax 3"),
    Proof("cut_32", partial(cuts, 32, 28), depth=7, section="absmax 3", quick=True),
    Proof("cut_64", partial(cuts, 64, 28), depth=8, section="absmax 3"),
]

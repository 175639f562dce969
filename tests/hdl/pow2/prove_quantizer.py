"""The quantizer: section 5 of the contract, for every element and every shift."""

from __future__ import annotations

from amaranth.hdl import Mux

from hdl.fabric.technology import Technology
from hdl.pow2.quantizer import LATENCY, Quantizer
from mmfree.contract.pow2 import INT8_MAX
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.notation import folded, rnd, sat

COLUMNS = 8
"""Two copies of the shift."""


def quantizer() -> Bench:
    """Of a word, the solver chooses the element that is looked at."""
    bench = Bench(Quantizer(COLUMNS))
    block = bench.block
    word, element = bench.any(1, "word"), bench.some(range(COLUMNS), "element")
    u, q, saturated = block.u[element], block.q[element], block.saturated.bit_select(element, 1)
    shift = bench.past(block.shift)
    size = (15 - shift)[:4]
    bench.assume(
        "a word has the shift of the cycle before",
        ~word | (block.shift == shift),
        by="VectorSize",
        proof="vector_size_exact",
    )
    bench.assume(
        "no value has a bit above the vector's size",
        ~word | ((folded(u) >> size) == 0),
        by="VectorSize",
        proof="vector_size_fits",
    )

    done = bench.past(word, LATENCY)
    exact = bench.past(rnd(u << shift, 8), LATENCY)
    bench.prove("q is rounded and clamped", ~done | (q == sat(exact, 8)))
    bench.prove("saturated: it was clamped", ~done | (saturated == (q != exact)))
    bench.prove("what is rounded is never below -128", ~done | (exact >= -128))
    bench.prove("clamped only to 127", ~done | ~saturated | (q == INT8_MAX))
    # An element whose highest bit gives the vector's size.
    largest = bench.past(((folded(u) << 1) >> size)[0] & (size != 0), LATENCY)
    bench.prove(
        "the largest is at least 64, of either sign", ~done | ~largest | (Mux(q < 0, -q, q) >= 64)
    )
    bench.cover("one saturates, after one of -128", done & saturated & (bench.past(q) == -128))
    return bench


PROOFS = [
    Proof("quantizer_generic", quantizer, depth=5, section="5", quick=True),
    Proof("quantizer_ecp5", quantizer, depth=5, section="5", technology=Technology.ECP5),
]

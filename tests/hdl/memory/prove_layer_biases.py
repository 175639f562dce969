"""Biases of a layer: any one of a record is read as it came, in its place."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal

from hdl.memory.layer_biases import BIAS_BITS, LayerBiases
from mmfree.chip.memory_map import group_bits, parameter_words
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

DESIGN = small_design(10, 8, 8, post_width=2, bias_words=12, weight_code="1.6", memory="axi64x2")
"""A word holds two shares of two groups of P = 2 biases; three words hold a record."""

GROUPS, SHARE_BITS, WORDS = DESIGN.num_groups, group_bits(DESIGN), parameter_words(DESIGN)
PAIRS = SHARE_BITS // (BIAS_BITS * DESIGN.post_width)
"""P biases in a share."""


def kept() -> Bench:
    """Of P biases of a record, chosen by the solver: what is read after the record has come."""
    bench = Bench(LayerBiases(DESIGN))
    block, m = bench.block, bench.m
    address = bench.some(range(DESIGN.bias_words), "address")
    bench.assume("it is one", address < DESIGN.bias_words, by="this bench")
    number = Signal(range(WORDS + 1))
    begins = block.taken.check | block.restart
    with m.If(begins):
        m.d.sync += number.eq(0)
    with m.Elif(block.parameter):
        m.d.sync += number.eq(number + 1)
    bench.assume(
        "a record has so many words of biases, and is over with its check word",
        ~block.parameter | ((number < WORDS) & ~begins),
        by="Sequencer",
        proof="sequencer_records",
    )
    # The share that holds them, with its group's delay, and where they are in it.
    word, group = address // (GROUPS * PAIRS), address // PAIRS % GROUPS
    comes = block.parameter & (number == word)
    size = BIAS_BITS * DESIGN.post_width
    value, known = Signal(size), Signal()
    for own in range(GROUPS):
        arrives = bench.past(comes, own) & (group == own)
        with m.If(arrives):
            m.d.sync += [
                value.eq(block.words[own].word_select(address % PAIRS, size)),
                known.eq(1),
            ]
    # Written a cycle after it came, and never in a cycle in which it is read.
    settled = known & ~Cat(bench.past(comes, cycles) for cycles in range(GROUPS + 2)).any()
    asked = (block.read.address == address) & settled
    due, cycles = bench.past(asked, block.latency), block.latency
    bench.prove("what came is read", ~due | (block.read.data == bench.past(value, cycles)))
    bench.prove("with its parity", ~bench.past(asked, cycles + 1) | ~block.read.parity_error)

    # What the memory of its group holds.
    inner = bench.inside(block)
    bench.lemma(inner["number"] == number)
    for own, stored in enumerate(block.memories):
        memory = bench.inside(stored).part(stored.name)
        look = memory.read_port(domain="comb")
        m.d.comb += look.addr.eq(word)
        part = look.data.word_select(address % PAIRS, DESIGN.post_width * (BIAS_BITS + 1))
        biases = [value[BIAS_BITS * n : BIAS_BITS * (n + 1)] for n in range(DESIGN.post_width)]
        content = Cat(Cat(bias, bias.xor()) for bias in biases)
        written = known & (group == own) & ~bench.past(comes, own + 1)
        bench.lemma(~written | (part == content))
    bench.cover("the last of a record", due & (address == DESIGN.bias_words - 1))
    bench.cover("of another record", due & bench.past(Mux(begins, 1, 0), 12))
    return bench


PROOFS = [Proof("layer_biases", kept, depth=8, quick=True)]

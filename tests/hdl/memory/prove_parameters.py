"""Gains of two segments: any P of them are read as they came, in their turn."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Mux, Signal, Value

from hdl.memory.parameters import LATENCY, ParameterBuffer
from mmfree.chip.design import Design
from mmfree.chip.memory_map import PARAMETER_BITS, parameters_per_share, parameters_per_word
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

DEPTH, BANKS = 2, 2


def _design(weight_code: str, post_width: int) -> Design:
    """Two groups of rows."""
    return small_design(
        10,
        8,
        8,
        post_width=post_width,
        weight_code=weight_code,
        arithmetic="absmax",
        value_bits=32,
    )


def _chosen(
    bench: Bench, design: Design, comes: Value, choice: Value, address: Value
) -> tuple[Value, Value]:
    """The P parameters of a choice as they came, and whether they have; each is in the memory of
    its group. ``comes``: their word, with the first share. ``address``: where it is kept.
    """
    m, block = bench.m, bench.block
    width, own = design.post_width, parameters_per_share(design)
    choices = parameters_per_word(design) // width
    values = [Signal(PARAMETER_BITS, name=f"value_{p}") for p in range(width)]
    known = [Signal(name=f"known_{p}") for p in range(width)]
    for group, memory in enumerate(block.memories):
        arrives, written = bench.past(comes, group), ~bench.past(comes, group + 1)
        look = bench.inside(memory).part(memory.name).read_port(domain="comb")
        m.d.comb += look.addr.eq(address)
        for number in range(group * own, (group + 1) * own):
            if number < choices * width:
                # Parameter p of choice c, and its place in the share.
                (c, p), part = divmod(number, width), number - group * own
                value = block.words[group][part * PARAMETER_BITS :][:PARAMETER_BITS]
                with m.If(arrives & (choice == c)):
                    m.d.sync += [values[p].eq(value), known[p].eq(1)]
                content = Cat(values[p], values[p].xor())
                stored = look.data[part * len(content) :][: len(content)]
                bench.lemma(~(known[p] & (choice == c) & written) | (stored == content))
    return Cat(*values), Cat(*known).all()


def kept(weight_code: str, post_width: int, which: int | None = None) -> Callable[[], Bench]:
    """Of P parameters of a bank, chosen by the solver: what is read when their turn comes.

    ``which``: they are these ones of their word. The parity of one of many, each of which has its
    own, takes a solver minutes.
    """

    def build() -> Bench:
        design = _design(weight_code, post_width)
        groups, width = design.num_groups, design.post_width
        bench = Bench(ParameterBuffer(design, "gains", depth=DEPTH, banks=BANKS))
        block, m = bench.block, bench.m
        choices = parameters_per_word(design) // width
        bank, word = bench.some(range(BANKS), "bank"), bench.some(range(DEPTH), "word")
        choice = bench.some(range(choices), "choice") if which is None else Const(which)
        bench.assume("they are some", (word < DEPTH) & (choice < choices), by="this bench")
        # Writing: words since the last clear.
        number = Signal(range(DEPTH + 1))
        with m.If(block.clear):
            m.d.sync += number.eq(0)
        with m.Elif(block.write):
            m.d.sync += number.eq(number + 1)
        bench.assume(
            "a bank's words are no more than its depth, and a clear comes without one",
            ~block.write | ((number < DEPTH) & ~block.clear),
            by="Sequencer",
        )
        comes = block.write & (block.bank == bank) & (number == word)
        values, known = _chosen(bench, design, comes, choice, word + Mux(bank, DEPTH, 0))
        settled = known & ~Cat(bench.past(comes, cycles) for cycles in range(groups + 2)).any()
        # Reading: which P come next, since the bank was begun.
        begun, reading = Signal(range(BANKS)), Signal()
        at_word, at_choice = Signal(range(DEPTH + 1)), Signal(range(choices))
        ends_word = at_choice == choices - 1
        with m.If(block.begin):
            m.d.sync += [begun.eq(block.begin_bank), at_word.eq(0), at_choice.eq(0), reading.eq(1)]
        with m.Elif(block.read.next):
            m.d.sync += [
                at_choice.eq(Mux(ends_word, 0, at_choice + 1)),
                at_word.eq(at_word + ends_word),
            ]
        bench.assume(
            "no more are read than a bank holds, and none in the cycle in which it is begun",
            ~block.read.next | (reading & (at_word < DEPTH) & ~block.begin),
            by="GainUnit",
        )
        mine = reading & (begun == bank) & (at_word == word) & (at_choice == choice)
        asked = block.read.next & mine & settled
        due, then = bench.past(asked, LATENCY), bench.past(values, LATENCY)
        bench.prove("what came is read, in its turn", ~due | (Cat(*block.read.values) == then))
        bench.prove("with its parity", ~bench.past(asked, LATENCY + 1) | ~block.parity_error)

        inner = bench.inside(block)
        bench.lemma(inner["number"] == number)
        bench.lemma(inner["choice"] == at_choice)
        at = at_word + Mux(begun, DEPTH, 0)
        bench.lemma(inner["word"] == Mux(reading, at, 0)[: len(inner["word"])])
        bench.lemma((at_word <= DEPTH) & (at_choice < choices) & (number <= DEPTH))
        bench.cover("some of the second bank's last word", due & (bank == 1) & (word == DEPTH - 1))
        return bench

    return build


PROOFS = [
    Proof("parameters", kept("1.6", 2), depth=8, quick=True),
    *(
        Proof(f"parameters_{which}_of_a_word", kept("2", 1, which), depth=8)
        for which in range(parameters_per_word(_design("2", 1)))
    ),
]

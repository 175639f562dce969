"""The check of the weights: no page is lost, no clean segment faulty, no wrong bit unnoticed."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Const, Mux, Signal

from hdl.memory import weight_check
from hdl.memory.weight_check import CHECK_DISTANCE, StreamCheck, check_latency
from mmfree.chip.memory_map import PAGE_WORDS, group_bits
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Inside, Proof

DESIGN = small_design(6, 8, 8)
"""Words of two groups of 48 bits, which are not whole numbers of 32."""

GROUPS, SHARE_BITS = DESIGN.num_groups, group_bits(DESIGN)
WORD_BITS = GROUPS * SHARE_BITS


def shortest_pages() -> StreamCheck:
    """A check whose pages have the fewest words: those of designs of many lanes."""
    return StreamCheck(SHARE_BITS, GROUPS, PAGE_WORDS)


def keep_order(bench: Bench) -> None:
    """Assume what the sequencer guarantees of the words that it takes."""
    taken, restart = bench.block.taken, bench.block.restart
    ended, near = Signal(), Signal(range(CHECK_DISTANCE))
    with bench.m.If(taken.word):
        bench.m.d.sync += ended.eq(taken.last)
    with bench.m.If(taken.check):
        bench.m.d.sync += [ended.eq(0), near.eq(CHECK_DISTANCE - 1)]
    with bench.m.Elif(near != 0):
        bench.m.d.sync += near.eq(near - 1)
    bench.assume(
        "a last word is a word", taken.word | ~taken.last, by="Sequencer", proof="sequencer_checks"
    )
    bench.assume(
        "after the last word comes the check word, and only there",
        Mux(ended, ~taken.word, ~taken.check),
        by="Sequencer",
        proof="sequencer_checks",
    )
    bench.assume(
        "not both at once", ~(taken.word & taken.check), by="Sequencer", proof="sequencer_checks"
    )
    bench.assume(
        f"a segment begins {CHECK_DISTANCE} cycles after a check word or later",
        ~taken.word | (near == 0),
        by="Sequencer",
        proof="sequencer_checks",
    )
    flying = taken.word | taken.check | ended
    for cycles in range(1, bench.block.latency + 1):
        flying |= bench.past(taken.word | taken.check, cycles)
    bench.assume(
        "a token begins when all words are checked",
        ~restart | ~flying,
        by="Sequencer",
        proof="sequencer_checks",
    )


def only_last_pages_wait(bench: Bench, inner: Inside) -> None:
    """A lemma: the page that waits is its segment's last."""
    arrived_last, last = bench.past(bench.block.taken.last, GROUPS + 2), Signal()
    with bench.m.If(inner["arrived"]):
        bench.m.d.sync += last.eq(arrived_last)
    bench.lemma(~inner["waits"] | last)


def order() -> Bench:
    bench = Bench(shortest_pages())
    block = bench.block
    inner = Bench.inside(block)
    keep_order(bench)
    bench.prove(
        "a verdict after each check word, and only then",
        block.done == bench.past(block.taken.check, block.latency),
    )
    arrived, waits, left = inner["arrived"], inner["waits"], inner["left"]
    bench.prove("no page comes while another waits", ~(arrived & waits & (left > 1)))
    only_last_pages_wait(bench, inner)
    bench.cover("a page waits for the one before", waits)
    bench.cover(
        "a segment follows as soon as it may",
        block.done & bench.past(block.taken.word, block.latency - CHECK_DISTANCE),
    )
    return bench


def pages() -> Bench:
    """When a verdict is made, the CRC holds the pages of its segment, and nothing of another."""
    bench = Bench(shortest_pages())
    block = bench.block
    inner = Bench.inside(block)
    keep_order(bench)
    crc, arrived, left, waits = inner.part("crc"), inner["arrived"], inner["left"], inner["waits"]
    compared = bench.past(block.taken.check, block.latency - 2)
    begins = compared | block.restart
    come, shifted = Signal(4), Signal(6)
    bench.m.d.sync += [
        come.eq(Mux(begins, 0, come) + arrived),
        shifted.eq(Mux(begins, 0, shifted) + crc.valid),
    ]
    only_last_pages_wait(bench, inner)
    bench.lemma((shifted + left + 4 * waits)[:6] == (4 * come)[:6])
    bench.prove("every page is in the CRC", ~compared | (shifted == (4 * come)[:6]))
    bench.prove("the next segment is not, and the CRC may start anew", ~compared | ~crc.valid)
    bench.prove("it starts anew", crc.start == bench.past(begins))
    bench.cover("a segment of five words", compared & (come == 2))
    bench.cover("the next one arrives in this cycle", compared & arrived)
    return bench


def one_bit(words: int) -> Bench:
    """Two checks of one segment, of which one has a wrong bit: at most one of them agrees.

    All is XOR, so the words themselves do not matter: here all are 0, but for the check word.
    """
    bench = Bench(shortest_pages(), driven=False)
    block, other = bench.block, shortest_pages()
    bench.m.submodules.other = other
    now = Signal(range(words + 3))
    bench.m.d.sync += now.eq(Mux(now == words + 2, now, now + 1))
    word, bit = bench.some(range(words + 1), "word"), bench.some(range(WORD_BITS), "bit")
    bench.assume(
        "a bit of a word of the segment, or of its check word",
        (word <= words) & (bit < WORD_BITS),
        by="this bench",
    )
    clean = Mux(now == words, bench.some(WORD_BITS, "check_word"), 0)
    wrong = Mux(now == word, (Const(1) << bit)[:WORD_BITS], 0)
    for group in range(GROUPS):
        share = slice(group * SHARE_BITS, (group + 1) * SHARE_BITS)
        bench.m.d.comb += [
            block.words[group].eq(bench.past(clean[share], group)),
            other.words[group].eq(bench.past((clean ^ wrong)[share], group)),
        ]
    for check in (block, other):
        bench.m.d.comb += [
            check.taken.word.eq(now < words),
            check.taken.last.eq(now == words - 1),
            check.taken.check.eq(now == words),
        ]
    bench.prove("both have a verdict", block.done == other.done)
    bench.prove("not both are clean", ~block.done | block.fault | other.fault)
    bench.cover("one is clean", block.done & ~block.fault)
    return bench


def crc_step() -> Bench:
    """With this a wrong bit can be followed by hand from its page to the verdict."""
    bench = Bench()
    one, two = (
        weight_check._CRC32(data_width=8).create(),
        weight_check._CRC32(data_width=8).create(),
    )
    bench.m.submodules += [one, two]
    valid = bench.any(1, "valid")
    for crc in (one, two):
        bench.choose(crc.data)
        bench.m.d.comb += crc.valid.eq(valid)
    states, bytes_ = bench.past(one.crc != two.crc), bench.past(valid & (one.data != two.data))
    now = one.crc != two.crc
    bench.prove("different states stay different under the same byte", ~(states & ~bytes_) | now)
    bench.prove("different bytes make equal states different", ~(bytes_ & ~states) | now)
    bench.cover("states that differ", now)
    return bench


LONGEST = check_latency(GROUPS) + 7
"""Cycles within which a segment of no words has its verdict, and some more."""

PROOFS = [
    Proof("weight_check_order", order, depth=24, reach=30, quick=True),
    Proof("weight_check_pages", pages, depth=24, reach=32, quick=True),
    Proof("weight_check_crc_step", crc_step, depth=2),
    *(
        Proof(
            f"weight_check_one_bit_{words}",
            partial(one_bit, words),
            depth=LONGEST + words,
            induction=False,
            because="a segment's verdict is complete within these cycles",
            reach=LONGEST + words,
        )
        for words in (1, 4, 6, 9)
    ),
]

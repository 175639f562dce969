"""The noise: the words that rows draw, where a token begins, and no locked state."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from hdl.arithmetic.noise import LATENCY, Noise
from mmfree.contract.pow2 import NOISE_INDEX_BITS
from tests.support.proofs.bench import Bench, Inside, Proof

A_BITS, B_BITS = 64, 63
WORD_BITS = 20
ONES = 1 | 1 << A_BITS
MOVED = 3
"""Cycles from ``take`` or ``restart`` until the registers have moved on."""
ADDRESSED = 5
"""Cycles from ``take`` to the address of an entry."""


def word_later(bench: Bench, state: Value) -> Value:
    """Both registers, advanced bit by bit: s -> s << 1 + new."""
    for _ in range(WORD_BITS):
        a, b = state[:A_BITS], state[A_BITS:]
        # A signal for each bit: expressions within expressions would grow without end.
        state = Signal(A_BITS + B_BITS, name="bit_later")
        bench.m.d.comb += state.eq(
            Cat(a[63] ^ a[62] ^ a[60] ^ a[59], a[:63], b[62] ^ b[61], b[:62])
        )
    return state


def index_of(state: Value) -> Value:
    """Of an entry of the table: where the word that the registers hold leads."""
    word = (state[:WORD_BITS] + state[A_BITS : A_BITS + WORD_BITS])[:WORD_BITS]
    upper, lower = word[NOISE_INDEX_BITS:], word[:NOISE_INDEX_BITS]
    return Mux(upper < 1023, upper, 1024 + lower)


def generator(width: int) -> tuple[Bench, Inside]:
    """The block; what its table holds is free."""
    block = Noise(width)
    memory: Any = block.table.memory
    memory.elaborate = lambda platform: Module()
    bench = Bench(block)
    for port in memory.read:
        bench.choose(port.data)
    inside = bench.inside(block)
    held = Value.cast(block.seed) == bench.past(Value.cast(block.seed))
    bench.assume(
        "a seed is there a cycle before it is taken",
        ~block.seed_enable | bench.after(1) & held,
        by="the host's registers (SeedAccess)",
    )
    return bench, inside


def never_locked() -> Bench:
    """Whatever is drawn, begun and seeded, and whenever: a register of 0 would stay 0."""
    bench, inside = generator(1)
    for name in ("registers", "before"):
        state = Value.cast(inside[name])
        bench.prove(f"{name}: A is never 0", state[:A_BITS].any())
        bench.prove(f"{name}: B is never 0", state[A_BITS:].any())
    seed = bench.block.seed
    zeros = bench.past(bench.block.seed_enable & ~seed.a.any() & ~seed.b.any())
    bench.cover("a seed of 0", zeros)
    return bench


def draws(width: int) -> Bench:
    """Beside a state that moves on at once, by as many words as rows draw."""
    bench, inside = generator(width)
    block, m = bench.block, bench.m
    keep = Mux(block.take & (block.temperature != 0), block.keep, 0)
    _assume_tokens(bench, keep)

    # The contract's registers; where the token began; a seed for the next.
    now, began = (Signal(A_BITS + B_BITS, name=name, init=ONES) for name in ("now", "began"))
    seed, seeded = Signal(A_BITS + B_BITS, name="seed_kept"), Signal(name="seed_waits")
    a, b = block.seed.a, block.seed.b
    next_seed = Mux(block.seed_enable, Cat(Mux(a == 0, 1, a), Mux(b == 0, 1, b)), seed)
    next_seeded = block.seed_enable | seeded
    states = [now]
    for _ in range(width):
        states.append(word_later(bench, states[-1]))
    for p in range(width):
        with m.If(keep[p]):
            m.d.sync += now.eq(states[p + 1])
    m.d.sync += [seed.eq(next_seed), seeded.eq(next_seeded & ~block.restart)]
    start = Mux(next_seeded, next_seed, Mux(block.repeat, began, now))
    with m.If(block.restart):
        m.d.sync += [now.eq(start), began.eq(start)]

    # Its registers move on in one step, or in the cycles after a partial group.
    registers, before = (Value.cast(inside[name]) for name in ("registers", "before"))
    left = bench.past(inside["left"])
    reached = [registers]
    for _ in range(width - 1):
        reached.append(word_later(bench, reached[-1]))
    moved = bench.past(now, MOVED - 1, init=ONES)
    for count, state in enumerate(reached):
        bench.lemma((left != count) | (state == moved))
    bench.lemma(left < width)
    waiting = bench.past(block.restart) | bench.past(block.restart, 2)
    bench.lemma(waiting | (before == Mux(seeded, seed, began)))
    bench.lemma(inside["seeded"] == bench.past(next_seeded))

    for p in range(width):
        drawn = bench.past(keep[p], ADDRESSED)
        expected = bench.past(index_of(states[p + 1]), ADDRESSED)
        bench.prove(f"row {p}: its word", ~drawn | (inside[f"address_{p}"] == expected))
    restart = bench.past(block.restart, MOVED)
    seeded, repeat = bench.past(next_seeded, MOVED), bench.past(block.repeat, MOVED)
    for words, chosen, source in (
        ("a seed begins the next token", seeded, next_seed),
        ("a repeated token begins where it did", ~seeded & repeat, began),
        ("others begin where the last one ended", ~seeded & ~repeat, now),
    ):
        right = registers == bench.past(source, MOVED)
        bench.prove(words, ~(restart & chosen) | right)
    used = bench.past(keep, LATENCY + 1)
    errors = Cat(port.parity_error for port in block.table.read)
    bench.prove("parity of drawn entries", block.parity_error == (used & errors).any())
    bench.cover("a repeated token draws", bench.past(restart & ~seeded & repeat) & used.any())
    return bench


def _assume_tokens(bench: Bench, keep: Value) -> None:
    """How groups follow one another; ``keep``: the rows that draw."""
    block = bench.block
    width = len(block.keep)
    bench.assume(
        "rows are kept from the lowest up",
        ~block.take | ((block.keep & (block.keep + 1)) == 0),
        by="RowBlocks",
        proof="row_blocks_tags_4_slots",
    )
    steady = (block.temperature != 0) == bench.past(block.temperature != 0)
    bench.assume(
        "the temperature stays during a token",
        ~block.take | steady,
        by="Requests",
        proof="requests_results",
    )
    ended = Signal()
    with bench.m.If(block.take & ~block.keep.all()):
        bench.m.d.sync += ended.eq(1)
    with bench.m.If(block.restart):
        bench.m.d.sync += ended.eq(0)
    bench.assume(
        "a group that is not full is a token's last, but for padding",
        ~(ended & block.take) | ~block.keep.any(),
        by="RowBlocks",
    )
    recent = block.take
    for cycles in range(1, width + 1):
        recent |= bench.past(block.take, cycles)
    bench.assume(
        "a token begins P cycles after the last group, or later",
        ~block.restart | ~recent,
        by="Logits: no row is chosen before",
        proof="logits_16",
    )
    begun = block.restart | bench.past(block.restart)
    bench.assume("and long before its first", ~begun | ~block.take, by="Sequencer")
    bench.assume(
        "seeds are ignored during a token",
        ~(bench.past(block.restart) | bench.past(block.restart, 2)) | ~block.seed_enable,
        by="Accelerator",
    )
    apart = ~(bench.past(block.restart) | bench.past(block.restart, 2)) | ~block.restart
    bench.assume("tokens do not begin at once after each other", apart, by="Sequencer")


PROOFS = [
    Proof("noise_never_locked", never_locked, depth=4, section="14", quick=True),
    *(
        Proof(f"noise_draws_{width}", partial(draws, width), depth=10, section="14")
        for width in (1, 2)
    ),
]

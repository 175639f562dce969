"""The token shift: what is read, and where the state keeps x."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Mux, Signal, Value

from hdl.memory.state_banks import StateBanks
from hdl.pow2.token_shift import LATENCY, TokenShift
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

WIDTH = 2


def shifted(channels: int) -> Callable[[], Bench]:
    """Any group of any vector, of which the first ``channels`` channels are shifted."""

    def build() -> Bench:
        design = small_design(
            2, 4, 8, post_width=WIDTH, embedding_width=8, header_words=10, token_shift=channels
        )
        bench = Bench(TokenShift(design))
        m, block = bench.m, bench.block
        x, write, exchange = block.x, block.write, block.exchange
        # Whether a lane holds a channel that is shifted.
        moved = [x.enable & ~block.head & (x.group * WIDTH + p < channels) for p in range(WIDTH)]
        for name in ("enable", "group", "keep"):
            was = bench.past(Value.cast(getattr(x, name)), LATENCY)
            due = bench.after(LATENCY) & (Value.cast(getattr(write, name)) != was)
            ignored = name != "enable"
            bench.prove(f"{name} of x, {LATENCY} cycles later", ~due | (ignored & ~write.enable))
        for p in range(WIDTH):
            before = bench.past(Mux(block.begin, 0, block.before[p]), LATENCY - StateBanks.LATENCY)
            wanted = Mux(
                bench.past(moved[p], LATENCY), before, bench.past(Value.cast(x.data[p]), LATENCY)
            )
            bench.prove(
                f"lane {p}: of the position before, or of this one",
                ~(bench.after(LATENCY) & write.enable) | (write.data[p] == wanted),
            )
            bench.prove(
                f"lane {p} is kept if it is shifted",
                ~exchange.enable
                | ((exchange.keep[p] == (moved[p] & x.keep[p])) & (exchange.data[p] == x.data[p])),
            )
        bench.prove("a group that holds one is exchanged", exchange.enable == moved[0])
        # As many exchanges as there are words between two restarts, and the address is in range.
        count = Signal(range(design.kept_words + 1))
        with m.If(block.restart):
            m.d.sync += count.eq(0)
        with m.Elif(exchange.enable):
            m.d.sync += count.eq(count + 1)
        last = design.kept_words - design.state_words
        bench.assume(
            "no more groups than the design has words",
            ~exchange.enable | (count < last),
            by="Sequencer",
        )
        inner = bench.inside(block)
        bench.lemma((inner["address"] == design.state_words + count) & (count <= last))
        bench.prove(
            "the words after those of h, in order",
            ~exchange.enable | (exchange.group == design.state_words + count),
        )
        bench.cover("the last word of all", exchange.enable & (count == last - 1))
        return bench

    return build


PROOFS = [
    Proof("token_shift_part", shifted(3), depth=14, section="19", quick=True),
    Proof("token_shift_all", shifted(8), depth=20, section="19"),
]

"""The state's banks: reads see the current one, and a token changes nothing in it."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Mux, Signal, Value

from hdl.memory.state_banks import StateBanks
from hdl.memory.vectors import from_stored
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof


def banks(value_bits: int, token_shift: int = 0) -> Callable[[], Bench]:
    """Any one word, chosen by the solver, in both banks."""

    def build() -> Bench:
        design = small_design(
            *(4, 4, 4),
            post_width=2,
            state_words=4 if not token_shift else 2,
            header_words=6,
            value_bits=value_bits,
            token_shift=token_shift,
        )
        bench = Bench(StateBanks(design))
        m, block, host = bench.m, bench.block, bench.block.host
        bank = bench.inside(block)["bank"]
        words = bench.inside(block.memories[0]).part("banks")
        address = bench.some(2, "address")
        bits = value_bits * design.post_width

        by_token = block.playing & block.write.enable & (block.write.group == address)
        value = Value.cast(block.write.data)
        exchanged = Const(0)
        if token_shift:
            exchange = block.exchange
            bench.assume(
                "x is kept when h is neither read nor written",
                ~(exchange.enable & block.write.enable),
                by="Sequencer",
            )
            exchanged = block.playing & exchange.enable & (exchange.group == address)
            by_token |= exchanged
            value = Mux(exchange.enable, Value.cast(exchange.data), value)
        by_host = ~block.playing & host.enable & (host.address == address)
        # What was last written to the current bank and to the other one, if anything was.
        current, other = Signal(bits, name="current"), Signal(bits, name="other")
        current_known, other_known = Signal(name="current_known"), Signal(name="other_known")
        new = Mux(by_host, Value.cast(host.write), current)
        new_other = Mux(by_token, value, other)
        m.d.sync += [
            Cat(current, current_known).eq(Cat(new, current_known | by_host)),
            Cat(other, other_known).eq(Cat(new_other, other_known | by_token)),
        ]
        with m.If(block.swap):
            m.d.sync += [
                Cat(other, other_known).eq(Cat(new, current_known | by_host)),
                Cat(current, current_known).eq(Cat(new_other, other_known | by_token)),
            ]
        stored = []
        for number in (bank, ~bank):
            look = words.read_port(domain="comb")
            m.d.comb += look.addr.eq(Cat(number, address))
            stored.append(Cat(from_stored(design, look.data)))
        bench.prove(
            "the current bank: what was written to it", ~current_known | (stored[0] == current)
        )
        bench.prove("the other bank: likewise", ~other_known | (stored[1] == other))
        quiet = bench.after(1) & ~bench.past(block.swap)
        bench.prove(
            "no word of the current bank changes, except by the host or a swap",
            ~quiet | bench.past(by_host) | (stored[0] == bench.past(stored[0])),
        )
        bench.prove(
            "no word of the other bank changes, except by a token or a swap",
            ~quiet | bench.past(by_token) | (stored[1] == bench.past(stored[1])),
        )
        # The host's own write in the cycle of a read gives anything.
        known, was = current_known & ~by_host, bench.past(current, StateBanks.LATENCY)
        reads = block.playing & (block.read.address == address)
        if token_shift:
            reads = Mux(block.exchange.enable, exchanged, reads)
        by_reader = {
            "a token": (reads, block.read.data),
            "the host": (~block.playing & (host.address == address), host.data),
        }
        for reader, (asked, values) in by_reader.items():
            due = bench.past(asked & known, StateBanks.LATENCY)
            bench.prove(f"{reader} reads the current bank", ~due | (Value.cast(values) == was))
        asked, _ = by_reader["a token"]
        swapped = bench.past(block.swap & (current != other))
        bench.cover("a token reads what the one before it wrote", asked & known & swapped)
        return bench

    return build


PROOFS = [
    Proof("state_banks_16", banks(16), depth=5, quick=True),
    Proof("state_banks_19", banks(19), depth=5),
    Proof("state_banks_token_shift", banks(16, 2), depth=5, quick=True),
]

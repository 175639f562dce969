"""Loaded memories: a word is read as it was written, and its parity tells a flipped bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amaranth.hdl import Array, Cat, Mux, Signal

from hdl.memory.loaded_memory import LoadedMemory
from mmfree.chip.memory_map import LoadedShape
from tests.support.proofs.bench import Bench, Proof

DEPTH = 4


def loaded(
    bits: int,
    *,
    parity: bool = True,
    reads: int = 1,
    fabric_registers: bool = False,
    contents: Sequence[int] = (),
) -> Callable[[], Bench]:
    """Any one word, chosen by the solver; it has ``contents`` until it is written."""

    def build() -> Bench:
        shape = LoadedShape(bits, DEPTH, parity=parity)
        block = LoadedMemory(
            "words", shape, reads=reads, fabric_registers=fabric_registers, contents=contents
        )
        bench = Bench(block)
        m, load = bench.m, block.load
        bench.inside(block)
        words = bench.inside(block.memory).part("words")
        address = bench.some(range(DEPTH), "address")
        initial = Array([*contents, *[0] * (DEPTH - len(contents))])[address]

        # What the chosen word holds, part by part, if a read is asked for now.
        look = words.read_port(domain="comb")
        m.d.comb += look.addr.eq(address)
        parts = []
        for part in range(shape.parts):
            low = part * shape.part_bits
            written, value = (
                Signal(name=f"written_{part}"),
                Signal(shape.part_bits, name=f"value_{part}"),
            )
            with m.If(load.enable & (load.word == address) & (load.part == part)):
                m.d.sync += [written.eq(1), value.eq(load.data)]
            now = Mux(written, value, (initial >> low)[: shape.part_bits])
            parts.append(now)
            # A write takes a cycle to the memory, and one more into it.
            bench.lemma(
                look.data[low : low + shape.part_bits]
                == Mux(bench.past(written), bench.past(value), (initial >> low)[: shape.part_bits])
            )
        stored = Cat(parts)

        # A write reaches the memory in the cycle of this read, or has yet to.
        writing = load.enable & ((reads > 1) | fabric_registers | (load.word == address))
        disturbed = writing if fabric_registers else bench.past(writing)
        word, flipped = bench.some(bits, "word"), bench.some(range(bits + 1), "flipped")
        good = Cat(word, word.xor())
        bad = (good ^ (1 << flipped))[: len(good)]
        ages = block.latency
        for number, port in enumerate(block.read):
            asked = port.enable & (port.address == address) & ~disturbed
            due, held = bench.past(asked, ages), bench.past(stored, ages)
            bench.prove(
                f"read {number}: the word that was written", ~due | (port.data == held[:bits])
            )
            checked, was = bench.past(due), bench.past(held)[: len(good)]
            error = port.parity_error
            if not parity:
                bench.prove(f"read {number}: no parity, no error", ~error)
                continue
            bench.prove(
                f"read {number}: a word with its parity is without error",
                ~(checked & (was == good)) | ~error,
            )
            bench.prove(
                f"read {number}: with one bit flipped, whichever it is, it has one",
                ~(checked & (was == bad) & (flipped <= bits)) | error,
            )
        changed = bench.past(asked & (stored != initial), ages)
        bench.cover("another word than the one from the start is read", changed)
        return bench

    return build


PROOFS = [
    Proof("loaded_memory", loaded(19), depth=6, quick=True),
    Proof("loaded_memory_2_reads", loaded(8, reads=2, contents=(3, 258, 7)), depth=6),
    Proof("loaded_memory_fabric_registers", loaded(19, fabric_registers=True), depth=9),
    Proof("loaded_memory_no_parity", loaded(36, parity=False, fabric_registers=True), depth=9),
]

"""The weight decoder: every code of every place becomes its trits, in every weight code."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_

from amaranth.hdl import Signal, Value

from hdl.array.decoder import Decoder
from mmfree.chip.weight_codes import WeightCode, find_code
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof


def decoded(name: str) -> Callable[[], Bench]:
    """Two groups of 12 lanes: the last code of a group may be cut."""

    def build() -> Bench:
        design = small_design(6, 4, 4, weight_code=name)
        bench, code = Bench(Decoder(design)), find_code(name)
        lanes = design.group_rows * design.columns
        for group in range(design.num_groups):
            word = bench.past(bench.block.words[group], Decoder.LATENCY)
            right = []
            for place in range(-(-lanes // code.group)):
                first, beyond = place * code.group, min(lanes, (place + 1) * code.group)
                known, wanted = _looked_up(
                    bench, code, word[place * code.bits :][: code.bits], beyond - first
                )
                found = bench.block.o[group][design.lane_bits * first : design.lane_bits * beyond]
                right.append(~known | (found == wanted))
            bench.prove(
                f"group {group}: the trits of each code, in their places", reduce(and_, right)
            )
        bench.cover("weights that are not 0", bench.after(2) & bench.block.o.as_value().any())
        return bench

    return build


def _looked_up(bench: Bench, code: WeightCode, value: Value, count: int) -> tuple[Value, Value]:
    """(whether ``value`` is a code, the first ``count`` of its trits as two bits each)."""
    known, wanted = Signal(), Signal(2 * count)
    with bench.m.Switch(value):
        for trits, number in code.codes.items():
            with bench.m.Case(number):
                lanes = sum((trit & 3) << 2 * n for n, trit in enumerate(trits[:count]))
                bench.m.d.comb += [known.eq(1), wanted.eq(lanes)]
    return known, wanted


PROOFS = [
    Proof("decoder_2", decoded("2"), depth=3),
    Proof("decoder_1.67", decoded("1.67"), depth=3),
    Proof("decoder_1.6", decoded("1.6"), depth=3, quick=True),
]

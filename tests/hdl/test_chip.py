"""Whole chips of random shapes against the golden model, in Amaranth's simulator."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Fragment

from hdl.accelerator import Accelerator
from hdl.array.ternary_array import TernaryArray
from hdl.memory.sources.block import BlockSource
from hdl.payloads import vector_groups
from hdl.planning.cycles import segment_cycles
from mmfree.chip.design import Design
from mmfree.chip.exchange import CYCLE_COUNTERS
from mmfree.chip.image import Image
from mmfree.chip.layout import layout, state_places, state_words
from mmfree.chip.sizing import design_of_array
from mmfree.contract.shape import ModelConfig
from mmfree.golden.sampling import Sampler, seed_registers
from mmfree.host.interface import Fault, Request, Result
from sim.cosim.due import Model
from tests.support.hdl.bench import simulate
from tests.support.hdl.chip import ChipHost, words_read
from tests.support.random_tapes import random_tape
from tests.support.sim.shapes import TINY, Drawn, drawn

QUICK = (19, 86, 148)
SLOW = [seed for seed in range(12) if seed not in QUICK]

PLAYED = ((True, 0), (False, 255), (True, 255))
"""Of each token: whether the state is cleared, and the temperature in 64ths."""


def padding_beyond_the_memory(chip: Drawn) -> bool:
    """A group of rows of padding whose number a vector's memory takes for another group's."""
    design, config = chip.design, chip.tape.config
    numbers = 1 << (vector_groups(design, design.max_tiles) - 1).bit_length()
    return any(
        -(-size // design.rows) * design.groups_per_block > numbers
        and -size % design.rows >= design.post_width
        for size in (config.hidden_size, config.intermediate_size)
    )


FEATURES: dict[str, Callable[[Drawn], bool]] = {
    "rows beyond the model": lambda c: c.design.rows > c.tape.config.hidden_size,
    "rows beyond every matrix": lambda c: c.design.rows > c.design.max_rows,
    "a group of padding alone": lambda c: (
        -c.tape.config.hidden_size % c.design.rows >= c.design.post_width > 1
    ),
    "a group of padding beyond the memory": padding_beyond_the_memory,
    "I below d": lambda c: c.tape.config.intermediate_size < c.tape.config.hidden_size,
    "I above d": lambda c: c.tape.config.intermediate_size > c.tape.config.hidden_size,
    "a vector of one word": lambda c: c.design.embedding_tiles == 1,
    "a vector of several words": lambda c: c.design.embedding_tiles > 2,
    "a layer of one channel": lambda c: c.tape.config.hidden_size == 1,
    "one row block for every matrix": lambda c: c.design.max_blocks == 1,
    "a head of one row": lambda c: c.tape.config.head_size == 1,
    "the head the tallest": lambda c: (
        c.tape.config.head_size > max(c.tape.config.hidden_size, c.tape.config.intermediate_size)
    ),
    "rows no power of two": lambda c: c.design.rows & (c.design.rows - 1) != 0,
    "slots no power of two": lambda c: (
        c.design.groups_per_block & (c.design.groups_per_block - 1) != 0
    ),
    "several groups of rows": lambda c: c.design.num_groups > 1,
    "several layers": lambda c: c.tape.config.num_layers > 1,
    "several values at a time": lambda c: c.design.post_width > 1,
    "the sigmoid": lambda c: c.tape.config.gate == "sigmoid",
    "the hard gate": lambda c: c.tape.config.gate == "hard",
    "the signed gate": lambda c: c.tape.config.gate == "signed",
    "nothing shifted": lambda c: c.tape.config.token_shift == 0,
    "every channel shifted": lambda c: c.tape.config.token_shift == c.tape.config.hidden_size,
    "a part of a group shifted": lambda c: c.tape.config.token_shift % c.design.post_width != 0,
    "5 bits for 3 weights": lambda c: c.design.weight_code == "1.67",
    "8 bits for 5 weights": lambda c: c.design.weight_code == "1.6",
}


@pytest.mark.parametrize("feature", FEATURES)
def test_a_quick_chip_has_every_feature(feature: str) -> None:
    """A seed that draws another chip than before may leave one out."""
    assert any(FEATURES[feature](drawn(seed)) for seed in QUICK)


@pytest.mark.parametrize(
    "seed", [*QUICK, *(pytest.param(seed, marks=pytest.mark.slow) for seed in SLOW)]
)
def test_a_drawn_chip_is_bit_exact(seed: int) -> None:
    """Rows, logits, state and counters of three tokens: the state kept and cleared, two drawn.

    Whatever a host does while a token is played has no effect.
    """
    tape, design = drawn(seed).tape, drawn(seed).design
    chip, model, config = Accelerator(design, layout(tape, design)), Model(tape), tape.config
    model.sampler = Sampler(seed)
    places = state_places(config, design)
    words = state_words(config, design)
    cycles = {
        name: sum(getattr(segment, name, 0) for segment in segment_cycles(config, design))
        for name in CYCLE_COUNTERS
    }
    tokens = itertools.cycle(np.random.default_rng(seed).permutation(config.vocab_size).tolist())

    async def bench(ctx: Any) -> None:
        host = ChipHost(ctx, chip)
        await host.seed(seed_registers(seed))
        for begin, temperature in PLAYED:
            token = next(tokens)
            logits, row, saturations = model.play(token, begin, temperature)
            request = Request(token=token, begin=begin, temperature=temperature)
            assert await host.play(request) == Result(row, True)
            found = await host.logits(-(-config.head_size // design.post_width))
            assert found[: config.head_size] == logits.tolist()
            state = np.ravel(await host.state(words))[places]
            assert (state == model.state[:, 0]).all()
            assert await host.counters() == {
                **cycles,
                **{f"saturated_{site}": count for site, count in saturations.items()},
            }

    async def meddle(ctx: Any) -> None:
        rng, state, load = random.Random(1), chip.state, chip.load
        played = False
        while True:
            playing = ctx.get(chip.playing)
            if design.token_shift:
                # What the proof of the state's banks assumes.
                state_banks = chip.blocks.state
                assert not ctx.get(state_banks.exchange.enable & state_banks.write.enable)
            if playing or played:
                for flag in (chip.seed.enable, state.enable, load.enable):
                    ctx.set(flag, playing and rng.random() < 0.5)
            if playing:
                ctx.set(chip.seed.registers, {"a": rng.getrandbits(64), "b": 5})
                ctx.set(state.address, rng.randrange(design.kept_words))
                ctx.set(state.write, [rng.randrange(-9, 9)] * design.post_width)
                ctx.set(load.memory, rng.randrange(7))
                ctx.set(load.data, rng.randrange(9))
            played = playing
            await ctx.tick()

    simulate(chip, bench, background=[meddle], watched=False)


def test_the_source_and_the_array_that_are_handed_in_are_those_of_the_chip() -> None:
    """Each is made for the design, the source from the image's words."""
    made: dict[str, Any] = {}

    def source(of: Design, contents: Mapping[str, Sequence[int]]) -> BlockSource:
        made["source"], made["words"] = BlockSource(of, contents), contents
        return made["source"]

    def array(of: Design) -> TernaryArray:
        made["array"] = TernaryArray(of)
        return made["array"]

    tape, design = drawn(0).tape, drawn(0).design
    image = layout(tape, design)
    chip = Accelerator(design, image, source=source, array=array)
    Fragment.get(chip, None)
    assert chip.blocks.source is made["source"]
    assert chip.blocks.array is made["array"]
    assert made["words"] == image.memories()
    Fragment.get(empty := Accelerator(design, source=source), None)
    assert made["words"] == {}
    held = [memory for memories in empty.memories.values() for memory in memories]
    filled = {memory.name for memory in held if any(memory.contents.init)}
    assert filled == {"reciprocal_root", "gumbel"}, "the same for every tape"


def test_entries_of_a_table_that_the_gate_does_not_use_are_no_fault() -> None:
    """The sigmoid's are looked up by every gate.

    And what saturates is counted where it does: more values than a matrix has rows, in the head.
    """
    config = replace(TINY.config, hidden_size=8, intermediate_size=1, head_size=6)
    tape = replace(TINY, config=config).tape(0, wild=True)
    design = design_of_array(config, 2, 2, 1)
    words = layout(tape, design).words
    wrong = [word ^ (n < 256) for n, word in enumerate(words["tables"])]
    chip = Accelerator(design, Image(design=design, words=words | {"tables": wrong}))
    _, row, saturations = Model(tape).play(1, True)
    assert {site for site, count in saturations.items() if not count} <= {"gate"}
    assert max(saturations.values()) > 2 * design.max_rows

    async def bench(ctx: Any) -> None:
        host = ChipHost(ctx, chip)
        assert await host.play(Request(token=1, begin=True)) == Result(row, True)
        counters = await host.counters()
        assert {site: counters[f"saturated_{site}"] for site in saturations} == saturations

    simulate(chip, bench, watched=False)


def test_a_wrong_word_is_a_fault_if_the_token_reads_it() -> None:
    """In every memory, written by a host: state and noise stay as they were before the pass.

    A row of padding reads entries, too, which do not count; nor does what a longer tape would have.
    """
    config = ModelConfig(
        vocab_size=4,
        head_size=3,
        hidden_size=3,
        intermediate_size=5,
        num_layers=1,
        gate="sigmoid",
    )
    tape = random_tape(np.random.default_rng(5), **config.to_dict())
    exact = design_of_array(config, 2, 2, 2)
    spare = {name: getattr(exact, name) + 1 for name in ("weight_words", "bias_words")}
    design = replace(exact, **spare)
    image, model, rng = layout(tape, design), Model(tape), random.Random(2)
    chip = Accelerator(design, image)
    token, segments, weights = 2, len(tape.segments), len(image.words["weights"])
    request = Request(token=token, begin=False, temperature=200)
    model.sampler, ahead = Sampler(7), Sampler(7).words(config.head_size)
    model.play(1, True)
    read = words_read(tape, design, token, model.state)
    read["gumbel"] = [int(word) >> 10 for word in ahead]
    assert max(read["gumbel"]) < 1023
    used = {name: rng.sample(words, min(2, len(words))) for name, words in read.items()}
    used["weights"] = [0, weights - 1]
    unused = {
        "weights": [weights],
        "biases": [exact.bias_words],
        "tables": [0, 256, *rng.sample(range(512), 6)],
        "reciprocal_root": [64, 255],
        "embedding": [design.embedding_rows + 1],
        "gumbel": [1023],
    }
    segment_of = {
        **{("headers", word): word for word in read["headers"]},
        **{("embedding", word): 0 for word in read["embedding"]},
        **{("biases", word): 1 for word in read["biases"]},
        **{("gumbel", word): segments for word in read["gumbel"]},
        ("weights", 0): 1,
        ("weights", weights - 1): segments,
    }
    logits, row, _ = model.play(token, False, request.temperature)

    async def bench(ctx: Any) -> None:
        host = ChipHost(ctx, chip)
        await host.seed(seed_registers(7))
        await host.play(Request(token=1, begin=True))
        state = await host.state(exact.state_words)
        for name, words in used.items():
            for word in words:
                value = image.words[name][word]
                await host.load(image, name, word, value ^ 1 << rng.randrange(8))
                answer = await host.play(request)
                assert isinstance(answer, Fault), f"word {word} of {name}"
                assert answer.memory == name
                assert answer.segment == segment_of.get((name, word), answer.segment)
                assert await host.state(exact.state_words) == state
                await host.load(image, name, word, value)
        for name, words in unused.items():
            for word in set(words) - set(read.get(name, ())):
                value = image.words[name][word] if word < len(image.words[name]) else 0
                await host.load(image, name, word, value ^ 4)
        assert await host.play(request) == Result(row, True)
        assert (await host.logits(2))[: len(logits)] == logits.tolist()

    simulate(chip, bench, watched=False)

"""Small chips whose weights, biases and embedding are in a memory beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from hdl.accelerator import Accelerator
from hdl.memory.sources.axi import AxiSource
from hdl.planning.cycles import segment_cycles
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.layout import layout
from mmfree.chip.memory_image import MemoryImage, write_memory_image
from mmfree.chip.memory_map import parameter_words
from mmfree.chip.sizing import design_for_memory
from mmfree.contract.shape import AbsmaxConfig, AnyConfig, ModelConfig
from mmfree.golden.opening import golden_of
from mmfree.golden.rounding import PlaysTokens
from mmfree.host.interface import Fault, Request, Result
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import AnyTape
from tests.support.hdl.axi_memory import AxiMemory, Pace, TwoClocks
from tests.support.hdl.chip import ChipHost
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.random_tapes import random_tape

BASE = 0x12_3456_7000
"""Where the image is in memory: beyond 32 bits."""

SMALL = ModelConfig(
    vocab_size=7, head_size=5, hidden_size=9, intermediate_size=20, num_layers=2, gate="sigmoid"
)

PUBLISHED = AbsmaxConfig(vocab_size=7, hidden_size=9, intermediate_size=13, num_layers=2)


@dataclass
class Board:
    """A chip, a memory for each of its ports with one image, and what is played on them."""

    tape: AnyTape
    design: Design
    image: MemoryImage
    chip: Accelerator
    memories: list[AxiMemory]
    golden: PlaysTokens[Any]

    @classmethod
    def of(
        cls, config: AnyConfig, memory: str, folder: Path, pace: Pace, ring_words: int = 512
    ) -> Board:
        external = find_memory(memory)
        assert external is not None
        tape: AnyTape = (
            random_absmax_tape(folder, config, 1)
            if isinstance(config, AbsmaxConfig)
            else random_tape(np.random.default_rng(1), **config.to_dict())
        )
        design = design_for_memory(config, external)
        image = write_memory_image(tape, design, folder / "memory.bin")
        chip = Accelerator(
            design, layout(tape, design), source=lambda of, _: AxiSource(of, ring_words=ring_words)
        )
        data = image.path.read_bytes()
        memories = [
            AxiMemory(port, data, BASE, pace, seed=number)
            for number, port in enumerate((*chip.axi, chip.axi_rows))
        ]
        golden = cast(PlaysTokens[Any], golden_of(tape))
        return cls(tape, design, image, chip, memories, golden)

    async def play(self, host: ChipHost, token: int, state: np.ndarray, begin: bool) -> np.ndarray:
        """Play a token; whatever the chip leaves must be the golden model's. The state after it."""
        answer = await host.play(Request(token=token, begin=begin))
        logits, state = self.golden.step(np.array([token]), state)
        assert answer == Result(int(logits[0].argmax()), True)
        config, width = self.tape.config, self.design.post_width
        if self.design.stores_logits:
            found = await host.logits(-(-config.head_size // width))
            assert found[: config.head_size] == logits[0].tolist()
        channels = -(-config.hidden_size // self.design.rows) * self.design.rows
        words = await host.state(config.num_layers * channels // width)
        states = np.array(words).reshape(config.num_layers, channels)[:, : config.hidden_size]
        assert (states == state[:, 0]).all()
        return state

    def run(self, bench: Any, ratio: float = 1.0) -> None:
        TwoClocks(self.chip, ratio).run(bench, self.memories)


@pytest.mark.parametrize(
    ("memory", "config", "sizes"),
    [
        ("axi64", SMALL, {}),
        pytest.param("axi64", PUBLISHED, {}, marks=pytest.mark.slow),
        pytest.param("axi128x4", PUBLISHED, {"hidden_size": 33}, marks=pytest.mark.long),
        pytest.param(
            "axi128x4", SMALL, {"hidden_size": 33, "gate": "hard"}, marks=pytest.mark.slow
        ),
        # More words of biases than fit between a layer's last tile and the next one's first.
        pytest.param(
            "axi64", SMALL, {"hidden_size": 150, "intermediate_size": 60}, marks=pytest.mark.slow
        ),
        pytest.param(
            "axi512x2", SMALL, {"hidden_size": 66, "gate": "signed"}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_tokens_are_exact_in_the_cycles_of_the_cost_model(
    memory: str, config: AnyConfig, sizes: dict[str, Any], tmp_path: Path
) -> None:
    """Of every segment, behind a memory that answers after the same time, with the chip's clock."""
    latency = 21
    config = replace(config, **sizes)
    board = Board.of(config, memory, tmp_path, Pace(latency=(latency, latency)))
    chip, found = board.chip, dict[int, int]()

    async def count(ctx: Any) -> None:
        while True:
            _, _, segment, playing = await ctx.tick().sample(chip.segment, chip.playing)
            if playing:
                found[segment] = found.get(segment, 0) + 1

    async def bench(ctx: Any) -> None:
        host, state = ChipHost(ctx, chip), board.golden.state()
        await host.place(board.image, BASE)
        for number, token in enumerate((3, 0, 6)):
            # The first token waits for the first words, too.
            found.clear()
            state = await board.play(host, token, state, begin=number == 0)
        due = segment_cycles(config, board.design, memory_latency=latency)
        assert [found[number] for number in sorted(found)] == [entry.cycles for entry in due]

    TwoClocks(chip, phase=0.5).run(bench, board.memories, count)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio", "model"),
    [
        (0.4, SMALL),
        (1.5, SMALL),
        pytest.param(0.4, PUBLISHED, marks=pytest.mark.long),
        (1.5, PUBLISHED),
    ],
    ids=str,
)
def test_a_memory_may_answer_as_late_as_it_likes(
    ratio: float, model: AnyConfig, tmp_path: Path
) -> None:
    """Clocks without relation, random latency, and beats that are withheld for a while."""
    pace = Pace(latency=(3, 90), busy=0.4, withheld=0.7)
    # A ring for a part of the pass: the chip waits for words.
    config = replace(model, hidden_size=40, intermediate_size=60)
    board = Board.of(config, "axi64x2", tmp_path, pace, ring_words=64)

    async def bench(ctx: Any) -> None:
        host, state = ChipHost(ctx, board.chip), board.golden.state()
        await host.place(board.image, BASE)
        for number, token in enumerate((3, 0, 6, 6)):
            state = await board.play(host, token, state, begin=number == 0)
        counters = await host.counters()
        assert counters["wait_weights"] > 0

    board.run(bench, ratio)


def check_words(board: Board) -> list[int]:
    """Number of each record's check word in the stream, record 0 first."""
    assert isinstance(board.tape, Tape)
    design, segments = board.design, board.tape.segments
    ends = [parameter_words(design)]
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        tiles = -(-segment.fan_in // design.columns)
        blocks = -(-segment.matrices[0].rows // design.rows)
        words = len(segment.matrices) * tiles * blocks
        if following is not None and following.kind == "gates":
            words += parameter_words(design)
        ends.append(ends[-1] + words + 1)
    assert ends[-1] + 1 == board.image.words
    return ends


def test_an_error_is_of_its_words_segment_though_the_next_one_has_begun(tmp_path: Path) -> None:
    """A check word that comes late, with an error: the next segment waits for nothing else."""
    board = Board.of(SMALL, "axi64x4", tmp_path, Pace())
    chip, record = board.chip, 2
    region = board.image.region("weights_3")
    board.memories[3].errors = {
        BASE + region.offset + check_words(board)[record] * board.design.columns
    }
    take = chip.blocks.sequencer.take

    async def withhold(ctx: Any) -> None:
        """Every check word comes when the vector after it is complete."""
        left = 0
        while True:
            left = 60 if ctx.get(take.last) else max(0, left - 1)
            ctx.set(chip.pause, left > 0)
            await ctx.tick()

    async def bench(ctx: Any) -> None:
        host = ChipHost(ctx, chip)
        await host.place(board.image, BASE)
        answer = await host.play(Request(token=3, begin=True))
        assert answer == Fault("weights_response", record)

    TwoClocks(chip).run(bench, board.memories, withhold)


def test_settings_that_are_written_while_a_token_is_played_are_ignored(tmp_path: Path) -> None:
    board = Board.of(SMALL, "axi64", tmp_path, Pace())
    chip = board.chip

    async def write(ctx: Any) -> None:
        """Another place for every region, in each cycle of a token."""
        written = 0
        while True:
            playing = ctx.get(chip.playing)
            if playing or written:
                ctx.set(chip.memory.index, written % 3)
                ctx.set(chip.memory.value, 1)
                ctx.set(chip.memory.enable, playing)
                written = written + 1 if playing else 0
            await ctx.tick()

    async def bench(ctx: Any) -> None:
        host, state = ChipHost(ctx, chip), board.golden.state()
        await host.place(board.image, BASE)
        for number, token in enumerate((3, 6)):
            state = await board.play(host, token, state, begin=number == 0)

    TwoClocks(chip).run(bench, board.memories, write)

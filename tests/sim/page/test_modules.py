"""The chip of a page and what checks it, under wasmtime: their values are the golden model's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from hdl.control.counters import SETTLE_CYCLES
from hdl.planning.cycles import cycles_per_token
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for
from mmfree.golden.pow2 import Golden
from mmfree.golden.sampling import Sampler
from mmfree.host.interface import Fault, Result
from sim.cosim.chip import generic_verilog
from sim.page.chip_module import chip_module
from sim.page.golden_module import golden_module
from sim.simulators.tools import SimulatorError
from tests.support.page.wasm import WasmChip, WasmGolden
from tests.support.random_tapes import random_tape

TOKENS = 12
Ints = NDArray[np.int32]


@pytest.fixture(scope="module")
def golden_code() -> bytes:
    return golden_module()


class Case:
    """A tape on a chip, and all that plays it."""

    def __init__(
        self, golden_code: bytes, lanes: int, bits: str, *, wild: bool = False, shift: int = 0
    ) -> None:
        self.tape = random_tape(
            np.random.default_rng(lanes),
            hidden_size=24,
            intermediate_size=40,
            num_layers=2,
            vocab_size=50,
            head_size=50,
            gate="signed" if wild else "hard",
            token_shift=shift,
            wild=wild,
        )
        self.design = design_for(self.tape, lanes, bits)
        self.module = chip_module(generic_verilog(self.design))
        self.image = layout(self.tape, self.design)
        self.code = golden_code

    def chip(self) -> WasmChip:
        chip = WasmChip(self.module, self.design)
        chip.load(self.image)
        return chip

    def played(self, temperature: int, seed: int) -> Iterator[tuple[int, int, Ints, Ints]]:
        """Token, row, logits and state of a text that goes on by itself."""
        golden, sampler = Golden(self.tape), Sampler(seed)
        state, token = golden.state(), 3
        for _ in range(TOKENS):
            logits, state = golden.step(np.array([token]), state)
            row = sampler.choose(logits[0], temperature, golden.fraction_bits)
            yield token, row, logits[0].astype(np.int32), state[:, 0].astype(np.int32)
            token = row


# Three lane counts, three codes; a wild tape, and one with a token shift.
CASES = {
    "4 lanes": (4, "2", False, 0),
    "64 lanes": (64, "1.67", False, 0),
    "256 lanes, token shift": (256, "1.6", False, 12),
    "16 lanes, wild": (16, "1.6", True, 0),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, golden_code: bytes) -> Case:
    lanes, bits, wild, shift = CASES[request.param]
    return Case(golden_code, lanes, bits, wild=wild, shift=shift)


def test_rows_logits_and_state_are_the_golden_models(case: Case) -> None:
    chip, golden = case.chip(), WasmGolden(case.code, case.tape, case.design)
    compared = 0
    for temperature, seed in ((0, 0), (64, 5)):
        chip.seed(seed)
        golden.seed(seed)
        golden.begin()
        for position, (token, row, logits, state) in enumerate(case.played(temperature, seed)):
            assert golden.play(token, temperature) == row
            np.testing.assert_array_equal(golden.logits(), logits)
            np.testing.assert_array_equal(golden.state(), state)
            chip.send(token, begin=position == 0, temperature=temperature)
            assert chip.wait() == Result(row, True)
            assert chip.cycles() == cycles_per_token(case.tape.config, case.design)
            chip.take()
            np.testing.assert_array_equal(chip.logits(len(logits)), logits)
            np.testing.assert_array_equal(chip.state(case.tape), state)
            compared += 1
    assert compared == 2 * TOKENS


def test_the_operands_of_the_lanes_are_seen(case: Case) -> None:
    """Cycle by cycle: as many tiles as the chip counts, activations of them, and codes of trits."""
    chip, design = case.chip(), case.design
    chip.send(3, begin=True)
    tiles, activations, codes = 0, set[int](), set[int]()
    while not chip.get("result__valid"):
        chip.step()
        if chip.get("tiles__beat") & 1:
            tiles += 1
            x = chip.get("tiles__x")
            activations |= {x >> 8 * c & 0xFF for c in range(design.columns)}
            w = chip.get("w")
            codes |= {w >> 2 * n & 3 for n in range(design.lanes)}
    chip.edge(SETTLE_CYCLES)
    assert tiles == chip.field("counters", "beats")
    assert len(activations) > 10
    assert codes == {0, 1, 3}


def test_a_chip_goes_on_by_itself_and_can_be_stopped(case: Case) -> None:
    chip = case.chip()
    chip.seed(9)
    due = [row for _, row, _, _ in case.played(32, 9)]
    chip.send(3, begin=True, temperature=32, limit=TOKENS)
    rows: list[int] = []
    for count in range(1, TOKENS + 1):
        answer = chip.wait()
        assert isinstance(answer, Result)
        rows.append(answer.row)
        assert answer.last == (count == TOKENS)
        chip.take()
    assert rows == due
    # Cancelled while the second token is played: that one is the last.
    chip.seed(9)
    chip.send(3, begin=True, temperature=32, limit=TOKENS)
    assert chip.wait() == Result(due[0], False)
    chip.take()
    chip.cancel()
    assert chip.wait() == Result(due[1], True)
    chip.take()
    assert chip.get("request__ready")


def test_a_flipped_bit_is_found_and_the_pass_repeated(case: Case) -> None:
    chip = case.chip()
    chip.seed(9)
    (_, first, _, _), (_, second, logits, state), *_ = case.played(32, 9)
    chip.send(3, begin=True, temperature=32)
    assert chip.wait() == Result(first, True)
    chip.take()
    words = case.image.words["weights"]
    place = len(words) // 2
    chip.load_word(case.image, "weights", place, words[place] ^ 4)
    chip.send(first, begin=False, temperature=32)
    fault = chip.wait()
    assert isinstance(fault, Fault)
    assert fault.memory == "weights"
    chip.take()
    chip.load_word(case.image, "weights", place, words[place])
    chip.send(first, begin=False, temperature=32)
    assert chip.wait() == Result(second, True)
    chip.take()
    np.testing.assert_array_equal(chip.logits(len(logits)), logits)
    np.testing.assert_array_equal(chip.state(case.tape), state)


def test_the_same_verilog_gives_the_same_bytes(case: Case) -> None:
    if case.design.lanes == 4:
        assert chip_module(generic_verilog(case.design)) == case.module


def test_what_waits_for_more_than_a_clock_is_refused() -> None:
    verilog = (
        "module mmfree(clk, strobe, q);\n  input clk;\n  input strobe;\n  output q;\n  reg q;\n"
        "  always @(posedge clk, posedge strobe) q <= strobe;\nendmodule\n"
        "module \\mmfree.array (tiles__beat, tiles__x, w);\n  input tiles__beat;\n"
        "  input tiles__x;\n  input w;\nendmodule\n"
    )
    with pytest.raises(SimulatorError, match="must wait for its clock alone, got"):
        chip_module(verilog)

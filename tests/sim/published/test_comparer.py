"""The comparer on tapes of published checkpoints: errors planted in a chip that has none.

The golden model plays for the simulator (tests/support/sim/golden_chip.py).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim.cosim.run
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.layout import LayoutError
from mmfree.chip.sizing import design_for, design_for_memory
from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.contract.shape import AbsmaxConfig
from mmfree.errors import InputError
from mmfree.tape.absmax import AbsmaxTape
from sim.cosim.backend import RtlBackend
from sim.cosim.due import expect
from sim.cosim.run import CosimResult, Sequence, cosim
from sim.cosim.verdict import judge
from sim.memory.model import check_simulator
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.sim.golden_chip import GoldenChip, Plant, install
from tests.support.sim.shapes import ODD

CONFIG = AbsmaxConfig(vocab_size=9, hidden_size=10, intermediate_size=14, num_layers=2)
WORDS = 9 + 20
"""Logits and state of a position."""

STATE = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, (2, 10)).astype(np.int32)
ASKED = [Sequence(prompt=[3, 1]), Sequence(prompt=[2, 7], generate=3), Sequence(prompt=[4])]
"""7 positions."""


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> list[AbsmaxTape]:
    """Tame, wild."""
    folder = tmp_path_factory.mktemp("tapes")
    return [random_absmax_tape(folder, CONFIG, seed, wild=seed > 1) for seed in (1, 2)]


@pytest.fixture(scope="module")
def design(tapes: list[AbsmaxTape]) -> Design:
    return design_for(tapes[0], 16)


@pytest.fixture(params=["read", "recorded"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How logits and state reach the comparer."""
    most = 0 if request.param == "recorded" else WORDS
    monkeypatch.setattr(sim.cosim.run, "READ_VALUES", most)
    way: str = request.param
    return way


def on(token: int, plant: Plant) -> Plant:
    """Something wrong with one token of the run, counted from 0."""

    def planted(chip: GoldenChip) -> None:
        if chip.played == token:
            plant(chip)

    return planted


def test_a_faithful_chip_is_bit_exact(
    tapes: list[AbsmaxTape], design: Design, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both tapes, one after the other; wild values take all of 32 bits, and saturate."""
    chips = install(monkeypatch)
    asked = [replace(each, model=model) for model in (0, 1) for each in ASKED]
    asked[0] = replace(asked[0], state=STATE)
    result = cosim(tapes, design, asked)
    assert result.bit_exact, result.divergence
    assert (result.tokens, result.compared, result.due) == (14, 14 * WORDS, 14 * WORDS)
    assert chips[0].run.recorded == (way == "recorded")
    due = expect(asked, tapes)
    assert np.array_equal(result.logits, np.concatenate([played.logits for played in due]))
    assert result.logits[0].dtype == result.states[0].dtype == np.int32
    saturated = sum(played.saturations.sum(axis=0) for played in due)
    assert [result.counters[f"saturated_{s}"] for s in SATURATION_SITES] == saturated.tolist()
    reached = {site for site, count in zip(SATURATION_SITES, saturated, strict=True) if count}
    assert reached == {"projection", "residual", "logit"}
    assert any(abs(int(value)) >> 24 for played in due for value in played.states.ravel())


@pytest.mark.parametrize(
    ("segment", "vector", "index", "bit", "place"),
    [
        (0, "x", 3, 30, ("embedding", "x", 3)),
        (1, "u", 9, 35, ("layer 0 gates", "u", 9)),
        (1, "u", 0, 28, ("layer 0 gates", "u", 0)),
        (2, "x", 9, 0, ("layer 0 output", "x", 9)),
        (5, "state", 12 + 2, 31, ("layer 1 gates", "state", 2)),
        (7, "u", 13, 0, ("layer 1 glu", "u", 13)),
        (9, "logits", 8, 31, ("head", "logits", 8)),
    ],
)
@pytest.mark.parametrize("token", [0, 4])
def test_a_wrong_bit_is_located(
    segment: int,
    vector: str,
    index: int,
    bit: int,
    place: tuple[str, str, int],
    token: int,
    tapes: list[AbsmaxTape],
    design: Design,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Signs and exponents of what is cut, too."""
    assert -(-10 // design.rows) * design.rows == 12, "channels of a layer are padded"
    monkeypatch.setattr(sim.cosim.run, "READ_VALUES", 0)

    def plant(chip: GoldenChip) -> None:
        writes = [
            w for w in chip.writes if (w.segment, w.vector, w.index) == (segment, vector, index)
        ]
        (write,) = writes
        value = (
            write.value ^ 1 << bit if bit < 31 or vector == "u" else ~write.value ^ (1 << 31) - 1
        )
        chip.writes[chip.writes.index(write)] = replace(write, value=value)
        # A difference that no logit shows is looked for only after one that a logit shows.
        chip.counted["saturated_gate"] = 1

    install(monkeypatch, on(token, plant))
    result = cosim(tapes[:1], design, ASKED)
    assert not result.bit_exact
    found: Any = result.divergence
    assert (found["segment"], found["vector"], found["index"]) == place
    assert (found["sequence"], found["position"]) == {0: (0, 0), 4: (1, 2)}[token]
    if vector == "u":
        assert found["got"] == found["expected"] ^ 1 << bit


def test_a_site_that_the_arithmetic_does_not_have_reads_0(
    tapes: list[AbsmaxTape], design: Design, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = judge(expect(ASKED, tapes[:1]), []).due
    assert due["saturations"] == 7 * len(SATURATION_SITES)

    def count(chip: GoldenChip) -> None:
        chip.counted["saturated_state"] = 1

    install(monkeypatch, on(2, count))
    result = cosim(tapes[:1], design, ASKED)
    assert not result.bit_exact
    assert result.verdict.differing["saturations"] == 1
    found: Any = result.divergence
    assert (found["vector"], found["expected"], found["got"]) == ("saturated_state", 0, 1)


def test_logits_that_are_not_stored_are_recorded(
    tapes: list[AbsmaxTape], design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = replace(design, stores_logits=False)
    chips = install(monkeypatch)
    assert cosim(tapes[:1], without, ASKED).bit_exact
    assert chips[0].run.recorded
    with pytest.raises(InputError, match="icarus cannot record the logits, which the design does"):
        cosim(tapes[:1], without, ASKED, simulator="icarus")
    check_simulator(design, "icarus")
    external = find_memory("axi64")
    assert external is not None
    assert not design_for_memory(CONFIG, external).stores_logits


def test_a_tape_of_the_other_arithmetic_is_refused(
    tapes: list[AbsmaxTape], design: Design, tmp_path: Path
) -> None:
    asked = [Sequence(prompt=[1])]
    with pytest.raises(LayoutError, match=r"arithmetic"):
        cosim([ODD.tape(1, wild=False)], design, asked)
    with pytest.raises(LayoutError, match=r"arithmetic"):
        cosim(tapes[:1], ODD.design(), asked)


def test_the_simulated_chip_is_a_backend(
    tapes: list[AbsmaxTape], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are bytes here; a text ends with what the checkpoint says."""
    chips = install(monkeypatch)
    tape = tapes[0]
    monkeypatch.setattr(tape, "tokenizer", {"kind": "bytes"})
    monkeypatch.setattr(tape, "config", replace(CONFIG, eos_token_id=[5, 3]))
    rtl = RtlBackend(tape, lanes=16)
    assert (rtl.fraction_bits, rtl.end_ids, rtl.choosable) == (16, (3, 5), None)
    rows = rtl.generate([1, 2], 3, temperature=0, seed=0, stop=None)
    assert chips[-1].run.sequences[0].stop == 3
    asked = replace(chips[-1].run.sequences[0])
    assert rows == expect([asked], [tape])[0].rows.tolist()[1:]
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    state = np.random.default_rng(1).integers(-(1 << 20), 1 << 20, (2, 2, 10)).astype(np.int32)
    logits, after = rtl.run(ids, state)
    assert logits.shape == (2, 3, 9)
    assert after.shape == rtl.state(2).shape == (2, 2, 10)
    assert (logits.dtype, after.dtype, rtl.state(1).dtype) == (np.int32, np.int32, np.int32)


def test_a_bit_of_the_sign_is_a_difference_that_is_read(
    tapes: list[AbsmaxTape], design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a recorder the token is played again to be followed."""

    def plant(chip: GoldenChip) -> None:
        chip.logits[2] ^= np.int32(-(1 << 31))

    install(monkeypatch, on(3, plant))
    result: CosimResult = cosim(tapes[:1], design, ASKED)
    assert result.verdict.differing["logits"] == 1
    assert result.tokens == 4

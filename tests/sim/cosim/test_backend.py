"""The simulated chip as a backend: the same logits as the golden model, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sim.cosim.chip
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for
from mmfree.inference.backends import load_backend
from mmfree.inference.generate import generate
from mmfree.inference.scoring import evaluate_task
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.tape.pow2 import Tape, write_tape
from sim.cosim.backend import DivergenceError, RtlBackend, load
from sim.cosim.due import expect
from sim.cosim.run_folder import Sequence
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tests.support.random_tapes import random_tape
from tests.support.sim.golden_chip import GoldenChip, install
from tests.support.sim.shapes import ODD


@pytest.fixture(scope="module")
def addition(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    return tape_of(trained(SMALL_ADDITION, tmp_path_factory.mktemp("addition")))


def test_logits_and_state_are_those_of_golden(addition: Tape) -> None:
    """Two sequences, in two calls: the state is read from the chip and written back."""
    rtl, golden = RtlBackend(addition, lanes=16), GoldenBackend(addition)
    ids = np.random.default_rng(0).integers(0, 31, (2, 9))
    states = [rtl.state(2), golden.state(2)]
    for part in (ids[:, :4], ids[:, 4:]):
        logits, states[0] = rtl.run(part, states[0])
        expected, states[1] = golden.run(part, states[1])
        assert np.array_equal(logits, expected)
        assert np.array_equal(states[0], states[1])
    assert states[0].any()


def test_it_evaluates_like_golden(addition: Tape, tmp_path: Path) -> None:
    write_tape(addition, tmp_path / "a.tape")
    results = [
        evaluate_task(
            load_backend(tmp_path / "a.tape", name, lanes), "addition", digits=1, examples=4
        )
        for name, lanes in (("rtl", 16), ("golden", None))
    ]
    assert results[0].backend == "rtl"
    assert results[0].exact == results[1].exact


@pytest.mark.slow
def test_it_generates_like_golden(tmp_path: Path) -> None:
    tape = tape_of(trained(SMALL_TEXT, tmp_path))
    texts = [
        "".join(text for text, _ in generate(backend, "The ", 12, temperature=temperature, seed=5))
        for temperature in (0.0, 0.8)
        for backend in (RtlBackend(tape, lanes=16), GoldenBackend(tape))
    ]
    assert texts[0] == texts[1] != texts[2] == texts[3]


def tape_of_bits(seed: int = 5) -> Tape:
    """A random model that reads bits, of which a blank ends a text."""
    return replace(ODD.tape(seed, wild=False), tokenizer={"kind": "parity"})


def test_what_is_asked_for_reaches_the_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden model plays for the simulator: prompt, temperature, seed, number and stop."""
    chips = install(monkeypatch)
    tape = tape_of_bits()
    rtl = load(tape, 32)
    assert (rtl.name, rtl.choosable, rtl.design) == ("rtl", None, design_for(tape, 32))
    assert rtl.fraction_bits == GoldenBackend(tape).fraction_bits
    assert rtl.end_ids == GoldenBackend(tape).end_ids
    rows = rtl.generate([1, 2, 3], 6, temperature=100, seed=7, stop=None)
    (sequence,) = chips[-1].run.sequences
    assert not rtl.end_ids
    asked = Sequence(prompt=[1, 2, 3], generate=6, temperature=100, seed=7)
    assert sequence == asked
    assert rows == expect([asked], [tape])[0].rows.tolist()[2:]
    rtl.end_ids = (3, 1)  # of a text; the chip knows one of them
    rtl.generate([1], 2, temperature=0, seed=0, stop=None)
    assert chips[-1].run.sequences[0].stop == 3
    for stop in (0, 4):
        rtl.generate([1], 2, temperature=0, seed=0, stop=stop)
        assert chips[-1].run.sequences[0].stop == stop, "what is asked for goes before"


def test_the_state_of_every_sequence_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sequences of two layers, each from its state and to its state."""
    install(monkeypatch)
    config = replace(ODD.config, num_layers=2)
    tape = random_tape(np.random.default_rng(1), **config.to_dict())
    tape = replace(tape, tokenizer={"kind": "parity"})
    rtl, golden = RtlBackend(tape, lanes=16), GoldenBackend(tape)
    rng = np.random.default_rng(2)
    state = rng.integers(-3000, 3000, (2, 3, 20)).astype(np.int32)
    ids = rng.integers(0, 7, (3, 4))
    logits, after = rtl.run(ids, state)
    expected = golden.run(ids, state)
    assert np.array_equal(logits, expected[0])
    assert np.array_equal(after, expected[1])
    assert (rtl.state(3) == golden.state(3)).all()
    assert rtl.state(3).shape == (2, 3, 20)


def test_a_difference_in_the_chip_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(chip: GoldenChip) -> None:
        chip.logits[3] += 1

    install(monkeypatch, wrong)
    rtl = RtlBackend(tape_of_bits(), lanes=16)
    with pytest.raises(DivergenceError, match=r"golden model differ: .*'vector': 'logits'"):
        rtl.generate([1], 2, temperature=0, seed=0, stop=None)


def test_a_chip_that_differs_is_an_error(addition: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(tape: Tape, design: Design) -> Image:
        image = layout(tape, design)
        biases = [word ^ 0b11 << 5 for word in image.words["biases"]]  # the parity holds
        return replace(image, words=image.words | {"biases": biases})

    monkeypatch.setattr(sim.cosim.chip, "layout", faulty)
    rtl = RtlBackend(addition, lanes=16)
    with pytest.raises(
        DivergenceError, match=r"chip and golden model differ: .*'segment': 'layer 0 gates'"
    ):
        rtl.run(np.array([[30, 3, 12]]), rtl.state(1))

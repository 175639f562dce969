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
from mmfree.inference.backends import GoldenBackend, load_backend
from mmfree.inference.generate import generate
from mmfree.inference.scoring import evaluate_task
from mmfree.tape.pow2 import Tape, write_tape
from sim.cosim.backend import DivergenceError, RtlBackend
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained


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
        evaluate_task(load_backend(tmp_path / "a.tape", name, 16), "addition", digits=1, examples=4)
        for name in ("rtl", "golden")
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

"""Errors in a simulated chip, each at a port: compiled once, one of them chosen for each run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import flipped

import sim.cosim.chip
import sim.cosim.job
from hdl.accelerator import Accelerator
from mmfree.chip.sizing import design_for
from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.contract.shape import ModelConfig
from sim.cosim.run import CosimResult, Sequence, cosim
from tests.support.random_tapes import random_tape

pytestmark = pytest.mark.slow

CONFIG = ModelConfig(vocab_size=9, head_size=9, hidden_size=10, intermediate_size=14, num_layers=2)
TAPE = random_tape(np.random.default_rng(3), **CONFIG.to_dict())
DESIGN = design_for(TAPE, 16)
ASKED = [Sequence(prompt=[3, 1]), Sequence(prompt=[2], generate=3, temperature=64, seed=5)]
"""Positions 0 and 1, 2 to 4."""

NONE, LAST, ROW, STATE, LOGIT, COUNTER, FAULT = range(7)


class Planted(wiring.Component):
    """An accelerator of which an output is wrong, by the number on ``load.data``.

    From the third token of a run on: a flag ``last``, the row, a word of layer 1 of the state, a
    logit, a counter; or a fault that is hidden, because the token comes out all the same.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._inner = accelerator
        super().__init__(accelerator.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = self._inner
        wiring.connect(m, flipped(self), inner)
        tokens, chosen = Signal(8), Signal(8)
        m.d.comb += chosen.eq(self.load.data)
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += tokens.eq(tokens + 1)
        active = tokens > 2
        state_address, logits_address = (
            self._delayed(m, port.address) for port in (self.state, self.logits)
        )
        result = self.result.payload
        with m.If(active & (chosen == LAST)):
            m.d.comb += result.last.eq(~inner.result.payload.last)
        with m.If(active & (chosen == ROW)):
            m.d.comb += result.row.eq(inner.result.payload.row ^ 1)
        # Words of two values. Layer 1 begins after 12 channels; its channel 7.
        with m.If(active & (chosen == STATE) & (state_address == (12 + 7) // 2)):
            m.d.comb += self.state.data[1].eq(inner.state.data[1] ^ 1)
        with m.If(active & (chosen == LOGIT) & (logits_address == 8 // 2)):
            m.d.comb += self.logits.data[0].eq(inner.logits.data[0] ^ 1)
        with m.If(active & (chosen == COUNTER)):
            name = f"saturated_{SATURATION_SITES[-1]}"
            m.d.comb += self.counters[name].eq(inner.counters[name] + 1)
        with m.If(active & (chosen == FAULT)):
            # A token is withheld that the chip has played.
            m.d.comb += [
                self.fault.valid.eq(inner.result.valid),
                self.fault.payload.segment.eq(9),
                self.result.valid.eq(0),
                inner.result.ready.eq(self.fault.ready),
            ]
        return m

    @staticmethod
    def _delayed(m: Module, value: Any) -> Signal:
        """What comes two cycles after its address."""
        first, second = Signal.like(value), Signal.like(value)
        m.d.sync += [first.eq(value), second.eq(first)]
        return second


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Which error the next run has."""
    chosen = {"number": NONE}
    convert, run = sim.cosim.chip.convert_rtlil, sim.cosim.job.run

    def play(model: Any, module: str, folder: Path) -> None:
        assert module == "sim.cosim.testbench"
        (folder / "planted.json").write_text(json.dumps(chosen["number"]))
        run(model, "tests.support.sim.cocotb_planted", folder)

    unkept = sim.cosim.chip.generic_verilog.__wrapped__
    monkeypatch.setattr(sim.cosim.chip, "generic_verilog", unkept)
    monkeypatch.setattr(sim.cosim.chip, "convert_rtlil", lambda chip: convert(Planted(chip)))
    monkeypatch.setattr(sim.cosim.job, "run", play)
    return chosen


def play() -> CosimResult:
    return cosim([TAPE], DESIGN, ASKED)


def test_every_error_gets_its_verdict_and_its_place(planted: dict[str, int]) -> None:
    """Requests, not tokens, are counted by the chip: the third begins the second sequence."""
    assert (DESIGN.rows, DESIGN.post_width) == (4, 2), "the planted addresses are of these"
    result = play()
    assert result.bit_exact, result.divergence
    assert result.tokens == 5
    places = {
        LAST: ("last", 0),
        ROW: ("rows", 0),
        STATE: ("states", 10 + 7),
        LOGIT: ("logits", 8),
        COUNTER: (f"saturated_{SATURATION_SITES[-1]}", len(SATURATION_SITES) - 1),
    }
    for number, (vector, index) in places.items():
        planted["number"] = number
        result = play()
        assert not result.bit_exact, vector
        assert result.divergence is not None
        found = result.divergence
        assert (found["sequence"], found["position"], found["token"]) == (1, 0, 2), vector
        assert (found["segment"], found["vector"], found["index"]) == ("none", vector, index)
        assert found["expected"] != found["got"]
        assert result.tokens == 3
        assert sum(result.verdict.differing.values()) == 1
    planted["number"] = FAULT
    result = play()
    assert not result.bit_exact
    assert result.divergence is not None
    assert (result.divergence["segment"], result.divergence["fault"]) == ("head", "weights")
    assert (result.divergence["sequence"], result.divergence["position"]) == (1, 0)
    assert result.tokens == 2

"""The exact shapes of published checkpoints in RTL: whole tokens, every logit and state word."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hdl.planning.cycles import cycles_per_token
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.sizing import design_for_memory
from mmfree.contract.shape import AbsmaxConfig
from mmfree.inference.shapes import PUBLISHED
from sim.cosim.run import CosimResult, cosim
from sim.cosim.run_folder import Sequence
from sim.memory.model import Behaviour
from tests.support.integers.absmax_tapes import random_absmax_tape

PORTS = ExternalMemory(port_bits=128, ports=4)
"""20 rows x 16 columns."""

STEADY = Behaviour(latency=(60, 60), address_withheld=0)
MOST_SECONDS = 8 * 60
"""That 16 tokens of the 370M shape may take on two cores, once the simulation is built."""


def play(config: AbsmaxConfig, tokens: list[int], folder: Path) -> CosimResult:
    """Tokens of a random model, bit-exact and as fast as the cost model says."""
    tape = random_absmax_tape(folder, config, 0)
    design = design_for_memory(config, PORTS)
    asked = [Sequence(prompt=tokens)]
    cores = min(2, len(os.sched_getaffinity(0)), len(tokens))
    result = cosim([tape], design, asked, behaviour=STEADY, processes=cores)
    assert result.bit_exact, result.divergence or result.verdict.describe()
    assert result.tokens == len(tokens)
    words = config.head_size + config.num_state_words
    assert result.compared == result.due == len(tokens) * words
    assert result.cycles_per_token == cycles_per_token(config, design, memory_latency=60)
    return result


@pytest.mark.slow
def test_two_tokens_of_the_370m_shape(tmp_path: Path) -> None:
    result = play(PUBLISHED["370m"], [1, 31_999], tmp_path)
    assert result.lane_utilization > 0.97
    assert result.bandwidth_utilization is not None
    assert result.bandwidth_utilization > 0.98


@pytest.mark.long
def test_sixteen_tokens_of_the_370m_shape(tmp_path: Path) -> None:
    """The second run finds the simulation built."""
    play(PUBLISHED["370m"], [1], tmp_path)
    started = time.perf_counter()
    play(PUBLISHED["370m"], list(range(1, 17)), tmp_path)
    assert time.perf_counter() - started < MOST_SECONDS


@pytest.mark.long
def test_a_token_of_the_2700m_shape(tmp_path: Path) -> None:
    play(PUBLISHED["2.7b"], [1], tmp_path)

"""A published model's shape from an external memory: whole tokens in RTL, every bit."""

from __future__ import annotations

import pytest

from hdl.planning.cycles import cycles_per_token
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.sizing import design_for_memory
from mmfree.inference.shapes import SHAPES
from sim.cosim.run import cosim
from sim.cosim.run_folder import Sequence
from sim.memory.model import Behaviour
from tests.support.random_tapes import realistic_tape


@pytest.mark.slow
def test_tokens_of_370_million_weights_are_bit_exact() -> None:
    """Through four ports of 128 bits; two simulators share the positions."""
    config = SHAPES["370m"]
    tape = realistic_tape(0, config)
    design = design_for_memory(config, ExternalMemory(port_bits=128, ports=4))
    asked = [Sequence(prompt=[5, 31_999, 0])]
    steady = Behaviour(latency=(60, 60), address_withheld=0)
    result = cosim([tape], design, asked, behaviour=steady, processes=2)
    assert result.bit_exact, result.divergence or result.verdict.describe()
    assert result.compared == result.due == 3 * (config.head_size + config.num_state_words)
    assert result.cycles_per_token == cycles_per_token(config, design, memory_latency=60)
    assert result.lane_utilization > 0.983
    assert result.bandwidth_utilization is not None
    assert result.bandwidth_utilization > 0.99

"""The golden model of a tape is that of its arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmfree.golden.absmax import AbsmaxGolden
from mmfree.golden.opening import golden_of
from mmfree.golden.pow2 import Golden
from tests.support.integers.absmax_tapes import absmax_tape
from tests.support.random_tapes import random_tape


def test_each_arithmetic_has_its_golden_model(tmp_path: Path) -> None:
    absmax = golden_of(absmax_tape(tmp_path, {}))
    assert isinstance(absmax, AbsmaxGolden)
    assert absmax.fraction_bits == 16
    sizes = {"hidden_size": 3, "intermediate_size": 4, "num_layers": 1, "head_size": 2}
    tape = random_tape(np.random.default_rng(0), vocab_size=2, gate="hard", **sizes)
    pow2 = golden_of(tape)
    assert isinstance(pow2, Golden)
    assert pow2.fraction_bits == 9

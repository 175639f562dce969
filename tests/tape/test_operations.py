"""Operations per token, against counts made by playing the golden model."""

from __future__ import annotations

import numpy as np
import pytest

from mmfree.contract.shape import ModelConfig
from mmfree.golden.pow2 import Golden
from mmfree.tape.operations import count_operations
from tests.support.random_tapes import random_tape

CONFIG = ModelConfig(
    vocab_size=6, head_size=4, hidden_size=9, intermediate_size=13, num_layers=3, gate="sigmoid"
)
TAPE = random_tape(np.random.default_rng(0), **CONFIG.to_dict())


def test_counts_are_those_of_the_intermediates() -> None:
    golden = Golden(TAPE)
    sizes: dict[str, int] = {}

    def note(name: str, values: np.ndarray) -> None:
        key = name.rpartition("/")[2]
        sizes[key] = sizes.get(key, 0) + values.shape[-1]

    golden.step(np.array([1]), golden.state(), trace=note)
    operations = count_operations(TAPE)
    assert operations.ternary_additions == TAPE.num_ternary_weights
    assert operations.products == {
        "requantize": sizes["acc"],
        "square": sizes["q"],
        "noise": sizes["logits"],
        "scale": 3 * (3 + 1 + 2 + 1) + 1,
        "update_state": sizes["h"],
        "gated_product": sizes["u"],
    }
    assert operations.table_reads == {
        "reciprocal_root": sizes["R"],
        "sigmoid": sizes["f"],
        "gumbel": sizes["logits"],
        "silu": sizes["c"] + sizes["h"] + sizes["silu"],
    }


def test_zero_weights_add_nothing() -> None:
    nonzero = sum(int((m.trits != 0).sum()) for s in TAPE.segments for m in s.matrices)
    assert count_operations(TAPE).nonzero_weights == nonzero < TAPE.num_ternary_weights


@pytest.mark.parametrize("gate", ["hard", "signed"])
def test_other_gates_read_no_sigmoid(gate: str) -> None:
    tape = random_tape(np.random.default_rng(0), **{**CONFIG.to_dict(), "gate": gate})
    reads = count_operations(tape).table_reads
    assert reads == count_operations(TAPE).table_reads | {"sigmoid": 0}

"""Operations per token of a published checkpoint's tape, against what the golden model makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmfree.contract.shape import AbsmaxConfig
from mmfree.golden.absmax import AbsmaxGolden
from mmfree.tape.operations import count_operations
from tests.support.integers.absmax_tapes import absmax_tape, random_absmax_tape

CONFIG = AbsmaxConfig(vocab_size=7, hidden_size=9, intermediate_size=13, num_layers=3)


def test_counts_are_those_of_the_intermediates(tmp_path: Path) -> None:
    tape = random_absmax_tape(tmp_path, CONFIG, 1)
    golden = AbsmaxGolden(tape)
    sizes: dict[str, int] = {}

    def note(name: str, values: np.ndarray) -> None:
        key = name.rpartition("/")[2]
        sizes[key] = sizes.get(key, 0) + values.shape[-1]

    golden.step(np.array([1]), golden.state(), trace=note)
    operations = count_operations(tape)
    assert operations.ternary_additions == tape.num_ternary_weights
    # SiLU of i (c) and of h', of the gate; f has a sigmoid of its own.
    silu = sizes["c"] + sizes["h"] + sizes["gate"]
    # Bases are as long as the vectors of the segments that have a norm before their own.
    assert operations.products == {
        "embedding": sizes["embedding"],
        "gain": sizes["v"] + sizes["gained"],
        "square": sizes["w"] + sizes["gained"],
        # Three matrices, one, two (gate and up) and one; epsilon but for down.
        "scale": 3 * (2 * (3 + 1 + 2 + 1) + 3) + 2 + 1,
        "requantize": sizes["acc"],
        "interpolate": silu + sizes["f"],
        "silu": silu,
        "forget_gate": sizes["f"],
        "update_state": sizes["h"],
        "gated_product": sizes["u"],
        "noise": sizes["logits"],
    }
    assert operations.table_reads == {"sigmoid": silu + sizes["f"], "gumbel": sizes["logits"]}


def test_zero_weights_add_nothing(tmp_path: Path) -> None:
    tape = random_absmax_tape(tmp_path, CONFIG, 1)
    matrices = [matrix for segment in tape.segments for matrix in segment.matrices]
    nonzero = sum(int(np.count_nonzero(matrix.trits())) for matrix in matrices)
    assert count_operations(tape).nonzero_weights == nonzero < tape.num_ternary_weights
    assert count_operations(absmax_tape(tmp_path, {})).nonzero_weights == 0


def test_products_of_the_370m_model_are_a_third_of_a_percent(tmp_path: Path) -> None:
    """Without noise, which only a temperature above 0 asks for. Weights are left out: the formula
    that a small model of as many layers has is that of the large one.
    """

    def expected(d: int, i: int, vocabulary: int) -> int:
        # Per layer: gains 8 d + I, squares 6 d + I, requantized 5 d + 2 I, interpolated 3 d + I,
        # SiLU 2 d + I, forget gate d, state d, gate products d + I. The head: 4 d and its rows; the
        # embedding d.
        return 24 * (27 * d + 7 * i) + 5 * d + vocabulary + 24 * 17 + 3

    config = AbsmaxConfig(vocab_size=3, hidden_size=16, intermediate_size=44, num_layers=24)
    products = dict(count_operations(absmax_tape(tmp_path, {}, config=config)).products)
    assert products.pop("noise") == 3
    assert sum(products.values()) == expected(16, 44, 3)
    assert expected(1024, 2816, 32000) == 1_174_171
    additions = 24 * (4 * 1024**2 + 3 * 1024 * 2816) + 32000 * 1024
    assert round(100 * 1_174_171 / additions, 2) == 0.34

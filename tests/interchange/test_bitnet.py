"""The ``bitnet`` packing equals that of ``transformers`` bit for bit, whose own layer reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file

from mmfree.errors import InputError
from mmfree.interchange.bitnet import (
    bitnet_tensors,
    matrix_scale,
    pack_trits,
    unpack_trits,
    write_bitnet,
)
from mmfree.tape.pow2 import Tape
from tests.support.random_tapes import random_tape

bitnet = pytest.importorskip("transformers.integrations.bitnet", reason="extra hf is not installed")

SHAPES = [
    (4, 1),
    (8, 3),
    (64, 20),
    (256, 33),
    (1, 5),
    (2, 4),
    (3, 2),
    (5, 7),
    (6, 1),
    (7, 9),
    (9, 4),
    (10, 16),
    (15, 2),
]


def random_trits(rows: int, columns: int, seed: int = 0) -> NDArray[np.int8]:
    return (
        np.random.default_rng([seed, rows, columns])
        .integers(-1, 2, (rows, columns))
        .astype(np.int8)
    )


def test_a_hand_worked_byte() -> None:
    """Rows +1, 0, -1, +1 are codes 2, 1, 0, 2: 2 + 1 * 4 + 0 * 16 + 2 * 64."""
    assert pack_trits(np.array([[1], [0], [-1], [1]])).tolist() == [[134]]
    rows = np.array([[1], [-1], [0], [0], [-1], [1], [1], [-1]])
    # Two packed rows: the first holds rows 0, 2, 4, 6, the second 1, 3, 5, 7.
    assert pack_trits(rows).tolist() == [
        [2 + 4 * 1 + 16 * 0 + 64 * 2],
        [0 + 4 * 1 + 16 * 2 + 64 * 0],
    ]


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_packing_equals_that_of_transformers(rows: int, columns: int) -> None:
    trits = random_trits(rows, columns)
    packed = pack_trits(trits)
    # Theirs adds 1 to its argument in place.
    theirs = bitnet.pack_weights(torch.from_numpy(trits.copy())).numpy()
    assert packed.dtype == np.uint8
    assert np.array_equal(packed, theirs)
    assert np.array_equal(unpack_trits(packed, rows), trits)
    if rows % 4 == 0:
        assert np.array_equal(unpack_trits(packed), trits)


@pytest.mark.parametrize(("rows", "columns"), [shape for shape in SHAPES if shape[0] % 4 == 0])
@pytest.mark.parametrize("value", [None, -1, 0, 1])
def test_transformers_unpacks_what_we_pack(rows: int, columns: int, value: int | None) -> None:
    trits = (
        random_trits(rows, columns)
        if value is None
        else np.full((rows, columns), value, dtype=np.int8)
    )
    # Their unpacker compiles itself; uncompiled it needs no C++ compiler.
    with torch.compiler.set_stance("force_eager"):
        theirs = bitnet.unpack_weights(torch.from_numpy(pack_trits(trits)), dtype=torch.int8)
    assert np.array_equal(theirs.numpy(), trits)


def test_bad_input_is_refused() -> None:
    trits, packed = random_trits(6, 2), pack_trits(random_trits(6, 2))
    with pytest.raises(InputError, match=r"trits must be -1, 0 or 1, got values in 0\.\.2"):
        pack_trits(np.array([[0, 2]]))
    with pytest.raises(InputError, match=r"trits must be \[rows >= 1, columns\], got shape \(6,\)"):
        pack_trits(trits[:, 0])
    with pytest.raises(
        InputError, match=r"packed trits must be uint8 \[rows / 4, columns\], got int8 \(6, 2\)"
    ):
        unpack_trits(trits)  # type: ignore[arg-type]
    for rows in (4, 9):
        with pytest.raises(InputError, match=rf"2 packed rows hold 5\.\.8 rows, got rows {rows}"):
            unpack_trits(packed, rows)
    with pytest.raises(InputError, match="code 3 is not a trit"):
        unpack_trits(packed | np.uint8(3), 6)
    with pytest.raises(InputError, match="bits after row 5 are set"):
        unpack_trits(pack_trits(np.ones((6, 2), dtype=np.int8)), 5)


def tape_with(gate: str) -> Tape:
    """Rows of the head are no multiple of four."""
    sizes = {
        "hidden_size": 12,
        "intermediate_size": 20,
        "num_layers": 2,
        "vocab_size": 9,
        "head_size": 10,
    }
    return random_tape(np.random.default_rng(3), gate=gate, **sizes)


@pytest.fixture(scope="module")
def tape() -> Tape:
    return tape_with("hard")


def test_a_file_holds_the_whole_tape(tape: Tape, tmp_path: Path) -> None:
    write_bitnet(tape, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    matrices_of_layer = {
        *(f"mixer.{role}" for role in "ifgo"),
        *(f"glu.{role}" for role in ("gate", "up", "down")),
    }
    assert set(config["matrices"]) == {
        "head",
        *(f"layers.{layer}.{name}" for layer in (0, 1) for name in matrices_of_layer),
    }
    assert config["matrices"]["layers.1.glu.down"] == {
        "rows": 12,
        "fan_in": 20,
        "multiplier": tape.segments[7].matrices[0].multiplier,
        "exponent": tape.segments[7].matrices[0].exponent,
    }
    # What others look for, by their names; then the shape, by ours.
    assert {key: value for key, value in config.items() if key != "matrices"} == {
        "model_type": "mmfree-bitnet",
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
        },
        "tape_sha256": tape.sha256,
        "vocab_size": 9,
        "head_size": 10,
        "hidden_size": 12,
        "intermediate_size": 20,
        "num_layers": 2,
        "gate": "hard",
        "tokenizer": {"kind": "none"},
    }
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert tensors["embedding.weight"].dtype == torch.int8
    assert tensors["layers.0.mixer.f.bias"].dtype == torch.float32
    assert set(tensors) == set(bitnet_tensors(tape))
    matrices = {(s.layer, m.role): m for s in tape.segments for m in s.matrices}
    for name, facts in config["matrices"].items():
        layer = int(name.split(".")[1]) if name != "head" else None
        matrix = matrices.pop((layer, name.rpartition(".")[2]))
        assert np.array_equal(
            unpack_trits(tensors[f"{name}.weight"].numpy(), facts["rows"]), matrix.trits
        )
        assert (facts["multiplier"], facts["exponent"]) == (matrix.multiplier, matrix.exponent)
        scale = facts["multiplier"] / 256 * 2.0 ** facts["exponent"] / facts["fan_in"] ** 0.5
        assert tensors[f"{name}.weight_scale"].tolist() == [np.float32(scale)]
    assert not matrices, "every matrix is in the file"
    rows = tensors["embedding.weight"].numpy()
    assert np.array_equal(rows, tape.embedding)
    assert tensors["embedding.weight_scale"].item() == 2.0 ** (tape.embedding_shift - 9)


@pytest.mark.parametrize("gate", ["hard", "sigmoid", "signed"])
def test_biases_are_in_real_units(gate: str) -> None:
    tape = tape_with(gate)
    tensors = bitnet_tensors(tape)
    bias = tape.segments[0].matrices[1].bias
    assert bias is not None
    assert np.array_equal(
        tensors["layers.0.mixer.f.bias"] * (16 if gate == "sigmoid" else 64), bias
    )


def test_a_layer_of_transformers_computes_with_our_trits_and_scale(tape: Tape) -> None:
    """AutoBitLinear, the layer that config.json names: weights are trits times weight_scale."""
    tensors = bitnet_tensors(tape)
    matrix = tape.segments[1].matrices[0]
    columns = matrix.fan_in
    layer = bitnet.AutoBitLinear(columns, matrix.rows, bias=False)
    packed = torch.from_numpy(tensors["layers.0.mixer.o.weight"])
    rng = np.random.default_rng(0)
    # Values that its quantizer of activations passes unchanged: multiples of the largest over 127.
    x = torch.from_numpy(rng.integers(-127, 128, (5, columns)).astype(np.float32))
    x[:, 0] = 127
    with torch.compiler.set_stance("force_eager"), torch.no_grad():
        weight = bitnet.unpack_weights(packed, dtype=torch.float32)[: matrix.rows]
        layer.weight = torch.nn.Parameter(weight)
        layer.weight_scale = torch.from_numpy(tensors["layers.0.mixer.o.weight_scale"])
        y = layer(x)
    wanted = (x.numpy().astype(np.float64) @ matrix.trits.T.astype(np.float64)) * matrix_scale(
        matrix
    )
    assert np.allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-5)

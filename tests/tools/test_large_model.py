"""A large model's tape, and the program that times what is made of it: here of a small one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.golden.pow2 import Golden
from mmfree.tape.reading import open_pow2_tape
from tests.support.random_tapes import realistic_tape
from tools.measure import large_model

SMALL = ModelConfig(
    vocab_size=300,
    head_size=300,
    hidden_size=256,
    intermediate_size=704,
    num_layers=6,
    gate="sigmoid",
)


def test_a_realistic_tape_is_neither_saturated_nor_silent() -> None:
    """Also after layers: no vector is 0, values use their range, and few are clamped."""
    tape = realistic_tape(1, SMALL)
    assert tape.sha256 == realistic_tape(1, SMALL).sha256 != realistic_tape(2, SMALL).sha256
    zeros = [matrix.zeros() for segment in tape.segments for matrix in segment.matrices]
    assert 0.32 < min(zeros) <= max(zeros) < 0.35
    seen: dict[str, list[NDArray[np.int32]]] = {}
    golden, state = Golden(tape), None
    state = golden.state()
    for token in range(8):
        _, state = golden.step(
            np.array([token]),
            state,
            trace=lambda name, values: seen.setdefault(name.rpartition("/")[2], []).append(values),
        )
    spread = {name: float(np.std(np.concatenate(seen[name], axis=1))) for name in ("i", "g", "up")}
    assert all(8 < found < 40 for found in spread.values()), spread
    assert 256 < np.std(np.concatenate(seen["h"], axis=1)) < 4096
    assert 0.5 < np.std(np.concatenate(seen["logits"])) / 512 < 4
    assert all(values.any() for values in seen["u"] + seen["y"])
    num_values = 8 * sum(matrix.rows for segment in tape.segments for matrix in segment.matrices)
    assert sum(golden.saturations.values()) < num_values / 1000
    assert golden.saturations["projection"] < num_values / 10000


def test_the_program_times_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of both kinds of design; and keeps the tape."""
    tiny = replace(SMALL, hidden_size=16, intermediate_size=24, num_layers=1)
    monkeypatch.setitem(large_model.SHAPES, "370m", tiny)
    path = tmp_path / "a.tape"
    options = ["--lanes", "16", "--memory", "axi64", "--tokens", "3", "--out", str(path)]
    monkeypatch.setattr(sys, "argv", ["large_model", *options, "--json"])
    large_model.main()
    result = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in result["steps"]] == [
        *("tape made", "tape written", "tape opened", "golden model, a token"),
        *(
            f"{name}: {what}"
            for name in ("16 lanes", "axi64")
            for what in ("RTLIL", "Verilog", "layout", "memory files")
        ),
        "axi64: image",
    ]
    assert all(0 <= step["cpu_s"] < 60 > step["wall_s"] for step in result["steps"])
    assert all(0.01 < step["peak_gb"] < 4 for step in result["steps"])
    assert (result["shape"], result["tokens"]) == ("370m", 3)
    assert open_pow2_tape(path).sha256 == result["tape_sha256"] == realistic_tape(0, tiny).sha256
    monkeypatch.setattr(large_model, "emit", lambda steps, name, *rest: steps.take(name, list))
    monkeypatch.setattr(sys, "argv", ["large_model", "--tokens", "1"])
    large_model.main()
    heading, *lines, saturated = capsys.readouterr().out.splitlines()
    published = AbsmaxConfig(vocab_size=9, hidden_size=12, intermediate_size=9, num_layers=1)
    monkeypatch.setitem(large_model.PUBLISHED, "370m", published)
    monkeypatch.setattr(sys, "argv", ["large_model", "--tokens", "1", "--published", "--json"])
    large_model.main()
    of_published = json.loads(capsys.readouterr().out)
    assert list(of_published["saturations"]) == ["projection", "residual", "logit"]
    assert heading.split() == ["step", "CPU", "s", "wall", "s", "peak", "GB"]
    assert [line.split()[0] for line in lines] == [*["tape"] * 3, "golden", "256", "axi128x4"]
    assert saturated.startswith("saturated in 1 tokens: quantizer ")

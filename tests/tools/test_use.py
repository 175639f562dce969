"""What is measured of the fast player in use."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from mmfree.errors import CheckFailed
from mmfree.inference.scoring import TextResult
from tools.speed import use


def test_scoring_and_loading_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_layers": 1, "vocab_size": 300}
    monkeypatch.setitem(use.SHAPES, "370m", replace(use.SHAPES["370m"], head_size=300, **sizes))
    monkeypatch.setitem(use.PUBLISHED, "370m", replace(use.PUBLISHED["370m"], **sizes))
    monkeypatch.setattr(use, "ROUNDS", 1)
    monkeypatch.setattr(sys, "argv", ["use", "--bytes", "2000", "--json"])
    use.main()
    found = json.loads(capsys.readouterr().out)
    assert 1990 < found["scoring"]["bytes"] <= 2000
    for part in ("seconds", "model_seconds"):
        times = found["scoring"][part]
        assert times["ratio"] == times["golden"] / times["cpu"] > 0
    assert found["scoring"]["model_seconds"]["cpu"] < found["scoring"]["seconds"]["cpu"]
    # Of each layer 4 x 16 blocks, 2 x 24 and 24; 19 x 4 of the head; and the embedding.
    needed = 64 * (4 * 16 + 2 * 24 + 24 + 19 * 4) + 300 * 64
    for arithmetic in ("pow2", "absmax"):
        assert found["loading"][arithmetic]["needed_bytes"] == needed
        assert found["loading"][arithmetic]["open_seconds"] > 0
    monkeypatch.setattr(sys, "argv", ["use", "--bytes", "2000"])
    use.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["scoring", "scoring", "370m", "370m"]


def test_other_digits_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "ROUNDS", 1)
    scores = iter([1.0, 1.0000001])
    monkeypatch.setattr(
        use,
        "evaluate_text",
        lambda backend, text: TextResult(
            backend=backend.name,
            bits_per_byte=next(scores),
            bytes=1,
            tokens=1,
            token_perplexity=1.0,
        ),
    )
    with pytest.raises(CheckFailed, match="golden and cpu give other scores"):
        use.compare_scoring(100)

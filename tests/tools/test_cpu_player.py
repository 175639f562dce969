"""What is measured of the fast player."""

from __future__ import annotations

import json
import sys

import pytest

from tools.speed import cpu_player


@pytest.mark.parametrize("published", [[], ["--published"]], ids=["pow2", "absmax"])
def test_a_small_shape_is_measured(
    published: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu_player, "SECONDS", 0.02)
    monkeypatch.setattr(sys, "argv", ["cpu_player", "--sizes", "64", "96", "2", "50", *published])
    cpu_player.main()
    found = json.loads(capsys.readouterr().out)
    # 16 rows and 16 columns are a block of 64 bytes, and pages are huge.
    assert found["weights_bytes"] == 2 << 20
    assert found["threads"] == 1
    assert found["share_of_read"] > 0
    assert found["prompt_tokens_per_second"] > 0
    assert found["decode_tokens_per_second"] > 0
    assert found["read_gb_per_second"] > 0

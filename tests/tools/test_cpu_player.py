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
    # 16 rows and 16 columns are a block of 64 bytes: of each layer 4 x 16, 2 x 24 and 24, and 16.
    assert found["weights_bytes"] == 64 * (2 * (4 * 16 + 2 * 24 + 24) + 16)
    assert found["threads"] == 1
    assert found["share_of_read"] > 0
    assert found["prompt_tokens_per_second"] > 0
    assert found["decode_tokens_per_second"] > 0
    assert found["read_gb_per_second"] > 0

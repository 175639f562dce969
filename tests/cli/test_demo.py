"""The demo: the whole product once, and that it fails where it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmfree.cli import demo
from mmfree.cli.main import main
from mmfree.tape.operations import count_operations
from mmfree.tape.reading import open_chip_tape
from mmfree.training import presets
from mmfree.training.recipe import RunConfig
from tests.support.models import SMALL_ADDITION, SMALL_TEXT


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets that train in a second (and add wrongly), and small sums."""
    presets = {"addition": lambda: SMALL_ADDITION, "text": lambda: SMALL_TEXT}
    monkeypatch.setattr(demo, "PRESETS", presets)
    monkeypatch.setattr(demo, "DIGITS", 6)
    monkeypatch.setattr(demo, "GOLDEN_SUMS", 30)
    monkeypatch.setattr(demo, "TEXT_TOKENS", 5)


@pytest.mark.usefixtures("small")
def test_a_model_that_adds_wrongly_fails_though_the_chip_is_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--lanes", "16", "--json"]) == 1
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    passed = {check["name"]: check["passed"] for check in values["checks"]}
    assert passed == {
        "golden model, random sums": False,
        "golden model, full-carry sums": False,
        "chip equals golden model": True,
        "chip, sums": False,
    }
    tape = open_chip_tape(out / "model.tape")
    operations = count_operations(tape)
    assert values["sha256"] == tape.sha256
    assert values["parameters"] == SMALL_ADDITION.model.num_parameters
    assert values["adds_per_token"] == values["weights_per_token"] == tape.num_ternary_weights
    assert values["table_reads_per_token"] == sum(operations.table_reads.values())
    assert values["products_per_token"] == sum(operations.products.values())
    assert values["tokens"] == 3 * 15
    assert (out / "verilog" / "mmfree.v").is_file()
    assert "== training: addition\n" in captured.err


@pytest.mark.usefixtures("small")
def test_a_second_run_goes_on_with_the_trained_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo", "text", "--out", str(tmp_path), "--lanes", "16"]
    assert main(arguments) in (0, 1)
    first = capsys.readouterr()
    model = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()
    assert main(arguments) in (0, 1)
    second = capsys.readouterr()
    assert "going on with" in second.err
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == model
    assert first.out == second.out
    assert "the chip wrote:\nThe " in second.out
    assert "ternary additions per token" in second.out


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["addition", "text"])
def test_the_demo_holds(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a user runs it: training included."""
    assert main(["demo", preset, "--out", str(tmp_path), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert all(check["passed"] for check in values["checks"])
    assert values["bit_exact"]
    assert values["multipliers"] == 0
    config: RunConfig = presets.PRESETS[preset]()
    assert values["parameters"] == config.model.num_parameters
    if preset == "addition":
        assert values["lane_utilization"] >= 0.70
        assert values["tokens"] == 3 * 203

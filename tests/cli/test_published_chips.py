"""A folder as it was published, on the verbs of the accelerator, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sim.cosim.run
from mmfree.cli.main import main
from mmfree.tape.absmax import AbsmaxTape
from tests.support.command_line import last_error_of, run_json
from tests.support.published_checkpoints import (
    Shape,
    checkpoint_tensors,
    write_checkpoint,
    write_text_checkpoint,
)

SMALL = Shape(vocab_size=24, hidden_size=16, intermediate_size=256, num_layers=1)
LANES = ["--lanes", 16]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers and a tokenizer."""
    return write_text_checkpoint(tmp_path_factory.mktemp("published") / "model")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a tokenizer."""
    folder = tmp_path_factory.mktemp("published") / "small"
    return write_checkpoint(folder, SMALL, checkpoint_tensors(SMALL))


def test_a_folder_of_verilog_is_the_chip_of_a_published_checkpoint(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It plays the tape that `mmfree export` writes; nothing in it multiplies."""
    out, tape = tmp_path / "chip", tmp_path / "a.tape"
    run_json(capsys, "export", model, "--out", tape)
    made = run_json(capsys, "verilog", model, *LANES, "--out", out)
    assert made["multipliers"] == 0
    assert made["design"]["arithmetic"] == "absmax"
    assert made["tape_sha256"] == AbsmaxTape(tape).sha256 == AbsmaxTape(out / "model.tape").sha256
    uses = {unit["use"]: unit["uses_per_token"] for unit in made["shift_and_add_units"]}
    inspected = run_json(capsys, "inspect", model)
    products = inspected["operations"]["products"]
    assert sum(uses.values()) == sum(products.values())
    assert inspected["sha256"] == made["tape_sha256"]
    played = run_json(capsys, "cosim", out, "--prompt", "the old")
    assert played["bit_exact"]
    assert played["altered"] == []
    assert played["sha256"] == made["tape_sha256"]
    # The first words of the stream are gains.
    path = out / "weights_0.hex"
    lines = path.read_text().splitlines()
    lines[1] = f"{int(lines[1], 16) ^ 1:x}"
    path.write_text("\n".join([*lines, ""]))
    assert main(["cosim", str(out), "--json"]) == 1
    played = json.loads(capsys.readouterr().out)
    assert played["altered"] == ["weights_0.hex"]
    assert (played["divergence"]["fault"], played["divergence"]["segment"]) == (
        "weights",
        "embedding",
    )


@pytest.mark.slow
def test_a_folder_plays_from_an_external_memory(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the chip writes is what the golden model does."""
    words = ["--prompt", "the old", "--tokens", 3]
    played = run_json(capsys, "cosim", model, *words, "--memory", "axi64", "--withheld", 10)
    assert played["bit_exact"]
    assert (played["memory"], played["tokens"]) == ("axi64", played["tokens_due"])
    golden = run_json(capsys, "generate", model, *words, "--temperature", 0, "--backend", "golden")
    assert played["text"] == golden["text"]


def test_a_folder_without_a_tokenizer_plays_numbers(
    small: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """16 random ones; a prompt has none, nor has what the chip would write."""
    played = run_json(capsys, "cosim", small, *LANES)
    assert (played["bit_exact"], played["tokens"], played["text"]) == (True, 16, None)
    monkeypatch.setattr(sim.cosim.run, "write_chip", None)
    message = last_error_of(capsys, "cosim", small, *LANES, "--prompt", "a")
    assert "the tape has no tokenizer: put tokenizer.json or tokenizer.model into" in message
    image = ["--memory", "axi64:1K", "--out", tmp_path / "chip"]
    assert "too small; use a larger memory" in last_error_of(capsys, "verilog", small, *image)
    assert not (tmp_path / "chip").exists()


@pytest.mark.long
def test_watts_of_a_published_checkpoint(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its blocks switch, and the energy of all is that of the chip."""
    out = tmp_path / "power"
    values = run_json(capsys, "power", small, *LANES, "--out", out)
    assert values["ternary_weights"] == 4 * 16**2 + 3 * 16 * 256 + 24 * 16
    assert {"activations", "gain_unit", "squares", "post", "array"} < values["by_block"].keys()
    total = values["joules_per_token"]["best"]
    assert sum(block["best"] for block in values["by_block"].values()) == pytest.approx(total)
    activity = json.loads((out / "activity.json").read_text())
    assert activity["text"] == "random tokens: the tape has no tokenizer"
    assert activity["tokens"] == 32
    assert (out / "power.html").is_file()


@pytest.mark.long
def test_a_bitstream_of_a_published_checkpoint(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--board", "ulx3s-85f", "--clock", 25, "--out", tmp_path / "built"]
    values = run_json(capsys, "build", small, *LANES, *arguments)
    assert values["dsp"] == 0
    assert values["clock_met"]
    assert values["design"]["arithmetic"] == "absmax"

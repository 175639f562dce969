"""Training by several processes (gloo on one machine), and in parts: the same loss, exact resumption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmfree.checkpoint import METRICS_NAME, MODEL_NAME, load_training_state
from mmfree.recipe import RunConfig
from mmfree.train import train
from tests.test_train import TINY

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from mmfree.train import train
from tests.test_train import TINY
folder, stop_at, resume = sys.argv[1:]
config = replace(TINY, recipe=replace(TINY.recipe, steps=12, batch_size=5))
train(config, Path(folder), seed=3, resume=resume == "resume", stop_at=int(stop_at) or None)
"""


def launch(tmp_path: Path, folder: Path, stop_at: int, resume: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    # torchrun starts the script from its own folder: the project is found by PYTHONPATH.
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, str(script), str(folder), str(stop_at), resume],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )


def losses(folder: Path) -> list[float]:
    return [float(line.split(",")[1]) for line in (folder / METRICS_NAME).read_text().splitlines()[1:]]


def test_two_processes_learn_as_one_does_and_resume_bit_for_bit(tmp_path: Path) -> None:
    """Five rows: three for one process, two for the other."""
    for folder, stop_at, resume in (("whole", 0, ""), ("parts", 5, ""), ("parts", 0, "resume")):
        result = launch(tmp_path, tmp_path / folder, stop_at, resume)
        assert result.returncode == 0, result.stderr[-2000:]
    for name in (MODEL_NAME, METRICS_NAME):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    whole, parts = (load_training_state(tmp_path / name) for name in ("whole", "parts"))
    assert (whole.step, whole.processes) == (parts.step, parts.processes) == (12, 2)
    for name, moments in whole.moments.items():
        assert all(torch.equal(value, parts.moments[name][key]) for key, value in moments.items())
    config = replace(TINY, recipe=replace(TINY.recipe, steps=12, batch_size=5))
    train(config, tmp_path / "one", seed=3)
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    with pytest.raises(ValueError, match="trained by 2 processes, this run has 1"):
        train(config, tmp_path / "parts", seed=3, resume=True)


@pytest.mark.parametrize("accumulate", [2, 5])
def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path, accumulate: int) -> None:
    recipe = replace(TINY.recipe, steps=12, batch_size=5)
    train(replace(TINY, recipe=recipe), tmp_path / "whole")
    train(replace(TINY, recipe=replace(recipe, accumulate=accumulate)), tmp_path / "parts")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    assert losses(tmp_path / "parts") != losses(tmp_path / "whole"), "sums in another order"


def test_more_parts_than_rows_are_refused(tmp_path: Path) -> None:
    config = replace(TINY, recipe=replace(TINY.recipe, batch_size=2, accumulate=3))
    with pytest.raises(ValueError, match=r"batch_size 2 cannot be cut into 3 parts .1 processes, accumulate 3"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bfloat16_changes_gradients_alone(tmp_path: Path) -> None:
    """The first loss is of the same forward pass; the second step's weights differ, and learning goes on."""
    low = replace(TINY, recipe=replace(TINY.recipe, precision="bf16"))
    train(TINY, tmp_path / "fp32")
    train(low, tmp_path / "bf16")
    full, half = losses(tmp_path / "fp32"), losses(tmp_path / "bf16")
    assert half[0] == full[0]
    assert half[2:] != full[2:]
    assert half == pytest.approx(full, rel=0.05)


def transformer() -> RunConfig:
    return replace(TINY, architecture="transformer")


def test_the_baseline_trains_with_the_same_loop(tmp_path: Path) -> None:
    easy = replace(transformer(), recipe=replace(TINY.recipe, steps=150, batch_size=32, length=1))
    assert train(easy, tmp_path / "run").loss < 1.2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["architecture"] == "transformer"
    train(transformer(), tmp_path / "whole")
    for stop_at in (4, None):
        train(transformer(), tmp_path / "parts", resume=stop_at is None, stop_at=stop_at)
    whole, parts = (load_training_state(tmp_path / name).weights for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:Dynamo detected:UserWarning")
def test_a_compiled_model_learns_the_same(tmp_path: Path) -> None:
    """Forward is exact compiled, too; gradients differ in their last bits."""
    recipe = replace(TINY.recipe, steps=8)
    train(replace(TINY, recipe=recipe), tmp_path / "eager")
    train(replace(TINY, recipe=replace(recipe, compile=True)), tmp_path / "compiled")
    eager, compiled = losses(tmp_path / "eager"), losses(tmp_path / "compiled")
    assert compiled[0] == pytest.approx(eager[0], rel=1e-6)
    assert compiled == pytest.approx(eager, rel=1e-2)

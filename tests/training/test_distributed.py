"""Training by several processes (gloo on one machine), in parts, and with a sharded model.

The loss is the same, and resumption exact.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

import mmfree.training.loop
from mmfree.errors import InputError
from mmfree.training.checkpoint import MODEL_NAME, load_training_state
from mmfree.training.loop import FOLLOW_STEPS
from mmfree.training.metrics import METRICS_NAME
from mmfree.training.presets import modular_model
from mmfree.training.recipe import TRAINING_NAME, RunConfig
from mmfree.training.train import train
from tests.training.test_train import TINY, same

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import mmfree.training.loop
import mmfree.training.train
from mmfree.errors import InputError, Stopped
from mmfree.training.recipe import RunConfig
own_batch = mmfree.training.loop.training_batch
for name, (config, options) in json.load(open(sys.argv[1])).items():
    if killed_at := options.pop("killed_at", 0):
        mmfree.training.loop.SAVE_SECONDS, batches = 0.0, []
        def batch(*arguments):
            batches.append(0)
            return own_batch(*arguments) if len(batches) <= killed_at else os._exit(9)
        mmfree.training.loop.training_batch = batch
    if stopped_at := options.pop("stopped_at", 0):
        batches = []
        def batch(*arguments):
            batches.append(0)
            if len(batches) == stopped_at and os.environ["RANK"] == "1":
                signal.raise_signal(signal.SIGTERM)
            return own_batch(*arguments)
        mmfree.training.loop.training_batch = batch
    folder = Path(sys.argv[1]).parent / options.pop("folder", name)
    if "teacher" in options:
        options["teacher"] = folder.with_name(options["teacher"])
    try:
        result = mmfree.training.train.train(RunConfig.from_dict(config), folder, seed=3, **options)
        values = {"held_bytes": result.held_bytes}
    except (InputError, Stopped) as error:
        values = {"error": str(error)}
    mmfree.training.loop.training_batch = own_batch
    folder.with_name(f"{name}.{os.environ['RANK']}.json").write_text(json.dumps(values))
"""
"""Runs, one after another: config and options of ``train`` by name, and where both processes are
killed.
"""

FIVE_ROWS = replace(TINY, recipe=replace(TINY.recipe, steps=12, batch_size=5))
UNCLIPPED = RunConfig(
    model=replace(TINY.model, hidden_size=32, intermediate_size=32, num_layers=2),
    recipe=replace(FIVE_ROWS.recipe, clip=1e9, embedding_rate=2.0),
)
"""Every share of a tensor is a multiple of 16 elements: AdamW's kernel rounds what is left over in
another way.
"""

IN_PARTS = replace(FIVE_ROWS, recipe=replace(FIVE_ROWS.recipe, accumulate=2, precision="bf16"))
FOLLOWED = RunConfig(
    model=replace(modular_model(), hidden_size=32, intermediate_size=32),
    recipe=replace(
        UNCLIPPED.recipe, task="modular-addition", length=1, batch_size=8, steps=FOLLOW_STEPS
    ),
)
"""Saved right after a score, which is a forward pass without a backward one."""

Runs = dict[str, tuple[RunConfig, dict[str, Any]]]
PAIRS = {
    "whole": FIVE_ROWS,
    "unclipped": UNCLIPPED,
    "baseline": replace(UNCLIPPED, architecture="transformer"),
    "followed": FOLLOWED,
    "in parts": IN_PARTS,
    "baseline in parts": replace(IN_PARTS, architecture="transformer"),
}
"""Each without and with shares."""

BEGUN: Runs = (
    {name: (config, {}) for name, config in PAIRS.items()}
    | {f"sharded {name}": (config, {"shard": True}) for name, config in PAIRS.items()}
    | {
        "taught": (FIVE_ROWS, {"teacher": "baseline"}),
        "sharded taught": (FIVE_ROWS, {"teacher": "baseline", "shard": True}),
        "stopped": (FIVE_ROWS, {"stopped_at": 4}),
        "parts": (FIVE_ROWS, {"stop_at": 5}),
        "sharded parts": (FIVE_ROWS, {"shard": True, "killed_at": 7}),
    }
)
RESUMED: Runs = {
    "shares of what was whole": (FIVE_ROWS, {"folder": "parts", "resume": True, "shard": True}),
    "whole of what was shared": (FIVE_ROWS, {"folder": "sharded parts", "resume": True}),
    "stopped": (FIVE_ROWS, {"resume": True}),
    "parts": (FIVE_ROWS, {"resume": True}),
    "sharded parts": (FIVE_ROWS, {"resume": True, "shard": True}),
}


def launch(folder: Path, runs: Runs) -> subprocess.CompletedProcess[str]:
    """Make runs with two processes."""
    folder.joinpath("script.py").write_text(SCRIPT)
    arguments = {name: (config.to_dict(), options) for name, (config, options) in runs.items()}
    folder.joinpath("runs.json").write_text(json.dumps(arguments))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    # torchrun starts the script from its own folder: the project is found by PYTHONPATH.
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, str(folder / "script.py"), str(folder / "runs.json")],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BEGUN, the last of them killed, and then RESUMED by new processes."""
    folder = tmp_path_factory.mktemp("runs")
    killed = launch(folder, BEGUN)
    assert "exitcode  : 9" in killed.stderr, killed.stderr[-3000:]
    assert load_training_state(folder / "sharded parts").step in (6, 7)
    # One of two was asked to stop, in its fourth step: both did, after it.
    said = told(folder, "stopped", "error")
    assert said[0] == said[1]
    assert said[0].startswith("stopped and saved at step 4 of 12")
    assert load_training_state(folder / "stopped").step == 4
    resumed = launch(folder, RESUMED)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    return folder


def told(runs: Path, name: str, value: str) -> list[Any]:
    """What both processes said about a run."""
    return [json.loads((runs / f"{name}.{rank}.json").read_text())[value] for rank in (0, 1)]


def losses(folder: Path) -> list[float]:
    return [
        float(line.split(",")[1]) for line in (folder / METRICS_NAME).read_text().splitlines()[1:]
    ]


@pytest.mark.parametrize("sharded", ["", "sharded "])
def test_two_processes_resume_bit_for_bit(runs: Path, sharded: str) -> None:
    """Sharded, the first part ends by a kill."""
    one, other = runs / f"{sharded}whole", runs / f"{sharded}parts"
    for name in (MODEL_NAME, METRICS_NAME):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    whole, parts = (load_training_state(folder) for folder in (one, other))
    assert (
        (whole.step, whole.processes, whole.sharded)
        == (parts.step, parts.processes, parts.sharded)
        == (12, 2, bool(sharded))
    )
    assert set(whole.moments) == set(whole.weights)
    for name, moments in whole.moments.items():
        assert set(moments) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(value, parts.moments[name][key]) for key, value in moments.items())


def test_two_processes_of_which_one_was_asked_to_stop_resume_bit_for_bit(runs: Path) -> None:
    for name in (MODEL_NAME, METRICS_NAME):
        assert (runs / "stopped" / name).read_bytes() == (runs / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    "said",
    [
        "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234",
        "Connection reset",
        "Timed out waiting for the other",
        "write: Broken pipe",
        "the remote peer has gone",
    ],
)
def test_a_process_that_is_gone_is_no_bug_of_the_other(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(mmfree.training.loop.Run, "go", lost)
    with pytest.raises(RuntimeError, match=re.escape(said)):
        train(TINY, tmp_path / "alone")
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    with pytest.raises(InputError, match="another process of this run has ended"):
        train(TINY, tmp_path / "run")
    said = "shape '[3]' is invalid for input of size 4"
    with pytest.raises(RuntimeError, match="is invalid"):
        train(TINY, tmp_path / "run")


def test_two_processes_learn_as_one_does(runs: Path, tmp_path: Path) -> None:
    """Five rows: three for one process, two for the other."""
    train(FIVE_ROWS, tmp_path / "one", seed=3)
    for name in ("whole", "sharded whole"):
        assert losses(runs / name) == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    with pytest.raises(InputError, match="trained by 2 processes, this run has 1"):
        train(FIVE_ROWS, runs / "parts", seed=3, resume=True)


def test_two_processes_are_taught_as_one_is(runs: Path, tmp_path: Path) -> None:
    train(FIVE_ROWS, tmp_path / "one", seed=3, teacher=runs / "baseline")
    for name in ("taught", "sharded taught"):
        assert losses(runs / name) == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
        assert losses(runs / name) != pytest.approx(losses(runs / "whole"), rel=1e-4)


@pytest.mark.parametrize("name", ["unclipped", "baseline", "followed"])
def test_a_sharded_run_is_the_same_run(runs: Path, name: str) -> None:
    """Bit for bit, where clipping does not clip, for it adds up a norm in another order."""
    one, other = runs / name, runs / f"sharded {name}"
    files = {path.name for path in one.iterdir()}
    assert files == {path.name for path in other.iterdir()}
    for file in files - {TRAINING_NAME}:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    whole, shared = load_training_state(one), load_training_state(other)
    for key, moments in whole.moments.items():
        assert all(torch.equal(value, shared.moments[key][kind]) for kind, value in moments.items())


def test_a_sharded_run_clips_and_accumulates(runs: Path) -> None:
    assert losses(runs / "sharded whole") == pytest.approx(losses(runs / "whole"), rel=1e-5)
    for name in ("in parts", "baseline in parts"):
        assert losses(runs / f"sharded {name}") == pytest.approx(losses(runs / name), rel=1e-3)


@pytest.mark.parametrize("name", ["whole", "parts"])
def test_each_process_holds_about_half(runs: Path, name: str) -> None:
    """Weights and two moments of each; the counts of steps are with both."""
    (whole, same), shares = (
        told(runs, name, "held_bytes"),
        told(runs, f"sharded {name}", "held_bytes"),
    )
    assert (
        whole
        == same
        == 4
        * sum(
            3 * weight.numel() + 1 for weight in load_training_state(runs / name).weights.values()
        )
    )
    assert all(0.48 < share / whole < 0.53 for share in shares)


def test_sharded_and_whole_runs_do_not_go_on_with_each_other(runs: Path) -> None:
    for error in told(runs, "shares of what was whole", "error"):
        assert (
            "parts: the checkpoint was trained without sharding: sums would differ; resume without"
            " --shard" in error
        )
    for error in told(runs, "whole of what was shared", "error"):
        assert (
            "sharded parts: the checkpoint was trained sharded: sums would differ; resume with"
            " --shard" in error
        )


def test_sharding_needs_processes(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=(
            "--shard spreads a model over processes, and this run has one: start it with torchrun"
        ),
    ):
        train(TINY, tmp_path / "run", shard=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("ACCELERATE_MIXED_PRECISION", "bf16", "use mixed precision .* the recipe says that"),
        ("ACCELERATE_MIXED_PRECISION", "fp16", "the recipe says that .precision"),
        ("ACCELERATE_DOWNCAST_BF16", "true", "the recipe says that"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "use gradient accumulation .*accumulate"),
        ("ACCELERATE_GRADIENT_CLIPPING", "0.1", "the recipe says that .clip"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "use compilation .* compile"),
        ("ACCELERATE_USE_FSDP", "true", "use FSDP .* mmfree train --shard does that"),
        ("ACCELERATE_USE_DEEPSPEED", "True", "use DeepSpeed .* mmfree train --shard does that"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "use Megatron-LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true", "use parallelism"),
    ],
)
def test_the_recipe_alone_says_how_to_train(
    variable: str, value: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=rf"{variable}={value}.*no effect") as caught:
        train(TINY, tmp_path / "run")
    assert re.search(remedy, str(caught.value))
    assert not list(tmp_path.iterdir())


def test_settings_that_ask_for_nothing_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `accelerate launch` sets by itself, and what accelerate reads where nothing is said."""
    few = replace(TINY, recipe=replace(TINY.recipe, steps=3))
    train(few, tmp_path / "plain")
    for variable, value in (
        ("ACCELERATE_MIXED_PRECISION", "no"),
        ("ACCELERATE_DYNAMO_BACKEND", "NO"),
        ("ACCELERATE_DYNAMO_MODE", "default"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"),
        ("ACCELERATE_USE_CPU", "True"),
        ("ACCELERATE_USE_FSDP", "false"),
    ):
        monkeypatch.setenv(variable, value)
    train(few, tmp_path / "launched")
    assert same(tmp_path / "plain", tmp_path / "launched")


@pytest.mark.parametrize("accumulate", [2, 5])
def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path, accumulate: int) -> None:
    recipe = replace(TINY.recipe, steps=12, batch_size=5)
    train(replace(TINY, recipe=recipe), tmp_path / "whole")
    train(replace(TINY, recipe=replace(recipe, accumulate=accumulate)), tmp_path / "parts")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    assert losses(tmp_path / "parts") != losses(tmp_path / "whole"), "sums in another order"


def test_more_parts_than_rows_are_refused(tmp_path: Path) -> None:
    config = replace(TINY, recipe=replace(TINY.recipe, batch_size=2, accumulate=3))
    with pytest.raises(
        InputError, match=r"batch_size 2 cannot be cut into 3 parts .1 processes, accumulate 3"
    ):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bfloat16_changes_gradients_alone(tmp_path: Path) -> None:
    """The first loss is of the same forward pass; from the second step on the weights differ.

    Both models learn.
    """
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
    assert (
        json.loads((tmp_path / "run" / "config.json").read_text())["architecture"] == "transformer"
    )
    train(transformer(), tmp_path / "whole")
    for stop_at in (4, None):
        train(transformer(), tmp_path / "parts", resume=stop_at is None, stop_at=stop_at)
    whole, parts = (load_training_state(tmp_path / name).weights for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch", "ignore:Dynamo detected:UserWarning"
)
def test_a_compiled_model_learns_the_same(tmp_path: Path) -> None:
    """Forward is exact compiled, too; gradients differ in their last bits."""
    recipe = replace(TINY.recipe, steps=8)
    train(replace(TINY, recipe=recipe), tmp_path / "eager")
    train(replace(TINY, recipe=replace(recipe, compile=True)), tmp_path / "compiled")
    eager, compiled = losses(tmp_path / "eager"), losses(tmp_path / "compiled")
    assert compiled[0] == pytest.approx(eager[0], rel=1e-6)
    assert compiled == pytest.approx(eager, rel=1e-2)


@pytest.mark.slow
def test_a_compiled_sharded_model_learns_the_same(runs: Path, tmp_path: Path) -> None:
    compiled = replace(FIVE_ROWS, recipe=replace(FIVE_ROWS.recipe, compile=True))
    result = launch(tmp_path, {"compiled": (compiled, {"shard": True})})
    assert result.returncode == 0, result.stderr[-3000:]
    assert losses(tmp_path / "compiled") == pytest.approx(losses(runs / "sharded whole"), rel=1e-2)


def test_a_process_that_uses_accelerate_in_another_way_is_refused(tmp_path: Path) -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(mixed_precision="bf16", cpu=True)
    try:
        with pytest.raises(InputError, match="set up in another way in this process"):
            train(TINY, tmp_path / "run")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert not (tmp_path / "run").exists()


def test_an_environment_that_names_processes_that_are_not_there(tmp_path: Path) -> None:
    """As a cluster may set for whatever it starts."""
    program = (
        "import sys; from mmfree.cli.main import main;"
        f"sys.exit(main(['train', 'parity', '--out', {str(tmp_path / 'run')!r}]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {"RANK": "3", "WORLD_SIZE": "4"}
    environment.pop("MASTER_ADDR", None)
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert "what the environment says (RANK, WORLD_SIZE)" in found.stderr
    assert "start several processes with torchrun, or unset these" in found.stderr
    assert found.stderr.count("mmfree: error") == 1
    assert not list(tmp_path.iterdir())

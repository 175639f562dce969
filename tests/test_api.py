"""The functions of the package: the whole chain from Python, as the command line does it."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mmfree
from mmfree import api
from mmfree.chip.sizing import design_for
from mmfree.cli.parser import build_parser
from mmfree.errors import InputError
from mmfree.inference.backends import Backend
from mmfree.inference.scoring import TaskResult, TextResult
from mmfree.inference.tape_backends import TapeBackend
from mmfree.tape.pow2 import write_tape
from mmfree.training.loop import TrainingResult
from sim.cosim.run import CosimResult
from tests.support.below import Below
from tests.support.models import SMALL_ADDITION, SMALL_TEXT
from tests.support.published_checkpoints import write_text_checkpoint
from tests.support.verbs import CASES
from tests.support.verbs.case import SUM_TAPE, TEXT_TAPE
from tests.support.verbs.chips import DESIGN
from tests.support.verbs.models import SUM_BACKEND, TEXT_BACKEND


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    (folder / "config.json").write_text(json.dumps(SMALL_ADDITION.to_dict()))
    mmfree.train(str(folder / "config.json"), folder / "run", seed=3)
    return folder / "run"


def test_from_a_checkpoint_to_a_chip(run: Path, tmp_path: Path) -> None:
    tape = tmp_path / "a.tape"
    exported = mmfree.export(str(run), str(tape))
    assert exported.tape.sha256 == mmfree.export(run, tape, force=True).tape.sha256
    assert exported.ranges[0].segment == "embedding"
    player, fakequant = mmfree.load(tape), mmfree.load(run)
    assert (player.name, fakequant.name) == ("cpu", "fakequant")
    answer = mmfree.generate(player, "12+34")
    assert answer == mmfree.generate(str(run), "12+34") == mmfree.generate(fakequant, "12+34")
    result = mmfree.cosim(tape, prompt="12+34", lanes=16)
    assert result.bit_exact
    assert result.tokens == 7
    scored = mmfree.evaluate(player, digits=2, examples=5)
    assert isinstance(scored, TaskResult)
    assert (scored.task, scored.examples) == ("addition", 5)
    chip = mmfree.verilog(str(tape), tmp_path / "chip", lanes=16)
    assert (chip.multipliers, chip.lanes, chip.folder) == (0, 16, tmp_path / "chip")
    assert chip.to_dict() == json.loads((tmp_path / "chip" / "design.json").read_text())
    assert chip.tape_sha256 == exported.tape.sha256
    assert chip.unit_luts == sum(unit.count * unit.luts_each for unit in chip.units)
    with pytest.raises(InputError, match="exists already"):
        mmfree.verilog(tape, tmp_path / "chip", lanes=16)


PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_examples_of_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after another, with a model that is trained in a moment and a chip that is small."""
    monkeypatch.chdir(tmp_path)
    Path("small.json").write_text(json.dumps(SMALL_ADDITION.to_dict()))
    smaller = {'"addition", ': '"small.json", ', "lanes=64": "lanes=16", "digits=20": "digits=5"}
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        for text, small in smaller.items():
            example = example.replace(text, small)
        exec(compile(example, "docs/api.md", "exec"), names)
    assert {"small.json", "runs", "sums.tape", "chip"} <= set(os.listdir())
    said = capsys.readouterr().out
    assert "16 lanes, 0 multipliers" in said
    assert "nowhere.tape: no such file or folder" in said
    assert "int32 (2, " in said
    assert all(f"mmfree.{name}(" in "".join(EXAMPLES) for name in mmfree.__all__)


def test_every_function_and_result_of_the_documentation_exists() -> None:
    rows = re.findall(r"^\| `(\w+)\(([\w, ]+)\)` \|.*\| (?:an? )?`(\w+)`(.*) \|$", PAGE, re.M)
    assert {row[0] for row in rows} == {*mmfree.__all__} - {"generate"}
    results: list[type] = [Backend, TrainingResult, TextResult, TaskResult]
    results += [api.Exported, api.Fitted, api.Generated]
    known = {result.__name__: result for result in [*results, CosimResult]}
    for function, parameters, result, rest in rows:
        signature = inspect.signature(getattr(mmfree, function)).parameters
        assert list(signature)[: parameters.count(",") + 1] == parameters.split(", ")
        for name in re.findall(r"`(\w+)`", rest):
            fields = {*dir(known[result]), *inspect.get_annotations(known[result])}
            assert name in fields | known.keys(), f"{result}.{name}"


def test_a_run_folder_is_played_evaluated_and_exported(run: Path, tmp_path: Path) -> None:
    """As a demo leaves it: its tape in integers, its checkpoint by torch."""
    folder = tmp_path / "demo"
    shutil.copytree(run, folder / "checkpoint")
    assert mmfree.load(folder).name == "fakequant", "there is no tape yet"
    mmfree.export(folder, folder / "model.tape")
    tape, _ = api.chip_for(folder)
    assert [mmfree.load(folder, name).name for name in (None, "float")] == ["cpu", "float"]
    assert api.chip_for(run)[0].sha256 == tape.sha256
    assert api.chip_for(folder)[1] == design_for(tape, 64)
    own = {"design": design_for(tape, 16, "1.6").to_dict()}
    (folder / "demo.json").write_text(json.dumps(own))
    assert api.chip_for(folder)[1] == design_for(tape, 16, "1.6"), "the demo's own"
    assert api.chip_for(folder, lanes=32)[1] == design_for(tape, 32, "1.6"), "but what is asked for"
    assert api.chip_for(folder, bits="2")[1] == design_for(tape, 16, "2")
    write_tape(SUM_TAPE, folder / "model.tape")
    played = mmfree.load(folder)
    assert isinstance(played, TapeBackend)
    assert played.tape.sha256 == SUM_TAPE.sha256, "the tape, not what the checkpoint would become"
    said: list[str] = []
    api.chip_for(run, progress=said.append)
    assert said == [f"exporting {run} to a tape"]
    (folder / "design.json").touch()
    with pytest.raises(
        InputError, match="a folder that `mmfree verilog` wrote, which `mmfree cosi"
    ):
        api.chip_for(folder)


def test_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL_TEXT.to_dict()))
    (tmp_path / "data.txt").write_text("a small text, again and again. " * 100)
    data = str(tmp_path / "data.txt")
    mmfree.train(str(tmp_path / "config.json"), str(tmp_path / "run"), data=[data])
    score = mmfree.evaluate(tmp_path / "run", data=data)
    assert isinstance(score, TextResult)
    assert 0 < score.bits_per_byte < 8
    held_out = mmfree.evaluate(tmp_path / "run")
    assert isinstance(held_out, TextResult)
    assert held_out.bytes == score.bytes // 10 == 310
    assert mmfree.evaluate(mmfree.load(tmp_path / "run")) == held_out, "what is loaded knows it too"
    (tmp_path / "data.txt").write_text("another text, again and again. " * 100)
    with pytest.raises(InputError, match="no longer the text that the model was trained on"):
        mmfree.evaluate(tmp_path / "run")
    (tmp_path / "data.txt").write_text("a small text, again and again. " * 100)
    assert len(mmfree.generate(tmp_path / "run", "a ", 5)) <= 5
    exported = mmfree.export(tmp_path / "run", tmp_path / "b.tape", data=data)
    assert exported.tape.arithmetic == "pow2"
    assert exported.source == data
    again = mmfree.export(tmp_path / "run", tmp_path / "c.tape")
    assert again.source == f"{data}, held out in training"
    assert again.tape.sha256 == exported.tape.sha256
    with pytest.raises(InputError, match="--field is of the records of --data"):
        mmfree.export(tmp_path / "run", tmp_path / "d.tape", field="text")


def test_a_published_checkpoint(tmp_path: Path) -> None:
    folder = write_text_checkpoint(tmp_path / "model")
    exported = mmfree.export(folder, tmp_path / "a.tape")
    assert (exported.tape.arithmetic, exported.ranges) == ("absmax", [])
    text = mmfree.generate(tmp_path / "a.tape", "the old", 4)
    assert text == mmfree.generate(mmfree.load(folder, "golden"), "the old", 4)
    for model in (tmp_path / "a.tape", folder):
        played = mmfree.cosim(model, prompt="the", tokens=2, lanes=16)
        assert played.bit_exact
        assert played.tape_sha256 == exported.tape.sha256
        assert played.text is not None


def test_what_is_not_there_is_no_attribute() -> None:
    assert {"load", "train", "cosim"} <= set(dir(mmfree))
    with pytest.raises(AttributeError, match="has no attribute 'fly'"):
        mmfree.fly  # noqa: B018


LOADED = {"load_backend(path)": Path("m"), "load_backend(name)": None, "load_backend(lanes)": None}
SCORE = {"data": None, "words": False, "field": "text", "run": None}
TASK = {"name": "addition", "digits": None, "examples": None, "seed": 0}


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Calls a function of the package with the work replaced; what that is asked for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()

    def call(function: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        below = Below(monkeypatch)
        below.replace(
            {
                "mmfree.inference.backends:load_backend": TEXT_BACKEND,
                "mmfree.inference.scoring:score_text": "scored",
                "mmfree.inference.scoring:evaluate_task": "examined",
                "mmfree.inference.generate:generate": [("a", [1]), ("", [2]), ("b", [3])],
            }
        )
        found = getattr(mmfree, function)(*arguments, **options)
        given = {"load": TEXT_BACKEND, "generate": "ab"}
        assert found == given.get(
            function, "scored" if "score_text(run)" in below.asked else "examined"
        )
        return below.asked

    return call


def calls(function: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{function}({name})": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("option", "value", "backend", "changes"),
    [
        ("model", "m", TEXT_BACKEND, {}),
        ("data", "d.txt", TEXT_BACKEND, {"data": Path("d.txt")}),
        ("words", True, TEXT_BACKEND, {"words": True}),
        ("task", "addition-chains", SUM_BACKEND, {"name": "addition-chains"}),
        ("digits", 7, SUM_BACKEND, {"digits": 7}),
        ("examples", 9, SUM_BACKEND, {"examples": 9}),
        ("seed", 5, SUM_BACKEND, {"seed": 5}),
    ],
)
def test_every_option_of_evaluate_takes_effect(
    option: str, value: Any, backend: SimpleNamespace, changes: dict[str, Any], ask: Any
) -> None:
    """A model that is given loaded is not loaded again."""
    asked = ask("evaluate", **{"model": backend, option: value})
    loaded = LOADED if option == "model" else {}
    work, base = ("score_text", SCORE) if backend is TEXT_BACKEND else ("evaluate_task", TASK)
    assert asked == loaded | calls(work, {"backend": backend, **base, **changes})


def test_the_run_that_is_scored_is_told(ask: Any) -> None:
    backend = SimpleNamespace(**vars(TEXT_BACKEND) | {"training": Path("run")})
    asked = ask("evaluate", backend, data="d.jsonl", field="body")
    changes = {"data": Path("d.jsonl"), "field": "body", "run": Path("run")}
    assert asked == calls("score_text", {"backend": backend, **SCORE, **changes})


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        (TEXT_BACKEND, {"field": "body"}, "field is of the records of data: give both"),
        (TEXT_BACKEND, {"digits": 3}, "digits and examples are for tasks: the model is for text"),
        (TEXT_BACKEND, {"examples": 3}, "digits and examples are for tasks: the model is for text"),
        (SUM_BACKEND, {"data": "d"}, "data, field and words are for models of text"),
        (SUM_BACKEND, {"field": "d"}, "data, field and words are for models of text"),
        (SUM_BACKEND, {"words": True}, "data, field and words are for models of text"),
    ],
)
def test_what_evaluate_would_not_use_is_refused(
    backend: SimpleNamespace, options: dict[str, Any], message: str, ask: Any
) -> None:
    with pytest.raises(InputError, match=message):
        ask("evaluate", backend, **options)


@pytest.mark.parametrize(
    ("option", "value", "parameter"),
    [
        ("prompt", "other", "prompt"),
        ("tokens", 7, "tokens"),
        ("temperature", 0.5, "temperature"),
        ("seed", 5, "seed"),
        ("top_k", 40, "top_k"),
        ("top_p", 0.9, "top_p"),
        ("stop", "10", "stop"),
    ],
)
def test_every_option_of_generate_takes_effect(
    option: str, value: Any, parameter: str, ask: Any
) -> None:
    limits = dict.fromkeys(("temperature", "top_k", "top_p", "stop"))
    base = {"prompt": "hi", "tokens": None, "seed": 0, **limits}
    asked = ask("generate", **{"model": "m", "prompt": "hi", option: value})
    assert asked == LOADED | calls("generate", {"backend": TEXT_BACKEND, **base, parameter: value})


def test_every_option_of_load_takes_effect(ask: Any) -> None:
    assert ask("load", "m") == LOADED
    asked = ask("load", "n", "rtl", lanes=16)
    assert asked == calls("load_backend", {"path": Path("n"), "name": "rtl", "lanes": 16})


NAMES = {"cosim": {"model": "source"}}
"""Of an option that has another name as a parameter."""


@pytest.mark.parametrize("function", ["train", "export", "fit", "verilog", "cosim"])
def test_every_parameter_is_an_option_of_the_command_line(function: str) -> None:
    """Where each is tested (tests/cli/test_options.py). ``progress`` is for its own lines."""
    options = {
        NAMES.get(function, {}).get(name, name)
        for case in CASES.values()
        if case.verb == function
        for name in case.rows
    }
    assert set(inspect.signature(getattr(api, function)).parameters) - {"progress"} <= options


@pytest.mark.parametrize(
    "function", ["load", "train", "export", "evaluate", "generate", "fit", "verilog", "cosim"]
)
def test_what_is_not_given_is_as_on_the_command_line(function: str) -> None:
    verb = {"load": "generate"}.get(function, function)
    (verbs,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    asked = {action.dest: action.default for action in verbs.choices[verb]._actions}
    parameters = inspect.signature(getattr(api, function)).parameters.values()
    given = {one.name: one.default for one in parameters if one.default is not one.empty}
    shared = given.keys() & asked.keys()
    assert {name: given[name] for name in shared} == {name: asked[name] for name in shared}
    assert len(shared) >= {"load": 2, "fit": 2, "verilog": 3}.get(function, 4)


def test_defaults_are_those_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Below(monkeypatch)
    below.replace(CASES["verilog"].below)
    monkeypatch.chdir(tmp_path)
    write_tape(TEXT_TAPE, Path("text.tape"))
    said: list[str] = []
    mmfree.verilog("text.tape", "out", progress=said.append)
    assert below.asked == CASES["verilog"].asked
    assert said == ["generating 64 lanes, and synthesizing product units to size them"]
    mmfree.verilog("text.tape", "out")
    below = Below(monkeypatch)
    below.replace(CASES["cosim"].below)
    mmfree.cosim("text.tape", prompt="ab", tokens=3)
    assert below.asked == CASES["cosim"].asked


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"weight_code": "int8"}, {}, "weight_code must be one of 2, 1.67, 1.6, got 'int8'"),
        (
            {},
            {"lanes": 32},
            r"--lanes 32: the design in .*/limits\.json has 64; leave the option out",
        ),
        (
            {},
            {"bits": "1.6"},
            r"--bits 1.6: the design in .*/limits\.json has 2; leave the option out",
        ),
    ],
)
def test_a_design_is_generated_as_its_file_says_or_refused(
    changes: dict[str, Any],
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Below(monkeypatch).replace({"hdl.toolchain.emit:write_verilog": {}})
    design = CASES["verilog"].values["design"] | changes
    (tmp_path / "limits.json").write_text(json.dumps(design))
    with pytest.raises(InputError, match=message):
        mmfree.verilog(tmp_path / "limits.json", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_design_needs_no_tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own lanes and bits may be named."""
    below = Below(monkeypatch)
    below.replace(CASES["verilog"].below)
    (tmp_path / "limits.json").write_text(json.dumps(CASES["verilog"].values["design"]))
    mmfree.verilog(tmp_path / "limits.json", tmp_path / "out", lanes=64, bits="2")
    assert below.asked["write_verilog(design)"] == DESIGN
    assert below.asked["write_verilog(tape)"] is None


@pytest.mark.parametrize("options", [{"data": "d.txt"}, {"allow_saturation": True}])
def test_what_a_published_model_would_not_use_is_refused(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Below(monkeypatch).replace({"mmfree.inference.backends:is_published": True})
    (tmp_path / "config.json").touch()
    message = "--data and --allow-saturation are for models trained here"
    with pytest.raises(InputError, match=message):
        mmfree.export(tmp_path, tmp_path / "a.tape", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]

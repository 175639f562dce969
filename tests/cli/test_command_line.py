"""The command line.

Its frozen surface, its JSON, its exit codes, and one clear line for every bad input.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mmfree.cli.inspect
import mmfree.inference.backends
from mmfree.chip.image import Image
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for
from mmfree.cli.main import main
from mmfree.cli.outcome import Outcome
from mmfree.cli.parser import build_parser
from mmfree.errors import CheckFailed, InputError, ToolMissing
from mmfree.extras import how_to_install
from mmfree.tape.pow2 import Tape, write_tape
from mmfree.tape.reading import open_pow2_tape
from mmfree.training.presets import load_run_config
from tests.support.command_line import error_of, last_error_of, run_json
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, forget_module, tape_of, trained

SURFACE = {
    "tokenize": "data --tokenizer --field --out --force",
    "config": "config --gate --steps --width --layers --batch --length --rate",
    "train": (
        "config --gate --steps --width --layers --batch --length --rate --data --tokenizer --field"
        " --teacher --minutes --resume --continue --shard --tensorboard --out --force"
    ),
    "compare": (
        "config --data --field --tokenizer --rates --baseline-rates --baseline --teacher --seeds"
        " --out --force"
    ),
    "evaluate": (
        "model --data --field --words --choices --task --digits --examples --ranges --backend"
        " --lanes"
    ),
    "export": "checkpoint --data --field --allow-saturation --format --out --force",
    "inspect": "model",
    "generate": "model --prompt --tokens --temperature --top-k --top-p --stop --backend --lanes",
    "bench": "model --backend --threads --seconds --lanes",
    "fit": "model --part --memory",
    "verilog": "source --lanes --bits --memory --out --force",
    "build": "model --board --clock --allow-slow --lanes --bits --out --force",
    "cosim": (
        "model --prompt --tokens --temperature --stop --profile --waveform --force --simulator"
        " --lanes --bits --memory --latency --withheld"
    ),
    "power": (
        "model --part --technology --clock --build --activity --prompt --validate --lanes --bits"
        " --out --force"
    ),
    "demo": "preset --lanes --out --force",
    "report": "run --out",
    "page": "model --lanes --bits --out --force",
}


def verbs() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def test_the_surface_is_frozen() -> None:
    """Scripts rely on these names: add to them, never change one."""
    found = {
        verb: [(action.option_strings or [action.dest])[-1] for action in parser._actions]
        for verb, parser in verbs().items()
    }
    assert found == {
        verb: ["--help", "--json", "--seed", *options.split()] for verb, options in SURFACE.items()
    }


def test_every_option_has_help() -> None:
    for verb, parser in verbs().items():
        for action in parser._actions:
            assert action.help, (verb, action.dest)
        shown = " ".join(parser.format_help().split())
        assert "(default: " in shown
        assert "None" not in shown
        assert "examples: mmfree " in shown


@pytest.fixture(scope="module")
def addition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SMALL_ADDITION, tmp_path_factory.mktemp("addition") / "run")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SMALL_TEXT, tmp_path_factory.mktemp("text") / "run")


@pytest.fixture(scope="module")
def tape(addition: Path) -> Path:
    path = addition.parent / "model.tape"
    write_tape(tape_of(addition), path)
    return path


def test_train_and_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SMALL_ADDITION.to_dict()))
    values = run_json(capsys, "train", config, "--out", tmp_path / "run", "--tensorboard")
    assert (tmp_path / "run" / "loss.svg").read_text().startswith("<svg")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert set(values) >= {"accuracy", "tokens_per_second", "steps", "loss"}
    assert values["steps"] == 25
    for task in ("addition", "addition-chains"):
        arguments = ["--task", task, "--digits", 3, "--examples", 20]
        results = [
            run_json(capsys, "evaluate", tmp_path / "run", *arguments, "--backend", backend)
            for backend in ("golden", "fakequant")
        ]
        assert results[0]["examples"] == 20
        assert results[0]["accuracy"] == results[1]["accuracy"]
        assert [r["backend"] for r in results] == ["golden", "fakequant"]
        together = run_json(
            capsys, "evaluate", tmp_path / "run", *arguments, "--backend", "golden,fakequant"
        )
        assert together["results"] == results
        assert together["differences"] == [
            {"backend": "fakequant", "less": "golden", "accuracy": 0.0}
        ]
    assert (
        main(
            ["evaluate", str(tmp_path / "run"), "--examples", "5", "--backend", "golden,fakequant"]
        )
        == 0
    )
    table = capsys.readouterr().out.splitlines()
    assert (table[0], table[1].split()) == ("addition, 5 examples", ["backend", "accuracy"])


def test_train_and_evaluate_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, data = tmp_path / "config.json", tmp_path / "data.txt"
    config.write_text(json.dumps(SMALL_TEXT.to_dict()))
    data.write_text("a small text, again and again. " * 100)
    values = run_json(capsys, "train", config, "--data", data, "--out", tmp_path / "run")
    assert 0 < values["bits_per_byte"] < 8
    result = run_json(capsys, "evaluate", tmp_path / "run", "--data", data)
    assert set(result) == {"backend", "bits_per_byte", "bytes", "tokens", "token_perplexity"}
    assert result["bytes"] == result["tokens"] == data.stat().st_size
    assert (
        run_json(capsys, "train", config, "--data", data, "--out", tmp_path / "run", "--resume")[
            "steps"
        ]
        == 25
    )
    config.write_text(json.dumps(SMALL_TEXT.to_dict() | {"architecture": "transformer"}))
    baseline = run_json(capsys, "train", config, "--data", data, "--out", tmp_path / "baseline")
    assert baseline["steps"] == 25
    assert main(["export", str(tmp_path / "baseline"), "--out", str(tmp_path / "b.tape")]) == 2
    assert (
        "a transformer, the baseline: it can be trained and compared, but not evaluated or exported"
        in capsys.readouterr().err
    )


def test_export_and_inspect(
    addition: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.tape"
    values = run_json(capsys, "export", addition, "--out", out)
    assert values["bytes"] == out.stat().st_size
    assert values["sha256"] == open_pow2_tape(out).sha256
    assert values["weights"] == open_pow2_tape(out).num_ternary_weights
    inspected = run_json(capsys, "inspect", out)
    assert inspected["sha256"] == values["sha256"]
    assert [s["name"] for s in inspected["segments"]][:2] == ["layer 0 gates", "layer 0 output"]
    assert main(["inspect", str(out)]) == 0
    assert "layer 1 down" in capsys.readouterr().out


def test_ranges(
    addition: Path, tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.tape"
    exported = run_json(capsys, "export", addition, "--out", out)["ranges"]
    arguments = ["evaluate", tape, "--digits", 2, "--examples", 2, "--ranges"]
    assert run_json(capsys, *arguments)["ranges"] == exported
    assert {found["segment"] for found in exported} >= {"embedding", "layer 0 gates", "head"}
    message = "--ranges: backend fakequant does not show them; use golden or cpu"
    assert message in error_of(
        capsys, "evaluate", addition, "--digits", 2, "--examples", 2, "--ranges"
    )
    message = "--data: a model for addition makes its own examples"
    assert message in error_of(
        capsys, "export", addition, "--out", tmp_path / "b.tape", "--data", tape
    )
    assert not (tmp_path / "b.tape").exists()


def test_a_tape_that_saturates_is_refused(
    addition: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tape = tape_of(addition)
    head = tape.segments[-1]
    loud = replace(head, matrices=(replace(head.matrices[0], exponent=5, multiplier=256),))
    loud_tape = replace(tape, segments=(*tape.segments[:-1], loud))
    monkeypatch.setattr(mmfree.inference.backends, "load_tape_or_export", lambda path: loud_tape)
    out = tmp_path / "loud.tape"
    assert "head, logits: " in error_of(capsys, "export", addition, "--out", out)
    assert not out.exists()
    assert (
        run_json(capsys, "export", addition, "--out", out, "--allow-saturation")["sha256"]
        == loud_tape.sha256
    )


def test_generate(
    addition: Path, text: Path, tape: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_json(capsys, "generate", tape, "--prompt", "12 + 34")
    assert values["text"].isdigit()
    assert values["temperature"] == 0
    assert len(values["ids"]) == 7
    assert main(["generate", str(tape), "--prompt", "12 + 34"]) == 0
    assert capsys.readouterr().out == values["text"] + "\n", "an answer is by itself"
    values = run_json(
        capsys, "generate", text, "--prompt", "The ", "--tokens", 9, "--backend", "golden"
    )
    assert len(values["ids"]) == 9
    assert (
        main(["generate", str(text), "--prompt", "The ", "--tokens", "9", "--backend", "golden"])
        == 0
    )
    assert capsys.readouterr().out == "The " + values["text"] + "\n", (
        "a text begins with its prompt"
    )


def test_verilog_of_a_tape_and_of_its_limits(
    tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_json(capsys, "verilog", tape, "--out", tmp_path / "a", "--lanes", 16)
    assert values["multipliers"] == 0
    assert values["tape_sha256"] == open_pow2_tape(tape).sha256
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps(values["design"]))
    run_json(capsys, "verilog", limits, "--out", tmp_path / "b")
    assert (tmp_path / "a" / "mmfree.v").read_bytes() == (tmp_path / "b" / "mmfree.v").read_bytes()
    assert "--force overwrites it" in error_of(capsys, "verilog", limits, "--out", tmp_path / "a")


def test_build(
    tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verb alone; what a build gives is tested in tests/hdl/toolchain/test_build.py."""
    import hdl.toolchain.build

    asked: list[hdl.toolchain.build.Request] = []
    found = {
        "clock_hz": 131.2e6,
        "clock_asked_hz": 140e6,
        "pll_hz": 140e6,
        "clock_met": False,
        "clock_possible_hz": None,
        "lanes": 16,
        "dsp": 0,
    }
    found["padding_share"] = 0.125
    found |= {"lut": 900, "ff": 800, "memory_blocks": 7, "bitstream": "mmfree.bit"}
    found["utilisation"] = {
        "TRELLIS_COMB": (900, 83640),
        "TRELLIS_FF": (800, 83640),
        "DP16KD": (7, 208),
    }
    found["counts"] = {
        "routed": {"luts": 900, "flip_flops": 800, "ram_blocks": 7, "what": "the whole board"}
    }

    def run(
        request: hdl.toolchain.build.Request, out: Path, progress: Any, *, force: bool
    ) -> dict[str, Any]:
        asked.append(request)
        return found

    monkeypatch.setattr(hdl.toolchain.build, "build", run)
    arguments = [
        "build",
        tape,
        "--board",
        "ulx3s-85f",
        "--lanes",
        16,
        "--bits",
        "1.6",
        "--clock",
        140,
        "--seed",
        3,
    ]
    values = run_json(capsys, *arguments, "--out", tmp_path / "out", "--allow-slow")
    assert values == json.loads(
        json.dumps(found | {"bitstream": str(tmp_path / "out" / "mmfree.bit")})
    )
    request = asked[0]
    assert (request.clock_hz, request.seed, request.allow_slow) == (140e6, 3, True)
    assert (request.design.lanes, request.design.weight_code, request.tape.sha256) == (
        16,
        "1.6",
        open_pow2_tape(tape).sha256,
    )
    assert main([*map(str, arguments), "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert (
        "131.2 MHz routed, runs at 140 MHz (asked for 140 MHz): TOO SLOW, kept by --allow-slow"
        in output
    )
    assert "7 of 208" in output
    assert "16; 12.5 % of the lanes' work is padding" in output
    assert "routed            900         800           7  the whole board" in output
    assert "faster" not in output
    found |= {"clock_hz": 166.7e6, "pll_hz": 100e6, "clock_asked_hz": 100e6, "clock_met": True}
    found["clock_possible_hz"] = 160e6
    assert main([*map(str, arguments), "--out", str(tmp_path / "out")]) == 0
    faster = "166.7 MHz reached, 100 MHz asked: --clock 160 would be legal, and the PLL makes it"
    assert faster in capsys.readouterr().out

    for error, code in (
        (hdl.toolchain.build.MissedClockError("slow"), 1),
        (hdl.toolchain.build.MultiplierError("multiplies"), 1),
        (hdl.toolchain.build.DoesNotFitError("large"), 2),
    ):

        def fail(*arguments: Any, error: Exception = error, **options: Any) -> None:
            raise error

        monkeypatch.setattr(hdl.toolchain.build, "build", fail)
        assert (
            error_of(capsys, *arguments, "--out", tmp_path / "out", code=code)
            == f"mmfree: error: {error}"
        )


def test_cosim(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = run_json(capsys, "cosim", tape, "--lanes", 16, "--prompt", "12+34", "--profile")
    assert values["bit_exact"] is True
    assert values["tokens"] == 7
    assert values["tokens_due"] == 7
    assert values["compared"] == values["due"] == 7 * (10 + 2 * 20)
    assert values["missing"] == {}
    weights = open_pow2_tape(tape).num_ternary_weights
    assert values["weights_per_token"] == weights
    assert values["lane_utilization"] == pytest.approx(weights / (16 * values["cycles_per_token"]))
    assert values["simulated_hz"] > 0
    total = sum(cycles["cycles"] for cycles in values["profile"].values())
    assert total == pytest.approx(7 * values["cycles_per_token"])
    assert main(["cosim", str(tape), "--lanes", "16", "--profile", "--seed", "3"]) == 0
    output = capsys.readouterr().out
    assert "bit-exact: 16 tokens, 800 of 800 logits and state words compared" in output
    assert "layer 1 down" in output


@pytest.mark.slow
def test_a_chip_that_differs_fails(
    tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sim.cosim.chip

    def faulty(tape: Tape, design: Any) -> Image:
        image = layout(tape, design)
        biases = [word ^ 0b11 << 5 for word in image.words["biases"]]  # the parity holds
        return replace(image, words=image.words | {"biases": biases})

    monkeypatch.setattr(sim.cosim.chip, "layout", faulty)
    waveform = tmp_path / "wave.vcd"
    values = run_json(capsys, "cosim", tape, "--lanes", 16, "--waveform", waveform, code=1)
    assert values["bit_exact"] is False
    assert values["divergence"]["segment"] == "layer 0 gates"
    assert values["waveform"] == str(waveform)
    assert values["waveform_bytes"] == waveform.stat().st_size
    assert values["waveform_shows"] == "sequence 0, position 0, played alone"
    assert (values["tokens_due"], values["due"]) == (16, 800)
    assert values["missing"]["rows"] == 16 - values["tokens"]
    assert main(["cosim", str(tape), "--lanes", "16"]) == 1
    assert "NOT bit-exact; the first difference: sequence 0, position 0" in capsys.readouterr().out
    error_of(
        capsys,
        "evaluate",
        tape,
        "--backend",
        "rtl",
        "--lanes",
        16,
        "--digits",
        1,
        "--examples",
        1,
        code=1,
    )


def test_bad_input_is_one_line(
    addition: Path, text: Path, tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was required, what was found, what to do; exit code 2; nothing written."""
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe" * 500)
    data = tape.read_bytes()
    (tmp_path / "cut.tape").write_bytes(data[:-40])
    (tmp_path / "flipped.tape").write_bytes(data[:500] + bytes([data[500] ^ 4]) + data[501:])
    (tmp_path / "other.tape").write_bytes(data[:8] + b"\x07" + data[9:])
    config = load_run_config("text").to_dict()
    config["model"]["hidden_size"] = -1
    (tmp_path / "bad.json").write_text(json.dumps(config))
    for name in ("listed", "built"):
        (tmp_path / name).mkdir()
    (tmp_path / "listed" / "demo.json").write_text("[1]")
    shutil.copy(tape, tmp_path / "listed" / "model.tape")
    build = {"device": {"device": "x"}, "tape_sha256": "", "clock_hz": "x"}
    build["design"] = design_for(open_pow2_tape(tape), 16).to_dict()
    (tmp_path / "built" / "build.json").write_text(json.dumps(build))
    (tmp_path / "deep.toml").write_text("a=" + "[" * 100_000)
    before = sorted(tmp_path.rglob("*"))
    out = ["--out", tmp_path / "out"]
    cases: list[tuple[list[object], str]] = [
        (["cosim", tmp_path / "cut.tape"], "checksum mismatch: the tape is truncated or altered"),
        (["cosim", tmp_path / "flipped.tape"], "checksum mismatch"),
        (
            ["verilog", tmp_path / "other.tape", *out],
            "tape version 7, but this mmfree reads 1 and 2: export the model again",
        ),
        (["inspect", tmp_path / "none.tape"], "no such file"),
        (
            ["train", tmp_path / "bad.json", *out],
            "hidden_size must be an integer in 1..65535, got -1",
        ),
        (["train", "addition", *out, "--data", tmp_path / "empty.txt"], "--data is for text"),
        (
            ["train", "addition", *out, "--tokenizer", "bpe:300"],
            "--tokenizer is for text; task addition has its own",
        ),
        (
            ["train", "text", *out, "--tokenizer", "bpe:many"],
            "needs a number of tokens such as bpe:4096, got 'bpe:many'",
        ),
        (
            ["train", "text", *out, "--tokenizer", tmp_path / "bad.json"],
            "bad.json: no tokenizer.json of the tokenizers library",
        ),
        (["tokenize", tmp_path / "latin.txt", *out], "not UTF-8 text: byte 0xff at offset 0"),
        (
            ["tokenize", tmp_path / "bad.json", *out],
            "bad.json, line 1: no field 'text'",
        ),
        (
            ["tokenize", tmp_path / "empty.txt", "--out", tmp_path],
            "exists already; --force overwrites it",
        ),
        (
            ["tokenize", tmp_path / "empty.txt", "--out", tmp_path, "--force"],
            "holds no token shards; --force replaces nothing else",
        ),
        (["evaluate", text, "--choices", tmp_path / "bad.json"], "line 1: a question is"),
        (
            ["evaluate", text, "--choices", tmp_path / "empty.txt"],
            "the file is empty; questions are needed",
        ),
        (
            ["evaluate", addition, "--choices", tmp_path / "empty.txt"],
            "a model for addition: use --task",
        ),
        (["evaluate", text, "--choices", "x", "--data", "y"], "give --data or --choices, not both"),
        (
            ["train", "text", *out, "--data", tmp_path / "empty.txt"],
            "the file is empty; text is needed",
        ),
        (
            ["train", "text", *out, "--data", tmp_path / "latin.txt"],
            "not UTF-8 text: byte 0xff at offset 0",
        ),
        (
            ["train", "sorting", *out],
            "neither a preset (addition, modular-addition, parity, stories, text) nor a .json file",
        ),
        (["train", "text", *out, "--resume"], "no checkpoint: config.json is missing"),
        (["train", "addition", *out, "--shard"], "this run has one: start it with torchrun"),
        (
            ["train", "addition", "--out", addition],
            "--resume goes on with it, --continue trains it further",
        ),
        (
            ["evaluate", addition, "--task", "sorting"],
            (
                "--task must be one of addition, addition-chains, parity, modular-addition, got"
                " 'sorting'"
            ),
        ),
        (
            ["evaluate", addition, "--task", "addition", "--data", "x"],
            "give --data or --task, not both",
        ),
        (["evaluate", addition, "--data", tape], "a model for addition: use --task"),
        (["evaluate", text, "--task", "addition"], "--task addition: the model is for bytes"),
        (
            ["evaluate", text, "--digits", 3],
            "a model for text: --digits and --examples belong to --task",
        ),
        (["evaluate", text, "--data", tmp_path / "none"], "cannot be read"),
        (["evaluate", tape, "--backend", "fakequant"], "needs the checkpoint folder"),
        (["export", addition, "--out", tape], "exists already; --force overwrites it"),
        (
            ["generate", tape, "--prompt", "hello"],
            "two decimal numbers such as 123+456, got 'hello'",
        ),
        (["generate", text, "--prompt", "a", "--tokens", 0], "--tokens must be at least 1, got 0"),
        (
            ["generate", text, "--prompt", "a", "--temperature", -1],
            "--temperature must lie in 0..3.98, got -1",
        ),
        (
            ["generate", text, "--prompt", "a", "--stop", ""],
            "--stop must be a text of at least one character, got an empty one",
        ),
        (
            ["generate", text, "--prompt", "a", "--backend", "rtl", "--top-k", 40],
            "the chip chooses among all tokens; leave them out",
        ),
        (
            ["generate", text, "--prompt", "a", "--backend", "rtl", "--lanes", 48],
            "lanes must be a power of two in 4..1048576, got 48",
        ),
        (["cosim", tape, "--temperature", 1], "--temperature and --stop need --tokens"),
        (
            ["verilog", tape, *out, "--lanes", 48],
            "lanes must be a power of two in 4..1048576, got 48",
        ),
        (["verilog", tmp_path / "bad.json", *out], "unknown field 'model'"),
        (["build", tape, "--board", "ulx4", *out], "--board must be one of ulx3s-85f, got 'ulx4'"),
        (
            ["build", tape, "--board", "ulx3s-85f", "--out", tmp_path],
            "exists already; --force overwrites it",
        ),
        (["build", tape, "--board", "ulx3s-85f", "--out", tape, "--force"], "not a folder"),
        (
            ["build", tape, "--board", "ulx3s-85f", *out, "--clock", 500],
            "--clock must lie in 3.125..400 MHz, got 500",
        ),
        (
            ["build", tape, "--board", "ulx3s-85f", *out, "--lanes", 48],
            "lanes must be a power of two",
        ),
        (["cosim", tape, "--seed", -1], "--seed must lie in 0..2^64-1"),
        (
            ["evaluate", addition, "--digits", 2, "--examples", 2, "--seed", -1],
            "--seed must lie in",
        ),
        (["demo", "--lanes", 3, *out], "lanes must be a power of two"),
        (["report", tmp_path / "listed"], "demo.json: not the record of a demo"),
        (["power", tmp_path / "listed", "--lanes", 16], "demo.json: not the record of a demo"),
        (
            ["power", tape, "--build", tmp_path / "built"],
            "build.json: not the description of a build",
        ),
        (["power", tape, "--technology", tmp_path / "deep.toml"], "deep.toml: "),
        (["cosim", tape, "--tokens", 3], "reads out its answer and generates nothing"),
        (["cosim", tape, "--prompt", ""], "two decimal numbers"),
    ]
    for arguments, message in cases:
        assert message in error_of(capsys, *arguments), arguments
    assert sorted(tmp_path.rglob("*")) == before, "nothing half-written"


def test_a_missing_simulator_or_compiler_is_one_line(
    tape: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "g++" else which(name))
    message = last_error_of(capsys, "cosim", tape, "--lanes", 16)
    assert "g++ is needed to build a simulation" in message
    assert "install g++ make perl" in message


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("torch", "train", ["train", "addition", "--out", "OUT"]),
        ("tokenizers", "text", ["train", "text", "--tokenizer", "bpe:300", "--out", "OUT"]),
        ("datasets", "text", ["tokenize", "hf:stories", "--out", "OUT"]),
        ("amaranth", "hdl", ["verilog", "TAPE", "--out", "OUT"]),
        ("cocotb_tools", "sim", ["cosim", "TAPE"]),
        ("amaranth_boards", "boards", ["build", "TAPE", "--board", "ulx3s-85f", "--out", "OUT"]),
    ],
)
def test_a_missing_extra_is_named(
    package: str,
    extra: str,
    arguments: list[str],
    tape: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(sys.modules):
        own = (
            name.startswith(("mmfree.training.train", "mmfree.training.recipe", "hdl", "sim."))
            or name == "sim"
        )
        if own or name.partition(".")[0] == package:
            forget_module(monkeypatch, name)
    monkeypatch.setitem(sys.modules, package, None)
    filled = [{"TAPE": str(tape), "OUT": str(tmp_path / "out")}.get(a, a) for a in arguments]
    message = last_error_of(capsys, *filled)
    assert f"{package} is not installed; `{how_to_install(extra)}` does that" in message


def test_interruption_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(options: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mmfree.cli.inspect, "run", interrupt)
    assert error_of(capsys, "inspect", "x", code=130) == "mmfree: error: interrupted"


@pytest.mark.parametrize(
    "bug", [ValueError("of a library"), ZeroDivisionError("division by zero"), RuntimeError("x")]
)
def test_a_bug_shows_its_traceback(
    bug: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3: neither bad input nor a failed check, whatever class the exception has."""

    def fail(options: argparse.Namespace) -> None:
        raise bug

    monkeypatch.setattr(mmfree.cli.inspect, "run", fail)
    assert main(["inspect", "x"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("Traceback")
    assert f"{type(bug).__name__}: {bug}" in lines
    assert lines[-1].startswith("mmfree: error: this is a bug of mmfree")


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("a"), 2), (ToolMissing("b"), 2), (OSError("c"), 2), (CheckFailed("d"), 1)],
)
def test_errors_end_by_class(
    error: Exception,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(options: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(mmfree.cli.inspect, "run", fail)
    assert error_of(capsys, "inspect", "x", code=code) == f"mmfree: error: {error}"


def test_a_full_disk_and_a_reader_that_left_are_no_bugs(tape: Path) -> None:
    """What cannot be written is a system error (2), also on stdout; nobody reading is 141."""
    command = [sys.executable, "-m", "mmfree.cli", "inspect", str(tape)]
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.splitlines() == ["mmfree: error: [Errno 28] No space left on device"]
    read, write = os.pipe()
    os.close(read)
    found = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (found.returncode, found.stderr) == (141, "")


def test_numbers_that_json_does_not_have_are_null(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"a": math.inf, "b": [1.5, math.nan], "c": {"d": -math.inf}}
    monkeypatch.setattr(mmfree.cli.inspect, "run", lambda options: Outcome(values, ""))
    assert run_json(capsys, "inspect", "x") == {"a": None, "b": [1.5, None], "c": {"d": None}}

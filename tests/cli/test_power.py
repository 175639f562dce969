"""``mmfree power``: the estimate as people and scripts get it, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import hdl.toolchain.families
from hdl.toolchain.families import Area
from mmfree.chip.sizing import design_for
from mmfree.cli.main import main
from mmfree.tape.pow2 import Tape, write_tape
from sim.power.activity import Activity, BlockActivity
from tests.support.sim.shapes import ODD

TAPE: Tape = ODD.tape(1, wild=False)
AREAS = {
    "array": Area(luts=234, flip_flops=333),
    "post": Area(luts=1051, flip_flops=1757, lut_rams=52, ram_blocks=2),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tape and an activity of it; synthesis answers at once."""
    monkeypatch.setattr(hdl.toolchain.families, "area_by_block", lambda design, family: AREAS)
    write_tape(TAPE, tmp_path / "model.tape")
    blocks = {
        "array": BlockActivity(registers=333, register_toggles=774_783),
        "post": BlockActivity(
            registers=2030, register_toggles=2_348_245, read_bits=26, read_toggles=36_594
        ),
    }
    design = design_for(TAPE, ODD.lanes)
    activity = Activity(
        tape_sha256=TAPE.sha256,
        design=design.to_dict(),
        text="a test",
        tokens=20,
        cycles=10_122,
        blocks=blocks,
    )
    activity.write(tmp_path / "activity.json")
    return tmp_path


def power(files: Path, *options: str) -> list[str]:
    arguments = ["power", str(files / "model.tape"), "--lanes", "16"]
    return [*arguments, "--activity", str(files / "activity.json"), *options]


def values_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def test_an_estimate_for_scripts(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(power(files, "--json")) == 0
    values = values_of(capsys)
    for name in ("watts", "joules_per_token"):
        assert 0 < values[name]["low"] < values[name]["best"] < values[name]["high"]
    assert values["label"] == "estimated"
    assert values["part"] == "ecp5-85"
    assert values["clock_label"].startswith("projected")
    assert values["watts"]["best"] == pytest.approx(
        values["joules_per_token"]["best"] * values["tokens_per_second"]
    )
    assert set(values["by_segment"]) == {"embedding", *(segment.name for segment in TAPE.segments)}


def test_an_estimate_for_people_has_label_and_interval(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(power(files)) == 0
    text = capsys.readouterr().out
    assert "energy per token" in text
    assert " to " in text.partition("energy per token")[2].partition("\n")[0]
    assert "estimated" in text
    assert "no glitches seen" in text


def test_files_and_a_page_that_needs_nothing_else(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = files / "out"
    assert main(power(files, "--out", str(out))) == 0
    assert {path.name for path in out.iterdir()} == {"power.json", "activity.json", "power.html"}
    page = (out / "power.html").read_text()
    for section in (
        "Estimate",
        "Joules by block",
        "Against others",
        "Lanes and clock",
        "Coefficients",
    ):
        assert f"<h2>{section}</h2>" in page
    assert not any(text in page for text in ("url(http", 'src="http', 'href="http'))
    assert "bitnet-kv260" in page
    capsys.readouterr()
    for name in ("power.json", "activity.json", "power.html"):
        rest = [path for path in out.iterdir() if path.name != name]
        for path in rest:
            path.unlink()
        assert main(power(files, "--out", str(out))) == 2
        assert f"{name}: exists already; --force" in capsys.readouterr().err
        assert main(power(files, "--out", str(out), "--force")) == 0
    assert main(power(files, "--out", str(out / "power.json"))) == 2
    assert "a file; --out needs a folder" in capsys.readouterr().err


def test_another_part_has_its_own_clock_and_label(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(power(files, "--part", "xc7a35t", "--json")) == 0
    values = values_of(capsys)
    assert values["clock_hz"] == 100e6
    assert values["clock_label"].startswith("assumed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--part", "ecp5-12"), "got 'ecp5-12'"),
        (("--clock", "400"), "--clock: 400 MHz is above what was reached"),
        (("--clock", "0"), "the clock must be positive"),
        (("--clock", "nan"), "the clock must be positive"),
        (("--part", "zu5ev", "--clock", "5000"), "goes beyond 1,000 MHz"),
        (("--prompt", "1+1"), "--prompt: the activity of --activity is given"),
        (("--build", "nowhere"), "nowhere/build.json: no such file"),
        (("--bits", "1.6"), "activity of another design"),
        (("--technology", "missing.toml"), "missing.toml"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    files: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert main(power(files, *options, "--out", str(files / "out"))) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert not (files / "out").exists()


def test_activity_of_another_tape_is_refused(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tape(ODD.tape(2, wild=False), files / "model.tape")
    assert main(power(files)) == 2
    assert "activity of another tape" in capsys.readouterr().err


def test_a_build_gives_design_and_clock(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = {
        "device": {"device": "LFE5U-85F"},
        "tape_sha256": TAPE.sha256,
        "design": design_for(TAPE, 16).to_dict(),
        "clock_hz": 91.5e6,
    }
    (files / "build.json").write_text(json.dumps(build))
    assert main(power(files, "--build", str(files), "--json")) == 0
    values = values_of(capsys)
    assert values["clock_hz"] == 91.5e6
    assert values["clock_label"] == "post-route, this build"
    assert main(power(files, "--build", str(files), "--clock", "92")) == 2
    assert "above what was reached, 91.5 MHz" in capsys.readouterr().err
    (files / "build.json").write_text(json.dumps(build | {"tape_sha256": "0"}))
    assert main(power(files, "--build", str(files))) == 2
    assert "built with another tape" in capsys.readouterr().err
    (files / "build.json").write_text(json.dumps(build))
    assert main(power(files, "--build", str(files), "--part", "zu5ev")) == 2
    assert "built for LFE5U-85F; --part zu5ev is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "build.json: not valid JSON"),
        ("[]", "build.json: not the description of a build"),
        (
            '{"device": {"device": "x"}, "tape_sha256": "0"}',
            "build.json: not the description of a build: 'design'",
        ),
    ],
)
def test_a_build_that_is_none(
    files: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (files / "build.json").write_text(text)
    assert main(power(files, "--build", str(files))) == 2
    assert message in capsys.readouterr().err


def test_a_demos_folder_will_do(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", str(files), *power(files)[2:], "--json"]) == 0
    assert values_of(capsys)["tape_sha256"] == TAPE.sha256
    (files / "demo.json").write_text(json.dumps({"design": design_for(TAPE, 16).to_dict()}))
    assert main(["power", str(files), "--activity", str(files / "activity.json"), "--json"]) == 0
    assert values_of(capsys)["lanes"] == 16, "the demo's own, not the default"
    (files / "model.tape").unlink()
    assert main(["power", str(files)]) == 2
    assert "no model.tape in it" in capsys.readouterr().err


def test_nothing_to_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power"]) == 2
    assert "give a tape" in capsys.readouterr().err


def test_validation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--validate", "--json"]) == 0
    systems = values_of(capsys)["systems"]
    assert len(systems) >= 12
    assert all(
        set(system) >= {"name", "held_out", "low", "best", "high", "published"}
        for system in systems
    )
    assert main(["power", "--validate"]) == 0
    text = capsys.readouterr().out
    assert "OUTSIDE" in text, "what misses is said"

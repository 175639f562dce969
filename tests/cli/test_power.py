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
from tests.support.claims import another_process
from tests.support.sim.shapes import ADDITION, ODD

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


def test_a_folder_is_replaced_when_asked_only_and_by_one_process(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = files / "out"
    assert main(power(files, "--out", str(out))) == 0
    (out / "notes.txt").write_text("mine")
    before = (out / "power.json").read_bytes()
    for name in ("power.json", "activity.json"):
        assert main(power(files, "--out", str(out), "--clock", "50")) == 2
        assert f"{out}: exists already; --force" in capsys.readouterr().err
        if name == "power.json":
            assert (out / name).read_bytes() == before
        (out / name).unlink()
    assert main(power(files, "--out", str(out), "--clock", "50", "--force")) == 0
    assert (out / "power.json").read_bytes() != before
    assert (out / "notes.txt").read_text() == "mine"
    assert {path.name for path in files.iterdir()} == {"activity.json", "model.tape", "out"}
    with another_process(out, "claim") as process:
        assert main(power(files, "--out", str(out), "--force")) == 2
        assert f"{out}: process" in capsys.readouterr().err
        process.kill()
    assert main(power(files, "--out", str(out / "power.json"))) == 2
    assert "not a folder; give another --out" in capsys.readouterr().err


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
        (("--clock", "0"), "--clock must be above 0, got 0 MHz"),
        (("--clock", "nan"), "--clock must be a number, got 'nan'"),
        (("--part", "zu5ev", "--clock", "5000"), "goes beyond 1,000 MHz"),
        (("--prompt", "1+1"), "--prompt: the activity of --activity is given"),
        (("--build", "nowhere"), "nowhere: no such folder; give that of a build"),
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


BUILD = {
    "device": {"device": "LFE5U-85F"},
    "tape_sha256": TAPE.sha256,
    "design": design_for(TAPE, 16).to_dict(),
    "clock_hz": 166.7e6,
    "pll_hz": 100e6,
    "utilisation": {"TRELLIS_COMB": [1500, 83640], "TRELLIS_FF": [2200, 83640], "DP16KD": [2, 208]},
    "counts": {"synthesized": {"luts": 1400, "flip_flops": 2195, "ram_blocks": 2, "what": ""}},
}


def build(files: Path, **changes: Any) -> str:
    """A folder of a build of the tape."""
    (files / "build.json").write_text(json.dumps(BUILD | changes))
    return str(files)


def test_a_build_runs_at_the_clock_of_its_pll(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not at the clock it was routed for, which is only a limit."""
    assert main(power(files, "--build", build(files), "--json")) == 0
    values = values_of(capsys)
    assert (values["clock_hz"], values["clock_limit_hz"]) == (100e6, 166.7e6)
    assert values["clock_label"] == "this build's PLL; routed for up to 166.7 MHz"
    assert values["tokens_per_second"] == pytest.approx(100e6 * 20 / 10_122)
    assert main(power(files, "--build", str(files), "--clock", "166.7", "--json")) == 0
    values = values_of(capsys)
    assert values["clock_hz"] == 166.7e6
    assert values["clock_label"].endswith("post-route, this build, whose PLL makes 100 MHz")
    assert main(power(files, "--build", str(files), "--clock", "166.8")) == 2
    assert "above what was reached, 166.7 MHz" in capsys.readouterr().err


def test_a_build_that_missed_its_clock_says_so(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(power(files, "--build", build(files, clock_hz=93.1e6), "--json")) == 0
    values = values_of(capsys)
    assert values["clock_hz"] == 100e6, "as the chip runs"
    assert "ABOVE the 93.1 MHz it is routed for: it may compute wrongly" in values["clock_label"]


def test_a_builds_cells_are_those_that_were_routed(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(power(files, "--clock", "100", "--json")) == 0
    before = values_of(capsys)
    assert main(power(files, "--build", build(files), "--json")) == 0
    values = values_of(capsys)
    assert before["utilisation"]["luts"] == [234 + 1051 + 52, 83640]
    assert values["utilisation"]["luts"] == [1500, 83640]
    assert values["utilisation"]["flip_flops"] == [2200, 83640]
    grown = {
        name: values["by_block"][name]["best"] / before["by_block"][name]["best"] for name in AREAS
    }
    assert all(1.05 < ratio < 1.13 for ratio in grown.values()), grown
    assert list(values["counts"]) == ["estimated", "by block", "synthesized", "routed"]
    assert [count["luts"] for count in values["counts"].values()][1:] == [1337, 1400, 1500]
    assert list(before["counts"]) == ["estimated", "by block"]
    assert any("as routed in this build, 1,500 LUTs" in line for line in values["assumptions"])
    assert main(power(files, "--part", "zu5ev", "--json")) == 0
    assert list(values_of(capsys)["counts"]) == ["by block"], "the cost model is the ECP5's"


def test_every_count_is_named_for_people_and_on_the_page(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = files / "out"
    assert main(power(files, "--build", build(files), "--out", str(out))) == 0
    text = capsys.readouterr().out
    for line in ("by block        1,337", "synthesized     1,400", "routed          1,500"):
        assert line in text
    page = (out / "power.html").read_text()
    assert '<td>routed</td><td class="n">1,500</td>' in page
    assert "placed and routed by nextpnr" in page


def test_a_build_of_another_tape_or_part_or_design_is_refused(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(power(files, "--build", build(files, tape_sha256="0"))) == 2
    assert "built with another tape" in capsys.readouterr().err
    assert main(power(files, "--build", build(files), "--part", "zu5ev")) == 2
    assert "built for LFE5U-85F; --part zu5ev is" in capsys.readouterr().err
    for option, asked, own in (("--lanes", "32", "16"), ("--bits", "1.6", "2")):
        assert main(power(files, "--build", str(files), option, asked)) == 2
        message = f"{option} {asked}: the design in {files} has {own}; leave the option out"
        assert message in capsys.readouterr().err
    few = {"TRELLIS_COMB": [40, 83640], "TRELLIS_FF": [2200, 83640], "DP16KD": [2, 208]}
    assert main(power(files, "--build", build(files, utilisation=few))) == 2
    assert "40 LUTs were counted of the whole design" in capsys.readouterr().err


def test_a_demos_folder_will_do(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", str(files), *power(files)[2:], "--json"]) == 0
    assert values_of(capsys)["tape_sha256"] == TAPE.sha256
    (files / "demo.json").write_text(json.dumps({"design": design_for(TAPE, 16).to_dict()}))
    activity = ["--activity", str(files / "activity.json")]
    assert main(["power", str(files), *activity, "--json"]) == 0
    assert values_of(capsys)["lanes"] == 16, "the demo's own, not the default"
    assert main(["power", str(files), *activity, "--lanes", "32"]) == 2
    assert "activity of another design" in capsys.readouterr().err, "the lanes asked for"
    (files / "model.tape").unlink()
    assert main(["power", str(files)]) == 2
    assert f"{files}: no model in this folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--part", "ice40up5k"),
            (
                "--part ice40up5k: 64 lanes need at least 52 block RAMs (estimated), and the part"
                " has 30; take fewer --lanes (less padding), --bits 1.6, a smaller model, or"
                " another part; ecp5-25, ecp5-45, ecp5-85 may have room"
            ),
        ),
        (
            ("--part", "ecp5-25", "--lanes", "512"),
            (
                "--part ecp5-25: 512 lanes need at least 36,909 LUTs (estimated), and the part has"
                " 24,288; take fewer --lanes, or another part; ecp5-85, xc7a100t, xc7z020 may have"
                " room"
            ),
        ),
    ],
)
def test_a_part_that_is_too_small_is_refused_before_anything_is_simulated(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With parts that have room, those of its family first."""
    write_tape(ADDITION.tape(1, wild=False), tmp_path / "a.tape")
    assert main(["power", str(tmp_path / "a.tape"), *options]) == 2
    assert capsys.readouterr().err == f"mmfree: error: {message}\n"


def test_a_demo_of_an_impossible_design_is_named(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    design = design_for(TAPE, 16).to_dict() | {"rows": 0}
    (files / "demo.json").write_text(json.dumps({"design": design}))
    assert main(["power", str(files)]) == 2
    assert f"{files / 'demo.json'}: " in capsys.readouterr().err


def test_nothing_to_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power"]) == 2
    assert "give a tape" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "model.tape",
        "--part ecp5-85",
        "--technology a.toml",
        "--clock 100",
        "--build b",
        "--activity a.json",
        "--prompt 1",
        "--lanes 64",
        "--bits 2",
        "--out out",
    ],
)
def test_what_the_check_would_not_use_is_refused(
    words: str, files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is what would be taken without it."""
    monkeypatch.chdir(files)
    name = "tape" if words == "model.tape" else words.partition(" ")[0]
    assert main(["power", "--validate", *words.split()]) == 2
    assert capsys.readouterr().err == (
        f"mmfree: error: --validate predicts published systems, and takes no {name}; leave one of"
        " the two out\n"
    )
    assert not (files / "out").exists()


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

"""A build for a board: what it writes, what it refuses, and that a failed one leaves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hdl.toolchain.build
from hdl.boards import BOARDS, find_board
from hdl.boards.plan import Plan, plan
from hdl.boards.pll import pll_for
from hdl.planning.cost import resources
from hdl.planning.fit import least_cells
from hdl.toolchain.audit import ECP5_DSP_CELLS
from hdl.toolchain.build import (
    BUILD_FOLDER,
    CELLS_OF_KIND,
    KEPT,
    DoesNotFitError,
    MissedClockError,
    MultiplierError,
    Request,
    build,
    describe,
    faster_clock_hz,
    refuse_dsp,
    refuse_too_large,
)
from hdl.toolchain.built import read_built
from hdl.toolchain.place_and_route import Hop, ResourceError, Routed, find_tool
from mmfree.chip.design import Design
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for, padding_share
from mmfree.cli.main import main
from mmfree.errors import InputError
from mmfree.tape.pow2 import write_tape
from tests.support.random_tapes import random_tape
from tests.support.sim.shapes import ODD

REQUEST = Request(
    tape=ODD.tape(1, wild=False),
    design=ODD.design(),
    board=BOARDS["ulx3s-85f"],
    clock_hz=120e6,
    seed=7,
)
CELLS = {
    "LUT4": 3680,
    "CCU2C": 874,
    "TRELLIS_DPR16X4": 155,
    "TRELLIS_FF": 5405,
    "DP16KD": 5,
}
PLACED = {
    "TRELLIS_COMB": (6760, 83640),
    "TRELLIS_FF": (5405, 83640),
    "DP16KD": (5, 208),
    "MULT18X18D": (0, 156),
    "ALU54B": (0, 78),
}
ROUTED = Routed(
    seed=7,
    clock="clk",
    fmax_hz=125e6,
    constraint_hz=120e6,
    utilisation=PLACED,
    path=(Hop("clk-to-q", "a", "Q", "", 0.5, 0.5),),
    command=("nextpnr-ecp5", "--seed", "7"),
)


@cache
def planned(tape_seed: int, clock_hz: float) -> Plan:
    """Elaborated once for all tests."""
    return plan(
        REQUEST.board,
        REQUEST.design,
        layout(ODD.tape(tape_seed, wild=False), REQUEST.design),
        clock_hz,
    )


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Results that replace the tools; tests change them, and see what the tools were given."""
    gives: dict[str, Any] = {"cells": CELLS, "fit": None, "routed": ROUTED, "given": {}}

    def synthesize(rtlil: str, folder: Path, *, options: Any) -> dict[str, int]:
        gives["given"] |= {"rtlil": rtlil, "synthesis": options}
        found: dict[str, int] = gives["cells"]
        return found

    def check_fit(folder: Path, target: Any) -> None:
        gives["given"]["fit"] = target
        if gives["fit"]:
            raise gives["fit"]

    def route(folder: Path, target: Any, **options: Any) -> Routed:
        gives["given"] |= {"target": target, **options}
        for name in ("report.json", "nextpnr.log"):
            (folder / name).write_text(name)
        found: Routed = gives["routed"]
        return found

    def pack(folder: Path, name: str) -> tuple[str, ...]:
        (folder / name).write_bytes(b"bits")
        return ("ecppack", name)

    for name, function in {
        "synthesize": synthesize,
        "check_fit": check_fit,
        "route": route,
        "pack": pack,
    }.items():
        monkeypatch.setattr(hdl.toolchain.build, name, function)
    monkeypatch.setattr(hdl.toolchain.build, "tool_version", lambda name: f"{name} 1.0")
    monkeypatch.setattr(
        hdl.toolchain.build, "plan", lambda board, design, image, clock_hz: planned(1, clock_hz)
    )
    return gives


def test_what_is_asked_for_reaches_the_tools(
    tools: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Device, options of both tools, seed; and of the plan tape, design and clock."""
    asked: list[Any] = []

    def plan(*arguments: Any) -> Plan:
        asked.extend(arguments)
        return planned(1, 120e6)

    monkeypatch.setattr(hdl.toolchain.build, "plan", plan)
    request = replace(REQUEST, synthesis_options=("-abc9",), route_options=("--no-tmdriv",))
    description = build(request, tmp_path / "out")
    given = tools["given"]
    assert given["fit"] == given["target"] == REQUEST.board.target
    assert (given["synthesis"], given["options"]) == (("-abc9",), ("--no-tmdriv",))
    assert (given["seed"], given["constraints"]) == (7, planned(1, 120e6).constraints)
    board, design, image, clock_hz = asked
    assert (board, design, clock_hz) == (REQUEST.board, REQUEST.design, 120e6)
    assert image.words == layout(REQUEST.tape, REQUEST.design).words
    assert "synth_ecp5 -top top -abc9" in description["commands"][0]
    assert description["versions"]["yosys"] == "yosys 1.0"
    assert description["versions"]["nextpnr-ecp5"] == "nextpnr-ecp5 1.0"
    assert description["bitstream_sha256"] == hashlib.sha256(b"bits").hexdigest()
    assert description["serial_baud"] == 1_000_000
    assert description["pll"] == asdict(planned(1, 120e6).pll)
    assert description["device"] == {"device": "LFE5U-85F", "package": "CABGA381", "speed": 6}
    assert description["registers"] == planned(1, 120e6).registers.to_dict()
    padding = padding_share(ODD.config, request.design.rows, request.design.columns)
    assert description["padding_share"] == padding


@pytest.mark.parametrize("step", range(6))
def test_a_build_that_is_killed_while_it_replaces_another_is_none(
    step: int, tools: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two files: what says that it is finished is there with its own files alone."""
    out = tmp_path / "out"
    build(REQUEST, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    moved: list[str] = []
    real = os.replace

    def replace_file(source: Path, target: Path) -> None:
        if len(moved) == step:
            raise KeyboardInterrupt
        moved.append(Path(target).name)
        real(source, target)

    tools["routed"] = replace(ROUTED, fmax_hz=140e6)
    monkeypatch.setattr(hdl.toolchain.build, "tool_version", lambda name: f"{name} 2.0")
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace_file)
        if step < len(KEPT):
            with pytest.raises(KeyboardInterrupt):
                build(REQUEST, out, force=True)
            assert not (out / "build.json").exists(), moved
            with pytest.raises(InputError, match="writes it when it has succeeded"):
                read_built(out)
        else:
            build(REQUEST, out, force=True)
            assert moved[-1] == "build.json"
    build(REQUEST, out, force=True)
    assert {path.name for path in out.iterdir()} == before.keys()
    assert read_built(out).routed_hz == 140e6


def test_a_replaced_build_keeps_nothing_of_the_old_one(
    tools: dict[str, Any], tmp_path: Path
) -> None:
    """Of the files that a build has, and no others."""
    out = tmp_path / "out"
    build(REQUEST, out)
    (out / ".report.json.partial").write_text("killed")
    (out / "netlist.json").write_text("mine")
    build(REQUEST, out, force=True)
    assert {path.name for path in out.iterdir()} == {*KEPT, "netlist.json"}
    assert KEPT[-1] == BUILD_FOLDER.last == "build.json"


def test_all_kinds_of_dsp_blocks_count(tools: dict[str, Any], tmp_path: Path) -> None:
    """In what is described; none of them may be there, but a description adds them up."""
    placed = PLACED | {"MULT18X18D": (1, 156), "ALU54B": (2, 78)}
    description = describe(REQUEST, planned(1, 120e6), replace(ROUTED, utilisation=placed), CELLS)
    assert description["dsp"] == 3
    assert description["utilisation"]["MULT18X18D"] == (1, 156)
    assert describe(REQUEST, planned(1, 120e6), ROUTED, {})["utilisation"]["LUT4"] == (0, 83640)
    for kind in sorted(ECP5_DSP_CELLS):
        refuse_dsp({kind: 0, "LUT4": 5})
        with pytest.raises(MultiplierError, match=f"the design multiplies: 1 {kind}"):
            refuse_dsp({kind: 1})


def test_a_description_is_of_its_own_request() -> None:
    request = replace(REQUEST, seed=3, clock_hz=120.4e6)
    description = describe(request, planned(1, 120e6), replace(ROUTED, fmax_hz=140e6), CELLS)
    assert description["seed"] == 3
    clocks = ("clock_asked_hz", "pll_hz", "clock_hz", "clock_possible_hz")
    # 0.96 x 140 MHz is 134 whole MHz, 10 % above 120 is 132: the highest that the PLL makes.
    assert [description[name] for name in clocks] == [120.4e6, 120e6, 140e6, 134e6]
    assert description["design"] == REQUEST.design.to_dict()


def test_a_build_describes_itself(tools: dict[str, Any], tmp_path: Path) -> None:
    lines: list[str] = []
    description = build(REQUEST, tmp_path / "a" / "out", lines.append)
    out = tmp_path / "a" / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(KEPT)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "mmfree.bit").read_bytes() == b"bits"
    assert json.loads((out / "build.json").read_text()) == json.loads(json.dumps(description))
    assert lines == [
        "generating 16 lanes",
        "synthesizing 16 lanes for ulx3s-85f",
        "placing and routing for 120 MHz",
        "packing the bitstream",
    ]
    wanted = {
        "board": "ulx3s-85f",
        "lanes": 16,
        "clock_hz": 125e6,
        "clock_asked_hz": 120e6,
        "pll_hz": 120e6,
        "clock_met": True,
        "clock_possible_hz": None,
        "seed": 7,
        "lut": 6760,
        "ff": 5405,
        "memory_blocks": 5,
        "dsp": 0,
        "tape_sha256": REQUEST.tape.sha256,
        "bitstream": "mmfree.bit",
    }
    assert {name: description[name] for name in wanted} == wanted
    assert re.fullmatch("[0-9a-f]{64}", description["bitstream_sha256"])
    assert description["utilisation"]["LUT4"] == (3680, 83640)
    assert description["utilisation"]["CCU2C"] == (874, 41820)
    counts = {way: count["luts"] for way, count in description["counts"].items()}
    assert counts == {
        "estimated": resources(REQUEST.design).luts,
        "synthesized": 3680 + 2 * 874 + 4 * 155,
        "routed": 6760,
    }
    assert description["critical_path"] == [
        {"kind": "clk-to-q", "cell": "a", "port": "Q", "net": "", "delay_ns": 0.5, "total_ns": 0.5}
    ]
    assert description["commands"][1:] == ["nextpnr-ecp5 --seed 7", "ecppack mmfree.bit"]
    assert "synth_ecp5 -top top" in description["commands"][0]
    assert set(description["versions"]) == {
        "yosys",
        "nextpnr-ecp5",
        "ecppack",
        "amaranth",
        "amaranth-boards",
    }
    assert Design.from_dict(description["design"]) == REQUEST.design
    assert description["registers"]["write"]["request"]["access"] == "send"


def test_a_build_can_be_read_back(tools: dict[str, Any], tmp_path: Path) -> None:
    build(REQUEST, tmp_path / "out")
    found = read_built(tmp_path / "out")
    assert (found.pll_hz, found.routed_hz, found.design) == (120e6, 125e6, REQUEST.design)
    assert found.device == REQUEST.board.target.device
    assert found.tape_sha256 == REQUEST.tape.sha256
    assert [(count.way, count.luts) for count in found.counts] == [
        ("synthesized", 6048),
        ("routed", 6760),
    ]


@pytest.mark.parametrize(
    ("routed_mhz", "pll_mhz", "possible_mhz"),
    [
        (166.7, 100, 160),
        (120, 100, 115),
        (114, 100, None),
        (90, 100, None),
        (3000, 100, 400),
        (1.5, 1, None),
        (26.2, 12, 25),
        (160.4, 62.5, 153),
    ],
)
def test_a_clock_that_would_be_reached_is_named(
    routed_mhz: float, pll_mhz: float, possible_mhz: float | None
) -> None:
    """Whole MHz, a PLL's setting, 4 % below what was routed, and worth it: 10 % above the clock."""
    board = BOARDS["ulx3s-85f"]
    found = faster_clock_hz(board, routed_mhz * 1e6, pll_mhz * 1e6)
    assert found == (None if possible_mhz is None else possible_mhz * 1e6)
    if found is not None:
        assert pll_for(board.oscillator_hz, found).output_hz == pytest.approx(found, rel=1e-12)


def test_a_description_names_the_faster_clock(tools: dict[str, Any], tmp_path: Path) -> None:
    tools["routed"] = replace(ROUTED, fmax_hz=166.7e6)
    assert build(REQUEST, tmp_path / "out")["clock_possible_hz"] == 160e6


def test_the_tools_get_the_boards_pins_and_the_tapes_contents(
    tools: dict[str, Any], tmp_path: Path
) -> None:
    build(REQUEST, tmp_path / "out")
    first = dict(tools["given"])
    assert 'LOCATE COMP "uart_0__tx__io" SITE "L4"' in first["constraints"]
    assert 'FREQUENCY PORT "clk25_0__io" 25000000' in first["constraints"]
    assert first["seed"] == 7
    assert "cell \\EHXPLLL" in first["rtlil"]
    assert first["rtlil"] == planned(1, 120e6).rtlil
    assert first["rtlil"] != planned(2, 120e6).rtlil, "another tape"


Change = Callable[[dict[str, Any]], None]


def give(**what: Any) -> Change:
    return lambda tools: tools.update(what)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            give(routed=replace(ROUTED, fmax_hz=93.14e6)),
            MissedClockError,
            (
                "ulx3s-85f: the design is routed for 93.1 MHz, and the clock is 120 MHz: ask for"
                " less with --clock, try another --seed, or keep the result with --allow-slow"
            ),
        ),
        (
            give(fit=ResourceError("DP16KD", 1300, 208)),
            DoesNotFitError,
            (
                "ulx3s-85f: the design needs at least 1,300 DP16KD, and the LFE5U-85F has 208; what"
                " needs fewer: fewer lanes (less padding), --bits 1.6, or a smaller model"
            ),
        ),
        (
            give(fit=ResourceError("TRELLIS_COMB", 90000, 83640)),
            DoesNotFitError,
            (
                "the design needs at least 90,000 TRELLIS_COMB, and the LFE5U-85F has 83,640; what"
                " needs fewer: fewer lanes"
            ),
        ),
        (
            give(fit=ResourceError("EHXPLLL", 5, 4)),
            DoesNotFitError,
            "what needs fewer: a smaller design",
        ),
        (
            give(cells=CELLS | {"MULT18X18D": 2}),
            MultiplierError,
            "the design multiplies: 2 MULT18X18D after synthesis",
        ),
        (
            give(routed=replace(ROUTED, utilisation=PLACED | {"ALU54B": (1, 78)})),
            MultiplierError,
            "the design multiplies: 1 ALU54B after synthesis",
        ),
    ],
    ids=["clock", "memory", "luts", "other", "synthesized DSP", "placed DSP"],
)
def test_what_fails_says_why_and_leaves_nothing(
    change: Change, error: type[Exception], message: str, tools: dict[str, Any], tmp_path: Path
) -> None:
    change(tools)
    with pytest.raises(error, match=re.escape(message)):
        build(REQUEST, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_multiplying_cell_is_refused_before_synthesis(
    tools: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplying = replace(planned(1, 120e6), rtlil="\n  cell $mul $1\n")
    monkeypatch.setattr(hdl.toolchain.build, "plan", lambda *arguments: multiplying)
    with pytest.raises(
        MultiplierError,
        match=re.escape("the design multiplies: $mul $1 (of 1 such cells in the RTLIL)"),
    ):
        build(REQUEST, tmp_path / "out")
    assert tools["given"] == {}


def test_a_slow_result_is_kept_if_asked_for(tools: dict[str, Any], tmp_path: Path) -> None:
    tools["routed"] = replace(ROUTED, fmax_hz=93e6)
    description = build(replace(REQUEST, allow_slow=True), tmp_path / "out")
    assert (description["clock_met"], description["clock_hz"]) == (False, 93e6)


def test_an_existing_folder_keeps_its_other_files(tools: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "mmfree.bit").write_bytes(b"old")
    tools["fit"] = ResourceError("DP16KD", 300, 208)
    with pytest.raises(InputError, match="out: exists already; --force overwrites it"):
        build(REQUEST, out)
    with pytest.raises(DoesNotFitError):
        build(REQUEST, out, force=True)
    assert (out / "mmfree.bit").read_bytes() == b"old"
    tools["fit"] = None
    build(REQUEST, out, force=True)
    assert (out / "mmfree.bit").read_bytes() == b"bits"
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("kind", "cell"),
    [("luts", "TRELLIS_COMB"), ("flip_flops", "TRELLIS_FF"), ("ram_blocks", "DP16KD")],
)
def test_a_design_that_cannot_fit_is_refused_at_once(
    kind: str, cell: str, tools: dict[str, Any], tmp_path: Path
) -> None:
    """By the cost model, without a tool; what just fits may be tried."""
    least = least_cells(REQUEST.design, "ecp5")
    board = REQUEST.board
    refuse_too_large(REQUEST.design, replace(board, capacity=least))
    fewer = replace(board, capacity=least | {kind: least[kind] - 1})
    message = f"the design needs {least[kind]:,} {cell}, and the device has {least[kind] - 1:,}"
    with pytest.raises(ResourceError, match=message):
        refuse_too_large(REQUEST.design, fewer)
    with pytest.raises(DoesNotFitError, match=f"ulx3s-85f: .* at least {least[kind]:,} {cell}"):
        build(replace(REQUEST, board=fewer), tmp_path / "out")
    assert not tools["given"], "no tool was asked"


def test_the_boards_cells_are_those_of_its_device() -> None:
    assert REQUEST.board.capacity == {kind: PLACED[cell][1] for kind, cell in CELLS_OF_KIND.items()}


def test_impossible_clocks_are_refused(tools: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape("--clock must lie in 3.125..400 MHz, got 1000")):
        build(replace(REQUEST, clock_hz=1e9), tmp_path / "out")
    with pytest.raises(
        InputError, match=re.escape("a clock of 12.5 MHz cannot make 1,000,000 baud")
    ):
        build(replace(REQUEST, clock_hz=12.5e6), tmp_path / "out")


def test_unknown_boards() -> None:
    assert find_board("ulx3s-85f").target.speed == 6
    with pytest.raises(InputError, match="--board must be one of ulx3s-85f, got 'ulx4'"):
        find_board("ulx4")


def test_boards_are_what_their_platforms_say() -> None:
    """Device, package and speed grade of our table, and of the board's own definition."""
    from amaranth_boards.ulx3s import ULX3S_85F_Platform as Platform

    target = BOARDS["ulx3s-85f"].target
    assert (target.device, str(target.speed)) == (Platform.device, Platform.speed)
    assert (Platform.package, target.package) == ("BG381", "CABGA381")
    assert Platform().default_clk_frequency == BOARDS["ulx3s-85f"].oscillator_hz


def bits_of_block_rams(text: str, pattern: str) -> int:
    """Ones in all matches of a pattern of hexadecimal or binary digits."""
    base = 16 if "a-f" in pattern else 2
    return sum(
        int(word, base).bit_count() for word in re.findall(pattern, text, flags=re.MULTILINE)
    )


@pytest.mark.slow
def test_a_bitstream_holds_the_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tiny model from the command line to a bitstream with the design's initial memories."""
    tape = random_tape(
        np.random.default_rng(0),
        hidden_size=8,
        intermediate_size=8,
        num_layers=1,
        vocab_size=7,
        head_size=5,
        gate="hard",
    )
    write_tape(tape, tmp_path / "a.tape")
    out = tmp_path / "out"
    options = ["--board", "ulx3s-85f", "--out", str(out), "--lanes", "4", "--clock", "50"]
    assert main(["build", str(tmp_path / "a.tape"), *options, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values == json.loads((out / "build.json").read_text()) | {
        "bitstream": str(out / "mmfree.bit")
    }
    assert values["clock_hz"] >= values["clock_asked_hz"] == values["pll_hz"] == 50e6
    assert values["dsp"] == 0
    assert values["lanes"] == 4
    assert 0 < values["lut"] < 10_000
    assert values["memory_blocks"] > 0
    bitstream = (out / "mmfree.bit").read_bytes()
    assert hashlib.sha256(bitstream).hexdigest() == values["bitstream_sha256"]
    assert b"Part: LFE5U-85F-6CABGA381" in bitstream[:200]

    subprocess.run(
        [find_tool("ecpunpack"), "mmfree.bit", "chip.config"],
        cwd=out,
        check=True,
        capture_output=True,
    )
    design = design_for(tape, 4)
    rtlil = plan(BOARDS["ulx3s-85f"], design, layout(tape, design), 50e6).rtlil
    configured = (out / "chip.config").read_text()
    contents = "\n".join(
        re.findall(r"^\.bram_init \d+\n((?:[0-9a-f ]+\n)+)", configured, flags=re.MULTILINE)
    )
    begun = bits_of_block_rams(rtlil, r"parameter \\INITVAL_\w+ 320'([01]+)$")
    assert bits_of_block_rams(contents, r"[0-9a-f]+") == begun > 100

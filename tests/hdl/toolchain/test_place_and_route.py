"""Placement and routing: nextpnr's report and log, failing tools, and a real run.

The real run places and routes a few registers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

import hdl.toolchain.place_and_route
from hdl.boards.target import Target
from hdl.toolchain.place_and_route import (
    Hop,
    PlaceAndRouteError,
    ResourceError,
    SlowEnd,
    check_fit,
    describe_path,
    find_tool,
    first_error,
    pack,
    read_fit,
    read_report,
    route,
    slow_ends,
    synthesis_script,
    synthesize,
    tool_version,
)
from mmfree.errors import ToolMissing
from mmfree.extras import how_to_install


def step(kind: str, delay: float, cell: str, port: str, net: str | None = None) -> dict[str, Any]:
    """A step of a path as nextpnr writes it."""
    found: dict[str, Any] = {
        "delay": delay,
        "from": {"cell": "x", "loc": [1, 2], "port": "Q"},
        "type": kind,
    }
    found["to"] = {"cell": cell, "loc": [1, 2], "port": port}
    return found | ({} if net is None else {"net": net})


SLOW_PATH = [
    step("clk-to-q", 0.5, "a", "Q"),
    step("routing", 1.0, "sum0", "B", "a[0]"),
    step("logic", 0.4, "sum0", "FCO"),
    step("routing", 0.0, "sum1", "FCI", "carry"),
    step("logic", 0.1, "sum1", "FCO"),
    step("logic", 0.5, "sum1", "F"),
    step("routing", 2.0, "b", "DI", "sum[1]"),
    step("setup", 0.0, "b", "DI"),
]
REPORT: dict[str, Any] = {
    "fmax": {
        "$glbnet$clk": {"achieved": 125.5, "constraint": 140.0},
        "$glbnet$slow": {"achieved": 90.0, "constraint": 25.0},
    },
    "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk", "path": [step("source", 9.0, "pin", "O")]},
        {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": SLOW_PATH},
        {
            "from": "posedge $glbnet$slow",
            "to": "posedge $glbnet$slow",
            "path": [step("clk-to-q", 11.0, "c", "Q")],
        },
        {
            "from": "posedge $glbnet$clk",
            "to": "posedge $glbnet$slow",
            "path": [step("clk-to-q", 12.0, "c", "Q")],
        },
    ],
    "utilization": {
        "DP16KD": {"available": 208, "used": 5},
        "TRELLIS_COMB": {"available": 83640, "used": 6760},
    },
}
LOG = """Info: Logic utilisation before packing:
Info:     Total LUT4s:     31002/24288   127%
Info: Device utilisation:
Info: \t          TRELLIS_IO:       8/    197     4%
Info: \t              DP16KD:      {rams}/     56    17%
Info: \t        TRELLIS_COMB:   {luts}/  24288   131%

ERROR: Unable to place cell 'mem1.0.0', no BELs remaining to implement cell type 'DP16KD'
0 warnings, 1 error
"""


def test_the_report_of_a_missed_clock() -> None:
    """The clock with the lowest ratio to its constraint decides, and its longest path is shown."""
    routed = read_report(REPORT, seed=3, command=["nextpnr-ecp5", "--seed", "3"])
    assert (routed.clock, routed.fmax_hz, routed.constraint_hz, routed.met) == (
        "$glbnet$clk",
        125.5e6,
        140e6,
        False,
    )
    assert routed.utilisation == {"DP16KD": (5, 208), "TRELLIS_COMB": (6760, 83640)}
    assert routed.path[1] == Hop("routing", "sum0", "B", "a[0]", 1.0, 1.5)
    assert routed.path[-1] == Hop("setup", "b", "DI", "", 0.0, 4.5)
    values = json.loads(json.dumps(routed.to_dict()))
    assert values["met"] is False
    assert values["command"] == "nextpnr-ecp5 --seed 3"


def test_a_clock_that_is_reached_to_the_last_bit_is_met() -> None:
    fmax = {"clk": {"achieved": 140.0, "constraint": 140.0}}
    routed = read_report(REPORT | {"fmax": fmax})
    assert routed.met
    assert routed.path == ()


def test_a_path_as_text() -> None:
    """Steps without delay are left out, and a carry chain is one line."""
    lines = describe_path(read_report(REPORT).path).splitlines()
    assert [line.split() for line in lines] == [
        ["ns", "total"],
        ["0.50", "0.50", "clk-to-q", "a.Q"],
        ["1.00", "1.50", "routing", "sum0.B", "(net", "a[0])"],
        ["0.50", "2.00", "carry", "2", "bits"],
        ["0.50", "2.50", "logic", "sum1.F"],
        ["2.00", "4.50", "routing", "b.DI", "(net", "sum[1])"],
    ]


def test_all_late_registers_are_listed_by_block() -> None:
    def net(driver: str, name: str, *ends: tuple[str, float | list[float]]) -> dict[str, object]:
        return {
            "driver": driver,
            "net": name,
            "endpoints": [{"cell": cell, "delay": delay} for cell, delay in ends],
        }

    report = {
        "detailed_net_timings": [
            net(
                "port.word_1_TRELLIS_FF_Q",
                "word[1]",
                ("memory.block_3", 7.5),
                ("memory.block_12", [2.0, 9.0]),
            ),
            net(
                "port.word_2_TRELLIS_FF_Q_1",
                "word[2]",
                ("memory.block_3", 8.0),
                ("other_TRELLIS_FF_Q", 7.0),
            ),
            net("sum_LUT4_Z", "sum", ("total_TRELLIS_FF_Q_DI", 9.5)),
        ]
    }
    assert slow_ends(report, 7.5) == [
        SlowEnd(9.5, 1, "sum", "total", "sum"),
        SlowEnd(9.0, 3, "port.word_#", "memory.block_#", "word[1]"),
    ]
    assert slow_ends(report, 10) == []


def test_a_report_without_a_clock() -> None:
    with pytest.raises(
        PlaceAndRouteError,
        match="nextpnr reports no clock: the design has no path between registers",
    ):
        read_report(REPORT | {"fmax": {}})


def test_what_does_not_fit_is_found_in_the_log() -> None:
    assert read_fit(LOG.format(rams=56, luts=24288)) == {
        "TRELLIS_IO": (8, 197),
        "DP16KD": (56, 56),
        "TRELLIS_COMB": (24288, 24288),
    }
    for rams, luts, message in (
        (60, 100, "the design needs 60 DP16KD, and the device has 56"),
        (6, 32002, "the design needs 32,002 TRELLIS_COMB, and the device has 24,288"),
    ):
        with pytest.raises(ResourceError, match=message):
            read_fit(LOG.format(rams=rams, luts=luts))


def test_a_log_without_cells_does_not_pass() -> None:
    message = (
        "nextpnr's log must list the device's cells as `Info: KIND: USED/AVAILABLE N%`, and no"
    )
    with pytest.raises(PlaceAndRouteError, match=re.escape(message)):
        read_fit("Info: Device utilisation:\nDP16KD 3 of 56\n")


def test_the_first_error_of_a_log() -> None:
    assert first_error(LOG).startswith("ERROR: Unable to place cell 'mem1.0.0'")
    assert first_error("one\n\nlast\n") == "last"
    assert first_error("") == ""


def test_a_missing_tool_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    install = how_to_install("boards")
    message = f"ecppack is missing: `{install}` does that, or install ecppack itself"
    with pytest.raises(ToolMissing, match=re.escape(message)):
        find_tool("ecppack")
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/ecppack" if name == "ecppack" else None)
    assert find_tool("ecppack") == "/bin/ecppack"


class Adder(wiring.Component):
    """Registers before and after an addition, and ``rams`` memories."""

    def __init__(self, rams: int = 0) -> None:
        self._rams = rams
        super().__init__({"a": In(10), "o": Out(10)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, total = Signal(10), Signal(10)
        m.d.sync += [a.eq(self.a), total.eq(total + a)]
        value: Value = total
        for n in range(self._rams):
            m.submodules[f"ram_{n}"] = ram = memory.Memory(shape=16, depth=1024, init=[])
            read, write = ram.read_port(), ram.write_port()
            m.d.comb += [
                read.addr.eq(a),
                write.addr.eq(total),
                write.data.eq(value),
                write.en.eq(a[0]),
            ]
            value = read.data
        m.d.sync += self.o.eq(value)
        return m


def synthesized(block: Adder, folder: Path) -> dict[str, int]:
    return synthesize(rtlil.convert(block, name="top", emit_src=False), folder)


def test_a_few_registers_are_placed_routed_and_packed(tmp_path: Path) -> None:
    cells = synthesized(Adder(), tmp_path)
    assert cells["TRELLIS_FF"] == 30
    assert check_fit(tmp_path, Target())["TRELLIS_FF"] == (30, 83640)
    routed = route(tmp_path, Target(), seed=2, clock_hz=100e6, options=["--no-tmdriv"])
    assert routed.constraint_hz == 100e6
    assert routed.fmax_hz > 100e6
    assert routed.utilisation["TRELLIS_FF"] == (30, 83640)
    assert routed.path[0].kind == "clk-to-q"
    assert {"--seed", "2", "--85k", "CABGA381", "--no-tmdriv"} < set(routed.command)
    pack(tmp_path, "adder.bit")
    assert (tmp_path / "adder.bit").stat().st_size > 10_000


def test_too_many_memories_are_found_before_placement(tmp_path: Path) -> None:
    synthesized(Adder(rams=57), tmp_path)
    with pytest.raises(ResourceError, match="the design needs 57 DP16KD, and the device has 56"):
        check_fit(tmp_path, Target(device="LFE5U-12F"))


def test_a_failing_tool_says_why(tmp_path: Path) -> None:
    with pytest.raises(PlaceAndRouteError, match=r"nextpnr-ecp5 failed: ERROR: .*netlist\.json"):
        route(tmp_path, Target())
    with pytest.raises(PlaceAndRouteError, match="ecppack failed: Failed to open input file"):
        pack(tmp_path, "chip.bit")


def test_tools_say_their_versions() -> None:
    for name in ("yosys", "nextpnr-ecp5", "ecppack"):
        assert re.search(r"\d+\.\d+", tool_version(name)), name


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the tools are told; another program stands for them."""
    told: list[list[str]] = []

    def run_tool(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        told.append(command)
        if "--report" in command:
            assert not (folder / "report.json").exists(), "of an earlier run"
            (folder / "report.json").write_text(json.dumps(REPORT))
        if "--log" in command:
            assert not (folder / "nextpnr.log").exists()
            (folder / "nextpnr.log").write_text(LOG.format(rams=5, luts=7))
        return subprocess.CompletedProcess(command, 0, "said", "")

    monkeypatch.setattr(hdl.toolchain.place_and_route, "run_tool", run_tool)
    monkeypatch.setattr(hdl.toolchain.place_and_route, "find_tool", lambda name: f"/a/{name}")
    return told


TARGET = Target(device="LFE5U-45F", package="CABGA256", speed=8)
OPTIONS = ["--45k", "--package", "CABGA256", "--speed", "8"]


def test_what_nextpnr_is_told(commands: list[list[str]], tmp_path: Path) -> None:
    """Files that an earlier run left are not read again."""
    for name in ("report.json", "nextpnr.log"):
        (tmp_path / name).write_text("earlier")
    routed = route(tmp_path, TARGET, seed=5, constraints="LOCATE", clock_hz=62.5e6, options=["--x"])
    (tmp_path / "nextpnr.log").write_text("earlier")
    free = route(tmp_path, TARGET)
    (tmp_path / "nextpnr.log").write_text("earlier")
    fit = check_fit(tmp_path, TARGET)
    start = ["nextpnr-ecp5", *OPTIONS, "--json", "netlist.json", "--textcfg", "chip.config"]
    start += ["--report", "report.json", "--seed"]
    slow, quiet = "--timing-allow-fail", ["--quiet", "--log", "nextpnr.log"]
    own = [*start, "5", slow, "--lpf", "pins.lpf", "--freq", "62.500000", "--x"]
    assert list(routed.command) == own
    assert commands[0] == ["/a/nextpnr-ecp5", *own[1:], *quiet]
    assert list(free.command) == [*start, "1", slow, "--lpf-allow-unconstrained"]
    assert (tmp_path / "pins.lpf").read_text() == "LOCATE"
    assert (routed.seed, routed.clock, free.seed) == (5, "$glbnet$clk", 1)
    assert commands[2] == [
        *("/a/nextpnr-ecp5", *OPTIONS, "--json", "netlist.json", "--lpf-allow-unconstrained"),
        *("--pack-only", *quiet),
    ]
    assert fit["DP16KD"] == (5, 56)


def test_what_the_other_tools_are_told(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ("ecppack", "--compress", "--input", "chip.config", "--bit", "a.bit")
    assert pack(tmp_path, "a.bit") == own
    assert commands[-1] == ["/a/ecppack", *own[1:]]
    assert pack(tmp_path, "a.bit", ["--x"])[1] == "--x"
    scripts: list[list[str]] = []
    monkeypatch.setattr(
        hdl.toolchain.place_and_route, "run_yosys", lambda script, folder: scripts.append(script)
    )
    monkeypatch.setattr(hdl.toolchain.place_and_route, "read_cells", lambda folder: {"LUT4": 3})
    assert synthesize("RTLIL", tmp_path, top="t", options=["-abc9"]) == {"LUT4": 3}
    assert (tmp_path / "top.il").read_text() == "RTLIL"
    (script,) = scripts
    assert script == synthesis_script("t", ["-abc9"])
    assert script[0] == "read_rtlil top.il"
    assert script[1] == "synth_ecp5 -top t -abc9 -run begin:map_luts"
    assert script[3:5] == ["synth_ecp5 -top t -abc9 -run map_luts:", "write_json netlist.json"]


@pytest.mark.parametrize(
    ("device", "option"),
    [
        ("LFE5U-12F", "--12k"),
        ("LFE5U-25F", "--25k"),
        ("LFE5U-45F", "--45k"),
        ("LFE5U-85F", "--85k"),
    ],
)
def test_a_device_is_the_one_that_nextpnr_places_for(device: str, option: str) -> None:
    found = Target(device=device, package="P", speed=7).options
    assert found == [option, "--package", "P", "--speed", "7"]
    assert Target().options == ["--85k", "--package", "CABGA381", "--speed", "6"]


@pytest.mark.parametrize(
    ("stdout", "stderr", "version"),
    [
        ("Yosys 0.40+1 (git sha1 x)", "", "Yosys 0.40+1"),
        ("", '"nextpnr-ecp5" -- Next Generation (Version 0.7-1-g0)', "0.7-1-g0"),
        ("Project Trellis ecppack Version 1.4", "", "1.4"),
        ("nothing", "", "unknown"),
    ],
)
def test_a_version_is_as_it_is_printed(
    stdout: str, stderr: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = subprocess.CompletedProcess([], 0, stdout, stderr)
    monkeypatch.setattr(hdl.toolchain.place_and_route, "run_tool", lambda command: said)
    monkeypatch.setattr(hdl.toolchain.place_and_route, "find_tool", lambda name: name)
    assert tool_version("x") == version


def test_the_longest_path_of_the_slowest_clock_is_shown() -> None:
    """Of both edges, and the longest by its sum."""
    paths = [
        {"from": f"{a} $glbnet$clk", "to": f"{b} $glbnet$clk", "path": path}
        for a, b, path in (
            ("posedge", "posedge", [step("clk-to-q", 2.0, "short", "Q")]),
            ("posedge", "negedge", [step("clk-to-q", 1.0, "a", "Q"), step("setup", 4.0, "b", "D")]),
            ("negedge", "posedge", [step("clk-to-q", 4.5, "other", "Q")]),
        )
    ]
    routed = read_report(REPORT | {"critical_paths": paths})
    assert [(hop.cell, hop.total_ns) for hop in routed.path] == [("a", 1.0), ("b", 5.0)]


def test_a_tool_that_fails_without_a_word_has_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 3, "", "")
    monkeypatch.setattr(hdl.toolchain.place_and_route, "run_tool", lambda command, folder: failed)
    monkeypatch.setattr(hdl.toolchain.place_and_route, "find_tool", lambda name: name)
    with pytest.raises(PlaceAndRouteError, match=r"^ecppack failed: exit code 3$"):
        pack(tmp_path, "a.bit")
    (tmp_path / "nextpnr.log").write_text("ERROR: of an earlier run")
    with pytest.raises(PlaceAndRouteError, match=r"^nextpnr-ecp5 failed: exit code 3$"):
        check_fit(tmp_path, Target())

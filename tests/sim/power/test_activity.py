"""Activity: what is counted, of what, and that it is of the right tape and design."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import memory

import sim.cosim.chip
import sim.power.activity
import sim.power.netlist
from hdl.accelerator import Accelerator
from hdl.array.ternary_array import TernaryArray
from hdl.planning.cycles import segment_cycles
from hdl.toolchain.emit import TOP, convert_rtlil, write_memory_files
from mmfree.chip.design import Design
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for
from mmfree.errors import InputError
from mmfree.host.interface import Fault, Request, Result
from mmfree.tape.pow2 import Tape
from sim.cosim.due import expect
from sim.cosim.run_folder import (
    Run,
    Sequence,
    positions_played,
    read_rows,
    read_run,
    write_rows,
    write_run,
)
from sim.power import activity_bench
from sim.power.activity import (
    Activity,
    BlockActivity,
    Watched,
    block_of,
    by_block,
    count_toggles,
    measure_activity,
    read_activity,
    watched_nets,
)
from sim.power.netlist import NetlistBlock, netlist_activity, predicted_toggles
from sim.power.saif import NetToggles
from sim.simulators.runner import SimulationFailed
from tests.support.sim.shapes import ODD

PROMPT = np.random.default_rng(0).integers(0, ODD.config.vocab_size, 20).tolist()


def test_registers_and_reads_are_found_in_the_rtlil() -> None:
    m = Module()
    m.submodules.inner = inner = Module()
    m.submodules.words = words = memory.Memory(shape=6, depth=4, init=[])
    count, wide = Signal(3, name="count"), Signal(9, name="wide")
    read, seldom = words.read_port(), words.read_port()
    m.d.sync += count.eq(count + 1)
    inner.d.sync += wide.eq(wide + read.data)
    m.d.comb += [read.addr.eq(count), seldom.addr.eq(count), seldom.en.eq(count[0])]
    inner.d.sync += wide.eq(wide + seldom.data)
    text = rtlil.convert(m, name=TOP, ports=[wide], emit_src=False)
    found = watched_nets(text)
    assert found[(TOP,)].registers == {"count"}
    assert found[(TOP, "inner")].registers == {"wide"}
    (reads,) = (names.reads for names in found.values() if names.reads)
    assert sorted(map(bool, reads.values())) == [False, True], (
        "one port is always enabled, the other has a flag"
    )


def test_every_register_of_the_accelerator_is_watched() -> None:
    """As many as the RTLIL has flip-flop cells."""
    text = convert_rtlil(Accelerator(ODD.design()))
    watched = watched_nets(text)
    cells = len(re.findall(r"^  cell \$dff ", text, re.MULTILINE))
    assert sum(len(names.registers) for names in watched.values()) == cells > 500
    assert {scope[1].partition("$")[0] for scope in watched if len(scope) > 1} >= {
        "array",
        "post",
        "source",
        "rms_norm",
    }


def test_counts_go_to_the_blocks_of_the_top_module() -> None:
    watched = {
        ("mmfree",): Watched(frozenset({"own"}), {}),
        ("mmfree", "x$7"): Watched(frozenset({"r"}), {"data": "flag", "always": ""}),
        ("mmfree", "x$7", "part"): Watched(frozenset({"r"}), {}),
    }
    nets = [
        NetToggles(("mmfree",), "own", 1, 2),
        NetToggles(("mmfree",), "wire", 1, 1000),
        NetToggles(("mmfree", "x$7"), "r", 4, 10),
        NetToggles(("mmfree", "x$7"), "data", 8, 20),
        NetToggles(("mmfree", "x$7"), "always", 2, 1),
        NetToggles(("mmfree", "x$7"), "flag", 1, 6, 70_000),
        NetToggles(("mmfree", "y"), "flag", 1, 6, 50_000),
        NetToggles(("mmfree", "x$7", "part"), "r", 1, 5),
        NetToggles(("$rootio",), "own", 1, 9),
    ]
    assert by_block(nets, watched, 100) == {
        "top": BlockActivity(registers=1, register_toggles=2),
        "x": BlockActivity(
            registers=5, register_toggles=15, read_bits=10, read_toggles=21, reads=8 * 7 + 2 * 100
        ),
    }
    assert block_of(("mmfree", "tables", "memory")) == "tables"


@pytest.fixture(scope="module")
def measured() -> Activity:
    tape = ODD.tape(1, wild=False)
    return measure_activity(tape, design_for(tape, ODD.lanes), PROMPT, text="random tokens")


def test_a_real_run(measured: Activity) -> None:
    """Nothing toggles more than once a cycle; the array is busy and the load port is not."""
    assert measured.tokens == len(PROMPT)
    assert measured.cycles_per_token == pytest.approx(506, abs=2)
    for name, block in measured.blocks.items():
        assert 0 <= block.register_toggles <= block.registers * measured.cycles, name
        assert 0 <= block.read_toggles <= block.read_bits * measured.cycles, name
    rate = {
        name: block.register_toggles / max(1, block.registers) / measured.cycles
        for name, block in measured.blocks.items()
    }
    source, embedding = measured.blocks["source"], measured.blocks["embedding"]
    tape = ODD.tape(1, wild=False)
    segments = segment_cycles(tape.config, ODD.design())
    # A word for each tile, and a check word for each segment but the embedding.
    words = sum(segment.beats for segment in segments) + len(segments) - 1
    assert source.reads / source.read_bits == measured.tokens * words
    assert embedding.read_share(measured.cycles) < 0.05
    assert measured.blocks["tables"].read_share(measured.cycles) == 1, "always enabled"
    assert rate["array"] > 0.1
    assert rate["load_port"] < 0.001
    assert rate["noise"] < 0.001, "nothing is drawn"
    assert 0.05 < measured.toggle_rate < 0.25


def test_a_file_holds_it_all_and_knows_its_tape_and_design(
    measured: Activity, tmp_path: Path
) -> None:
    path = tmp_path / "activity.json"
    measured.write(path)
    assert read_activity(path) == measured
    tape = ODD.tape(1, wild=False)
    measured.check(tape, design_for(tape, ODD.lanes), "a file")
    with pytest.raises(InputError, match="a file: activity of another tape"):
        measured.check(ODD.tape(2, wild=False), design_for(tape, ODD.lanes), "a file")
    with pytest.raises(InputError, match=r"a file: activity of another design .rows"):
        measured.check(tape, design_for(tape, 64), "a file")
    with pytest.raises(InputError, match=r"a file: activity of another design .leds 1, not None"):
        replace(measured, design=measured.design | {"leds": 1}).check(
            tape, design_for(tape, ODD.lanes), "a file"
        )
    with pytest.raises(InputError, match="a file: no activity of block array"):
        replace(measured, blocks={"post": measured.blocks["post"]}).check(
            tape, design_for(tape, ODD.lanes), "a file"
        )
    with pytest.raises(InputError, match=r"a file: activity of another design .weight_code"):
        measured.check(tape, replace(design_for(tape, ODD.lanes), weight_code="1.6"), "a file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "schema 2"),
        ({"tokens": 0}, "tokens: counts must be integers, and positive, got 0"),
        ({"cycles": 0}, "cycles: counts must be integers, and positive, got 0"),
        ({"tokens": True}, "tokens: counts must be integers, and positive, got True"),
        ({"cycles": None}, "cycles: counts must be integers"),
        ({"cycles": float("nan")}, "NaN is not a JSON number"),
        ({"cycles": 10**400}, "the integer 1000.* does not fit"),
        ({"cycles": 1.5}, "cycles: counts must be integers"),
        ({"blocks": {"array": {"registers": -1}}}, "array.registers: counts must be integers"),
        ({"blocks": {"array": {"registers": "x"}}}, "array.registers: counts must be integers"),
        ({"blocks": {"array": {"registers": 1, "register_toggles": 2}}}, "array: nothing changes"),
        (
            {"blocks": {"array": {"registers": 1, "read_bits": 1, "reads": 2}}},
            "array: nothing changes, or is read",
        ),
        ({"blocks": {}}, "no block has a register"),
        ({"design": [1]}, "not an activity file"),
        ({"tape_sha256": 3}, "not an activity file"),
        ({"blocks": {"array": {"leds": 1}}}, "not an activity file"),
        ({"blocks": 3}, "not an activity file"),
        ({"more": 1}, "not an activity file"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "activity.json"
    activity = Activity(
        tape_sha256="0", design={}, text="", tokens=1, cycles=1, blocks={"array": BlockActivity()}
    )
    activity.write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        read_activity(path)


def test_a_wrong_choice_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chip of one tape, the golden model of another."""
    wild, tame = ODD.tape(3, wild=True), ODD.tape(1, wild=False)
    monkeypatch.setattr(sim.cosim.chip, "layout", lambda tape, design: layout(tame, design))
    with pytest.raises(SimulationFailed, match="the golden model"):
        measure_activity(wild, design_for(tame, ODD.lanes), PROMPT, text="random tokens")


@pytest.mark.parametrize(
    ("rows", "due", "message"),
    [
        ([1, 2], [1, 2, 3], "the chip played 2 of 3 tokens"),
        ([1, 2], [None, None, None], "the chip played 2 of 3 tokens"),
        ([1, 2, 3, 4], [1, 2, 3], "the chip played 4 of 3 tokens"),
        ([1, 4, 3], [1, 2, 3], "position 1: the chip chose row 4, the golden model 2"),
    ],
)
def test_a_measurement_of_less_than_the_prompt_is_refused(
    rows: list[int],
    due: list[int | None],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if nothing is compared. Another program stands for the simulator."""
    monkeypatch.setattr(sim.power.activity, "build", lambda *arguments, **named: None)
    monkeypatch.setattr(
        sim.power.activity, "run", lambda model, module, folder: write_rows(folder, rows)
    )
    with pytest.raises(SimulationFailed, match=message):
        count_toggles(tmp_path, ODD.design(), Sequence(prompt=[1, 2, 3]), due)


def test_rates_by_hand() -> None:
    """Of 100 cycles: toggles per register and cycle, and the share of them in which is read."""
    block = BlockActivity(registers=4, register_toggles=100, read_bits=8, read_toggles=7, reads=200)
    assert block.toggle_rate(100, 0.9) == 0.25
    assert block.read_share(100) == 0.25
    assert BlockActivity().toggle_rate(100, 0.9) == 0.9
    assert BlockActivity().read_share(100) == 1.0
    blocks = {"a": block, "b": BlockActivity(registers=6, register_toggles=50, read_toggles=99)}
    activity = Activity(tape_sha256="", design={}, text="", tokens=8, cycles=100, blocks=blocks)
    assert activity.cycles_per_token == 12.5
    assert activity.toggle_rate == 150 / 10 / 100


SMALL: dict[str, Any] = {
    "schema": 2,
    "tape_sha256": "0",
    "design": {},
    "text": "",
    "tokens": 1,
    "cycles": 10,
    "blocks": {"array": {"registers": 2, "read_bits": 3}},
}


@pytest.mark.parametrize(
    ("counts", "refused"),
    [
        ({"register_toggles": 20}, {"register_toggles": 21}),
        ({"reads": 30}, {"reads": 31}),
        ({"read_toggles": 30}, {"read_toggles": 31}),
        ({"registers": 1}, {"registers": -1}),
    ],
)
def test_the_most_that_a_count_may_be(
    counts: dict[str, int], refused: dict[str, int], tmp_path: Path
) -> None:
    """Of 2 registers and 3 bits that are read, in 10 cycles: once a cycle each."""
    path = tmp_path / "activity.json"
    block = SMALL["blocks"]["array"]
    path.write_text(json.dumps(SMALL | {"blocks": {"array": block | counts}}))
    assert read_activity(path).blocks["array"] == BlockActivity(**block | counts)
    path.write_text(json.dumps(SMALL | {"blocks": {"array": block | refused}}))
    with pytest.raises(InputError, match="array"):
        read_activity(path)


def test_a_file_is_of_this_schema_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "activity.json"
    for values in ([SMALL], {name: v for name, v in SMALL.items() if name != "schema"}):
        path.write_text(json.dumps(values))
        with pytest.raises(InputError, match="not an activity file of schema 2"):
            read_activity(path)
    for name in SMALL.keys() - {"schema"}:
        path.write_text(json.dumps({key: v for key, v in SMALL.items() if key != name}))
        with pytest.raises(InputError, match=f"not an activity file: .*{name}"):
            read_activity(path)
    path.write_text(json.dumps(SMALL | {"text": 5}))
    with pytest.raises(InputError, match="tape_sha256 and text must be strings"):
        read_activity(path)


SAIF = """(SAIFILE
(TIMESCALE 1ps)
(DURATION 2500000)
(INSTANCE mmfree
(NET
(count (T0 1) (T1 70000) (TZ 0) (TX 0) (TB 0) (TC 12))
)
)
)
"""
"""Of 250 cycles of 10 ns."""


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Another program stands for the simulator: it plays what the golden model would."""
    seen: dict[str, Any] = {}

    def build(sources: list[Path], top: str, *, trace: str) -> str:
        seen.update(sources=[path.name for path in sources], top=top, trace=trace)
        return "model"

    def run(model: str, module: str, folder: Path) -> None:
        seen.update(module=module, run=read_run(folder), memories=memories_of(folder))
        (folder / "dump.saif").write_text(SAIF)
        write_rows(folder, seen["rows"])

    monkeypatch.setattr(sim.power.activity, "build", build)
    monkeypatch.setattr(sim.power.activity, "run", run)
    return seen


def memories_of(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in folder.glob("*.hex")}


def test_toggles_are_counted_in_cycles(played: dict[str, Any], tmp_path: Path) -> None:
    played["rows"] = [4, 2]
    cycles, nets = count_toggles(tmp_path, ODD.design(), Sequence(prompt=[1, 3]), [None, 2])
    assert cycles == 250
    assert nets == [NetToggles(("mmfree",), "count", 1, 12, 70_000)]
    assert played["sources"] == ["mmfree.v"]
    assert (played["top"], played["trace"]) == ("mmfree", "saif")
    assert played["module"] == "sim.power.activity_bench"
    assert played["run"].sequences == [Sequence(prompt=[1, 3])]
    assert played["run"].design == ODD.design()


def test_a_measurement_is_of_its_tape_or_of_another_image(
    played: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tape, the rows must be the golden model's; of an image, whatever the chip chooses."""
    made: list[str] = []

    def write(folder: Path, tapes: list[Tape], design: Design, *, array: Any) -> None:
        made.append(array)
        write_memory_files(layout(tapes[0], design), folder)

    text = f"module \\{TOP}\n  cell $dff $1\n    connect \\Q \\count\n  end\nend\n"
    monkeypatch.setattr(sim.power.activity, "write_chip", write)
    monkeypatch.setattr(sim.power.activity, "Accelerator", lambda design, *, array: (design, array))
    monkeypatch.setattr(
        sim.power.activity, "convert_rtlil", lambda chip: text if chip == (design, made[-1]) else ""
    )
    tape, other = ODD.tape(1, wild=False), ODD.tape(2, wild=False)
    design = ODD.design()
    played["rows"] = expect([Sequence(prompt=[3, 1])], [tape])[0].rows.tolist()
    found = measure_activity(tape, design, [3, 1], text="two tokens")
    assert (found.tape_sha256, found.text) == (tape.sha256, "two tokens")
    assert (found.tokens, found.cycles, found.cycles_per_token) == (2, 250, 125)
    assert found.design == design.to_dict()
    assert played["memories"] == layout(tape, design).memory_files()
    assert found.blocks == {"top": BlockActivity(registers=1, register_toggles=12)}
    assert made == [TernaryArray]
    image = layout(other, design)
    played["rows"] = [(row + 1) % 5 for row in played["rows"]]
    with pytest.raises(SimulationFailed, match="position 0: the chip chose row"):
        measure_activity(tape, design, [3, 1], text="")
    array = partial(TernaryArray)
    measure_activity(tape, design, [3, 1], text="", image=image, array=array)
    assert played["memories"] == image.memory_files()
    assert made[-1] is array
    with pytest.raises(InputError, match="token 7 is not in the vocabulary"):
        measure_activity(tape, design, [7], text="")


def test_a_prompt_is_one_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first token begins from a fresh state; nothing but answers is read back."""
    sent: list[tuple[int, bool]] = []

    class Driver:
        def __init__(self, dut: object, run: Run) -> None:
            assert (dut, run.design) == ("a chip", ODD.design())

        async def reset(self) -> None:
            sent.append((-1, True))

        async def send(self, request: Request) -> None:
            sent.append((request.token, request.begin))

        async def wait(self) -> Result | Fault:
            token = sent[-1][0]
            return Fault("weights", 2) if token == 6 else Result(token + 10, True)

        async def take(self) -> None:
            sent.append((-2, False))

    monkeypatch.setattr(activity_bench, "Driver", Driver)
    monkeypatch.setattr(activity_bench, "FOLDER", tmp_path)
    for prompts in ([[3, 1], [4]], [[6]]):
        asked = [Sequence(prompt=prompt) for prompt in prompts]
        write_run(tmp_path, Run(design=ODD.design(), sequences=asked))
        if prompts == [[6]]:
            with pytest.raises(AssertionError, match="weights"):
                asyncio.run(activity_bench.play.func("a chip"))
        else:
            asyncio.run(activity_bench.play.func("a chip"))
            assert read_rows(tmp_path) == [13, 11, 14]
            assert positions_played(tmp_path) == 3
            assert sent == [
                *((-1, True), (3, True), (-2, False), (1, False), (-2, False)),
                *((4, True), (-2, False)),
            ]


def test_a_netlist_is_counted_cell_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs of LUTs, two of a carry cell, and of flip-flops, by the block of the cell's name."""
    kinds = {
        "array.sum_LUT4_Z": "LUT4",
        "array$1.sum_CCU2C": "CCU2C",
        "array.part.acc_TRELLIS_FF_Q": "TRELLIS_FF",
        "array.sum_PFUMX_Z": "PFUMX",
        "own_TRELLIS_FF_Q": "TRELLIS_FF",
    }
    seen: dict[str, Any] = {}

    def yosys(commands: list[str], folder: Path) -> None:
        seen["commands"] = commands
        netlist = {"modules": {TOP: {"cells": {name: {"type": k} for name, k in kinds.items()}}}}
        (folder / "netlist.json").write_text(json.dumps(netlist))
        (folder / "netlist.v").write_text("// netlist\n")

    def count(
        folder: Path, design: Design, sequence: Sequence, due: list[int]
    ) -> tuple[int, list[NetToggles]]:
        seen.update(prompt=sequence.prompt, due=due, verilog=(folder / "mmfree.v").read_text())
        ports = {"LUT4": ("Z", "A"), "CCU2C": ("S0", "S1", "CIN"), "PFUMX": ("Z",)}
        nets = [
            NetToggles((TOP, name), port, 1, number)
            for number, (name, kind) in enumerate(kinds.items(), start=1)
            for port in ports.get(kind, ("Q", "D"))
        ]
        return 77, [*nets, NetToggles((TOP,), "Q", 1, 99), NetToggles((TOP, "x", "y"), "Q", 1, 99)]

    monkeypatch.setattr(sim.power.netlist, "run_yosys", yosys)
    monkeypatch.setattr(sim.power.netlist, "count_toggles", count)
    monkeypatch.setattr(sim.power.netlist, "write_chip", lambda *arguments, **named: None)
    monkeypatch.setattr(sim.power.netlist, "Accelerator", lambda *arguments: None)
    monkeypatch.setattr(sim.power.netlist, "convert_rtlil", lambda *arguments: "")
    tape = ODD.tape(1, wild=False)
    cycles, blocks = netlist_activity(tape, ODD.design(), [3, 1])
    assert cycles == 77
    assert blocks == {
        "array": NetlistBlock(luts=3, lut_toggles=1 + 2 + 2, flip_flops=1, flip_flop_toggles=3),
        "top": NetlistBlock(flip_flops=1, flip_flop_toggles=5),
    }
    assert seen["due"] == expect([Sequence(prompt=[3, 1])], [tape])[0].rows.tolist()
    assert "module CCU2C" in seen["verilog"], "models of the cells"
    assert "module LUT4" in seen["verilog"]
    assert seen["verilog"].startswith("// netlist")


def test_predicted_toggles_by_hand() -> None:
    """A LUT 0.92 times as often as a register of its block; a block of none, as the mean."""
    blocks = {
        "array": BlockActivity(registers=10, register_toggles=500),
        "noise": BlockActivity(registers=10),
    }
    activity = Activity(tape_sha256="", design={}, text="", tokens=1, cycles=100, blocks=blocks)
    netlist = {
        "array": NetlistBlock(luts=100, flip_flops=7),
        "noise": NetlistBlock(luts=100, flip_flops=7),
        "top": NetlistBlock(luts=3),
    }
    predicted = 50 * (7 + 92) + 25 * 3 * 0.92
    assert predicted_toggles(activity, netlist) == pytest.approx(predicted)


@pytest.mark.slow
def test_the_netlist_toggles_as_predicted_from_the_rtl(measured: Activity) -> None:
    """Synthesized for the ECP5 and simulated cell by cell, on the same tokens: within 15 %.

    Flip-flops within 1 %: synthesis copies hardly any of them in this small chip.
    """
    tape = ODD.tape(1, wild=False)
    cycles, blocks = netlist_activity(tape, design_for(tape, ODD.lanes), PROMPT)
    assert cycles == measured.cycles
    counted = sum(block.lut_toggles + block.flip_flop_toggles for block in blocks.values())
    assert predicted_toggles(measured, blocks) == pytest.approx(counted, rel=0.15)
    registers = sum(block.register_toggles for block in measured.blocks.values())
    assert sum(block.flip_flop_toggles for block in blocks.values()) == pytest.approx(
        registers, rel=0.01
    )

"""Activity: what is counted, of what, and that it is of the right tape and design."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import memory

import sim.cosim.chip
import sim.power.activity
from hdl.accelerator import Accelerator
from hdl.toolchain.cost import segment_cycles
from hdl.toolchain.emit import TOP, convert_rtlil
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for
from mmfree.errors import InputError
from sim.cosim.run_folder import Sequence, write_rows
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
from sim.power.netlist import netlist_activity, predicted_toggles
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

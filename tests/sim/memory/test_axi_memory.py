"""The model of an external memory's ports, with a master that a test drives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.chip.external_memory import ExternalMemory
from sim.cosim.wrapper import AXI_PORTS, WRAPPER, wrap
from sim.memory.model import SOURCES, Behaviour
from sim.simulators.runner import SimulationFailed, build, run

MEMORY = ExternalMemory(port_bits=64, ports=1)
BASE = 0x12_3456_7000
BYTES = np.random.default_rng(0).integers(0, 256, 3 * 4096, dtype=np.uint8).tobytes()
TIGHT = Behaviour(base=BASE, latency=(5, 5), address_withheld=0)

BITS = {"araddr": 40, "arlen": 8, "arsize": 3, "arburst": 2, "rdata": 64, "rresp": 2}
MASTERS = ("araddr", "arlen", "arsize", "arburst", "arvalid", "rready")


def pins_of_a_chip() -> str:
    """A chip that is nothing but its memory's ports, which a testbench drives."""
    ports, assigns = [("input", 1, name) for name in ("clk", "rst", "bus_clk", "bus_rst")], []
    for port, prefix in (("0", "axi__0"), ("rows", "axi_rows")):
        for name in AXI_PORTS:
            driven, bits = name in MASTERS, BITS.get(name, 1)
            ports.append(("output" if driven else "input", bits, f"{prefix}__{name}"))
            ports.append(("input" if driven else "output", bits, f"m_{port}_{name}"))
            both = [f"{prefix}__{name}", f"m_{port}_{name}"]
            assigns.append(" = ".join(both if driven else reversed(both)))
    lines = [f"module mmfree({', '.join(name for _, _, name in ports)});"]
    lines += [f"  {way} [{bits - 1}:0] {name};" for way, bits, name in ports]
    lines += [f"  assign {assign};" for assign in assigns]
    return "\n".join([*lines, "endmodule\n"])


def burst(offset: int, beats: int, port: str = "0", **how: Any) -> dict[str, Any]:
    return {"port": port, "address": BASE + offset, "beats": beats, "size": 3, **how}


def play(
    folder: Path,
    bursts: list[dict[str, Any]],
    behaviour: Behaviour = TIGHT,
    *,
    cycles: int = 400,
    pace: float = 1.0,
    at: dict[int, dict[str, int]] | None = None,
    **pins: int,
) -> dict[str, Any]:
    """What a master gets that asks for bursts."""
    (folder / "memory0.bin").write_bytes(BYTES)
    (folder / "chip.v").write_text(pins_of_a_chip())
    (folder / "bench.sv").write_text(wrap(pins_of_a_chip(), "mmfree", MEMORY))
    asked = {
        "pins": behaviour.pins() | pins,
        "bursts": bursts,
        "cycles": cycles,
        "pace": pace,
        "at": at or {},
    }
    (folder / "asked.json").write_text(json.dumps(asked))
    model = build([folder / "bench.sv", folder / "chip.v", *SOURCES], WRAPPER)
    run(model, "tests.support.sim.cocotb_memory", folder)
    given: dict[str, Any] = json.loads((folder / "given.json").read_text())
    return given


def words(offset: int, beats: int) -> list[int]:
    """What a burst must give."""
    return np.frombuffer(BYTES, dtype="<u8")[offset // 8 :][:beats].tolist()


def test_bursts_come_in_order_with_all_their_beats(tmp_path: Path) -> None:
    """Of both ports, each from its own addresses."""
    asked = [burst(0, 16), burst(4096, 1), burst(4088, 1), burst(8192, 3), burst(8, 2, "rows")]
    given = play(tmp_path, asked)
    expected = [*words(0, 16), *words(4096, 1), *words(4088, 1), *words(8192, 3)]
    beats = given["0"]["beats"]
    assert [data for _, data, _, _ in beats] == expected
    assert {response for _, _, response, _ in beats} == {0}
    assert [place for place, beat in enumerate(beats) if beat[3]] == [15, 16, 17, 20]
    assert [data for _, data, _, _ in given["rows"]["beats"]] == words(8, 2)
    assert [given[port]["beats"][0][0] for port in ("0", "rows")] == [6, 6]
    assert given["0"]["counted"] == {"beats": 21, "bursts": 4, "cycles": 401, "throttled": 0}
    assert given["rows"]["counted"] == {"beats": 2, "bursts": 1, "cycles": 402, "throttled": 0}


@pytest.mark.parametrize(("low", "high"), [(2, 2), (7, 7), (20, 50)])
def test_latency_is_within_its_bounds(low: int, high: int, tmp_path: Path) -> None:
    """Of bursts that come alone, from the cycle of the address to that of the first beat."""
    asked = [burst(0, 1, **{"from": 80 * number}) for number in range(60)]
    behaviour = Behaviour(base=BASE, latency=(low, high), address_withheld=0)
    given = play(tmp_path, asked, behaviour, cycles=60 * 80)["0"]
    waits = [
        beat[0] - accepted for beat, accepted in zip(given["beats"], given["accepted"], strict=True)
    ]
    assert min(waits) == low if low == high else low <= min(waits) < low + 5
    assert max(waits) == high if low == high else high - 5 < max(waits) <= high
    assert len(set(waits)) == 1 or len(set(waits)) > 15


def test_many_bursts_hide_their_latency(tmp_path: Path) -> None:
    """64 at most: with 60 cycles of latency, 4 beats each fill every cycle."""
    asked = [burst(32 * (number % 100), 4) for number in range(200)]
    behaviour = Behaviour(base=BASE, latency=(60, 60), address_withheld=0)
    beats = play(tmp_path, asked, behaviour, cycles=1000)["0"]["beats"]
    assert len(beats) == 800
    assert beats[-1][0] - beats[0][0] == 799


def test_no_more_than_64_bursts_are_under_way(tmp_path: Path) -> None:
    behaviour = Behaviour(base=BASE, latency=(300, 300), address_withheld=0)
    given = play(tmp_path, [burst(0, 1)] * 100, behaviour, cycles=280)["0"]
    assert len(given["accepted"]) == given["counted"]["bursts"] == 64
    assert given["beats"] == []


@pytest.mark.parametrize("percent", [0, 10, 25, 75])
def test_beats_are_withheld_as_often_as_was_asked(percent: float, tmp_path: Path) -> None:
    """Of 4,000 cycles, within four deviations; and those are counted."""
    asked = [burst(128 * (number % 32), 16) for number in range(400)]
    behaviour = Behaviour(base=BASE, latency=(2, 4), address_withheld=0, withheld=percent)
    given = play(tmp_path, asked, behaviour, cycles=4000)["0"]
    share = percent / 100
    deviation = (4000 * share * (1 - share)) ** 0.5
    assert abs(given["counted"]["throttled"] - 4000 * share) <= 4 * deviation + share * 4
    given_cycles = given["beats"][-1][0] - given["beats"][0][0] + 1
    assert len(given["beats"]) == pytest.approx(given_cycles * (1 - share), abs=4 * deviation + 1)


@pytest.mark.parametrize("percent", [0, 25, 80])
def test_addresses_are_withheld_as_often_as_was_asked(percent: float, tmp_path: Path) -> None:
    behaviour = Behaviour(base=BASE, latency=(2, 2), address_withheld=percent)
    given = play(tmp_path, [burst(0, 1)] * 5000, behaviour, cycles=2000)["0"]
    # After each address the master offers the next one at once.
    assert given["counted"]["bursts"] == pytest.approx(2000 * (1 - percent / 100), abs=90)


@pytest.mark.parametrize("pace", [0.2, 0.7])
def test_a_beat_stays_until_it_is_taken(pace: float, tmp_path: Path) -> None:
    behaviour = Behaviour(base=BASE, latency=(2, 30), withheld=30)
    beats = play(tmp_path, [burst(0, 40), burst(400, 20)], behaviour, pace=pace)["0"]["beats"]
    assert [data for _, data, _, _ in beats] == [*words(0, 40), *words(400, 20)]
    assert [place for place, beat in enumerate(beats) if beat[3]] == [39, 59]


def test_what_is_random_follows_from_the_seed_and_the_port(tmp_path: Path) -> None:
    asked = [burst(0, 8, port) for port in ("0", "rows") for _ in range(5)]
    given = []
    for seed in (1, 1, 2):
        behaviour = Behaviour(base=BASE, latency=(5, 90), withheld=20, seed=seed)
        given.append(play(tmp_path, asked, behaviour))
    assert given[0] == given[1] != given[2]
    assert given[0]["0"]["beats"] != given[0]["rows"]["beats"]


def test_an_address_outside_of_the_image_is_an_error(tmp_path: Path) -> None:
    """Below it, at its end, and beyond; the last beat of it is none."""
    places = [-4096, len(BYTES) - 8, len(BYTES), 1 << 30]
    beats = play(tmp_path, [burst(place, 1) for place in places])["0"]["beats"]
    assert [response for _, _, response, _ in beats] == [3, 0, 3, 3]
    assert [data for _, data, _, _ in beats] == [0, *words(len(BYTES) - 8, 1), 0, 0]


def test_images_lie_one_after_another(tmp_path: Path) -> None:
    """Each from a multiple of 4,096 bytes on; what is between is outside."""
    (tmp_path / "memory1.bin").write_bytes(bytes(range(24)))
    (tmp_path / "memory2.bin").write_bytes(b"\7" * 8)
    places = [len(BYTES), len(BYTES) + 16, len(BYTES) + 24, len(BYTES) + 4096]
    beats = play(tmp_path, [burst(place, 1) for place in places])["0"]["beats"]
    assert [response for _, _, response, _ in beats] == [0, 0, 3, 0]
    assert beats[1][1] == int.from_bytes(bytes(range(16, 24)), "little")
    assert beats[3][1] == int.from_bytes(b"\7" * 8, "little")


def test_a_bit_is_flipped_and_flipped_back(tmp_path: Path) -> None:
    """In the simulation, not in the file."""
    flip = {"memory_flip": 1, "memory_flip_offset": 8 * 5 + 3, "memory_flip_bit": 6}
    at = {20: flip, 21: {"memory_flip": 0}, 60: flip, 61: {"memory_flip": 0}}
    asked = [burst(0, 8, **{"from": cycle}) for cycle in (0, 40, 80)]
    beats = play(tmp_path, asked, at=at)["0"]["beats"]
    data = [[data for _, data, _, _ in beats[n : n + 8]] for n in (0, 8, 16)]
    assert data[0] == data[2] == words(0, 8)
    changed = [a ^ b for a, b in zip(data[0], data[1], strict=True)]
    assert changed == [0, 0, 0, 0, 0, 1 << 8 * 3 + 6, 0, 0]
    assert (tmp_path / "memory0.bin").read_bytes() == BYTES


def test_one_address_is_answered_by_an_error(tmp_path: Path) -> None:
    asked = [burst(0, 8), burst(16, 2), burst(0, 8, **{"from": 60})]
    pins = {"memory_error": 1, "memory_error_address": BASE + 16}
    beats = play(tmp_path, asked, at={50: {"memory_error": 0}}, **pins)["0"]["beats"]
    assert [response for _, _, response, _ in beats] == [*[0, 0, 2, *[0] * 5], *[2, 0], *[0] * 8]


@pytest.mark.parametrize("after", [0, 2])
def test_a_port_that_is_muted_answers_no_burst_until_a_reset(after: int, tmp_path: Path) -> None:
    """The other port goes on."""
    mute = {"memory_mute": 1, "memory_mute_port": 0, "memory_mute_after": after}
    at = {50: mute, 51: {"memory_mute": 0}, 300: {"bus_rst": 1}, 302: {"bus_rst": 0}}
    asked = [
        burst(256 * number, 4, port, **{"from": start})
        for port in ("0", "rows")
        for number, start in enumerate((0, 10, 100, 120, 140, 160))
    ]
    later = [burst(0, 1, **{"from": 320})]
    given = play(tmp_path, [*asked, *later], at=at)
    expected = [value for n in range(2 + after) for value in words(256 * n, 4)]
    assert [data for _, data, _, _ in given["0"]["beats"]] == [*expected, *words(0, 1)]
    assert len(given["rows"]["beats"]) == 24


NEVER = {"address_withheld": 90.0}
MISTAKES = {
    "crosses": ([burst(4096 - 64, 9)], "axi port 0: the burst from .*1234567fc0 on crosses 4 KB"),
    "dropped": (
        [burst(0, 1, then={"arvalid": 0})],
        "axi port 0: ARVALID dropped before ARREADY",
    ),
    "moved": (
        [burst(0, 1, then={"araddr": BASE + 8})],
        "axi port 0: ARADDR or ARLEN changed before ARREADY",
    ),
    "longer": (
        [burst(0, 1, then={"arlen": 3})],
        "axi port 0: ARADDR or ARLEN changed before ARREADY",
    ),
    "size": ([burst(0, 1, size=2)], "axi port 0: beats of 4 bytes on a port of 8"),
    "kind": ([burst(0, 1, kind=2)], "axi port 0: ARBURST 2, not INCR"),
    "unaligned": ([burst(4, 1)], "axi port 0: address 1234567004 of beats of 8 bytes"),
    "of rows": ([burst(4, 1, "rows")], "axi port 1: address 1234567004 of beats of 8 bytes"),
}


@pytest.mark.parametrize(("asked", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_master_that_breaks_the_protocol_ends_the_simulation(
    asked: list[dict[str, Any]], says: str, tmp_path: Path
) -> None:
    withheld = 0xFFFF if "then" in asked[0] else 0
    with pytest.raises(SimulationFailed, match=says):
        play(tmp_path, asked, memory_address_withheld=withheld)


def test_an_address_during_a_reset_ends_the_simulation(tmp_path: Path) -> None:
    at = {5: {"bus_rst": 1}, 20: {"bus_rst": 0}}
    with pytest.raises(SimulationFailed, match="axi port 0: ARVALID during a reset"):
        play(tmp_path, [burst(0, 1, **{"from": 10})], at=at)


def test_whole_pages_are_no_mistake(tmp_path: Path) -> None:
    """A burst that ends where a page does."""
    beats = play(tmp_path, [burst(4096 - 128, 16)])["0"]["beats"]
    assert [data for _, data, _, _ in beats] == words(4096 - 128, 16)

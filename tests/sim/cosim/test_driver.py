"""The driver of the simulated chip: the host's interface, and what it refuses to send."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim.cosim.driver
from hdl.control.counters import SETTLE_CYCLES
from hdl.link.host_ports import accesses
from hdl.link.limits import pack, pack_array
from hdl.payloads import (
    COUNTERS_LAYOUT,
    REGISTERS,
    fault_layout,
    request_layout,
    result_layout,
    values_layout,
)
from mmfree.chip.exchange import COUNTERS
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.layout import layout
from mmfree.chip.memory_image import MemoryImage, Region
from mmfree.chip.sizing import design_for_memory
from mmfree.errors import InputError
from mmfree.golden.sampling import seed_registers
from mmfree.host.interface import Chip, Fault, LoadRefusedError, Request, Result
from sim.cosim.driver import Driver
from sim.cosim.run_folder import Run, Traffic
from sim.memory.model import COUNTERS as PORT_COUNTERS
from sim.memory.model import INPUTS, Behaviour, PortCounters
from tests.support.sim.pins import Pins
from tests.support.sim.shapes import ODD

DESIGN = ODD.design()
EXTERNAL = design_for_memory(ODD.config, ExternalMemory(port_bits=64, ports=2))
IMAGE = MemoryImage(
    path=Path("memory.bin"),
    design_sha256="",
    tape_sha256="",
    words=77,
    rows=7,
    regions=tuple(
        Region(name=f"{number}", offset=4096 * (number + 1), num_bytes=8) for number in range(3)
    ),
    file_bytes=4 * 4096,
)
STATE = np.zeros((2, DESIGN.post_width), dtype=np.int32)


def methods(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


def test_the_driver_is_a_chip() -> None:
    """Every method of the interface, as a coroutine, with the same parameters and result.

    mypy compares them, too (the last lines of sim/cosim/driver.py).
    """
    asked, given_here = methods(Chip), methods(Driver)
    assert {name: given_here.get(name) for name in asked} == asked
    for name in asked:
        assert inspect.iscoroutinefunction(getattr(Driver, name)), name


def test_the_interface_reaches_every_port() -> None:
    """By the first names of the ports that a host reaches."""
    reached = {
        "request": "send",
        "result": "wait",
        "fault": "take",
        "cancel": "cancel",
        "seed": "seed",
        "load": "load",
        "state": "read_state",
        "logits": "read_logits",
        "counters": "counters",
        "segment": "segment",
        "playing": "playing",
        "memory": "place_image",
    }
    assert {name.partition(".")[0] for name in accesses(EXTERNAL)} == set(reached)
    assert set(reached.values()) <= set(methods(Chip))


def refused(
    action: Callable[[Driver], Coroutine[Any, Any, Any]], message: str, design: Any = DESIGN
) -> None:
    """The action is refused before it touches a pin, or waits for one."""
    driver = Driver(object(), Run(design=design, sequences=[]))
    with pytest.raises(InputError, match=message):
        action(driver).send(None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": 7}, r"^request.token.id must lie in 0..6, got 7$"),
        ({"limit": 65536}, r"^request.limit must lie in 0..65535, got 65536$"),
        ({"stop": 40}, r"^request.stop must lie in 0..39, got 40$"),
    ],
)
def test_a_request_that_the_chip_cannot_hold_is_not_sent(
    change: dict[str, int], message: str
) -> None:
    refused(lambda d: d.send(Request(**{"token": 0, "begin": True, **change})), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": -1}, "^request.token must be at least 0, got -1$"),
        ({"temperature": 256}, r"^request.temperature must lie in 0..255, got 256$"),
        ({"temperature": -1}, r"^request.temperature must lie in 0..255, got -1$"),
        ({"limit": 0}, "^request.limit must be at least 1, got 0$"),
        ({"stop": -1}, "^request.stop must be at least 0, got -1$"),
        ({"token": 1.5}, "^request.token must be an integer, got 1.5$"),
        ({"stop": "a"}, "^request.stop must be an integer, got 'a'$"),
    ],
)
def test_a_request_that_no_chip_could_play_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Request(**{"token": 0, "begin": True, **change})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        ((7, 0, 0, 0), r"^load.memory must lie in 0..6, got 7$"),
        ((0, 2049, 0, 0), r"^load.word must lie in 0..2048, got 2049$"),
        ((0, 0, 5, 0), r"^load.part must lie in 0..4, got 5$"),
        ((0, 0, 0, 1 << 18), r"^load.data must lie in 0..262143, got 262144$"),
        ((0, 0, 0, -1), r"^load.data must lie in 0..262143, got -1$"),
    ],
)
def test_a_write_that_no_memory_holds_is_not_sent(
    write: tuple[int, int, int, int], message: str
) -> None:
    refused(lambda d: d.load([(0, 0, 0, 0), write]), message)


def test_other_values_that_the_chip_cannot_hold_are_not_sent() -> None:
    refused(lambda d: d.seed(1 << 64), r"--seed must lie in 0\.\.2\^64-1 to sample")
    refused(lambda d: d.seed(-1), r"--seed must lie in 0\.\.2\^64-1 to sample")
    words = DESIGN.state_words
    refused(
        lambda d: d.write_state(np.zeros((words + 1, DESIGN.post_width), dtype=np.int32)),
        rf"^the state must be at most {words} words of 1 values, got \({words + 1}, 1\)$",
    )
    refused(lambda d: d.write_state(np.zeros((1, 2), dtype=np.int32)), "words of 1 values")
    refused(
        lambda d: d.write_state(STATE.astype(np.int32) + 32768),
        r"^state.write must be 1 values in -32768..32767, got \[32768\]$",
    )
    refused(lambda d: d.read_state(words + 1), "words of the state must lie in 0..20, got 21")
    refused(lambda d: d.read_logits(41), "words of the logits must lie in 0..40, got 41")


def test_an_image_of_another_design_is_not_sent() -> None:
    """The first field that differs is named."""
    image = layout(ODD.tape(1, wild=False), DESIGN)
    for field in ("embedding_rows", "max_rows", "weight_words"):
        value = getattr(DESIGN, field)
        refused(
            lambda d: d.load_image(image),
            f"laid out for another design: {field} of {value}, but the chip has {value + 1}",
            replace(DESIGN, **{field: value + 1}),
        )


@given(
    token=st.integers(0, 6),
    temperature=st.integers(0, 255),
    limit=st.integers(0, 65535),
    stop=st.integers(0, 39),
)
def test_what_fits_is_packed_by_the_layout(
    token: int, temperature: int, limit: int, stop: int
) -> None:
    fields = {"token": {"id": token, "begin": 1}, "limit": limit}
    fields |= {"temperature": temperature, "stop": stop}
    request = request_layout(DESIGN)
    found = request.from_bits(pack(request, "request", fields))
    assert (found.token.id, found.token.begin, found.temperature) == (token, 1, temperature)
    assert (found.limit, found.stop, found.stops) == (limit, stop, 0)


@given(st.data())
def test_no_field_is_truncated(drawn: st.DataObject) -> None:
    field, bits = drawn.draw(st.sampled_from([("a", 64), ("b", 63)]))
    value = drawn.draw(st.integers())
    if 0 <= value < 1 << bits:
        assert REGISTERS.from_bits(pack(REGISTERS, "seed", {field: value}))[field] == value
    else:
        expected = rf"^seed.{field} must lie in 0..{(1 << bits) - 1}, got {value}$"
        with pytest.raises(InputError, match=expected):
            pack(REGISTERS, "seed", {field: value})


@given(st.lists(st.integers(-32768, 32767), min_size=3, max_size=3), st.integers(0, 2))
def test_arrays_are_packed_by_the_layout(values: list[int], place: int) -> None:
    words = values_layout(DESIGN, 3)
    found = words.from_bits(pack_array(words, "words", values))
    assert [found[n] for n in range(3)] == values
    for wrong in (-32769, 32768):
        changed = [*values[:place], wrong, *values[place + 1 :]]
        with pytest.raises(InputError, match=r"^words must be 3 values in -32768..32767, got \["):
            pack_array(words, "words", changed)
    with pytest.raises(InputError, match="words must be 3 values"):
        pack_array(words, "words", values[1:])


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Pins:
    made = Pins()
    monkeypatch.setattr(sim.cosim.driver, "FallingEdge", made.edge)
    started: list[tuple[int, str]] = []
    clock = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(
        sim.cosim.driver, "Clock", lambda pin, n, unit: started.append((n, unit)) or clock
    )
    return made


def driver_of(pins: Pins, **traffic: float) -> Driver:
    return Driver(pins, Run(design=DESIGN, sequences=[], seed=3, traffic=Traffic(**traffic)))


def run(action: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(action)


def test_reset_is_held_for_two_cycles_with_all_inputs_idle(pins: Pins) -> None:
    for name in ("request__valid", "load__enable", "pause", "cancel", "seed__enable"):
        getattr(pins, name).value = 1
    run(driver_of(pins).reset())
    assert pins.column("rst") == [1, 1]
    assert pins.rst.value == 0
    for name in ("request__valid", "load__enable", "pause", "cancel", "seed__enable"):
        assert getattr(pins, name).value == 0


def test_a_request_is_valid_until_it_is_taken(pins: Pins) -> None:
    """For one cycle if the chip is ready, and given up if it does not become so."""
    request = Request(token=5, begin=True, temperature=7, limit=9, stop=0)
    pins.answers = {3: {"request__ready": 1}}
    run(driver_of(pins).send(request))
    assert pins.column("request__valid") == [0, 1, 1, 1]
    assert pins.request__valid.value == 0
    fields = request_layout(DESIGN).from_bits(pins.request__payload.value)
    assert (fields.token.id, fields.token.begin, fields.temperature) == (5, 1, 7)
    assert (fields.limit, fields.stop, fields.stops) == (9, 0, 1)
    run(driver_of(pins).send(replace(request, begin=False, stop=None)))
    fields = request_layout(DESIGN).from_bits(pins.request__payload.value)
    assert (fields.token.begin, fields.stops) == (0, 0)
    pins.request__ready.value = 0
    with pytest.raises(AssertionError, match="not ready for a request"):
        run(driver_of(pins).send(request))


def test_a_request_is_held_back_at_random(pins: Pins) -> None:
    """With a chance of a half in every cycle; the same from the same seed."""
    pins.request__ready.value = 1
    waits = []
    driver = driver_of(pins, idle=0.5)
    for _ in range(200):
        before = len(pins.seen)
        run(driver.send(Request(token=1, begin=True)))
        waits.append(len(pins.seen) - before - 2)
    assert 0.6 < sum(waits) / len(waits) < 1.6, "one on average"
    assert max(waits) > 3


def test_an_answer_is_taken_in_one_cycle_and_stays_until_then(pins: Pins) -> None:
    pins.result__valid.value = 1
    run(driver_of(pins).take())
    assert pins.column("result__ready") == pins.column("fault__ready") == [1]
    assert (pins.result__ready.value, pins.fault__ready.value) == (0, 0)
    driver = driver_of(pins, back_pressure=0.5)
    for _ in range(200):
        run(driver.take())
    assert 300 < len(pins.seen) < 520, "two cycles on average"
    pins.answers = {len(pins.seen) + 1: {"result__payload": 1}}
    with pytest.raises(AssertionError):
        run(driver_of(pins, back_pressure=1.0).take())


def test_a_paused_chip_is_waited_for(pins: Pins) -> None:
    """Weights are withheld at random, and no longer when an answer is there."""
    pins.answers = {400: {"result__valid": 1, "result__payload": 0b101}}
    answer = run(driver_of(pins, pause=0.25).wait())
    assert len(pins.seen) == 400
    assert 60 < sum(pins.column("pause")) < 140
    assert pins.pause.value == 0
    expected = result_layout(DESIGN).from_bits(0b101)
    assert answer == Result(int(expected.row), bool(expected.last))
    pins.fault__valid.value = 1
    pins.fault__payload.value = fault_layout(DESIGN).const({"memory": 3, "segment": 2}).as_bits()
    assert run(driver_of(pins).wait()) == Fault("biases", 2)
    hanging = driver_of(Pins(), pause=0.9)
    assert hanging._patience == 100 * (DESIGN.weight_words + 100 * DESIGN.header_words) == 86_500
    hanging._patience = 500
    before = len(pins.seen)
    with pytest.raises(AssertionError, match="no answer within 500 cycles"):
        run(hanging.wait())
    assert len(pins.seen) - before == 500


def test_a_seed_is_given_for_a_cycle(pins: Pins) -> None:
    run(driver_of(pins).seed(11))
    assert pins.column("seed__enable") == [0, 1]
    assert pins.seed__enable.value == 0
    a, b = seed_registers(11)
    found = REGISTERS.from_bits(pins.seed__registers.value)
    assert (found.a, found.b) == (a, b)


def test_a_request_is_cancelled_in_a_cycle(pins: Pins) -> None:
    run(driver_of(pins).cancel())
    assert pins.column("cancel") == [1]
    assert pins.cancel.value == 0


def test_logits_that_a_design_does_not_store_cannot_be_read(pins: Pins) -> None:
    design = replace(DESIGN, stores_logits=False)
    driver = Driver(pins, Run(design=design, sequences=[]))
    with pytest.raises(InputError, match="does not store logits: its taps show them"):
        run(driver.read_logits(1))


def test_words_are_written_and_read_in_their_order(pins: Pins) -> None:
    """State: a word in every cycle. A word that is read comes two cycles after its address."""
    words = np.arange(3, dtype=np.int32)[:, None] - 1
    run(driver_of(pins).write_state(words))
    assert pins.column("state__address") == [0, 1, 2]
    assert pins.column("state__write") == [0xFFFF, 0, 1]
    assert pins.column("state__enable") == [1, 1, 1]
    assert pins.state__enable.value == 0
    for name, read in (("state", "read_state"), ("logits", "read_logits")):
        port = Pins()
        port.answers = {n: {f"{name}__data": 0xFFF0 + n} for n in range(1, 6)}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sim.cosim.driver, "FallingEdge", port.edge)
            values = run(getattr(driver_of(port), read)(3))
        assert port.column(f"{name}__address") == [0, 1, 2, 2]
        assert values.tolist() == [-14, -13, -12]
        assert values.dtype == np.int32
    assert run(driver_of(pins).read_state(0)).size == 0


def test_a_refused_write_names_its_own_word(pins: Pins) -> None:
    """Two cycles after a write it is known: here of the second of three."""
    pins.answers = {4: {"load__refused": 1}, 5: {"load__refused": 0}}
    with pytest.raises(LoadRefusedError, match="to write word 8 of headers: it has 6 words"):
        run(driver_of(pins).load([(0, 7, 0, 1), (1, 8, 1, 2), (2, 9, 0, 3)]))
    assert pins.load__enable.value == 0
    assert pins.column("load__word")[1:4] == [7, 8, 9]
    assert pins.column("load__enable") == [0, 1, 1, 1]
    pins.answers = {}
    pins.load__refused.value = 0
    run(driver_of(pins).load([(1, 0, 1, 5)]))
    assert pins.column("load__enable")[-3:] == [0, 1, 0]
    assert (pins.load__memory.value, pins.load__part.value, pins.load__data.value) == (1, 1, 5)
    pins.load__refused.value = pins.playing.value = 1
    with pytest.raises(LoadRefusedError, match="word 0 of headers: a token is being played"):
        run(driver_of(pins).load([(1, 0, 1, 5)]))


def test_counters_are_read_when_they_hold_all_of_a_token(pins: Pins) -> None:
    values = {name: number for number, name in enumerate(COUNTERS, start=1)}
    bits = COUNTERS_LAYOUT.const(values).as_bits()
    pins.answers = {SETTLE_CYCLES: {"counters": bits}}
    assert run(driver_of(pins).counters()) == values
    assert len(pins.seen) == SETTLE_CYCLES
    pins.segment.value, pins.playing.value = 5, 1
    assert run(driver_of(pins).segment()) == 5
    assert run(driver_of(pins).playing()) is True


def external_driver(pins: Pins, **behaviour: Any) -> Driver:
    return Driver(pins, Run(design=EXTERNAL, sequences=[], memory=Behaviour(**behaviour)))


def test_an_image_is_placed_entry_by_entry(pins: Pins) -> None:
    """The regions of the weights in order, that of the embedding, and the words of a pass."""
    run(external_driver(pins).place_image(IMAGE, 0x5000))
    assert pins.column("memory__enable") == [0, 1, 1, 1, 1]
    assert pins.column("memory__index")[1:] == [0, 1, 2, 3]
    assert pins.column("memory__value")[1:] == [0x6000, 0x7000, 0x8000, 77]
    assert pins.memory__enable.value == 0
    pins.playing.value = 1
    with pytest.raises(LoadRefusedError, match="takes no other image: a token is being played"):
        run(external_driver(pins).place_image(IMAGE, 0x5000))
    assert len(pins.seen) == 5


@pytest.mark.parametrize("base", [-4096, 0x5001, (1 << 40) - 3 * 4096])
def test_an_image_that_no_memory_holds_is_not_placed(base: int, pins: Pins) -> None:
    with pytest.raises(InputError, match=r"16,384 bytes must be at a multiple of 4096 in .* 2\^40"):
        run(external_driver(pins).place_image(IMAGE, base))
    assert pins.seen == []


@pytest.mark.parametrize("bus_ns", [None, 7.5])
def test_a_memory_is_reset_with_the_chip(
    bus_ns: float | None, pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pins say how it behaves, the chip's side of the bus is reset, and the clocks run."""
    clocks: list[tuple[Any, float]] = []
    clock = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(
        sim.cosim.driver, "Clock", lambda pin, n, unit: clocks.append((pin, n)) or clock
    )
    monkeypatch.setattr(sim.cosim.driver, "Timer", lambda n, unit: pins.edge())
    driver = external_driver(pins, latency=(5, 9), withheld=25, bus_ns=bus_ns)
    run(driver.reset())
    assert pins.column("bus_rst")[:2] == [1, 1]
    assert pins.bus_rst.value == pins.rst.value == 0
    assert pins.column("rst") == [1] * len(pins.seen)
    pin_values = {name: getattr(pins, name).value for name in INPUTS}
    expected = Behaviour(latency=(5, 9), withheld=25).pins()
    assert pin_values == dict.fromkeys(INPUTS, 0) | expected
    periods = [(pins.clk, 10)] + ([(pins.bus_clk, 7.5)] if bus_ns else [])
    assert clocks == periods


def test_counters_of_every_port_are_read(pins: Pins) -> None:
    for number in range(3):
        shown = {f"memory_{name}": 10 * number + n for n, name in enumerate(PORT_COUNTERS)}
        pins.answers[number + 1] = shown
    counters = run(external_driver(pins).port_counters())
    assert pins.column("memory_port") == [0, 1, 2]
    assert counters == [PortCounters(*range(10 * n, 10 * n + 4)) for n in range(3)]


def test_faults_of_a_bus_have_names(pins: Pins) -> None:
    pins.fault__valid.value = 1
    fault = fault_layout(EXTERNAL).const({"memory": 8, "segment": 4})
    pins.fault__payload.value = fault.as_bits()
    assert run(external_driver(pins).wait()) == Fault("weights_timeout", 4)
    # A row, and then a word, may be given up before there is an answer.
    assert external_driver(pins)._patience > 2 * 65_536

"""The driver of the simulated chip: the host's interface, and what it refuses to send."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdl.link.host_ports import ACCESS
from hdl.link.limits import pack, pack_array
from hdl.payloads import REGISTERS, request_layout, values_layout
from mmfree.chip.layout import layout
from mmfree.errors import InputError
from mmfree.host.interface import Chip, Request
from sim.cosim.driver import Driver
from sim.cosim.run_folder import Run
from tests.support.sim.shapes import ODD

DESIGN = ODD.design()
STATE = np.zeros((2, DESIGN.post_width), dtype=np.int16)


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
    }
    assert {name.partition(".")[0] for name in ACCESS} == set(reached)
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
        lambda d: d.write_state(np.zeros((words + 1, DESIGN.post_width), dtype=np.int16)),
        rf"^the state must be at most {words} words of 1 values, got \({words + 1}, 1\)$",
    )
    refused(lambda d: d.write_state(np.zeros((1, 2), dtype=np.int16)), "words of 1 values")
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

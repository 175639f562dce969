"""The checker of streams: every way to break the contract is found, in every bench of a block."""

from __future__ import annotations

from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tests.support.hdl import streams
from tests.support.hdl.bench import play_streams, simulate
from tests.support.hdl.streams import PACES, ContractError, Pace, get, put, streams_of

ITEMS = [3, 7, 1, 200, 7, 0, 255, 9]
HELD_BACK = 7
"""The item that a broken Place loses, doubles or exchanges with the next."""


class Place(wiring.Component):
    """A place for one item, which breaks the contract in the way that ``fault`` names."""

    def __init__(self, fault: str = "") -> None:
        self._fault = fault
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o, fault = self.i, self.o, self._fault
        full, kept, age = Signal(), Signal(8), Signal(2)
        m.d.comb += [i.ready.eq(~full), o.valid.eq(full), o.payload.eq(kept)]
        with m.If(full & ~o.ready):
            m.d.sync += age.eq(age + 1)
        with m.If(o.valid & o.ready):
            m.d.sync += full.eq(0)
        with m.If(i.valid & i.ready):
            m.d.sync += [full.eq(1), kept.eq(i.payload)]
        if fault == "withdraws":
            m.d.comb += o.valid.eq(full & (age != 2))
        if fault == "changes":
            m.d.comb += o.payload.eq(kept ^ (age == 2))
        if fault == "offers when it is asked":
            m.d.comb += o.valid.eq(full & o.ready)
        if fault == "another payload when it is asked":
            m.d.comb += o.payload.eq(kept ^ o.ready)
        if fault == "waits to be asked":
            asked = Signal()
            m.d.sync += asked.eq(full & ~o.valid & o.ready)
            m.d.comb += o.valid.eq(asked)
            with m.If(o.valid & ~o.ready):
                m.d.sync += asked.eq(1)
        if fault == "loses" or fault == "exchanges":
            with m.If(i.valid & i.ready & (i.payload == HELD_BACK)):
                m.d.sync += full.eq(0)
        held = Signal()
        if fault == "exchanges":
            with m.If(i.valid & i.ready):
                m.d.sync += held.eq(held | (i.payload == HELD_BACK))
            with m.If(o.valid & o.ready & held):
                m.d.sync += [full.eq(1), kept.eq(HELD_BACK), held.eq(0)]
        if fault == "doubles":
            with m.If(o.valid & o.ready & (kept == HELD_BACK)):
                m.d.sync += [full.eq(~held), held.eq(~held)]
        return m


class Nested(wiring.Component):
    """Two places whose streams are in arrays and in a signature of their own."""

    def __init__(self, fault: str = "") -> None:
        self._fault = fault
        link = wiring.Signature(
            {"from_host": Out(stream.Signature(8)), "to_host": In(stream.Signature(8))}
        )
        super().__init__({"link": In(link).array(2), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for n, link in enumerate(self.link):
            m.submodules[f"place_{n}"] = place = Place(self._fault if n else "")
            wiring.connect(m, wiring.flipped(link).from_host, place.i)
            wiring.connect(m, place.o, wiring.flipped(link).to_host)
        return m


@pytest.mark.parametrize("pace", PACES, ids=str)
def test_a_place_that_keeps_the_contract_passes(pace: Pace) -> None:
    play_streams(Place(), {"i": ITEMS, "o": ITEMS}, pace)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("withdraws", r"cycle \d+: o withdrew 3, which was not taken"),
        ("changes", r"cycle \d+: o made 2 of 3, which was not taken"),
        ("offers when it is asked", r"o looks at ready before it offers \[3\]"),
        ("another payload when it is asked", r"o looks at ready before it offers \[3\]"),
    ],
)
def test_every_bench_of_a_block_runs_under_the_checker(fault: str, message: str) -> None:
    """Though the bench itself looks at nothing but a number of items."""
    block = Place(fault)

    async def feed(ctx: Any) -> None:
        await put(ctx, block.i, ITEMS)

    async def take(ctx: Any) -> None:
        await get(ctx, block.o, len(ITEMS), back_pressure=0.8)

    with pytest.raises(ContractError, match=message):
        simulate(block, feed, take)


@pytest.mark.parametrize("fault", ["loses", "doubles", "exchanges"])
@pytest.mark.parametrize("pace", PACES, ids=str)
def test_what_is_lost_doubled_or_exchanged_is_found(
    fault: str, pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 100)
    message = {
        "loses": "6 of 8 items came, then nothing",
        "doubles": r"o carried \[3, 7, 7, 1, 200, 7, 7, 0, 255, 9\], not ",
        "exchanges": r"o carried \[3, 1, 7, 200, 0, 7, 255, 9\], not ",
    }[fault]
    with pytest.raises(AssertionError, match=message):
        play_streams(Place(fault), {"i": ITEMS, "o": ITEMS}, pace)


def test_one_item_too_many_at_the_end_is_found() -> None:
    with pytest.raises(AssertionError, match=r"o carried \[1, 7, 7\], not \[1, 7\]"):
        play_streams(Place("doubles"), {"i": [1, 7], "o": [1, 7]}, PACES[0])


def test_a_block_that_waits_for_ready_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its consumer may wait for valid."""
    monkeypatch.setattr(streams, "PATIENCE", 100)
    with pytest.raises(AssertionError, match=r"\d was not taken within 100 cycles|of 8 items"):
        play_streams(Place("waits to be asked"), {"i": ITEMS, "o": ITEMS}, Pace(0.0, 0.6))


@pytest.mark.parametrize(
    ("later", "message"),
    [({"valid": 0}, "i withdrew 5"), ({"payload": 6}, "i made 6 of 5")],
)
def test_a_bench_that_breaks_the_contract_is_found(later: dict[str, int], message: str) -> None:
    block = Place()

    async def bench(ctx: Any) -> None:
        await put(ctx, block.i, [4])
        ctx.set(block.i.valid, 1)
        ctx.set(block.i.payload, 5)
        await ctx.tick()
        for name, value in later.items():
            ctx.set(getattr(block.i, name), value)
        await ctx.tick()

    with pytest.raises(ContractError, match=message):
        simulate(block, bench)


def test_nested_streams_and_arrays_of_them_are_found() -> None:
    block = Nested()
    assert {name: port.is_input for name, port in streams_of(block).items()} == {
        "link[0].from_host": True,
        "link[0].to_host": False,
        "link[1].from_host": True,
        "link[1].to_host": False,
    }
    expected = {name: ITEMS[n // 2 :] for n, name in enumerate(streams_of(block))}
    play_streams(block, expected, Pace(0.6, 0.6))
    with pytest.raises(ContractError, match=r"link\[1\]\.to_host made"):
        play_streams(Nested("changes"), expected, Pace(0.6, 0.6))


def test_payloads_are_compared_field_by_field() -> None:
    shape = data.StructLayout({"row": 4, "flags": data.ArrayLayout(2, 3)})

    class Wire(wiring.Component):
        def __init__(self) -> None:
            super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.d.sync += Signal().eq(0)
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
            return m

    items = [{"row": n, "flags": [n & 3, 0, 3]} for n in range(9)]
    play_streams(Wire(), {"i": items, "o": items}, Pace(0.6, 0.6))

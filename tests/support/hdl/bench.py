"""Driving a block in Amaranth's simulator, with idle cycles that carry garbage."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Signal, Value, ValueCastable
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hdl.memory.loaded_memory import LoadedMemory
from tests.support.hdl.streams import Carried, Monitor, Pace, get, put, streams_of

Item = dict[str, Any]


def to_python(value: Any) -> Any:
    """An int, the list of an array, or a dictionary of what a structure's fields hold."""
    if isinstance(value, data.Const):
        layout = value.shape()
        if isinstance(layout, data.StructLayout):
            return {name: to_python(value[name]) for name in layout.members}
        assert isinstance(layout, data.ArrayLayout)
        return [to_python(value[index]) for index in range(layout.length)]
    return int(value)


def _of_structures(shape: Any) -> bool:
    element = shape.elem_shape if isinstance(shape, data.ArrayLayout) else shape
    return isinstance(element, data.StructLayout)


def _garbage(port: Any, rng: random.Random) -> Any:
    shape = port.shape()
    if isinstance(port, ValueCastable) and _of_structures(shape):
        return shape.from_bits(rng.getrandbits(len(Value.cast(port))))
    if isinstance(port, ValueCastable) and isinstance(shape, data.ArrayLayout):
        width = shape.elem_shape.width
        low = -(1 << (width - 1)) if shape.elem_shape.signed else 0
        return [low + rng.getrandbits(width) for _ in range(shape.length)]
    assert isinstance(port, Signal)
    return rng.getrandbits(len(port)) - (1 << (len(port) - 1) if shape.signed else 0)


def with_idle(items: Sequence[Item], idle: float, seed: int = 0) -> list[Item | None]:
    """Items with random cycles of nothing between them."""
    rng = random.Random(seed)
    spread: list[Item | None] = []
    for item in items:
        while rng.random() < idle:
            spread.append(None)
        spread.append(item)
    return spread


@dataclass
class Recording:
    """A testbench's run, cycle by cycle.

    ``inputs``: the ports' values before each clock edge. ``outputs``: after it. ``memories``: the
    contents that memories were filled with.
    """

    block: Any
    inputs: list[dict[str, int]] = field(default_factory=list)
    outputs: list[dict[str, int]] = field(default_factory=list)
    memories: dict[str, list[int]] = field(default_factory=dict)


recordings: list[Recording] | None = None
"""Where ``simulate`` records; None: nowhere.

tests/sim/simulators/test_icarus.py runs the recordings again on another simulator.
"""


async def _record(ctx: Any, recording: Recording) -> None:
    """Records the ports in every cycle: a testbench for the background, before all others."""
    members = list(recording.block.signature.flatten(recording.block))
    ports = [("__".join(map(str, path)), member.flow, port) for path, member, port in members]
    inputs = {name: Value.cast(port).as_unsigned() for name, flow, port in ports if flow == In}
    outputs = {name: Value.cast(port).as_unsigned() for name, flow, port in ports if flow == Out}
    while True:
        _, _, *values = await ctx.tick().sample(*inputs.values())
        recording.inputs.append(dict(zip(inputs, values, strict=True)))
        recording.outputs.append({name: ctx.get(port) for name, port in outputs.items()})


Bench = Callable[[Any], Coroutine[Any, Any, None]]
"""A testbench: a coroutine function of the simulator's context."""


def simulate(
    block: Any,
    *benches: Bench,
    background: Sequence[Bench] = (),
    inner: Sequence[wiring.Component] = (),
    watched: bool = True,
) -> Carried:
    """Run testbenches on a clocked block until they end; ``background``: until these have.

    If it has a clock "bus", too, that one has the same frequency.

    Every stream of the block is held to its contract (``tests.support.hdl.streams``), and those of
    the ``inner`` components, which are parts of it. Returned is what passed those of the block.
    Without ``watched`` none is, which takes a third of the time of a whole chip.
    """
    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_clock(1e-6, domain="bus", if_exists=True)
    if recordings is not None:
        recording = Recording(block)
        recordings.append(recording)

        async def record(ctx: Any) -> None:
            await _record(ctx, recording)

        simulator.add_testbench(record, background=True)
    for bench in benches:
        simulator.add_testbench(bench)
    monitor = Monitor(block)
    watching = [monitor.watch, *(Monitor(part, inner=True).watch for part in inner)]
    watching = watching if watched else []
    for bench in (*background, *watching):
        simulator.add_testbench(bench, background=True)
    simulator.run()
    return monitor.taken


def fill(ctx: Any, memory: LoadedMemory, words: Sequence[int]) -> None:
    """Write the contents of a memory, as a memory file would."""
    if recordings is not None:
        recordings[-1].memories[memory.name] = list(words)
    for address, word in enumerate(words):
        ctx.set(memory.contents[address], word)


def play(
    block: Any,
    items: Sequence[Item | None],
    latency: int,
    outputs: Sequence[str],
    idle: Item | None = None,
    early: Mapping[str, int] | None = None,
) -> list[Item]:
    """Outputs of a pipeline, ``latency`` cycles after each item; one item per cycle.

    In idle cycles (None) the ports named in ``idle`` get their values from there, and all others
    garbage. ``early``: ports that get their value a number of cycles before the other ports of the
    same item (negative: after them).
    """
    rng = random.Random(1)
    seen: list[Item] = []
    quiet, ahead = idle or {}, early or {}
    lead = max([0, *ahead.values()])
    cycles = [*[None] * lead, *items, *[None] * (latency + lead)]

    async def bench(ctx: Any) -> None:
        names = list(next(item for item in items if item is not None))
        for cycle in range(lead + len(items) + latency):
            for name in names:
                port, item = getattr(block, name), cycles[cycle + ahead.get(name, 0)]
                if item is not None:
                    value = item[name]
                else:
                    value = quiet[name] if name in quiet else _garbage(port, rng)
                ctx.set(port, value)
            await ctx.tick()
            seen.append({name: to_python(ctx.get(getattr(block, name))) for name in outputs})

    simulate(block, bench)
    return [seen[lead + n + latency - 1] for n, item in enumerate(items) if item is not None]


SURPLUS_CYCLES = 20
"""Cycles in which nothing more may come when all that was expected has."""


def play_streams(
    block: Any,
    expected: Mapping[str, Sequence[Any]],
    pace: Pace,
    *environment: Bench,
    driven: Collection[str] = (),
    inner: Sequence[wiring.Component] = (),
) -> Carried:
    """Put the items of every input, and take those of every output: exactly these, in order.

    ``expected``: of each stream of the block (``streams_of``) the items that must pass it, as
    ``plain`` gives them. Streams that are ``driven`` by the ``environment``, benches for the
    background, are only compared. ``inner``: as for ``simulate``.
    """
    streams = streams_of(block)
    assert set(expected) == set(streams)
    moving = set(streams) - set(driven)

    def end_of(name: str, seed: int) -> Bench:
        port, items = streams[name], expected[name]

        async def bench(ctx: Any) -> None:
            if port.is_input:
                await put(ctx, port.stream, items, idle=pace.idle, seed=seed)
            else:
                await get(ctx, port.stream, len(items), back_pressure=pace.back_pressure, seed=seed)
                ctx.set(port.stream.ready, 1)
            moving.remove(name)
            while moving:
                await ctx.tick()
            await ctx.tick().repeat(SURPLUS_CYCLES)

        return bench

    benches = [end_of(name, seed) for seed, name in enumerate(sorted(moving))]
    taken = simulate(block, *benches, background=environment, inner=inner)
    for name, items in expected.items():
        assert taken[name] == list(items), f"{name} carried {taken[name]}, not {list(items)}"
    return taken

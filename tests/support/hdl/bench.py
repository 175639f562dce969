"""Driving a block in Amaranth's simulator, with idle cycles that carry garbage."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Signal, Value, ValueCastable
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hdl.memory.loaded_memory import LoadedMemory

Item = dict[str, Any]


def to_python(value: Any) -> Any:
    """An int, or the list of ints of an array."""
    if isinstance(value, data.Const):
        layout = value.shape()
        assert isinstance(layout, data.ArrayLayout)
        return [to_python(value[index]) for index in range(layout.length)]
    return int(value)


def _garbage(port: Any, rng: random.Random) -> Any:
    shape = port.shape()
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


class _Recorder:
    """A simulator's context that records the ports in every cycle."""

    def __init__(self, ctx: Any, recording: Recording) -> None:
        self._ctx, self._recording = ctx, recording
        members = list(recording.block.signature.flatten(recording.block))
        ports = [("__".join(map(str, path)), member.flow, port) for path, member, port in members]
        self._inputs = [(name, Value.cast(port)) for name, flow, port in ports if flow == In]
        self._outputs = [(name, Value.cast(port)) for name, flow, port in ports if flow == Out]

    def set(self, target: Any, value: Any) -> None:
        self._ctx.set(target, value)

    def get(self, value: Any) -> Any:
        return self._ctx.get(value)

    def _values(self, ports: list[tuple[str, Any]]) -> dict[str, int]:
        return {name: self._ctx.get(port) & ((1 << len(port)) - 1) for name, port in ports}

    async def tick(self) -> None:
        self._recording.inputs.append(self._values(self._inputs))
        await self._ctx.tick()
        self._recording.outputs.append(self._values(self._outputs))


def simulate(block: Any, bench: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Run a testbench on a clocked block until it ends."""
    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    if recordings is not None:
        recording = Recording(block)
        recordings.append(recording)

        async def recorded(ctx: Any) -> None:
            await bench(_Recorder(ctx, recording))

        simulator.add_testbench(recorded)
    else:
        simulator.add_testbench(bench)
    simulator.run()


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

"""Driving a block in Amaranth's simulator, with idle cycles that carry garbage."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from amaranth.hdl import Signal, ValueCastable
from amaranth.lib import data
from amaranth.sim import Simulator

from hdl.loaded_memory import LoadedMemory

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


def simulate(block: Any, bench: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Run a testbench on a clocked block until it ends."""
    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def fill(ctx: Any, memory: LoadedMemory, words: Sequence[int]) -> None:
    """Write the contents of a memory, as a memory file would."""
    for address, word in enumerate(words):
        ctx.set(memory.memory.data[address], word)


def play(
    block: Any,
    items: Sequence[Item | None],
    latency: int,
    outputs: Sequence[str],
    idle: Item | None = None,
    contents: tuple[LoadedMemory, Sequence[int]] | None = None,
) -> list[Item]:
    """Outputs of a pipeline, ``latency`` cycles after each item; one item per cycle.

    In idle cycles (None) the ports named in ``idle`` get their values from there, and all others garbage. ``contents``: a memory of the
    block, and what fills it.
    """
    rng = random.Random(1)
    seen: list[Item] = []
    quiet = idle or {}

    async def bench(ctx: Any) -> None:
        if contents is not None:
            fill(ctx, *contents)
        names = list(next(item for item in items if item is not None))
        for item in [*items, *[None] * latency]:
            for name in names:
                port = getattr(block, name)
                if item is not None:
                    value = item[name]
                else:
                    value = quiet[name] if name in quiet else _garbage(port, rng)
                ctx.set(port, value)
            await ctx.tick()
            seen.append({name: to_python(ctx.get(getattr(block, name))) for name in outputs})

    simulate(block, bench)
    return [seen[n + latency - 1] for n, item in enumerate(items) if item is not None]

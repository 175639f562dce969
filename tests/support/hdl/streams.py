"""Streams: the contract that each of them is held to, and what drives both of their ends.

The contract (of amaranth.lib.stream): what is valid stays valid, with the same payload, until it is
taken; and neither depends on ``ready`` in the same cycle.
``tests.support.hdl.bench.simulate`` watches every stream of a block, whoever drives it, and
``play_streams`` compares all that passes with what should, so that nothing is lost, doubled or
exchanged.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from amaranth.hdl import ShapeCastable, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

PATIENCE = 20_000
"""Cycles after which a stream that should move, and does not, hangs."""


class Pace(NamedTuple):
    """Probabilities per cycle: nothing is offered; what is offered is not taken."""

    idle: float
    back_pressure: float


PACES = [Pace(idle, back_pressure) for idle in (0.0, 0.6) for back_pressure in (0.0, 0.6)]
"""None or some of each, in every combination."""


Carried = dict[str, list[Any]]
"""By name of a stream the payloads that passed, in order (``plain``)."""


class StreamPort(NamedTuple):
    """A stream of a component; of an input, the bench offers and the component takes."""

    stream: Any
    is_input: bool


def streams_of(component: wiring.Component) -> dict[str, StreamPort]:
    """Every stream of a component's signature by name, those of nested signatures too.

    Names are such as ``target.request``, and ``load[2]`` in an array.
    """
    return dict(_streams(component.signature, component, ""))


def _streams(signature: Any, interface: Any, prefix: str) -> Iterator[tuple[str, StreamPort]]:
    for name, member in signature.members.items():
        if member.is_signature:
            for place, inner in _elements(getattr(interface, name), f"{prefix}{name}"):
                if isinstance(member.signature, stream.Signature):
                    yield place, StreamPort(inner, member.flow == In)
                else:
                    yield from _streams(member.signature, inner, f"{place}.")


def _elements(interface: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The interface, or each of an array."""
    if not isinstance(interface, list):
        yield place, interface
        return
    for index, element in enumerate(interface):
        yield from _elements(element, f"{place}[{index}]")


def plain(value: Any) -> Any:
    """A payload as an int; as a dict of its fields; or as a list of its elements."""
    if not isinstance(value, data.Const):
        return int(value)
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [plain(value[index]) for index in range(layout.length)]
    return {str(name): plain(value[name]) for name, _ in layout}


class ContractError(AssertionError):
    """A stream broke its contract."""


class Contract:
    """One stream, cycle by cycle: what it offers it holds until it is taken.

    ``taken``: every payload that passed, in order (``plain``).
    """

    def __init__(self, name: str, shape: Any) -> None:
        self.taken: list[Any] = []
        self._name, self._shape = name, shape
        self._waiting: list[int] = []

    def step(self, cycle: int, valid: int, ready: int, payload: int) -> None:
        """A cycle, as the clock edge that ends it sees it; ``payload`` as bits."""
        for waiting in self._waiting:
            if not valid:
                self._fail(cycle, f"withdrew {self._plain(waiting)}")
            if payload != waiting:
                self._fail(cycle, f"made {self._plain(payload)} of {self._plain(waiting)}")
        self._waiting = [payload] if valid and not ready else []
        if valid and ready:
            self.taken.append(self._plain(payload))

    def _plain(self, payload: int) -> Any:
        if isinstance(self._shape, ShapeCastable):
            return plain(self._shape.from_bits(payload))
        return payload

    def _fail(self, cycle: int, what: str) -> None:
        raise ContractError(f"cycle {cycle}: {self._name} {what}, which was not taken")


class Monitor:
    """Holds every stream of a component to its contract, beside the testbenches that drive it.

    They must be added to the simulator before it: what it looks at in a cycle is what they left.
    ``inner``: the component is part of another one, which drives its inputs.
    """

    def __init__(self, component: wiring.Component, *, inner: bool = False) -> None:
        self._streams, self._inner = streams_of(component), inner
        self._contracts = {
            name: Contract(name, port.stream.payload.shape())
            for name, port in self._streams.items()
        }

    @property
    def taken(self) -> Carried:
        """What passed so far."""
        return {name: contract.taken for name, contract in self._contracts.items()}

    async def watch(self, ctx: Any) -> None:
        """A testbench for the background."""
        ports = [port.stream for port in self._streams.values()]
        if not ports:
            return
        signals = [x for s in ports for x in (s.valid, s.ready, Value.cast(s.payload))]
        self._move_ready(ctx)
        before: list[int] = []
        moved, cycle = False, -1
        async for _, _, *values in ctx.tick().sample(*signals):
            cycle += 1
            # Most cycles are like the one before, and nothing moves.
            if moved or values != before:
                moved = False
                for n, contract in enumerate(self._contracts.values()):
                    contract.step(cycle, *values[3 * n : 3 * n + 3])
                    moved = moved or values[3 * n] & values[3 * n + 1]
            before = values
            self._move_ready(ctx)

    def _move_ready(self, ctx: Any) -> None:
        """Exchange every output's ``ready``, for no time: it must go on offering the same."""
        for name, (offered, is_input) in self._streams.items():
            if is_input or self._inner:
                continue
            ready, before = ctx.get(offered.ready), _offer(ctx, offered)
            ctx.set(offered.ready, not ready)
            after = _offer(ctx, offered)
            ctx.set(offered.ready, ready)
            if after != before:
                raise ContractError(f"{name} looks at ready before it offers {before or after}")


def _offer(ctx: Any, offered: Any) -> list[Any]:
    """What a stream offers: nothing or its payload."""
    return [plain(ctx.get(offered.payload))] if ctx.get(offered.valid) else []


async def put(
    ctx: Any, target: Any, items: Sequence[Any], *, idle: float = 0.0, seed: int = 0
) -> None:
    """Offer items to an input until each is taken, with random idle cycles that carry garbage."""
    rng = random.Random(seed)
    for item in items:
        while rng.random() < idle:
            ctx.set(Value.cast(target.payload), rng.getrandbits(len(Value.cast(target.payload))))
            await ctx.tick()
        ctx.set(target.payload, item)
        ctx.set(target.valid, 1)
        for _ in range(PATIENCE):
            *_, ready = await ctx.tick().sample(target.ready)
            if ready:
                break
        else:
            raise AssertionError(f"{item} was not taken within {PATIENCE:,} cycles")
        ctx.set(target.valid, 0)


async def get(
    ctx: Any,
    source: Any,
    count: int | None = None,
    *,
    back_pressure: float = 0.0,
    seed: int = 0,
) -> list[Any]:
    """Take ``count`` items from an output (``plain``), or all for ever, in random cycles.

    With back-pressure, every second item on average is not taken before it is seen to be valid: who
    waits for ``ready`` would wait for ever.
    """
    rng = random.Random(seed)
    taken: list[Any] = []
    shy, waited = False, 0
    while count is None or len(taken) < count:
        offered = shy <= ctx.get(source.valid)
        ctx.set(source.ready, offered and rng.random() >= back_pressure)
        *_, valid, ready, payload = await ctx.tick().sample(
            source.valid, source.ready, source.payload
        )
        waited += 1
        if valid and ready:
            taken.append(plain(payload))
            shy, waited = back_pressure > 0 and rng.random() < 0.5, 0
        elif count is not None and waited > PATIENCE:
            raise AssertionError(f"{len(taken)} of {count} items came, then nothing")
    ctx.set(source.ready, 0)
    return taken

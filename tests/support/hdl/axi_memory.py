"""A memory behind a read port of AXI4, and a bench with two clocks, for Amaranth's simulator."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from mmfree.chip.external_memory import PAGE_BYTES
from tests.support.hdl.bench import Bench

SYNC_PERIOD = 1e-6
"""Of the chip's clock, in the simulator's seconds."""

PATIENCE = 100_000
"""Of the chip's cycles: a bench that takes more hangs."""

SLVERR = 2
"""A value of RRESP: an error of the slave."""


@dataclass(frozen=True)
class Pace:
    """How a memory answers.

    ``latency``: cycles from a burst to its first beat, at least and at most. ``busy``: share of the
    cycles in which it accepts no burst. ``withheld``: of those in which it gives no beat though it
    has one. ``stray``: of those in which it gives a beat though none was asked for.
    """

    latency: tuple[int, int] = (5, 9)
    busy: float = 0.0
    withheld: float = 0.0
    stray: float = 0.0


class Burst(NamedTuple):
    """One that was accepted; ``under_way``: beats of those before it that were still to come."""

    address: int
    beats: int
    under_way: int


@dataclass
class AxiMemory:
    """Answers bursts in order, with the bytes of ``data`` from address ``base`` on.

    Beats that have an address in ``errors``, or are not in ``data``, are errors. While ``silent``
    it gives no beats. A reset of the bus makes it forget all bursts. Each burst is checked: whole
    beats, consecutive, in one page; and what is asked for stays until it is accepted. ``bursts``:
    those accepted. ``beats``: how many were given.
    """

    axi: Any
    data: bytes
    base: int = 0
    pace: Pace = field(default_factory=Pace)
    errors: Container[int] = ()
    seed: int = 0
    silent: bool = False
    bursts: list[Burst] = field(default_factory=list)
    beats: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        # The cycle from which on each beat may be given, and its address.
        self._waiting: deque[tuple[int, int]] = deque()

    async def serve(self, ctx: Any) -> None:
        """A testbench for the background."""
        rng, axi, waiting, cycle = self._rng, self.axi, self._waiting, 0
        asked: list[int] | None = None
        while True:
            cycle += 1
            gives = bool(waiting) and waiting[0][0] <= cycle and not self.silent
            gives = gives and rng.random() >= self.pace.withheld
            quiet = not waiting and not ctx.get(axi.arvalid)
            stray = self.pace.stray > 0 and quiet and rng.random() < self.pace.stray
            self._offer(ctx, waiting[0][1] if gives else None, stray=stray)
            ctx.set(axi.arready, rng.random() >= self.pace.busy)
            _, reset, valid, ready, *burst, taken = await ctx.tick("bus").sample(
                *(axi.arvalid, axi.arready, axi.araddr, axi.arlen, axi.arsize, axi.arburst),
                axi.rready,
            )
            if reset:
                waiting.clear()
                asked = None
                continue
            assert taken, "a beat was refused"
            assert asked is None or (valid and burst == asked), "a burst changed while it waited"
            asked = burst if valid and not ready else None
            if gives:
                waiting.popleft()
                self.beats += 1
            if valid and ready:
                self._accept(cycle, *burst)

    def _offer(self, ctx: Any, address: int | None, *, stray: bool) -> None:
        """The beat of an address, or none, or one that nobody asked for."""
        axi, rng, size = self.axi, self._rng, len(self.axi.rdata) // 8
        ctx.set(axi.rvalid, address is not None or stray)
        # Not looked at: beats are counted.
        ctx.set(axi.rlast, rng.getrandbits(1))
        if address is None:
            ctx.set(axi.rdata, rng.getrandbits(8 * size))
            ctx.set(axi.rresp, rng.getrandbits(2))
            return
        content = self.data[max(0, address - self.base) :][:size]
        wrong = not self.base <= address <= self.base + len(self.data) - size
        ctx.set(axi.rdata, int.from_bytes(content, "little"))
        ctx.set(axi.rresp, SLVERR if wrong or address in self.errors else 0)

    def _accept(self, cycle: int, address: int, last: int, log_size: int, kind: int) -> None:
        size = len(self.axi.rdata) // 8
        assert (1 << log_size, kind) == (size, 1)
        assert address % size == 0
        end = address + (last + 1) * size
        assert address // PAGE_BYTES == (end - 1) // PAGE_BYTES, f"{address:#x} crosses a page"
        self.bursts.append(Burst(address, last + 1, len(self._waiting)))
        due = cycle + self._rng.randint(*self.pace.latency)
        self._waiting += ((due, beat) for beat in range(address, end, size))


class TwoClocks:
    """A block with the chip's clock and that of the bus, whose resets a bench may set.

    ``ratio``: cycles of the bus for each of the chip. ``phase``: of the bus, in the chip's cycles;
    0.5: as the chip's.
    """

    def __init__(self, block: Any, ratio: float = 1.0, phase: float = 0.37) -> None:
        self.block, self._ratio, self._phase = block, ratio, phase
        self.sync, self.bus = ClockDomain("sync"), ClockDomain("bus")

    def run(self, bench: Bench, memories: Sequence[AxiMemory], *watching: Bench) -> None:
        """Until the bench ends; the others are in the background."""
        m = Module()
        m.domains += [self.sync, self.bus]
        m.submodules.block = self.block
        simulator = Simulator(m)
        simulator.add_clock(SYNC_PERIOD)
        # With a phase of its own edges of the two clocks seldom fall together.
        period, phase = SYNC_PERIOD / self._ratio, self._phase * SYNC_PERIOD
        simulator.add_clock(period, phase=phase, domain="bus")
        simulator.add_testbench(bench)
        for background in (*(memory.serve for memory in memories), *watching, _give_up):
            simulator.add_testbench(background, background=True)
        simulator.run()

    async def reset(self, ctx: Any, domain: ClockDomain, cycles: int = 1) -> None:
        """Reset one of the clocks, for some cycles of its own."""
        ctx.set(domain.rst, 1)
        for _ in range(cycles):
            await ctx.tick(domain.name)
        ctx.set(domain.rst, 0)


async def _give_up(ctx: Any) -> None:
    await ctx.delay(PATIENCE * SYNC_PERIOD)
    raise AssertionError(f"no end after {PATIENCE} cycles")

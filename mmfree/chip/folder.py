"""The folder of an accelerator: its files, and what each says that it was made of."""

from __future__ import annotations

import hashlib
import json
import re

from mmfree.chip.design import Design
from mmfree.chip.image import constant_words
from mmfree.chip.memory_map import LOADED_MEMORIES, chip_memories
from mmfree.files.folders import FolderKind
from mmfree.tape.reading import AnyTape

VERILOG_NAME, TAPE_NAME, DESCRIPTION_NAME = "mmfree.v", "model.tape", "design.json"
IMAGE_NAME = "memory.bin"
"""Files of a design's folder, beside a NAME.hex for each memory of the chip; the last is there if
the design has an external memory."""

VERILOG_FOLDER = FolderKind(
    last=DESCRIPTION_NAME,
    own=re.compile(
        rf"{re.escape(VERILOG_NAME)}|{re.escape(TAPE_NAME)}|{re.escape(DESCRIPTION_NAME)}"
        rf"|{re.escape(IMAGE_NAME)}|weights_\d+\.hex|({'|'.join(LOADED_MEMORIES)})\.hex"
    ),
)

MARK = "mmfree:"
"""How the line begins that says what a file was made of."""


def design_sha256(design: Design) -> str:
    """What a design is known by: sha256 of its fields."""
    return hashlib.sha256(json.dumps(design.to_dict()).encode()).hexdigest()


def sources(design: Design, tape: AnyTape | None) -> dict[str, str]:
    """What each text file of a design's folder says of itself: its name, of what it was made."""
    of_design = f"of design {design_sha256(design)}"
    tape_sha256 = "none" if tape is None else tape.sha256
    constant = set(constant_words(design))
    of = {VERILOG_NAME: f"{MARK} {VERILOG_NAME} {of_design}"}
    for name in chip_memories(design):
        made_of = (
            "of any design and tape" if name in constant else f"{of_design}, tape {tape_sha256}"
        )
        of[f"{name}.hex"] = f"{MARK} {name}.hex {made_of}"
    return of

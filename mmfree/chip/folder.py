"""The folder of an accelerator: its files, and what each says that it was made of."""

from __future__ import annotations

import hashlib
import json
import re

from mmfree.chip.design import Design
from mmfree.chip.image import constant_words
from mmfree.chip.memory_map import LOADED_MEMORIES, chip_memories
from mmfree.files.folders import FolderKind
from mmfree.tape.pow2 import Tape

VERILOG_NAME, TAPE_NAME, DESCRIPTION_NAME = "mmfree.v", "model.tape", "design.json"
"""Files of a design's folder, beside a NAME.hex for each memory."""

VERILOG_FOLDER = FolderKind(
    last=DESCRIPTION_NAME,
    own=re.compile(
        rf"{re.escape(VERILOG_NAME)}|{re.escape(TAPE_NAME)}|{re.escape(DESCRIPTION_NAME)}"
        rf"|weights_\d+\.hex|({'|'.join(LOADED_MEMORIES)})\.hex"
    ),
)

MARK = "mmfree:"
"""How the line begins that says what a file was made of."""


def sources(design: Design, tape: Tape | None) -> dict[str, str]:
    """What each text file of a design's folder says of itself: its name, of what it was made."""
    design_sha256 = hashlib.sha256(json.dumps(design.to_dict()).encode()).hexdigest()
    tape_sha256 = "none" if tape is None else tape.sha256
    constant = set(constant_words())
    of = {VERILOG_NAME: f"{MARK} {VERILOG_NAME} of design {design_sha256}"}
    for name in chip_memories(design):
        made_of = (
            "of any design and tape"
            if name in constant
            else f"of design {design_sha256}, tape {tape_sha256}"
        )
        of[f"{name}.hex"] = f"{MARK} {name}.hex {made_of}"
    return of

"""What a page is made of: of one tape on one design, what its scripts need to know."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from hdl.control.counters import SETTLE_CYCLES
from hdl.link.limits import leaves
from hdl.payloads import (
    COUNTERS_LAYOUT,
    REGISTERS,
    fault_layout,
    request_layout,
    result_layout,
)
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import state_places, state_words
from mmfree.chip.memory_map import LOADED_MEMORIES, fault_memories, loaded_shape
from mmfree.chip.weight_codes import find_code
from mmfree.contract.pow2 import ROLES
from mmfree.inference.native.player import pow2_settings
from mmfree.tape.pow2 import Tape
from sim.page.chip_module import ChipModule

_SETTINGS = (
    *("hidden_size", "intermediate_size", "num_layers", "vocab_size", "head_size"),
    *("embedding_shift", "forget_fb", "gate", "index_shift", "product_shift", "token_shift"),
)
"""Those of the fast player's settings that native/golden.cpp takes, in their order there."""


def about_chip(module: ChipModule, design: Design) -> dict[str, Any]:
    """Ports, their fields and sizes: what ``Chip`` in web/chip.js needs to know."""
    payloads = {
        "request__payload": request_layout(design),
        "result__payload": result_layout(design),
        "fault__payload": fault_layout(design),
        "seed__registers": REGISTERS,
        "counters": COUNTERS_LAYOUT,
    }
    return {
        "ports": [[port.name, port.bits] for port in module.ports],
        "fields": {name: _fields(layout) for name, layout in payloads.items()},
        "settle": SETTLE_CYCLES,
        "faults": list(fault_memories(design)),
        "design": {
            "lanes": design.lanes,
            "rows": design.rows,
            "columns": design.columns,
            "group_rows": design.group_rows,
            "post_width": design.post_width,
            "embedding_rows": design.embedding_rows,
        },
    }


def _fields(layout: data.StructLayout) -> dict[str, list[int]]:
    """Field, with dots -> its first bit and its bits."""
    return {leaf.name: [leaf.start, Shape.cast(leaf.shape).width] for leaf in leaves(layout, "")}


def about_model(tape: Tape, design: Design) -> dict[str, Any]:
    """Shape and constants of a model: what ``Golden`` in web/golden.js needs besides the image."""
    settings = pow2_settings(tape)
    return {
        "settings": {name: getattr(settings, name) for name in _SETTINGS},
        "logit_fb": tape.formats.residual_fb,
        "segments": [
            {
                "name": segment.name,
                "matrices": len(segment.matrices),
                "rows": segment.matrices[0].rows,
                "columns": segment.fan_in,
                "constants": [
                    [
                        matrix.multiplier,
                        ROLES[matrix.role].shift_base(
                            matrix.exponent, tape.config.gate, tape.formats
                        ),
                    ]
                    for matrix in segment.matrices
                ],
            }
            for segment in tape.segments
        ],
        "biases": [
            matrix.bias.tolist()
            for segment in tape.segments
            for matrix in segment.matrices
            if matrix.bias is not None
        ],
        "state_words": state_words(tape.config, design),
        "state_places": state_places(tape.config, design).reshape(-1).tolist(),
    }


def about_code(design: Design) -> dict[str, Any]:
    """The code of the weights: of each code the trits plus 1, as digits to the base 3."""
    code = find_code(design.weight_code)
    digits = [0] * (1 << code.bits)
    for trits, number in code.codes.items():
        digits[number] = sum((trit + 1) * 3**place for place, trit in enumerate(trits))
    return {"group": code.group, "bits": code.bits, "digits": digits}


def about_image(image: Image) -> tuple[list[dict[str, Any]], bytes]:
    """The memories of an image, and their words one after another: the shares of each word, whole
    bytes each, the lowest first.
    """
    memories, packed = [], image.packed()
    for name, words in packed.items():
        shape = loaded_shape(image.design, name)
        memories.append(
            {
                "name": name,
                "number": LOADED_MEMORIES.index(name),
                "words": len(words),
                "groups": shape.groups,
                "bits": words.bits,
                "part_bits": shape.part_bits,
                "group_parts": shape.group_parts,
            }
        )
    return memories, b"".join(words.shares.tobytes() for words in packed.values())

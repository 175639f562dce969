"""What blocks say to each other: the payloads of requests, results, headers, beats and tags."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from mmfree.chip.design import KIND_CODES, Design
from mmfree.contract.pow2 import TEMPERATURE_MAX

GATES, GLU, HEAD, OUTPUT = (KIND_CODES[kind] for kind in ("gates", "glu", "head", "output"))


REGISTERS = data.StructLayout({"a": 64, "b": 63})
"""The two shift registers; neither may be 0."""


TEMPERATURE_BITS = TEMPERATURE_MAX.bit_length()


LIMIT_BITS = 16


def token_layout(design: Design) -> data.StructLayout:
    """A token to play: its id, and whether it begins a sequence (the state then reads as 0)."""
    return data.StructLayout({"id": range(max(2, design.embedding_rows)), "begin": 1})


def request_layout(design: Design) -> data.StructLayout:
    """What a host asks for.

    ``token``: played first; ``temperature``: in 64ths; ``limit``: how many tokens are chosen, each
    but the last fed back as the next (0 means 1); ``stop``, if ``stops``: a row that ends the
    request when it is chosen.
    """
    return data.StructLayout(
        {
            "token": token_layout(design),
            "temperature": TEMPERATURE_BITS,
            "limit": LIMIT_BITS,
            "stop": head_rows(design),
            "stops": 1,
        }
    )


def head_rows(design: Design) -> range:
    """Numbers of the head's rows."""
    return range(max(2, design.max_blocks * design.rows))


def result_layout(design: Design) -> data.StructLayout:
    """A chosen row, and whether it ends its request."""
    return data.StructLayout({"row": head_rows(design), "last": 1})


RESULT_BLOCKS = 16
"""Row blocks whose results may be under way or waiting for the post-processing.

The words of one distributed RAM.
"""


START_CYCLES = 4
"""Cycles from ``vector_done`` to the first beat of the segment that reads the vector."""


def header_layout(design: Design) -> data.StructLayout:
    """Fields of a segment table entry."""
    return data.StructLayout(
        {
            name: signed(bits) if name.startswith("base") else unsigned(bits)
            for name, bits in design.header_fields
        }
    )


BEAT = data.StructLayout({"valid": 1, "first": 1, "last": 1, "fresh": 1})
"""What accompanies a tile.

It exists, is the first or last of its row block, and is quantized now (the first row block of a
segment) or read back.
"""


WAITS = data.StructLayout({"weights": 1, "room": 1, "drain": 1, "vector": 1, "control": 1})
"""Why no tile was admitted in this cycle; one flag at most.

``weights``: the source has none; ``room``: no row block more may be promised; ``drain``: all tiles
are admitted, and row blocks are in the array or wait behind it; ``vector``: the last values pass
the post-processing; ``control``: a header is looked at.
"""


ROLE = data.StructLayout({"table": 1, "forget": 1, "operand": 1, "residual": 1, "logit": 1})
"""What becomes of P values; exactly one flag is set.

``table``: i or gate, to a SiLU entry; ``forget``: f; ``operand``: g or up, the last of its block;
``residual``: o or down; ``logit``: the head.
"""


def tag_layout(design: Design) -> data.StructLayout:
    """What accompanies P values.

    Their role, place, and which are rows of the matrix (``keep``), not padding.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "end": 1,
            "role": ROLE,
            "keep": design.post_width,
            "slot": range(max(2, design.groups_per_block)),
            "group": range(max(2, design.max_blocks * design.groups_per_block)),
        }
    )

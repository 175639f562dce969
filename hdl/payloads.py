"""The payloads that blocks share: what passes from a host to the sequencer, and on to the results.

====================  ===========================  ============================================
payload               from                         to
====================  ===========================  ============================================
``request_layout``    host                         Requests
``token_layout``      Requests                     Sequencer
``header_layout``     segment table, by Sequencer  Activations, RMSNorm, RowBlocks, Post
``BEAT``              Sequencer                    Activations, and on with the tile to the array
``WAITS``             Sequencer                    Counters
``tag_layout``        RowBlocks                    Post, and on with the values through its stages
``result_layout``     Requests                     host
``fault_layout``      Faults                       host
``COUNTERS_LAYOUT``   Counters                     host
``REGISTERS``         host                         Noise
====================  ===========================  ============================================

R, C and P are the rows, the columns and the post-processing width of a Design. A row block is what
R rows of one matrix give for a vector: R accumulators.
"""

from __future__ import annotations

from amaranth.hdl import ShapeLike, signed, unsigned
from amaranth.lib import data

from mmfree.chip.design import Design
from mmfree.chip.exchange import COUNTERS, LIMIT_BITS
from mmfree.chip.header import KIND_CODES, MATRICES_PER_SEGMENT, header_fields
from mmfree.chip.memory_map import fault_memories
from mmfree.contract.absmax import CUT_BITS, CUT_EXPONENT_BITS
from mmfree.contract.pow2 import TEMPERATURE_MAX

GATES_KIND, GLU_KIND = KIND_CODES["gates"], KIND_CODES["glu"]
OUTPUT_KIND, HEAD_KIND = KIND_CODES["output"], KIND_CODES["head"]
"""Codes of segment kinds, as the field ``kind`` of a header holds them."""


REGISTERS = data.StructLayout({"a": 64, "b": 63})
"""The two shift registers of the noise (docs/arithmetic.md, 14); 0 counts as 1."""


TEMPERATURE_BITS = TEMPERATURE_MAX.bit_length()
"""Bits of a temperature in 64ths; 0 chooses the largest logit."""


def token_layout(design: Design) -> data.StructLayout:
    """A token to play: ``id``, a row of the embedding; ``begin``: the state reads as 0."""
    return data.StructLayout({"id": range(max(2, design.embedding_rows)), "begin": 1})


def request_layout(design: Design) -> data.StructLayout:
    """What a host asks for: one token, or a text that goes on by itself.

    ``token``: the first one. ``temperature``: in 64ths. ``limit``: how many tokens are chosen, each
    but the last fed back as the next (0 means 1). ``stop``: a row of the head that ends the request
    when it is chosen, if ``stops`` is set.
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
    """Numbers of the head's rows, the padding of its last row block included."""
    return range(max(2, design.max_blocks * design.rows))


def result_layout(design: Design) -> data.StructLayout:
    """``row``: of the head, the one chosen. ``last``: it ends its request."""
    return data.StructLayout({"row": head_rows(design), "last": 1})


def fault_layout(design: Design) -> data.StructLayout:
    """Where a fault was found, and when.

    ``memory``: index in ``fault_memories``. ``segment``: entry of the segment table that was in
    progress (0: embedding).
    """
    return data.StructLayout(
        {"memory": range(len(fault_memories(design))), "segment": range(design.header_words + 1)}
    )


def found_layout(design: Design) -> data.StructLayout:
    """A flag for each memory that is checked, of ``fault_memories``."""
    return data.StructLayout(dict.fromkeys(fault_memories(design), 1))


COUNTER_BITS = 32
"""Bits of a counter."""


COUNTERS_LAYOUT = data.StructLayout(dict.fromkeys(COUNTERS, COUNTER_BITS))
"""The counters of one token."""


MULTIPLIER_BITS, SHIFT_BITS, EXPONENT_BITS = 9, 5, 4
"""pow2: bits of the multiplier M of a matrix, of the shift e + k that goes with it (1..28), and of
the norm's k (docs/arithmetic.md, 6 and 7).
"""

FACTOR_BITS, FACTOR_SHIFT_BITS = 24, 6
"""absmax: bits of the factor F of a matrix, and of its shift, 0..62 (docs/arithmetic_absmax.md,
8).
"""


def multiplier_bits(design: Design) -> int:
    """Bits of what accumulators are multiplied by."""
    return FACTOR_BITS if design.arithmetic == "absmax" else MULTIPLIER_BITS


def shift_bits(design: Design) -> int:
    """Bits of the shift of such a product."""
    return FACTOR_SHIFT_BITS if design.arithmetic == "absmax" else SHIFT_BITS


CUT = data.StructLayout({"mantissa": CUT_BITS, "exponent": CUT_EXPONENT_BITS, "negative": 1})
"""absmax: an element cut to its highest bits: +-mantissa * 2^(exponent - CUT_EXPONENT_BIAS).

The highest bit of the mantissa is set, unless all is 0 (docs/arithmetic_absmax.md, 3).
"""

PARAMETER = data.StructLayout({"bound": 1, "gain": 1, "bank": 1})
"""absmax: what a word of parameters holds, with the word: lower bounds; or gains, of a ``bank``,
the lowest bit of the number of the segment that they are for.
"""


def vector_groups(design: Design, words: int) -> int:
    """Groups of P values in the memory of a vector of ``words`` words of C."""
    return max(2, words) * design.columns // design.post_width


def values_layout(design: Design, length: int, shape: ShapeLike | None = None) -> data.ArrayLayout:
    """``length`` values of a vector, or of the state; of another ``shape`` than the design's."""
    return data.ArrayLayout(signed(design.value_bits) if shape is None else shape, length)


RESULT_BLOCKS = 16
"""Most row blocks of which results are in the array, or wait for the post-processing.

The queue is a distributed RAM of 16 words, no larger than one of 8 (docs/decisions/0012).
"""


START_CYCLES = 4
"""Cycles from ``vector_done`` to the first beat of the segment that reads the vector.

The header is loaded and looked at in them, while the last values are written.
"""


EARLY = START_CYCLES - 1
"""Cycles from ``vector_done`` to the write of the vector's last value."""


def header_layout(design: Design) -> data.StructLayout:
    """An entry of the segment table, with the fields of ``header_fields``."""
    members: dict[str, ShapeLike] = {}
    for field in header_fields(design):
        number = signed(field.bits) if field.signed else unsigned(field.bits)
        members[field.name] = number if field.count == 1 else data.ArrayLayout(number, field.count)
    return data.StructLayout(members)


BEAT = data.StructLayout(
    {"valid": 1, "first": 1, "last": 1, "fresh": 1, "matrix": range(MATRICES_PER_SEGMENT)}
)
"""What accompanies a tile, C elements of a vector.

``valid``: there is one. ``first``, ``last``: of its row block. ``matrix``: of the segment, that it
meets. ``fresh``: the tile is quantized now, for this matrix and those after it that have no
activations of their own, and not read back: in the first row block of a segment.
"""


TAKE = data.StructLayout({"word": 1, "last": 1, "check": 1})
"""What is taken from the source of weights in a cycle.

``word``: a word of weights; ``last``: with it, it is its segment's last. ``check``: a check word.
"""


def chosen_layout(design: Design) -> data.StructLayout:
    """``row``: of the head, the one chosen."""
    return data.StructLayout({"row": head_rows(design)})


WAITS = data.StructLayout({"weights": 1, "room": 1, "drain": 1, "vector": 1, "control": 1})
"""Why no tile is admitted in this cycle; at most one flag is set.

``weights``: the source has no word. ``room``: RESULT_BLOCKS are in use. ``drain``: all tiles are
admitted, and row blocks are in the array or wait after it. ``vector``: the last values pass the
post-processing. ``control``: a header is loaded.
"""


ROLE = data.StructLayout({"table": 1, "forget": 1, "operand": 1, "residual": 1, "logit": 1})
"""What becomes of P values, by the matrix that they are results of; exactly one flag is set.

``table``: i or gate, to a SiLU entry. ``forget``: f. ``operand``: g or up, whose results are the
last of the matrices' for these rows. ``residual``: o or down. ``logit``: the head.
"""


def tag_layout(design: Design) -> data.StructLayout:
    """What accompanies P values through the post-processing.

    ``valid``: there are some. ``end``: the segment's last. ``role``: see ROLE. ``keep``: which of
    them are rows of the matrix, not padding. ``slot``: their place in the row block; ``group``: in
    the matrix; both in groups of P rows.
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


def tag_history(design: Design, last: int) -> data.ArrayLayout:
    """Tags by cycle: number n is that of the values which entered a pipeline n cycles ago.

    ``last``: the last cycle that is needed.
    """
    return data.ArrayLayout(tag_layout(design), last + 1)


def logit_words(design: Design) -> int:
    """Words of P logits."""
    return max(2, design.max_blocks * design.groups_per_block)

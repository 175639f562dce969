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

Signatures that blocks share are here, too. Not here: reads and writes of memories
(``hdl.memory.block_memory``, ``.loaded_memory``) are beside these, and words of weights have their
own interface (``hdl.memory.sources.interface``).
"""

from __future__ import annotations

from amaranth.hdl import ShapeLike, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, MATRICES_PER_SEGMENT, header_fields
from mmfree.chip.memory_map import LOAD_BITS, LOADED_MEMORIES, loaded_shape
from mmfree.contract.pow2 import SATURATION_SITES, TEMPERATURE_MAX

GATES, GLU, HEAD, OUTPUT = (KIND_CODES[kind] for kind in ("gates", "glu", "head", "output"))
"""Codes of segment kinds, as the field ``kind`` of a header holds them."""


REGISTERS = data.StructLayout({"a": 64, "b": 63})
"""The two shift registers of the noise (docs/arithmetic.md, 14); neither may be 0."""


TEMPERATURE_BITS = TEMPERATURE_MAX.bit_length()
"""Bits of a temperature in 64ths; 0 chooses the largest logit."""


LIMIT_BITS = 16
"""Bits of the number of tokens that a request asks for."""


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

    ``memory``: index in LOADED_MEMORIES. ``segment``: entry of the segment table that was in
    progress (0: embedding).
    """
    return data.StructLayout(
        {"memory": range(len(LOADED_MEMORIES)), "segment": range(design.header_words + 1)}
    )


COUNTER_BITS = 32
"""Bits of a counter."""

CYCLE_COUNTERS = (
    *("cycles", "beats", "wait_weights", "wait_room", "wait_drain", "wait_vector", "wait_control"),
)
"""cycles = beats + the waits: from the token's acceptance until its result is valid."""

COUNTERS = (*CYCLE_COUNTERS, *(f"saturated_{site}" for site in SATURATION_SITES))
"""Names of all counters of a token."""

COUNTERS_LAYOUT = data.StructLayout(dict.fromkeys(COUNTERS, COUNTER_BITS))
"""The counters of one token."""


MULTIPLIER_BITS, SHIFT_BITS, EXPONENT_BITS = 9, 5, 4
"""Bits of the multiplier M of a matrix, of the shift e + k that goes with it (1..28), and of the
norm's k (docs/arithmetic.md, 6 and 7).
"""


class GroupWrite(wiring.Signature):
    """A write of a group of P values of a vector, seen from the writer.

    Members::

        group   out  range(groups)      its number: elements group * P and up
        enable  out  1                  it is written
        keep    out  P                  flags: values of the vector; the others are padding
        data    out  P x signed(value)  the values
    """

    def __init__(self, design: Design, groups: int) -> None:
        values = values_layout(design, design.post_width)
        super().__init__(
            {
                "group": Out(range(max(2, groups))),
                "enable": Out(1),
                "keep": Out(design.post_width),
                "data": Out(values),
            }
        )


class VectorRead(wiring.Signature):
    """A read of ``length`` values of a vector, seen from the reader.

    Members::

        address  out  range(depth)            number of the word or group
        data     in   length x signed(value)  its values, the memory's LATENCY later
    """

    def __init__(self, design: Design, depth: int, length: int) -> None:
        super().__init__(
            {"address": Out(range(max(2, depth))), "data": In(values_layout(design, length))}
        )


def vector_groups(design: Design, words: int) -> int:
    """Groups of P values in the memory of a vector of ``words`` words of C."""
    return max(2, words) * design.columns // design.post_width


def values_layout(design: Design, length: int) -> data.ArrayLayout:
    """``length`` values of a vector, or of the state."""
    return data.ArrayLayout(signed(design.value_bits), length)


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


class CurrentSegment(wiring.Signature):
    """The segment in progress, seen from the sequencer.

    Members::

        header  out  header_layout  its entry of the segment table, stable while it lasts
        load    out  1              the header is another one from the next cycle on
    """

    def __init__(self, design: Design) -> None:
        super().__init__({"header": Out(header_layout(design)), "load": Out(1)})


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


class EmbeddingRow(wiring.Signature):
    """The order to read a row of the embedding, seen from the sequencer.

    Members::

        start  out  1            read it
        id     out  range(rows)  its number, stable while a token is played
    """

    def __init__(self, design: Design) -> None:
        super().__init__({"start": Out(1), "id": Out(range(max(2, design.embedding_rows)))})


class FirstFault(wiring.Signature):
    """What the checks of a pass have found, seen from the block that collects it.

    Members::

        any    out  1             something
        first  out  fault_layout  what was found first, stable from any on
    """

    def __init__(self, design: Design) -> None:
        super().__init__({"any": Out(1), "first": Out(fault_layout(design))})


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


class Tiles(wiring.Signature):
    """Tiles of int8, C elements of a vector each, seen from the block that makes them.

    Members::

        beat  out  BEAT      whether there is a tile, and which
        x     out  C x int8  its elements
    """

    def __init__(self, design: Design) -> None:
        super().__init__({"beat": Out(BEAT), "x": Out(data.ArrayLayout(signed(8), design.columns))})


class NormScale(wiring.Signature):
    """What the norm makes of a vector, seen from the norm (docs/arithmetic.md, 6).

    Members::

        done         out  1       the other members hold, until the next segment begins
        multipliers  out  3 x 9   M of each matrix of the segment
        exponent     out  4       k, 6..15
    """

    def __init__(self) -> None:
        multipliers = data.ArrayLayout(unsigned(MULTIPLIER_BITS), MATRICES_PER_SEGMENT)
        super().__init__(
            {"done": Out(1), "multipliers": Out(multipliers), "exponent": Out(EXPONENT_BITS)}
        )


class BlockSums(wiring.Signature):
    """Results of the array, seen from it: R accumulators, by groups of rows.

    Members::

        valid  out  G                flags by group: its accumulators are those of a row block
        acc    out  R x accumulator  the sums
    """

    def __init__(self, design: Design) -> None:
        acc = data.ArrayLayout(signed(design.accumulator_bits), design.rows)
        super().__init__({"valid": Out(design.num_groups), "acc": Out(acc)})


class ScaledRows(wiring.Signature):
    """P accumulators on their way to the post-processing, seen from the row blocks.

    Members::

        tag         out  tag_layout       what they are
        acc         out  P x accumulator  the sums
        multiplier  out  9                M of their matrix
        shift       out  5                e + k, a cycle before the others
        wide        out  1                they become int16, not int8
    """

    def __init__(self, design: Design) -> None:
        acc = data.ArrayLayout(signed(design.accumulator_bits), design.post_width)
        super().__init__(
            {
                "tag": Out(tag_layout(design)),
                "acc": Out(acc),
                "multiplier": Out(MULTIPLIER_BITS),
                "shift": Out(SHIFT_BITS),
                "wide": Out(1),
            }
        )


class SeedAccess(wiring.Signature):
    """A host's way to seed the noise, without effect while a token is played; seen from the host.

    Members::

        registers  out  REGISTERS  the noise's shift registers
        enable     out  1          take them, for the next token
    """

    def __init__(self) -> None:
        super().__init__({"registers": Out(REGISTERS), "enable": Out(1)})


class LoadAccess(wiring.Signature):
    """A host's way to write the memories of the image, a part of a word per cycle; seen from it.

    Members::

        memory   out  3             index in LOADED_MEMORIES
        word     out  range(words)  of the deepest memory, and one more
        part     out  range(parts)  of the widest memory, and one more
        data     out  18            bits of the part
        enable   out  1             write it
        refused  in   1             the last write changed nothing; from two cycles after it
    """

    def __init__(self, design: Design) -> None:
        shapes = [loaded_shape(design, name) for name in LOADED_MEMORIES]
        super().__init__(
            {
                "memory": Out(range(len(LOADED_MEMORIES))),
                "word": Out(range(max(shape.depth for shape in shapes) + 1)),
                "part": Out(range(max(shape.parts for shape in shapes) + 1)),
                "data": Out(LOAD_BITS),
                "enable": Out(1),
                "refused": In(1),
            }
        )


class StateAccess(wiring.Signature):
    """A host's way to the state, while no token is played; seen from it.

    Members::

        address  out  range(words)       of the current bank
        data     in   P x signed(value)  the word, two cycles after address
        write    out  P x signed(value)  another one
        enable   out  1                  write it to address
    """

    def __init__(self, design: Design) -> None:
        values = values_layout(design, design.post_width)
        super().__init__(
            {
                "address": Out(range(max(2, design.state_words))),
                "data": In(values),
                "write": Out(values),
                "enable": Out(1),
            }
        )


def logit_words(design: Design) -> int:
    """Words of P logits."""
    return max(2, design.max_blocks * design.groups_per_block)


class LogitsAccess(wiring.Signature):
    """A host's way to the logits of the last token, while none is played; seen from it.

    Members::

        address  out  range(words)       number of the word
        data     in   P x signed(value)  its logits, two cycles after address
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {
                "address": Out(range(logit_words(design))),
                "data": In(values_layout(design, design.post_width)),
            }
        )

"""The signatures that blocks share; ``hdl.payloads`` has what passes through them.

Not here: reads and writes of memories (``hdl.memory.block_memory``, ``.loaded_memory``) are beside
these, and words of weights have their own interface (``hdl.memory.sources.interface``).
"""

from __future__ import annotations

from amaranth.hdl import ShapeLike, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.payloads import (
    BEAT,
    EXPONENT_BITS,
    REGISTERS,
    fault_layout,
    header_layout,
    logit_words,
    multiplier_bits,
    shift_bits,
    tag_layout,
    values_layout,
)
from mmfree.chip.design import Design
from mmfree.chip.external_memory import ADDRESS_BITS
from mmfree.chip.header import MATRICES_PER_SEGMENT
from mmfree.chip.memory_map import LOAD_BITS, LOADED_MEMORIES, loaded_memories, loaded_shape


class GroupWrite(wiring.Signature):
    """A write of a group of P values of a vector, seen from the writer.

    ``shape``: of a value; that of the design's values, unless given.

    Members::

        group   out  range(groups)      its number: elements group * P and up
        enable  out  1                  it is written
        keep    out  P                  flags: values of the vector; the others are padding
        data    out  P x signed(value)  the values
    """

    def __init__(self, design: Design, groups: int, shape: ShapeLike | None = None) -> None:
        values = values_layout(design, design.post_width, shape)
        super().__init__(
            {
                "group": Out(range(max(2, groups))),
                "enable": Out(1),
                "keep": Out(design.post_width),
                "data": Out(values),
            }
        )


class VectorRead(wiring.Signature):
    """A read of ``length`` values of a vector, seen from the reader; ``shape`` as of a write.

    Members::

        address  out  range(depth)            number of the word or group
        data     in   length x signed(value)  its values, the memory's LATENCY later
    """

    def __init__(
        self, design: Design, depth: int, length: int, shape: ShapeLike | None = None
    ) -> None:
        values = values_layout(design, length, shape)
        super().__init__({"address": Out(range(max(2, depth))), "data": In(values)})


class CurrentSegment(wiring.Signature):
    """The segment in progress, seen from the sequencer.

    Members::

        header  out  header_layout  its entry of the segment table, stable while it lasts
        load    out  1              the header is another one from the next cycle on
    """

    def __init__(self, design: Design) -> None:
        super().__init__({"header": Out(header_layout(design)), "load": Out(1)})


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


class Tiles(wiring.Signature):
    """Tiles of int8, C elements of a vector each, seen from the block that makes them.

    Members::

        beat  out  BEAT      whether there is a tile, and which
        x     out  C x int8  its elements
    """

    def __init__(self, design: Design) -> None:
        super().__init__({"beat": Out(BEAT), "x": Out(data.ArrayLayout(signed(8), design.columns))})


class NormScale(wiring.Signature):
    """What the norm makes of a vector, seen from the norm.

    docs/arithmetic.md, 6; docs/arithmetic_absmax.md, 8.

    Members::

        done         out  1          the other members hold, until the next segment begins
        multipliers  out  3 x 9, 24  M, or in absmax F, of each matrix of the segment
        exponent     out  4          pow2: k, 6..15
        shifts       out  3 x 6      absmax: of each matrix; 0: whatever is not 0 saturates
    """

    def __init__(self, design: Design) -> None:
        multipliers = data.ArrayLayout(unsigned(multiplier_bits(design)), MATRICES_PER_SEGMENT)
        shifts = data.ArrayLayout(unsigned(shift_bits(design)), MATRICES_PER_SEGMENT)
        absmax = design.arithmetic == "absmax"
        own = {"shifts": Out(shifts)} if absmax else {"exponent": Out(EXPONENT_BITS)}
        super().__init__({"done": Out(1), "multipliers": Out(multipliers), **own})


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
        multiplier  out  9, 24            M of their matrix, or F
        shift       out  5, 6             e + k, or that of F; a cycle before the others
        wide        out  1                pow2: they become int16, not int8
    """

    def __init__(self, design: Design) -> None:
        acc = data.ArrayLayout(signed(design.accumulator_bits), design.post_width)
        super().__init__(
            {
                "tag": Out(tag_layout(design)),
                "acc": Out(acc),
                "multiplier": Out(multiplier_bits(design)),
                "shift": Out(shift_bits(design)),
                **({} if design.arithmetic == "absmax" else {"wide": Out(1)}),
            }
        )


class SeedAccess(wiring.Signature):
    """A host's way to seed the noise, without effect while a token is played; seen from the host.

    Members::

        registers  out  REGISTERS  the noise's shift registers; from enable's cycle to the next
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
        shapes = [loaded_shape(design, name) for name in loaded_memories(design)]
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
                "address": Out(range(max(2, design.kept_words))),
                "data": In(values),
                "write": Out(values),
                "enable": Out(1),
            }
        )


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


class MemorySettings(wiring.Signature):
    """Where an external memory holds the image, seen from the host that writes it.

    Entry g of the first G: first byte of the region of weights_g; entry G: that of the embedding,
    all multiples of PAGE_BYTES; entry G + 1: words of a pass, 1 to ``weight_words``. Nothing is
    read before all are written. Another write stops what is read ahead, and begins anew; a burst of
    addresses of neither setting may be asked for in between, and is dropped. A write is without
    effect while a token is played.

    Members::

        index   out  range(G + 2)  of an entry
        value   out  40            of the entry: bytes, or words
        enable  out  1             write it
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {
                "index": Out(range(design.num_groups + 2)),
                "value": Out(ADDRESS_BITS),
                "enable": Out(1),
            }
        )

"""Sequencer: walks the segment table and admits one tile per cycle to the array."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.loaded_memory import LoadedMemory, load_write
from hdl.requests import token_layout
from mmfree.design import KIND_CODES, MATRICES_PER_SEGMENT, Design
from mmfree.formats import SEGMENT_ROLES

RESULT_BLOCKS = 8
"""Row blocks whose results may be under way or waiting for the post-processing: enough that the way there and back (about 13 cycles) costs nothing from two
tiles per block on."""


def header_layout(design: Design) -> data.StructLayout:
    """Fields of a segment table entry."""
    return data.StructLayout(
        {
            name: signed(bits) if name.startswith("base") else unsigned(bits)
            for name, bits in design.header_fields
        }
    )


BEAT = data.StructLayout({"valid": 1, "first": 1, "last": 1, "fresh": 1})
"""What accompanies a tile: it exists, is the first or last of its row block, and is quantized now (the first row block of a segment) or read back."""

WAITS = data.StructLayout({"weights": 1, "room": 1, "vector": 1, "control": 1})
"""Why no tile was admitted in this cycle; one flag at most."""


class Sequencer(wiring.Component):
    """Plays the image once per token.

    For the embedding and then for each segment: wait until the vector is written (``vector_done``), then admit tiles: row block by row block, in each the
    matrices in turn, in each the tiles in turn. A tile is admitted when its weights are available and, if it ends a row block, there is room for the result.

    Ports: ``token`` (stream in); ``header`` (of the segment in progress), ``segment`` (its number), ``load`` (the header changes after this cycle: take over
    the vector's size), ``begin`` (the token's flag); ``embedding_id``, ``embedding_tile``, ``embedding_valid``, ``embedding_last``; ``beat`` and ``tile``
    (stage 0 of the activations), ``take``, ``restart`` and ``available`` of the source; ``take_last`` and ``take_check`` (the word taken is the segment's last, its check
    word); ``block_done`` (the post-processing has emptied a row block), ``vector_done``; ``checked`` (a check word was examined), ``fault`` (something was found in
    this pass), ``header_wrong`` (parity of the header being loaded); ``chosen_valid``, ``chosen_ready`` behind a clean pass, with ``pass_done``; else ``failed_valid``,
    ``failed_ready``; ``repeat`` (the last pass failed); ``playing``; ``waits``.
    A pass with a fault goes to its end, but for a fault in a header, which ends it.
    After reset it waits for a token.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        tiles = range(design.max_tiles)
        super().__init__(
            {
                "token": In(stream.Signature(token_layout(design))),
                "header": Out(header_layout(design)),
                "segment": Out(range(design.header_words + 1)),
                "load": Out(1),
                "begin": Out(1),
                "embedding_id": Out(range(max(2, design.embedding_rows))),
                "embedding_tile": Out(tiles),
                "embedding_valid": Out(1),
                "embedding_last": Out(1),
                "beat": Out(BEAT),
                "tile": Out(tiles),
                "available": In(1),
                "take": Out(1),
                "restart": Out(1),
                "block_done": In(1),
                "vector_done": In(1),
                "take_last": Out(1),
                "take_check": Out(1),
                "checked": In(1),
                "fault": In(1),
                "header_wrong": Out(1),
                "chosen_valid": Out(1),
                "chosen_ready": In(1),
                "failed_valid": Out(1),
                "failed_ready": In(1),
                "pass_done": Out(1),
                "repeat": Out(1),
                "playing": Out(1),
                "load_header": In(load_write(design.loaded_shape("headers"))),
                "waits": Out(WAITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design = self._design
        m.submodules.header_memory = headers = LoadedMemory("headers", design.loaded_shape("headers"))
        next_header = Signal(range(design.header_words + 1))
        m.d.comb += headers.address_0.eq(next_header)
        wiring.connect(m, wiring.flipped(self.load_header), headers.load)

        tile = Signal(range(design.max_tiles))
        matrix = Signal(range(MATRICES_PER_SEGMENT))
        block = Signal(range(design.max_blocks))
        header = self.header
        last_matrix = Mux(
            header.kind == KIND_CODES["gates"],
            len(SEGMENT_ROLES["gates"]) - 1,
            Mux(header.kind == KIND_CODES["glu"], len(SEGMENT_ROLES["glu"]) - 1, 0),
        )
        at_last_tile = tile == header.tiles - 1
        at_last_matrix = matrix == last_matrix
        at_last_block = block == header.blocks - 1
        first_block = (block == 0) & (matrix == 0)

        room = Signal(range(RESULT_BLOCKS + 1), init=RESULT_BLOCKS)
        admit = Signal()
        ends_block = admit & at_last_tile
        m.d.sync += room.eq(room + self.block_done - ends_block)
        settling = Signal()
        written = Signal()
        m.d.sync += written.eq((written | self.vector_done) & ~self.load)

        # Check words under way: of a slow source's, one may be examined when the next segment has begun.
        unchecked = Signal(range(8))
        m.d.sync += unchecked.eq(unchecked + self.take_check - self.checked)

        def load_header(state: str) -> None:
            m.d.comb += [self.load.eq(1), self.header_wrong.eq(headers.wrong_0)]
            m.next = state
            with m.If(headers.wrong_0):
                m.next = "FAILED"
            m.d.sync += [
                header.eq(headers.data_0),
                self.segment.eq(next_header),
                next_header.eq(next_header + 1),
                tile.eq(0),
                matrix.eq(0),
                block.eq(0),
            ]

        m.d.comb += self.playing.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.token.ready.eq(1), self.playing.eq(0)]
                with m.If(self.token.valid):
                    load_header("EMBED")
                    m.d.comb += self.restart.eq(1)
                    m.d.sync += [
                        self.embedding_id.eq(self.token.payload.id),
                        self.begin.eq(self.token.payload.begin),
                    ]
            with m.State("EMBED"):
                m.d.comb += [
                    self.embedding_valid.eq(1),
                    self.embedding_last.eq(at_last_tile),
                    self.waits.control.eq(1),
                ]
                m.d.sync += tile.eq(tile + 1)
                with m.If(at_last_tile):
                    m.next = "WAIT"
            with m.State("WAIT"):
                # The vector that the next segment reads is being written.
                m.d.comb += self.waits.vector.eq(1)
                with m.If(written | self.vector_done):
                    m.next = "LOAD"
                    with m.If(header.last):
                        # The first header must stand behind the memory when the next token comes.
                        m.d.sync += next_header.eq(0)
                        m.next = "WAIT"
                        with m.If((unchecked == 0) & self.fault):
                            m.next = "FAILED"
                        with m.Elif(unchecked == 0):
                            m.d.comb += self.pass_done.eq(1)
                            m.next = "CHOSEN"
            with m.State("LOAD"):
                m.d.comb += self.waits.control.eq(1)
                load_header("RUN")
            with m.State("RUN"):
                with m.If(~self.available):
                    m.d.comb += self.waits.weights.eq(1)
                with m.Elif(at_last_tile & (room == 0)):
                    m.d.comb += self.waits.room.eq(1)
                with m.Elif(settling):
                    m.d.comb += self.waits.vector.eq(1)
                with m.Else():
                    m.d.comb += admit.eq(1)
                # A one-word vector cannot be read back in the cycle in which it is written.
                m.d.sync += settling.eq(admit & first_block & (header.tiles == 1))
                with m.If(admit):
                    m.d.comb += self.take.eq(1)
                    m.d.sync += tile.eq(tile + 1)
                    with m.If(at_last_tile):
                        m.d.sync += [tile.eq(0), matrix.eq(matrix + 1)]
                        with m.If(at_last_matrix):
                            m.d.sync += [matrix.eq(0), block.eq(block + 1)]
                            with m.If(at_last_block):
                                m.d.comb += self.take_last.eq(1)
                                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.waits.vector.eq(1)
                with m.If(self.available):
                    m.d.comb += [self.take.eq(1), self.take_check.eq(1)]
                    m.next = "WAIT"
            with m.State("CHOSEN"):
                m.d.comb += [self.chosen_valid.eq(1), self.playing.eq(0)]
                m.d.sync += self.repeat.eq(0)
                with m.If(self.chosen_ready):
                    m.next = "IDLE"
            with m.State("FAILED"):
                m.d.comb += [self.failed_valid.eq(self.fault), self.playing.eq(0)]
                m.d.sync += [next_header.eq(0), self.repeat.eq(1)]
                with m.If(self.failed_valid & self.failed_ready):
                    m.next = "IDLE"

        m.d.comb += [
            self.embedding_tile.eq(tile),
            self.tile.eq(tile),
            self.beat.valid.eq(admit),
            self.beat.first.eq(tile == 0),
            self.beat.last.eq(at_last_tile),
            self.beat.fresh.eq(first_block),
        ]
        return m

"""Sequencer: walks the segment table and admits one tile per cycle to the array."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.interface import BEAT, RESULT_BLOCKS, WAITS, header_layout, token_layout
from hdl.memory.loaded_memory import LoadedMemory, load_write
from mmfree.chip.design import KIND_CODES, MATRICES_PER_SEGMENT, Design
from mmfree.contract.pow2 import SEGMENT_ROLES


class Sequencer(wiring.Component):
    """Plays the image once per token.

    For the embedding and then for each segment: wait until the vector is about to be written
    (``vector_done``), then admit tiles: row block by row block, in each the matrices in turn, in
    each the tiles in turn. A tile is admitted when its weights are available and, if it ends a row
    block, there is room for the result.

    Ports: ``token`` (stream in), not taken during ``hold``; ``header`` (of the segment in
    progress), ``segment`` (its number), ``load`` (the header is new from the next cycle on),
    ``begin`` (the token's flag); ``embed`` with ``embedding_id``: read the row; ``beat`` and
    ``tile`` (stage 0 of the activations; with them a word of weights is taken), ``take_last`` (it
    is the segment's last), ``take_check`` (a check word is taken), ``available`` (of the source);
    ``started`` (a token was accepted in the cycle before); ``block_done`` (the post-processing has
    begun with a row block), ``vector_done`` (the vector's last value will be written START_CYCLES -
    1 cycles later), ``logits_done`` (the row is chosen); ``checked`` (a check word was examined),
    ``fault`` (something was found in this pass), ``header_wrong`` (parity of the header that was
    loaded); ``chosen_valid``, ``chosen_ready`` behind a clean pass, with ``pass_done``; else
    ``failed_valid``, ``failed_ready``; ``repeat`` (the last pass failed); ``playing``; ``admitted``
    and ``waits``, of the same cycle. A pass with a fault goes to its end, but for a fault in a
    header, which ends it. After reset it waits for a token.
    """

    def __init__(self, design: Design, headers: Sequence[int] = ()) -> None:
        self._design = design
        self.headers = LoadedMemory("headers", design.loaded_shape("headers"), contents=headers)
        super().__init__(
            {
                "token": In(stream.Signature(token_layout(design))),
                "hold": In(1),
                "header": Out(header_layout(design)),
                "segment": Out(range(design.header_words + 1)),
                "load": Out(1),
                "begin": Out(1),
                "embed": Out(1),
                "embedding_id": Out(range(max(2, design.embedding_rows))),
                "beat": Out(BEAT),
                "tile": Out(range(design.max_tiles)),
                "available": In(1),
                "started": Out(1),
                "take_last": Out(1),
                "take_check": Out(1),
                "block_done": In(1),
                "vector_done": In(1),
                "logits_done": In(1),
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
                "admitted": Out(1),
                "waits": Out(WAITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.header_memory = headers = self.headers
        wiring.connect(m, wiring.flipped(self.load_header), headers.load)
        header = self.header
        # The next header waits behind its memory long before it is wanted.
        next_header = Signal(range(self._design.header_words + 1))
        m.d.comb += headers.address_0.eq(next_header)

        preparing, running, ended, draining = Signal(), Signal(), Signal(), Signal()
        self._walk(m, preparing, running, ended, draining)
        written, done, ready = Signal(), Signal(), Signal(init=1)
        m.d.comb += self.token.ready.eq(ready & ~self.hold)
        m.d.sync += [
            written.eq((written | self.vector_done) & ~self.load),
            done.eq((done | self.logits_done) & ~self.load),
        ]
        # Check words under way: of a slow source's, one may be examined when the next segment has
        # begun.
        unchecked = Signal(range(16))
        all_checked = Signal(init=1)
        m.d.sync += [
            unchecked.eq(unchecked + self.take_check - self.checked),
            all_checked.eq((unchecked == 0) & ~self.take_check),
        ]

        m.d.sync += [self.take_check.eq(0), self.embed.eq(0), self.started.eq(0)]
        with m.FSM():
            with m.State("IDLE"), m.If(self.token.valid & self.token.ready):
                m.d.sync += [
                    ready.eq(0),
                    self.started.eq(1),
                    self.playing.eq(1),
                    self.embedding_id.eq(self.token.payload.id),
                    self.begin.eq(self.token.payload.begin),
                ]
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [
                    self.load.eq(1),
                    self.header_wrong.eq(headers.wrong_0),
                    self.waits.control.eq(1),
                ]
                m.d.sync += [
                    header.eq(headers.data_0),
                    self.segment.eq(next_header),
                    next_header.eq(next_header + 1),
                ]
                m.next = "PREPARE"
                with m.If(headers.wrong_0):
                    m.d.sync += self.playing.eq(0)
                    m.next = "FAILED"
            with m.State("PREPARE"):
                m.d.comb += [preparing.eq(1), self.waits.control.eq(1)]
                with m.If(header.last):
                    # The first header stands behind the memory when the next token comes.
                    m.d.sync += next_header.eq(0)
                m.d.sync += running.eq(1)
                m.next = "RUN"
                with m.If(header.kind == KIND_CODES["embedding"]):
                    m.d.sync += [self.embed.eq(1), running.eq(0)]
                    m.next = "WAIT"
            with m.State("RUN"), m.If(ended):
                m.d.comb += self.waits.drain.eq(1)
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [self.waits.drain.eq(draining), self.waits.vector.eq(~draining)]
                # The head's row may be chosen long before a slow source has this word.
                m.d.sync += all_checked.eq(0)
                with m.If(self.available):
                    m.d.sync += self.take_check.eq(1)
                    m.next = "WAIT"
                    with m.If(header.last):
                        m.next = "FINISH"
            with m.State("WAIT"):
                # The vector that the next segment reads is being written.
                m.d.comb += [self.waits.drain.eq(draining), self.waits.vector.eq(~draining)]
                with m.If(written | self.vector_done):
                    m.next = "LOAD"
            with m.State("FINISH"):
                m.d.comb += [self.waits.drain.eq(draining), self.waits.vector.eq(~draining)]
                with m.If(done & all_checked):
                    m.d.sync += self.playing.eq(0)
                    m.next = "FAILED"
                    with m.If(~self.fault):
                        m.d.comb += self.pass_done.eq(1)
                        m.d.sync += self.chosen_valid.eq(1)
                        m.next = "CHOSEN"
            with m.State("CHOSEN"):
                m.d.sync += self.repeat.eq(0)
                with m.If(self.chosen_ready):
                    m.d.sync += [ready.eq(1), self.chosen_valid.eq(0)]
                    m.next = "IDLE"
            # As many cycles as the first header takes to stand behind its memory again.
            for cycle in range(headers.latency + 1):
                with m.State("FAILED" if cycle == 0 else f"FAILED_{cycle}"):
                    m.d.sync += [next_header.eq(0), self.repeat.eq(1)]
                    m.next = f"FAILED_{cycle + 1}"
            with m.State(f"FAILED_{headers.latency + 1}"):
                # A check word under way must not be examined in the next pass.
                m.d.comb += self.failed_valid.eq(self.fault & all_checked)
                with m.If(self.failed_valid & self.failed_ready):
                    m.d.sync += ready.eq(1)
                    m.next = "IDLE"
        return m

    def _walk(
        self, m: Module, preparing: Signal, running: Signal, ended: Signal, draining: Signal
    ) -> None:
        """Tiles, matrices and row blocks in turn.

        What a cycle decides about is registered the cycle before.
        """
        design, header = self._design, self.header
        tile, matrix = Signal(range(design.max_tiles)), Signal(range(MATRICES_PER_SEGMENT))
        block = Signal(range(design.max_blocks))
        first_tile, last_tile, last_matrix, last_block, fresh = (
            Signal(name=name)
            for name in ("first_tile", "last_tile", "last_matrix", "last_block", "fresh")
        )
        one_tile, one_matrix = Signal(), Signal()
        last_tiles, last_blocks = Signal.like(header.tiles), Signal.like(header.blocks)
        matrices = Mux(
            header.kind == KIND_CODES["gates"],
            len(SEGMENT_ROLES["gates"]),
            Mux(header.kind == KIND_CODES["glu"], len(SEGMENT_ROLES["glu"]), 1),
        )
        last_number = Signal(range(MATRICES_PER_SEGMENT))

        # A row block is begun when there is room for its result. What is known of that is two
        # cycles old, in which two more may have been promised.
        room = Signal(range(RESULT_BLOCKS + 1), init=RESULT_BLOCKS)
        has_room, go, admit = Signal(init=1), Signal(), Signal()
        m.d.sync += [room.eq(room + self.block_done - (admit & first_tile)), has_room.eq(room > 2)]
        m.d.comb += [draining.eq(room != RESULT_BLOCKS), admit.eq(go & self.available)]

        m.d.comb += [
            self.admitted.eq(admit),
            self.waits.weights.eq(go & ~self.available),
            self.waits.room.eq(running & ~go),
        ]
        with m.If(~go):
            m.d.sync += go.eq(running & has_room)
        with m.If(admit):
            m.d.sync += [
                tile.eq(tile + 1),
                first_tile.eq(last_tile),
                last_tile.eq(tile == last_tiles),
            ]
            with m.If(last_tile):
                m.d.sync += [tile.eq(0), fresh.eq(0), matrix.eq(matrix + 1), last_tile.eq(one_tile)]
                m.d.sync += last_matrix.eq(matrix + 1 == last_number)
                m.d.sync += go.eq(has_room & ~(last_matrix & last_block))
                with m.If(last_matrix):
                    m.d.sync += [matrix.eq(0), block.eq(block + 1), last_matrix.eq(one_matrix)]
                    m.d.sync += last_block.eq(block == last_blocks)
        at_end = last_tile & last_matrix & last_block
        m.d.sync += ended.eq(admit & at_end)
        with m.If(admit & at_end):
            m.d.sync += running.eq(0)
        # A new header: a cycle to look at it before the first beat.
        with m.If(preparing):
            m.d.sync += [
                one_tile.eq(header.tiles == 1),
                one_matrix.eq(matrices == 1),
                last_tile.eq(header.tiles == 1),
                last_block.eq(header.blocks == 1),
                last_matrix.eq(matrices == 1),
                last_number.eq(matrices - 1),
                last_tiles.eq(header.tiles - 2),
                last_blocks.eq(header.blocks - 2),
                first_tile.eq(1),
                fresh.eq(1),
                go.eq(header.kind != KIND_CODES["embedding"]),
                tile.eq(0),
                matrix.eq(0),
                block.eq(0),
            ]
        m.d.sync += [
            self.beat.valid.eq(admit),
            self.beat.first.eq(first_tile),
            self.beat.last.eq(last_tile),
            self.beat.fresh.eq(fresh),
            self.tile.eq(tile),
            self.take_last.eq(admit & at_end),
        ]

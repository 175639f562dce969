"""Sequencer: walks the segment table and admits one tile per cycle to the array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.interface import BEAT, RESULT_BLOCKS, WAITS, header_layout, token_layout
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, MATRICES_PER_SEGMENT
from mmfree.chip.memory_map import loaded_shape
from mmfree.contract.pow2 import SEGMENT_ROLES


class _Walk(NamedTuple):
    """Between the state machine and the walk over a segment's tiles."""

    preparing: Signal
    """In: the header is new, start at its first tile."""

    running: Signal
    """Set to admit the segment's tiles; the walk clears it with the last one."""

    ended: Signal
    """Out: the segment's last tile was admitted in the cycle before."""

    draining: Signal
    """Out: row blocks are in the array, or wait for the post-processing."""


class Sequencer(wiring.Component):
    """Plays the tape once per token.

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
    begun with a row block), ``vector_done`` (the vector's last value is written START_CYCLES - 1
    cycles later), ``logits_done`` (the row is chosen); ``checked`` (a check word was examined),
    ``fault`` (something was found in this pass), ``header_parity_error`` (of the header that was
    loaded); ``chosen_valid``, ``chosen_ready`` after a clean pass, with ``pass_done``; else
    ``failed_valid``, ``failed_ready``; ``repeat`` (the last pass failed); ``playing``; ``admitted``
    and ``waits``, of the same cycle. A pass with a fault runs to its end, except for a fault in a
    header, which ends it. After reset it waits for a token.
    """

    def __init__(self, design: Design, headers: Sequence[int] = ()) -> None:
        self._design = design
        self.headers = LoadedMemory("headers", loaded_shape(design, "headers"), contents=headers)
        self.memories = self.headers.memories
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
                "header_parity_error": Out(1),
                "chosen_valid": Out(1),
                "chosen_ready": In(1),
                "failed_valid": Out(1),
                "failed_ready": In(1),
                "pass_done": Out(1),
                "repeat": Out(1),
                "playing": Out(1),
                "load_header": In(LoadWrite(loaded_shape(design, "headers"))),
                "admitted": Out(1),
                "waits": Out(WAITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.header_memory = headers = self.headers
        wiring.connect(m, wiring.flipped(self.load_header), headers.load)
        # The next header is at its memory's output long before it is needed.
        next_header = Signal(range(self._design.header_words + 1))
        m.d.comb += headers.read[0].address.eq(next_header)

        walk = _Walk(Signal(), Signal(), Signal(), Signal())
        self._walk(m, walk)
        written, done, ready = Signal(), Signal(), Signal(init=1)
        m.d.comb += self.token.ready.eq(ready & ~self.hold)
        # Both events last one cycle, and may come before the state that waits for them.
        m.d.sync += [
            written.eq((written | self.vector_done) & ~self.load),
            done.eq((done | self.logits_done) & ~self.load),
        ]
        all_checked = self._count_checks(m)

        m.d.sync += [self.take_check.eq(0), self.embed.eq(0), self.started.eq(0)]
        with m.FSM():
            self._accept_token(m, ready)
            self._load_segment(m, walk, next_header)
            self._run_segment(m, walk, written, all_checked)
            self._finish_pass(m, walk, ready, done & all_checked)
            self._fail_pass(m, ready, all_checked, next_header)
        return m

    def _count_checks(self, m: Module) -> Signal:
        """Whether every check word that was taken has been examined.

        Of a slow source's check words, one may be examined when the next segment has begun: they
        are counted, so that none counts as another segment's.
        """
        unchecked = Signal(range(16))
        all_checked = Signal(init=1)
        m.d.sync += [
            unchecked.eq(unchecked + self.take_check - self.checked),
            all_checked.eq((unchecked == 0) & ~self.take_check),
        ]
        return all_checked

    def _accept_token(self, m: Module, ready: Signal) -> None:
        with m.State("IDLE"), m.If(self.token.valid & self.token.ready):
            m.d.sync += [
                ready.eq(0),
                self.started.eq(1),
                self.playing.eq(1),
                self.embedding_id.eq(self.token.payload.id),
                self.begin.eq(self.token.payload.begin),
            ]
            m.next = "LOAD"

    def _load_segment(self, m: Module, walk: _Walk, next_header: Signal) -> None:
        """Two cycles: the header becomes the current one, and is looked at."""
        headers, header = self.headers, self.header
        with m.State("LOAD"):
            m.d.comb += [
                self.load.eq(1),
                self.header_parity_error.eq(headers.read[0].parity_error),
                self.waits.control.eq(1),
            ]
            m.d.sync += [
                header.eq(headers.read[0].data),
                self.segment.eq(next_header),
                next_header.eq(next_header + 1),
            ]
            m.next = "PREPARE"
            # A corrupt header must not start the walk.
            with m.If(headers.read[0].parity_error):
                m.d.sync += self.playing.eq(0)
                m.next = "FAILED"
        with m.State("PREPARE"):
            m.d.comb += [walk.preparing.eq(1), self.waits.control.eq(1)]
            with m.If(header.last):
                # The memory gives the first header by the time the next token comes.
                m.d.sync += next_header.eq(0)
            m.d.sync += walk.running.eq(1)
            m.next = "RUN"
            with m.If(header.kind == KIND_CODES["embedding"]):
                m.d.sync += [self.embed.eq(1), walk.running.eq(0)]
                m.next = "WAIT"

    def _run_segment(self, m: Module, walk: _Walk, written: Signal, all_checked: Signal) -> None:
        """All tiles, the check word, and then the vector that the next segment reads."""
        with m.State("RUN"), m.If(walk.ended):
            m.d.comb += self.waits.drain.eq(1)
            m.next = "CHECK"
        with m.State("CHECK"):
            self._wait_for_values(m, walk)
            # The head's row may be chosen long before a slow source has this word.
            m.d.sync += all_checked.eq(0)
            with m.If(self.available):
                m.d.sync += self.take_check.eq(1)
                m.next = "WAIT"
                with m.If(self.header.last):
                    m.next = "FINISH"
        with m.State("WAIT"):
            self._wait_for_values(m, walk)
            with m.If(written | self.vector_done):
                m.next = "LOAD"

    def _finish_pass(self, m: Module, walk: _Walk, ready: Signal, complete: Value) -> None:
        """The row is chosen and everything is checked: the result, or a fault instead."""
        with m.State("FINISH"):
            self._wait_for_values(m, walk)
            with m.If(complete):
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

    def _fail_pass(
        self, m: Module, ready: Signal, all_checked: Signal, next_header: Signal
    ) -> None:
        # As many cycles as it takes until the memory gives the first header again.
        last = self.headers.latency + 1
        for cycle in range(last):
            with m.State("FAILED" if cycle == 0 else f"FAILED_{cycle}"):
                m.d.sync += [next_header.eq(0), self.repeat.eq(1)]
                m.next = f"FAILED_{cycle + 1}"
        with m.State(f"FAILED_{last}"):
            # No check word of this pass may be examined in the next one.
            m.d.comb += self.failed_valid.eq(self.fault & all_checked)
            with m.If(self.failed_valid & self.failed_ready):
                m.d.sync += ready.eq(1)
                m.next = "IDLE"

    def _wait_for_values(self, m: Module, walk: _Walk) -> None:
        """Why no tile is admitted after a segment's last."""
        m.d.comb += [self.waits.drain.eq(walk.draining), self.waits.vector.eq(~walk.draining)]

    def _walk(self, m: Module, walk: _Walk) -> None:
        """Admits tiles, matrices and row blocks in turn.

        For the clock's sake every decision is made from registers: whether a tile is its row
        block's last, for instance, is known a cycle before the tile.
        """
        design, header = self._design, self.header
        preparing, running, ended, draining = walk
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

        # A row block is begun when there is room for its result. What is known of the room is two
        # cycles old, and in these two cycles two more row blocks may have been begun.
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
        # A new header has a cycle of its own before the first beat, in which what depends on it is
        # registered.
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

"""Sequencer: walks the segment table and admits one tile per cycle to the array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import CurrentSegment, EmbeddingRow, FirstFault
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from hdl.memory.weight_check import CHECK_DISTANCE
from hdl.payloads import (
    BEAT,
    PARAMETER,
    RESULT_BLOCKS,
    TAKE,
    WAITS,
    chosen_layout,
    fault_layout,
    head_rows,
    header_layout,
    token_layout,
)
from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, MATRICES_PER_SEGMENT
from mmfree.chip.memory_map import loaded_shape, parameter_words
from mmfree.contract.pow2 import SEGMENT_ROLES

_FIRST_WORD = 5
"""Cycles from the last one in which ``apart`` is 0 to the first word of the segment after it."""

PARAMETER_CYCLES = 4
"""Cycles from a share with parameters until they can be read (hdl/memory/parameters.py)."""


def settling_cycles(design: Design, delivery_cycles: int) -> int:
    """absmax: cycles from the last parameter's take until every group's can be read."""
    return delivery_cycles + design.num_groups + PARAMETER_CYCLES


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
    block, there is room for the result. A segment's first word comes CHECK_DISTANCE cycles or more
    after the check word before it.

    With an external memory, and in absmax, the words of parameters of the next segment are taken
    after the last tile, before the check word; the embedding has such words and a check word, too.
    In absmax it begins with parameters of its own, and its row is wanted when they are there. The
    check of a row from an external memory must have ended before the pass may.

    Ports::

        token         in   stream of token_layout   the next token; not taken during hold
        hold          in   1                        a memory is being written
        load_header   in   LoadWrite                of the segment table
        segment       out  CurrentSegment           the segment in progress
        number        out  range(headers + 1)       its entry of the segment table
        begin         out  1                        the token's flag
        started       out  1                        a token was accepted in the cycle before
        playing       out  1                        a token is in progress
        embedding     out  EmbeddingRow             the token's row is wanted
        available     in   1                        the source of weights has the next word
        beat          out  BEAT                     of a tile that was admitted in the cycle before
        tile          out  range(tiles)             its number, with beat
        take          out  TAKE                     from the source of weights, with beat
        parameter     out  1, PARAMETER             with take.word: it holds parameters, no weights
        block_done    in   1                        a row block has left the queue
        vector_done   in   1                        the next vector is complete EARLY cycles later
        logits_done   in   1                        the row is chosen
        row           in   head_rows                it
        checked       in   1                        a check word was examined
        row_checked   in   1                        a row was, from an external memory
        faults        in   FirstFault               what was found in this pass
        parity_error  out  1                        of the header that is loaded
        chosen        out  stream of chosen_layout  after a clean pass: the row
        pass_done     out  1                        such a pass ends, in the cycle before chosen
        failed        out  stream of fault_layout   after another pass: its first fault
        repeat        out  1                        the last pass failed
        admitted      out  1                        a tile is admitted in this cycle
        waits         out  WAITS                    why not
        before_head   out  1                        token shift: the head follows this segment

    One tile per cycle. A pass with a fault runs to its end, except for a fault in a header, which
    ends it. After reset it waits until the first header is there, and then for a token.

    Parameters
    ----------
    headers
        Contents of the segment table from the start.
    own_activations
        For each matrix of a segment, whether the vector is quantized for it (BEAT.fresh), or it
        takes the activations of the matrix before. With more than the first, the blocks that keep
        activations and sum their squares must do so for each: those of pow2 do not.
    delivery_cycles
        Cycles from ``take`` to the first group's share, for parameters of the embedding.
    """

    def __init__(
        self,
        design: Design,
        headers: Sequence[int] = (),
        *,
        own_activations: Sequence[bool] = (True, False, False),
        delivery_cycles: int = 0,
    ) -> None:
        self._design, self._own_activations = design, tuple(own_activations)
        self._external, self._absmax = design.external is not None, design.arithmetic == "absmax"
        self._settling = settling_cycles(design, delivery_cycles)
        assert len(self._own_activations) == MATRICES_PER_SEGMENT
        assert self._own_activations[0], "the first matrix has none to take over"
        self.headers = LoadedMemory("headers", loaded_shape(design, "headers"), contents=headers)
        self.memories = self.headers.memories
        super().__init__(
            {
                "token": In(stream.Signature(token_layout(design))),
                "hold": In(1),
                "load_header": In(LoadWrite(loaded_shape(design, "headers"))),
                "segment": Out(CurrentSegment(design)),
                "number": Out(range(design.header_words + 1)),
                "begin": Out(1),
                "started": Out(1),
                "playing": Out(1),
                "embedding": Out(EmbeddingRow(design)),
                "available": In(1),
                "beat": Out(BEAT),
                "tile": Out(range(design.max_tiles)),
                "take": Out(TAKE),
                "parameter": Out(PARAMETER if self._absmax else 1),
                "block_done": In(1),
                "vector_done": In(1),
                "logits_done": In(1),
                "row": In(head_rows(design)),
                "checked": In(1),
                "row_checked": In(1),
                "faults": In(FirstFault(design)),
                "parity_error": Out(1),
                "chosen": Out(stream.Signature(chosen_layout(design))),
                "pass_done": Out(1),
                "failed": Out(stream.Signature(fault_layout(design))),
                "repeat": Out(1),
                "admitted": Out(1),
                "waits": Out(WAITS),
                **({"before_head": Out(1)} if design.token_shift else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.header_memory = headers = self.headers
        wiring.connect(m, wiring.flipped(self.load_header), headers.load)
        # The next header is at its memory's output long before it is needed.
        next_header = Signal(range(self._design.header_words + 1))
        m.d.comb += headers.read[0].address.eq(next_header)

        walk = _Walk(*(Signal(name=name) for name in _Walk._fields))
        self._walk(m, walk)
        written = Signal()
        done = Signal()
        ready = Signal()
        m.d.comb += [
            self.token.ready.eq(ready & ~self.hold),
            self.chosen.payload.row.eq(self.row),
            self.failed.payload.eq(self.faults.first),
        ]
        if self._design.token_shift:
            following = header_layout(self._design)(headers.read[0].data)
            m.d.comb += self.before_head.eq(following.last)
        # Both events last one cycle, and may come before the state that waits for them.
        m.d.sync += [
            written.eq((written | self.vector_done) & ~self.segment.load),
            done.eq((done | self.logits_done) & ~self.segment.load),
        ]
        all_checked, apart = self._count_checks(m), self._keep_apart(m)

        m.d.sync += [self.take.check.eq(0), self.embedding.start.eq(0), self.started.eq(0)]
        m.d.sync += (self.parameter.as_value() if self._absmax else self.parameter).eq(0)
        with m.FSM():
            self._accept_token(m, ready)
            self._load_segment(m, walk, next_header)
            self._run_segment(m, walk, written, all_checked, apart)
            if self._absmax:
                self._take_gains_and_bounds(m, walk)
            elif self._external:
                self._take_parameters(m, walk)
            self._finish_pass(m, walk, ready, done & all_checked)
            self._fail_pass(m, ready, all_checked, next_header)
        return m

    def _count_checks(self, m: Module) -> Signal:
        """Whether every check word that was taken has been examined.

        Of a slow source's check words, one may be examined when the next segment has begun: they
        are counted, so that none counts as another segment's. So is a row from an external memory.
        """
        unchecked = Signal(range(16))
        all_checked = Signal(init=1)
        opened, closed = self.take.check, self.checked
        count, new = unchecked + opened - closed, opened
        if self._external:
            count, new = count + self.embedding.start - self.row_checked, new | self.embedding.start
        m.d.sync += [unchecked.eq(count), all_checked.eq((unchecked == 0) & ~new)]
        return all_checked

    def _keep_apart(self, m: Module) -> Signal:
        """Whether a segment may be loaded: its first word must not be near the last check word.

        Only a check word that a slow source had late can be near.
        """
        apart = Signal(init=1)
        with m.If(delay(m, self.take.check, CHECK_DISTANCE - _FIRST_WORD, reset=True)):
            m.d.sync += apart.eq(1)
        return apart

    def _accept_token(self, m: Module, ready: Signal) -> None:
        # After reset it takes the memory some cycles to give the first header.
        settled = delay(m, Const(1, 1), self.headers.latency, reset=True)
        with m.State("IDLE"):
            m.d.sync += ready.eq(settled)
            with m.If(self.token.valid & self.token.ready):
                m.d.sync += [
                    ready.eq(0),
                    self.started.eq(1),
                    self.playing.eq(1),
                    self.embedding.id.eq(self.token.payload.id),
                    self.begin.eq(self.token.payload.begin),
                ]
                m.next = "LOAD"

    def _load_segment(self, m: Module, walk: _Walk, next_header: Signal) -> None:
        """Two cycles: the header becomes the current one, and is looked at."""
        headers, header = self.headers, self.segment.header
        with m.State("LOAD"):
            m.d.comb += [
                self.segment.load.eq(1),
                self.parity_error.eq(headers.read[0].parity_error),
                self.waits.control.eq(1),
            ]
            m.d.sync += [
                header.eq(headers.read[0].data),
                self.number.eq(next_header),
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
                m.d.sync += walk.running.eq(0)
                if self._absmax:
                    m.next = "OWN_GAINS"
                else:
                    m.d.sync += self.embedding.start.eq(1)
                    m.next = "PARAMETERS" if self._external else "WAIT"

    def _run_segment(
        self, m: Module, walk: _Walk, written: Signal, all_checked: Signal, apart: Signal
    ) -> None:
        """All tiles, the check word, and then the vector that the next segment reads."""
        with m.State("RUN"), m.If(walk.ended):
            m.d.comb += self.waits.drain.eq(1)
            m.next = "CHECK"
            if self._absmax:
                m.next = "BOUNDS"
            elif self._external:
                with m.If(self.segment.header.parameters):
                    m.next = "PARAMETERS"
        with m.State("CHECK"):
            self._wait_for_values(m, walk)
            # The head's row may be chosen long before a slow source has this word.
            m.d.sync += [all_checked.eq(0), apart.eq(0)]
            with m.If(self.available):
                m.d.sync += self.take.check.eq(1)
                m.next = "WAIT"
                with m.If(self.segment.header.last):
                    m.next = "FINISH"
        with m.State("WAIT"):
            self._wait_for_values(m, walk)
            with m.If((written | self.vector_done) & apart):
                m.next = "LOAD"

    def _take_parameters(self, m: Module, walk: _Walk) -> None:
        """Words of parameters, which belong to the next segment; one may come in each cycle."""
        words = parameter_words(self._design)
        left = Signal(range(words), init=words - 1)
        with m.State("PARAMETERS"):
            self._wait_for_values(m, walk)
            with m.If(self.available):
                m.d.sync += [
                    self.take.word.eq(1),
                    self.parameter.eq(1),
                    self.take.last.eq(left == 0),
                    left.eq(left - 1),
                ]
                with m.If(left == 0):
                    m.d.sync += left.eq(words - 1)
                    m.next = "CHECK"

    def _take_gains_and_bounds(self, m: Module, walk: _Walk) -> None:
        """Words of parameters of absmax, as many of each kind as the header says; one may come in
        each cycle, and a cycle passes after each kind.
        """
        header = self.segment.header
        taken = Signal.like(header.gains)
        last_gain = Signal.like(header.gains)
        m.d.sync += last_gain.eq(header.gains - 1)
        settled = Signal()
        wanted = Signal()
        kinds = [
            ("OWN_GAINS", header.own_gains, "gain", self.number[0], "SETTLE"),
            ("BOUNDS", header.bounds, "bound", Const(0), "GAINS"),
            ("GAINS", header.gains, "gain", ~self.number[0], "CHECK"),
        ]
        for state, words, kind, bank, following in kinds:
            with m.State(state):
                self._wait_for_values(m, walk)
                with m.If(taken == words):
                    m.d.sync += taken.eq(0)
                    m.next = following
                with m.Elif(self.available):
                    m.d.sync += [
                        self.take.word.eq(1),
                        self.take.last.eq((taken == last_gain) if state == "GAINS" else 0),
                        self.parameter[kind].eq(1),
                        self.parameter.bank.eq(bank),
                        taken.eq(taken + 1),
                    ]
        # The order of the row follows its gains: a register for each cycle that they take.
        m.d.comb += settled.eq(delay(m, wanted, self._settling, reset=True))
        with m.State("SETTLE"):
            self._wait_for_values(m, walk)
            m.d.comb += wanted.eq(1)
            m.next = "SETTLING"
        with m.State("SETTLING"):
            self._wait_for_values(m, walk)
            with m.If(settled):
                m.d.sync += self.embedding.start.eq(1)
                m.next = "BOUNDS"

    def _finish_pass(self, m: Module, walk: _Walk, ready: Signal, complete: Value) -> None:
        """The row is chosen and everything is checked: the result, or a fault instead."""
        with m.State("FINISH"):
            self._wait_for_values(m, walk)
            with m.If(complete):
                m.d.sync += self.playing.eq(0)
                m.next = "FAILED"
                with m.If(~self.faults.any):
                    m.d.comb += self.pass_done.eq(1)
                    m.d.sync += self.chosen.valid.eq(1)
                    m.next = "CHOSEN"
        with m.State("CHOSEN"):
            m.d.sync += self.repeat.eq(0)
            with m.If(self.chosen.ready):
                m.d.sync += [ready.eq(1), self.chosen.valid.eq(0)]
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
            m.d.comb += self.failed.valid.eq(self.faults.any & all_checked)
            with m.If(self.failed.valid & self.failed.ready):
                m.d.sync += ready.eq(1)
                m.next = "IDLE"

    def _wait_for_values(self, m: Module, walk: _Walk) -> None:
        """Why no tile is admitted after a segment's last."""
        m.d.comb += [self.waits.drain.eq(walk.draining), self.waits.vector.eq(~walk.draining)]

    def _followed(self, m: Module) -> Value:
        """Whether words of parameters follow a segment's tiles, before the check word."""
        header = self.segment.header
        if self._absmax:
            # There are lower bounds only with gains.
            return cast(Value, delay(m, header.gains != 0, 1))
        return header.parameters if self._external else Const(0)

    def _walk(self, m: Module, walk: _Walk) -> None:
        """Admits tiles, matrices and row blocks in turn.

        For the clock's sake every decision is made from registers: whether a tile is its row
        block's last, for instance, is known a cycle before the tile.
        """
        design, header = self._design, self.segment.header
        preparing, running, ended, draining = walk
        tile = Signal(range(design.max_tiles))
        matrix = Signal(range(MATRICES_PER_SEGMENT))
        block = Signal(range(design.max_blocks))
        first_tile = Signal()
        last_tile = Signal()
        one_tile = Signal()
        last_matrix = Signal()
        one_matrix = Signal()
        first_block = Signal()
        last_block = Signal()
        fresh = Signal()
        last_tiles = Signal.like(header.tiles)
        last_blocks = Signal.like(header.blocks)
        matrices = Mux(
            header.kind == KIND_CODES["gates"],
            len(SEGMENT_ROLES["gates"]),
            Mux(header.kind == KIND_CODES["glu"], len(SEGMENT_ROLES["glu"]), 1),
        )
        last_number = Signal(range(MATRICES_PER_SEGMENT))
        following_fresh = Cat(self._own_activations[1:]).bit_select(matrix, 1)

        # A row block is begun when there is room for its result. What is known of the room is two
        # cycles old, and in these two cycles two more row blocks may have been begun.
        room = Signal(range(RESULT_BLOCKS + 1), init=RESULT_BLOCKS)
        has_room = Signal(init=1)
        go = Signal()
        admit = Signal()
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
                m.d.sync += [tile.eq(0), matrix.eq(matrix + 1), last_tile.eq(one_tile)]
                m.d.sync += fresh.eq(first_block & ~last_matrix & following_fresh)
                m.d.sync += last_matrix.eq(matrix + 1 == last_number)
                m.d.sync += go.eq(has_room & ~(last_matrix & last_block))
                with m.If(last_matrix):
                    m.d.sync += [matrix.eq(0), block.eq(block + 1), last_matrix.eq(one_matrix)]
                    m.d.sync += [first_block.eq(0), last_block.eq(block == last_blocks)]
        at_end = last_tile & last_matrix & last_block
        followed = self._followed(m)
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
                first_block.eq(1),
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
            self.beat.matrix.eq(matrix),
            self.tile.eq(tile),
            self.take.word.eq(admit),
            self.take.last.eq(admit & at_end & ~followed),
        ]

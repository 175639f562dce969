"""The sequencer: what it admits, in which order, and that each token has one answer in the end.

Unless a proof says so, nothing is assumed of the segment table, which is written at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value

from hdl.control.sequencer import Sequencer, settling_cycles
from hdl.memory.weight_check import CHECK_DISTANCE
from hdl.payloads import RESULT_BLOCKS, WAITS
from mmfree.chip.header import KIND_CODES, pack_header
from mmfree.chip.memory_map import loaded_shape, parameter_words
from mmfree.contract.pow2 import SEGMENT_ROLES
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof, inputs_of

DESIGN = small_design(2, 4, 12, max_rows=12, header_words=4, embedding_rows=7)
SHAPE = loaded_shape(DESIGN, "headers")
"""Three matrices of all row blocks are more than the queue holds."""

SEGMENTS = (("embedding", 0), ("gates", 6), ("head", 1))
"""Kind and row blocks of each entry of the segment table."""


EXTERNAL = small_design(
    5,
    8,
    8,
    header_words=3,
    embedding_rows=7,
    bias_words=12,
    weight_code="1.6",
    memory="axi64",
)
"""With an external memory: three words hold the biases of a layer."""

EXTERNAL_SEGMENTS = (("embedding", 0), ("down", 1), ("head", 1))


def external_table() -> list[int]:
    """The segment table of such a design: biases come after ``down``, too."""
    shape = loaded_shape(EXTERNAL, "headers")
    return [
        shape.with_parity(
            pack_header(
                EXTERNAL,
                kind=KIND_CODES[kind],
                tiles=1,
                tail=8,
                blocks=blocks,
                tail_rows=5,
                parameters=int(kind == "down"),
                last=kind == "head",
            )
        )
        for kind, blocks in EXTERNAL_SEGMENTS
    ]


def segment_table(*, short: bool = False) -> list[int]:
    """Its words; ``short``: of at most one row block each."""
    return [
        SHAPE.with_parity(
            pack_header(
                DESIGN,
                kind=KIND_CODES[kind],
                tiles=1,
                tail=4,
                blocks=min(blocks, 1) if short else blocks,
                tail_rows=2,
                last=kind == "head",
            )
        )
        for kind, blocks in SEGMENTS
    ]


REPORT_CYCLES = 2
"""Cycles from a check word's verdict until its fault is there (Faults)."""

MAX_UNCHECKED = 15
"""Most check words without a verdict."""


class Surroundings(Bench):
    """What answers the sequencer.

    ``begun``: row blocks of which results have not left the queue. ``unchecked``: check words
    without a verdict. ``due``: a vector, or the row, is to come. ``taken``, ``answered``: a token,
    or its answer, passes in this cycle; ``in_progress``: between them.
    """

    def __init__(
        self,
        headers: Sequence[int] | None = None,
        *,
        loads: bool = True,
        own: Sequence[bool] = (True, False, False),
    ) -> None:
        contents = segment_table() if headers is None else headers
        super().__init__(Sequencer(DESIGN, contents, own_activations=own), driven=False)
        block, m = self.block, self.m
        self.choose(
            *(
                port
                for name, port in inputs_of(block).items()
                if loads or not name.startswith("load_header")
            )
        )
        beat, take = block.beat, block.take
        self.begins = beat.valid & beat.first
        self.begun = Signal(range(RESULT_BLOCKS + 2))
        self.unchecked = Signal(range(MAX_UNCHECKED + 2))
        self.due = Signal()
        m.d.sync += [
            self.begun.eq(self.begun + self.begins - block.block_done),
            self.unchecked.eq(self.unchecked + take.check - block.checked),
        ]
        complete = block.vector_done | block.logits_done
        with m.If(block.embedding.start | take.last):
            m.d.sync += self.due.eq(1)
        with m.Elif(complete):
            m.d.sync += self.due.eq(0)
        self.assume(
            "a row block has begun before it leaves the queue",
            ~block.block_done | (self.begun != 0),
            by="RowBlocks",
            proof="row_blocks_queue_4_slots",
        )
        self.assume(
            "a vector or row is complete once, after its segment's last row block has left",
            ~complete | (self.due & (self.begun == 0) & ~self.begins),
            by="Post, and Embedding",
        )
        self.assume(
            "each check word has one verdict",
            ~block.checked | (self.unchecked != 0),
            by="StreamCheck",
            proof="weight_check_order",
        )
        self.assume(
            f"at most {MAX_UNCHECKED} check words have none yet",
            self.unchecked + take.check <= MAX_UNCHECKED,
            by="StreamCheck, whose verdict takes about as long as a segment's vector",
        )
        fault = Value.cast(block.faults.first)
        self.assume(
            "the first fault stays until a token begins",
            ~self.past(block.faults.any & ~block.started)
            | (block.faults.any & (fault == self.past(fault))),
            by="Faults",
            proof="faults",
        )
        self.taken = block.token.valid & block.token.ready
        self.answered = (block.chosen.valid & block.chosen.ready) | (
            block.failed.valid & block.failed.ready
        )
        self.in_progress = Signal()
        with m.If(self.taken):
            m.d.sync += self.in_progress.eq(1)
        with m.Elif(self.answered):
            m.d.sync += self.in_progress.eq(0)
        self.inner = self.inside(block)
        self._lemmas()

    def state(self, *names: str) -> Value:
        """The state machine is in one of these states."""
        return Cat(self.inner.state(name) for name in names).any()

    def _lemmas(self) -> None:
        """What the state machine and the walk know of each other, and of what is to come."""
        block, inner = self.block, self.inner
        running, ended, go = inner["running"], inner["ended"], inner["go"]
        written, done = inner["written"], inner["done"]
        room, first_tile = inner["room"], inner["first_tile"]
        walking = self.state("RUN")
        waiting = self.state("CHECK", "WAIT", "FINISH")
        self.lemma(inner["fsm_state"] < len(inner.module._generated["fsm"].encoding))
        self.lemma(walking == (running | ended))
        self.lemma(~(running & ended) & (~go | running) & (ended == block.take.last))
        self.lemma(~block.take.last | block.beat.valid)
        self.lemma(~block.embedding.start | self.state("WAIT"))
        self.lemma(~block.take.check | self.state("WAIT", "FINISH"))
        # The vector that is waited for is due, unless it is complete.
        owed = self.due | block.embedding.start | block.take.last
        self.lemma(~owed | waiting | ended)
        self.lemma(~(running | self.state("PREPARE")) | ~(written | done))
        self.lemma(~(waiting | ended) | (owed ^ (written | done)))
        # Only then may row blocks be there that are not the segment's own.
        self.lemma(running | owed | (self.begun + self.begins == 0))
        self.lemma(~block.beat.valid | running | ended)
        self.lemma(room + self.begun + self.begins == RESULT_BLOCKS)
        self.lemma(~(go & first_tile) | (room >= 1))
        self.lemma(self.unchecked == inner["unchecked"])
        self.lemma(~inner["all_checked"] | ((self.unchecked == 0) & ~block.take.check))
        idle = self.state("IDLE")
        failed = self.state("FAILED", *(f"FAILED_{n}" for n in range(1, 4)))
        self.lemma(self.in_progress == ~idle)
        self.lemma(block.chosen.valid == self.state("CHOSEN"))
        self.lemma(block.playing == ~(idle | failed | block.chosen.valid))
        self.lemma(~inner["ready"] | idle)
        self.lemma(~block.started | self.state("LOAD"))
        self.lemma(~(idle | block.chosen.valid | block.started) | (self.unchecked == 0))


def admission() -> Bench:
    bench = Surroundings()
    block, beat, take = bench.block, bench.block.beat, bench.block.take
    admitted, available = bench.past(block.admitted), bench.past(block.available)
    bench.prove("a tile is admitted only with its weights", ~block.admitted | block.available)
    bench.prove("only while a token is in progress", ~block.admitted | block.playing)
    bench.prove("in the next cycle: its beat", beat.valid == admitted)
    bench.prove("and its word is taken", (take.word == beat.valid) & (take.word | ~take.last))
    bench.prove("a check word is taken only if it is there", ~take.check | available)
    bench.prove(
        "never more row blocks than the queue holds", bench.begun + bench.begins <= RESULT_BLOCKS
    )
    reasons = [block.waits[name] for name in WAITS.members]
    count = sum(reasons, start=block.admitted + Const(0))
    bench.prove("a tile, or one reason why none, in every cycle", count == block.playing)
    bench.cover("the queue is full", bench.begun == RESULT_BLOCKS)
    return bench


def checks() -> Bench:
    """What the check of the weights relies on."""
    bench = Surroundings()
    block, take, m = bench.block, bench.block.take, bench.m
    ended, near = Signal(), Signal(range(CHECK_DISTANCE))
    with m.If(take.word):
        m.d.sync += ended.eq(take.last)
    with m.If(take.check):
        m.d.sync += [ended.eq(0), near.eq(CHECK_DISTANCE - 1)]
    with m.Elif(near != 0):
        m.d.sync += near.eq(near - 1)
    bench.prove("a last word is a word", take.word | ~take.last)
    bench.prove("a word, or a check word, but not both", ~(take.word & take.check))
    bench.prove("no word after a segment's last, before its check word", ~(ended & take.word))
    bench.prove("a check word only there, and once", ~take.check | ended)
    bench.prove(
        f"a segment's first word {CHECK_DISTANCE} cycles after a check word, or later",
        ~take.word | (near == 0),
    )
    bench.prove(
        "a token begins when all check words have a verdict",
        ~block.started | ((bench.unchecked == 0) & ~take.check & ~take.word & ~ended),
    )
    bench.lemma(ended == (bench.state("CHECK") | take.check))
    bench.lemma(near < CHECK_DISTANCE)
    bench.cover("a segment as soon as may be", take.word & (bench.past(near) == 1))
    return bench


def answers() -> Bench:
    """From a token to its one answer."""
    bench = Surroundings()
    block, m, inner = bench.block, bench.m, bench.inner
    token, chosen, failed = block.token, block.chosen, block.failed
    bench.assume(
        "the row that is chosen stays",
        ~bench.past(chosen.valid) | (block.row == bench.past(block.row)),
        by="Post",
    )
    asked = Signal.like(token.payload)
    row_known, failed_last = Signal(), Signal()
    with m.If(bench.taken):
        m.d.sync += asked.eq(token.payload)
    with m.If(block.started):
        m.d.sync += row_known.eq(0)
    with m.Elif(block.logits_done):
        m.d.sync += row_known.eq(1)
    with m.If(bench.answered):
        m.d.sync += failed_last.eq(failed.valid)

    bench.prove(
        "a token is taken only after the answer to the one before, and not during hold",
        ~token.ready | (~bench.in_progress & ~block.hold),
    )
    bench.prove("it is started in the next cycle", block.started == bench.past(bench.taken))
    same = (block.embedding.id == asked.id) & (block.begin == asked.begin)
    bench.prove("its row and flag stay while it is played", ~bench.in_progress | same)
    bench.prove("a chosen row stays until it is taken", bench.kept(chosen))
    bench.prove("a fault stays until it is taken", bench.kept(failed))
    bench.prove(
        "either of them, of a token in progress that is not played any more",
        ~(chosen.valid | failed.valid)
        | (bench.in_progress & ~block.playing & ~(chosen.valid & failed.valid)),
    )
    bench.prove(
        "a row comes in the cycle after the end of a clean pass, and not otherwise",
        chosen.valid & ~bench.past(chosen.valid) == bench.past(block.pass_done),
    )
    verdicts = (bench.unchecked == 0) & ~block.take.check
    late = bench.past(block.checked) | block.checked
    bench.prove(
        f"clean: no fault, of no check word, {REPORT_CYCLES} cycles after the last verdict",
        ~block.pass_done | (~block.faults.any & verdicts & ~late),
    )
    bench.prove("and its row is chosen", ~block.pass_done | row_known)
    bench.prove(
        "a fault, if there is one, after all verdicts",
        ~failed.valid | (block.faults.any & verdicts),
    )
    bench.prove(
        "repeat: while a token is played, the one before failed",
        ~block.playing | (block.repeat == failed_last),
    )
    bench.lemma(~bench.state("IDLE") | (block.repeat == failed_last))
    bench.lemma(~bench.state("FAILED_1", "FAILED_2", "FAILED_3") | block.repeat)
    bench.lemma(~(inner["done"] & bench.state("CHECK", "WAIT", "FINISH")) | row_known)
    bench.lemma(~inner["all_checked"] | ~late)
    bench.cover("a token after a fault", block.started & block.repeat)
    bench.cover("a row", chosen.valid & chosen.ready)
    return bench


CORRUPT = 2
"""The entry that the table of the second proof of headers has wrong."""


def headers(corrupt: int | None) -> Bench:
    """Of a table that is not written; with ``corrupt``, its parity is wrong in this entry."""
    table = segment_table(short=True)
    if corrupt is not None:
        table[corrupt] ^= 1 << SHAPE.bits
    bench = Surroundings(table, loads=False)
    block, inner = bench.block, bench.inner
    entries = Array([Const(word & ((1 << SHAPE.bits) - 1), SHAPE.bits) for word in table])
    header, load = Value.cast(block.segment.header), block.segment.load
    loaded = bench.in_progress & ~block.started
    entry = Mux(block.started, 0, block.number + 1)
    corrupted = load & (entry == (len(table) if corrupt is None else corrupt))
    bench.prove(
        "the first header that a token plays is the table's first, from the start on",
        ~bench.past(block.started) | (block.number == 0),
    )
    bench.prove(
        "each further one is the next",
        ~bench.past(load & ~block.started) | (block.number == bench.past(block.number) + 1),
    )
    bench.prove("its words are the table's", ~loaded | (header == entries[block.number]))
    bench.prove("what is told of its parity", block.parity_error == corrupted)
    bench.prove("a wrong one is played no more", ~bench.past(block.parity_error) | ~block.playing)

    # What the memory holds, and what it is asked for.
    words = bench.inside(bench.inside(inner.part("header_memory")).part("memory")).part("headers")
    for n, word in enumerate(table):
        look = words.read_port(domain="comb")
        bench.m.d.comb += look.addr.eq(n)
        bench.lemma(look.data == word)
    following = Mux(block.segment.header.last, 0, block.number + 1)
    bench.lemma(block.number < len(table))
    first = bench.state("IDLE", "CHOSEN", "FAILED_1", "FAILED_2", "FAILED_3") | block.started
    later = bench.state("RUN", "CHECK", "WAIT", "FINISH", "LOAD") & ~block.started
    bench.lemma(~first | (inner["next_header"] == 0))
    bench.lemma(~later | (inner["next_header"] == following))
    bench.lemma(~bench.state("LOAD") | block.started | ~block.segment.header.last)
    bench.lemma(~bench.state("PREPARE") | (inner["next_header"] == block.number + 1))
    bench.lemma(~bench.state("FINISH") | block.segment.header.last)
    bench.lemma(~bench.state("WAIT") | ~block.segment.header.last)
    bench.cover("a token in the first cycles", block.started & ~bench.after(5))
    if corrupt is None:
        bench.cover("the second token", block.started & bench.past(block.chosen.valid, 2))
    else:
        bench.cover("the wrong one", block.failed.valid & (block.number == corrupt))
    return bench


def tiles(own: tuple[bool, ...]) -> Bench:
    """Of any header that the layout of a tape can give."""
    bench = Surroundings(own=own)
    block, m, inner = bench.block, bench.m, bench.inner
    header, beat = block.segment.header, block.beat
    number = Mux(
        header.kind == KIND_CODES["gates"],
        len(SEGMENT_ROLES["gates"]),
        Mux(header.kind == KIND_CODES["glu"], len(SEGMENT_ROLES["glu"]), 1),
    )
    bench.assume(
        "a header has a kind, and the numbers of tiles and row blocks that the design allows",
        ~bench.in_progress
        | block.started
        | (header.kind <= max(KIND_CODES.values()))
        & (header.tiles >= 1)
        & (header.tiles <= DESIGN.max_tiles)
        & (header.blocks <= DESIGN.max_blocks)
        & ((header.kind == KIND_CODES["embedding"]) | (header.blocks >= 1)),
        by="the check of a tape",
    )
    # The tile whose turn it is.
    tile, matrix = Signal.like(header.tiles), Signal(range(4))
    row_block = Signal.like(header.blocks)
    last_tile, last_matrix = tile + 1 == header.tiles, matrix + 1 == number
    last_block = row_block + 1 == header.blocks
    with m.If(block.segment.load):
        m.d.sync += [tile.eq(0), matrix.eq(0), row_block.eq(0)]
    with m.Elif(block.admitted):
        m.d.sync += tile.eq(Mux(last_tile, 0, tile + 1))
        with m.If(last_tile):
            m.d.sync += matrix.eq(Mux(last_matrix, 0, matrix + 1))
            with m.If(last_matrix):
                m.d.sync += row_block.eq(row_block + 1)
    fresh = (row_block == 0) & Array([Const(flag) for flag in own])[matrix]

    bench.prove("each tile in its turn", ~beat.valid | (block.tile == bench.past(tile)))
    bench.prove("for each matrix", ~beat.valid | (beat.matrix == bench.past(matrix)))
    bench.prove("the first of a row block", ~beat.valid | (beat.first == bench.past(tile == 0)))
    bench.prove("the last of one", ~beat.valid | (beat.last == bench.past(last_tile)))
    bench.prove(
        "fresh: for the first row block, if the matrix has activations of its own",
        ~beat.valid | (beat.fresh == bench.past(fresh)),
    )
    bench.prove("no row block too many", ~block.admitted | (row_block < header.blocks))
    bench.prove(
        "a segment's last word is that of its last tile",
        block.take.last == bench.past(block.admitted & last_tile & last_matrix & last_block),
    )

    running = inner["running"]
    own_signals = {
        "tile": tile,
        "matrix": matrix,
        "block": row_block,
        "first_tile": tile == 0,
        "last_tile": last_tile,
        "last_matrix": last_matrix,
        "first_block": row_block == 0,
        "last_block": last_block,
        "one_tile": header.tiles == 1,
        "one_matrix": number == 1,
        "last_number": number - 1,
        "last_tiles": (header.tiles - 2)[: len(header.tiles)],
        "last_blocks": (header.blocks - 2)[: len(header.blocks)],
        "fresh": fresh,
    }
    for name, value in own_signals.items():
        (signal,) = (s for s in inner.all(name) if s is not block.tile)
        bench.lemma(~running | (signal == value))
    bench.lemma(
        ~running | ((tile < header.tiles) & (matrix < number) & (row_block < header.blocks))
    )
    bench.lemma(~running | (header.kind != KIND_CODES["embedding"]))
    bench.lemma(~bench.state("PREPARE") | ((tile == 0) & (matrix == 0) & (row_block == 0)))
    bench.cover(
        "the third row block's second matrix",
        beat.valid & (beat.matrix == 1) & bench.past(row_block == 2),
    )
    return bench


STEP_CYCLES = 10
"""Cycles within which a pass makes a step or waits for others."""


def progress() -> Bench:
    """A pass takes as many steps as it has headers, tiles, row blocks and check words.

    Between two steps it waits for others, or goes on by itself.
    """
    bench = Surroundings()
    block, m, inner = bench.block, bench.m, bench.inner
    header, beat = block.segment.header, block.beat
    complete, wrong = Signal.like(bench.begun), Signal()
    m.d.sync += complete.eq(complete + (beat.valid & beat.last) - block.block_done)
    with m.If(block.parity_error):
        m.d.sync += wrong.eq(1)
    with m.Elif(block.started):
        m.d.sync += wrong.eq(0)
    bench.assume(
        "a row block has ended before it leaves the queue",
        ~block.block_done | (complete != 0),
        by="RowBlocks",
    )
    is_embedding = header.kind == KIND_CODES["embedding"]
    is_head = header.last & ~is_embedding
    bench.assume(
        "a row is chosen after the last segment, and a vector complete after each other",
        (~block.logits_done | is_head) & (~block.vector_done | ~is_head),
        by="Post",
    )
    available = block.available | ~block.playing
    vector = bench.due & (bench.begun == 0) & ~bench.begins
    done = block.vector_done | block.logits_done
    waits = Cat(
        awaited & ~comes
        for awaited, comes in (
            (block.playing, available),
            (complete != 0, block.block_done),
            (vector, done),
            (bench.unchecked != 0, block.checked),
            (wrong, block.faults.any),
            (block.chosen.valid, block.chosen.ready),
            (block.failed.valid, block.failed.ready),
        )
    ).any()
    step = (
        block.started
        | block.segment.load
        | block.embedding.start
        | block.admitted
        | block.take.check
        | block.block_done
        | done
        | block.checked
    )
    idle = Signal(range(STEP_CYCLES + 1))
    with m.If(~bench.in_progress | step | waits):
        m.d.sync += idle.eq(0)
    with m.Elif(idle != STEP_CYCLES):
        m.d.sync += idle.eq(idle + 1)
    bench.prove(
        f"in each {STEP_CYCLES} cycles a step of the pass, its end, or something that is awaited: a"
        " word, a row block, a vector, the row, a verdict, a fault, or that the answer is taken",
        idle < STEP_CYCLES,
    )

    part = inner["running"] & ~inner["first_tile"]
    bench.lemma(complete + (beat.valid & beat.last) + part == bench.begun + bench.begins)
    bench.lemma(~(inner["running"] & ~inner["go"]) | inner["first_tile"])
    bench.lemma(~(inner["done"] & ~is_head) & ~(inner["written"] & is_head))
    bench.lemma(~bench.state("RUN", "CHECK") | ~is_embedding)
    bench.lemma(~bench.state("FINISH") | is_head)
    bench.lemma(~bench.state("WAIT") | ~is_head)
    recent = Cat(bench.past(block.take.check, n) for n in range(CHECK_DISTANCE)).any()
    bench.lemma(inner["apart"] | bench.state("CHECK") | recent)
    failed = bench.state("FAILED", *(f"FAILED_{n}" for n in range(1, 4)))
    bench.lemma(~failed | wrong | block.faults.any)
    bench.cover("a whole pass", block.chosen.valid & (block.number == 2))
    return bench


def records() -> Bench:
    """What is taken from an external memory: the words of each record, and its check word."""
    bench = Bench(Sequencer(EXTERNAL, external_table()), driven=False)
    block, m, take = bench.block, bench.m, bench.block.take
    bench.choose(
        *(
            port
            for name, port in inputs_of(block).items()
            if not name.startswith(("load_header", "faults", "hold"))
        )
    )
    parameters = parameter_words(EXTERNAL)
    words, number = Signal(4), Signal(3)
    beats, verdicts, rows = Signal(3), Signal(4), Signal(2)
    with m.If(take.word):
        m.d.sync += [words.eq(words + 1), beats.eq(beats + block.beat.valid)]
    with m.If(take.check):
        m.d.sync += [words.eq(0), beats.eq(0), number.eq(number + 1)]
    with m.If(block.started):
        m.d.sync += [words.eq(0), beats.eq(0), number.eq(0)]
    m.d.sync += [
        verdicts.eq(verdicts + take.check - block.checked),
        rows.eq(rows + block.embedding.start - block.row_checked),
    ]
    bench.assume(
        "each check word and each row has one verdict",
        (~block.checked | (verdicts != 0)) & (~block.row_checked | (rows != 0)),
        by="StreamCheck",
        proof="weight_check_order",
    )
    bench.assume(
        "a row block has begun before it leaves the queue", ~block.block_done, by="RowBlocks"
    )
    # Weights and parameters of each record.
    weights = Array(
        [len(SEGMENT_ROLES[kind]) if kind in SEGMENT_ROLES else 0 for kind, _ in EXTERNAL_SEGMENTS]
    )[number]
    follow = Array([kind in ("embedding", "down") for kind, _ in EXTERNAL_SEGMENTS])[number]
    due = weights + Mux(follow, parameters, 0)
    bench.prove("the record of the segment in progress", ~take.word | (number == block.number))
    bench.prove(
        "a word with a tile holds weights, and no other",
        take.word == (block.beat.valid | block.parameter),
    )
    bench.prove("not both", ~(block.beat.valid & block.parameter))
    bench.prove("weights first", ~block.parameter | (beats == weights))
    bench.prove("none too many", ~take.word | (words < due))
    bench.prove("the last is told of", ~take.word | (take.last == (words == due - 1)))
    bench.prove("the check word after all of them", ~take.check | (words == due))
    bench.prove("never both at once", ~(take.word & take.check))
    bench.prove("only what is there", ~(take.word | take.check) | bench.past(block.available))
    ended = block.pass_done | (block.failed.valid & (number != 0))
    bench.prove(
        "a pass ends when all is checked, the row, too", ~ended | ((verdicts == 0) & (rows == 0))
    )
    bench.cover("biases after weights", block.parameter & (number == 1))
    bench.cover("the end of a pass", block.pass_done)
    return bench


ABSMAX = small_design(2, 4, 4, max_rows=2, header_words=3, arithmetic="absmax", value_bits=32)
ABSMAX_SEGMENTS = (("embedding", 2, 1, 1), ("gates", 0, 0, 2), ("head", 0, 0, 0))
"""Kind; words of own gains, of bounds, and of gains. One row block of one tile each."""


def absmax_table() -> list[int]:
    """Its words."""
    shape = loaded_shape(ABSMAX, "headers")
    return [
        shape.with_parity(
            pack_header(
                ABSMAX,
                kind=KIND_CODES[kind],
                tiles=1,
                tail=4,
                blocks=1,
                tail_rows=2,
                own_gains=own,
                bounds=bounds,
                gains=gains,
                last=kind == "head",
            )
        )
        for kind, own, bounds, gains in ABSMAX_SEGMENTS
    ]


def absmax_records() -> Bench:
    """What is taken for absmax: own gains, weights, bounds, gains, and the check word."""
    bench = Bench(Sequencer(ABSMAX, absmax_table(), delivery_cycles=2), driven=False)
    block, m, take = bench.block, bench.m, bench.block.take
    bench.choose(
        *(
            port
            for name, port in inputs_of(block).items()
            if not name.startswith(("load_header", "faults", "hold"))
        )
    )
    words, number = Signal(4), Signal(3)
    with m.If(take.word):
        m.d.sync += words.eq(words + 1)
    with m.If(take.check):
        m.d.sync += [words.eq(0), number.eq(number + 1)]
    with m.If(block.started):
        m.d.sync += [words.eq(0), number.eq(0)]
    bench.assume(
        "each check word has one verdict", ~block.checked | bench.past(take.check), by="StreamCheck"
    )
    bench.assume(
        "a row block has begun before it leaves the queue", ~block.block_done, by="RowBlocks"
    )
    # Ends of each kind of words in the record.
    kinds = [
        (own, len(SEGMENT_ROLES.get(kind, ())), bounds, gains)
        for kind, own, bounds, gains in ABSMAX_SEGMENTS
    ]
    ends = [list(accumulate(counts)) for counts in kinds]
    own, weights, bounds, gains = (
        Array([places[kind] for places in ends])[number] for kind in range(4)
    )
    parameter = block.parameter
    own_gain, bound = words < own, (words >= weights) & (words < bounds)
    gain = own_gain | (words >= bounds)
    bench.prove("the record of the segment in progress", ~take.word | (number == block.number))
    bench.prove("words of weights with a tile", block.beat.valid == (take.word & ~gain & ~bound))
    bench.prove("lower bounds after them", parameter.bound == (take.word & bound))
    bench.prove("gains before them, and last", parameter.gain == (take.word & gain))
    bench.prove(
        "own gains in the segment's bank, others in the next one's",
        ~parameter.gain | (parameter.bank == number[0] ^ ~own_gain),
    )
    bench.prove("none too many", ~take.word | (words < gains))
    bench.prove("the last is told of", ~take.word | (take.last == (words == gains - 1)))
    bench.prove("the check word after all of them", ~take.check | (words == gains))
    wait = settling_cycles(ABSMAX, 2)
    recent = Cat(bench.past(take.word, n) for n in range(wait)).any()
    bench.prove(
        "the row when its gains are there",
        ~block.embedding.start | ((number == 0) & (words == own) & ~recent),
    )
    bench.cover("the gains of the head's vector", parameter.gain & (number == 1))
    bench.cover("the end of a pass", block.pass_done)
    return bench


PROOFS = [
    Proof(
        "sequencer_absmax_records",
        absmax_records,
        depth=36,
        induction=False,
        because="what state machine and walk know of each other is said for other designs only",
        reach=60,
    ),
    Proof(
        "sequencer_records",
        records,
        depth=46,
        induction=False,
        because="what state machine and walk know of each other is said for other designs only",
        reach=60,
    ),
    Proof("sequencer_admission", admission, depth=5, reach=26, quick=True),
    Proof("sequencer_checks", checks, depth=CHECK_DISTANCE + 3, reach=20),
    Proof("sequencer_answers", answers, depth=5, reach=40),
    Proof("sequencer_headers", partial(headers, None), depth=6, reach=40),
    Proof("sequencer_corrupt_header", partial(headers, CORRUPT), depth=6, reach=32),
    Proof("sequencer_tiles", partial(tiles, (True, False, False)), depth=4, reach=24, quick=True),
    Proof("sequencer_tiles_of_their_own", partial(tiles, (True, False, True)), depth=4, reach=24),
    Proof("sequencer_progress", progress, depth=STEP_CYCLES + 4, reach=45, quick=True),
]

"""The whole accelerator: plays the image in its memories once per token."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.activations import Activations
from hdl.counters import COUNTER_BITS, COUNTERS, Counters
from hdl.decoder import Decoder
from hdl.embedding import Embedding
from hdl.faults import Faults, fault_layout
from hdl.forget_gate import TABLE_LATENCY
from hdl.load_port import LoadPort
from hdl.loaded_memory import LoadedMemory
from hdl.noise import REGISTERS, Noise
from hdl.pipeline import delay
from hdl.post import POST_SITES, X_LATENCY, Post
from hdl.quantizer import magnitude, quantizer_shift
from hdl.requests import Requests, request_layout, result_layout
from hdl.rms_norm import RMSNorm
from hdl.row_blocks import OUTPUT, RowBlocks
from hdl.sequencer import Sequencer
from hdl.ternary_array import TernaryArray
from hdl.vectors import VectorMemory, vector_write
from hdl.weight_check import LATENCY as CHECK_LATENCY
from hdl.weight_check import WeightCheck
from hdl.weight_source import LATENCY as SOURCE_LATENCY
from hdl.weight_source import BlockSource
from mmfree.design import LOAD_BITS, Design


class Accelerator(wiring.Component):
    """MatMul-free language model, one token at a time, by additions alone.

    ::

        request -> Requests --> Embedding --> x ---+--> Activations --> TernaryArray --> RowBlocks --> Post --+--> x, u, state, logits
                      |                       u ---+        |               ^                ^          ^     +--> result
                      +-----> Sequencer --------------------+-- BlockSource, Decoder      RMSNorm     Noise
                                                                    |
              load -> LoadPort -> all memories of the image     WeightCheck, parities --> Faults --> fault

    Ports (docs/accelerator.md says more of each): streams ``request`` (``request_layout``), ``result``, and ``fault`` instead of a result: a check failed in this
    pass, state and noise are as before it, and the same request repeats it exactly; ``abort``: the request ends with the token in progress; ``seed`` with
    ``seed_enable``; ``load_enable``, ``load_memory``, ``load_word``, ``load_part``, ``load_data``, ``load_refused`` (``LoadPort``); ``state_address``,
    ``state_data``, ``state_write`` with ``state_enable``: the current bank of the state, P values a word, a cycle after the address; ``logits_address``,
    ``logits_data``: those of the last token, likewise; ``pause``: holds the weights back; ``playing``; ``segment`` (entry of the segment table in progress);
    ``counters`` (COUNTERS of the last token, 32 bits each); ``tap_x``, ``tap_u``, ``tap_state``, ``tap_logits``: every write of a vector.

    Seed, state, logits and memories are accessible only while no token is played. Token ids must lie in the tape's vocabulary.
    After reset no request is under way; the state is undefined until a token with ``begin``.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        columns, width = design.columns, design.post_width
        values = data.ArrayLayout(signed(16), width)
        self.blocks: dict[str, Any] = {
            "sequencer": Sequencer(design),
            "embedding": Embedding(design),
            "activations": Activations(design),
            "rms_norm": RMSNorm(columns),
            "source": BlockSource(design.loaded_shape("weights")),
            "decoder": Decoder(design.lanes, design.weight_code),
            "weight_check": WeightCheck(design),
            "requests": Requests(design),
            "noise": Noise(width),
            "load_port": LoadPort(design),
            "faults": Faults(design),
            "tables": LoadedMemory(
                "tables", design.loaded_shape("tables"), reads=2 * width, registered=True
            ),
            "biases": LoadedMemory("biases", design.loaded_shape("biases")),
            "array": TernaryArray(design),
            "row_blocks": RowBlocks(design),
            "post": Post(design),
            "counters": Counters({"quantizer": columns, **dict.fromkeys(POST_SITES, width)}),
            "x": VectorMemory(columns, max(2, design.embedding_tiles)),
            "u": VectorMemory(columns, max(2, design.max_tiles)),
        }
        self._state_words = range(max(2, design.state_words))
        self._logit_words = range(max(2, design.max_blocks * design.groups_per_block))
        port = self.blocks["load_port"]
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(design))),
                "result": Out(stream.Signature(result_layout(design))),
                "fault": Out(stream.Signature(fault_layout(design))),
                "abort": In(1),
                "seed": In(REGISTERS),
                "seed_enable": In(1),
                "load_enable": In(1),
                "load_memory": In(port.memory.shape()),
                "load_word": In(port.word.shape()),
                "load_part": In(port.part.shape()),
                "load_data": In(LOAD_BITS),
                "load_refused": Out(1),
                "playing": Out(1),
                "state_address": In(self._state_words),
                "state_data": Out(values),
                "state_write": In(values),
                "state_enable": In(1),
                "logits_address": In(self._logit_words),
                "logits_data": Out(values),
                "pause": In(1),
                "counters": Out(len(COUNTERS) * COUNTER_BITS),
                "segment": Out(range(design.header_words + 1)),
                "tap_x": Out(vector_write(columns, max(2, design.embedding_tiles))),
                "tap_u": Out(vector_write(columns, max(2, design.max_tiles))),
                "tap_state": Out(vector_write(width, max(2, design.state_words))),
                "tap_logits": Out(vector_write(width, self._logit_words.stop)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[name] = block
        sequencer, requests = self.blocks["sequencer"], self.blocks["requests"]
        accepted = Signal()
        wiring.connect(m, wiring.flipped(self.request), requests.request)
        wiring.connect(m, wiring.flipped(self.result), requests.result)
        wiring.connect(m, requests.play, sequencer.token)
        m.d.comb += [
            accepted.eq(sequencer.token.valid & sequencer.token.ready),
            requests.abort.eq(self.abort),
            requests.chosen.valid.eq(sequencer.chosen_valid),
            requests.chosen.payload.row.eq(self.blocks["post"].next_row),
            sequencer.chosen_ready.eq(requests.chosen.ready),
            requests.failed.eq(self.fault.valid & self.fault.ready),
            self.segment.eq(sequencer.segment),
            self.playing.eq(sequencer.playing),
        ]
        self._connect_array(m)
        self._connect_post(m, accepted)
        self._connect_vectors(m)
        self._connect_noise(m, accepted)
        self._connect_tables(m)
        self._connect_load(m)
        self._connect_faults(m, accepted)
        self._connect_state(m)
        self._connect_logits(m)
        self._connect_counters(m, accepted)
        return m

    def _connect_array(self, m: Module) -> None:
        sequencer, activations = self.blocks["sequencer"], self.blocks["activations"]
        source, array, norm = self.blocks["source"], self.blocks["array"], self.blocks["rms_norm"]
        decoder = self.blocks["decoder"]
        header = sequencer.header
        m.d.comb += [
            decoder.word.eq(source.words.data),
            source.pause.eq(self.pause),
            source.words.take.eq(sequencer.take),
            source.words.restart.eq(sequencer.restart),
            sequencer.available.eq(source.words.available),
            activations.beat.eq(sequencer.beat),
            activations.tile.eq(sequencer.tile),
            activations.tail.eq(header.tail),
            activations.tiles.eq(header.tiles),
            array.valid.eq(activations.o_beat.valid),
            array.first.eq(activations.o_beat.first),
            array.last.eq(activations.o_beat.last),
            array.x.eq(activations.x),
            array.w.eq(decoder.o),
            norm.valid.eq(activations.fresh.valid),
            norm.first.eq(activations.fresh.first),
            norm.last.eq(activations.fresh.last),
            norm.q.eq(activations.q),
            norm.clear.eq(sequencer.load),
        ]
        m.d.comb += [norm.multiplier[i].eq(header[f"multiplier{i}"]) for i in range(3)]

    def _connect_post(self, m: Module, accepted: Value) -> None:
        sequencer, array, norm = self.blocks["sequencer"], self.blocks["array"], self.blocks["rms_norm"]
        row_blocks, post = self.blocks["row_blocks"], self.blocks["post"]
        m.d.comb += [
            row_blocks.block_valid.eq(array.o_valid),
            row_blocks.block.eq(array.o),
            row_blocks.header.eq(sequencer.header),
            row_blocks.load.eq(sequencer.load),
            row_blocks.scale_done.eq(norm.done),
            row_blocks.scale.eq(norm.scale),
            row_blocks.exponent.eq(norm.exponent),
            sequencer.block_done.eq(row_blocks.block_done),
            post.tag.eq(row_blocks.tag),
            post.acc.eq(row_blocks.acc),
            post.multiplier.eq(row_blocks.multiplier),
            post.shift.eq(row_blocks.shift),
            post.wide.eq(row_blocks.wide),
            post.kind.eq(sequencer.header.kind),
            post.gate.eq(sequencer.header.gate),
            post.restart.eq(accepted),
            post.begin.eq(sequencer.begin),
        ]

    def _connect_vectors(self, m: Module) -> None:
        """x and u: written by embedding and post-processing, read by the activations; x also by the residual addition."""
        sequencer, embedding, post = self.blocks["sequencer"], self.blocks["embedding"], self.blocks["post"]
        activations, x, u = self.blocks["activations"], self.blocks["x"], self.blocks["u"]
        columns, width = self.design.columns, self.design.post_width
        # Only o and down read u, and only they read x by groups.
        reads_u = sequencer.header.kind == OUTPUT
        x_word, _ = self._place(post.x_group)
        m.d.comb += [
            embedding.valid.eq(sequencer.embedding_valid),
            embedding.id.eq(sequencer.embedding_id),
            embedding.tile.eq(sequencer.embedding_tile),
            embedding.last.eq(sequencer.embedding_last),
            embedding.shift.eq(sequencer.header.base0.as_unsigned()),
            x.read_address.eq(Mux(reads_u, x_word, sequencer.tile)),
            u.read_address.eq(sequencer.tile),
            activations.u.eq(Mux(reads_u, u.read_data.as_value(), x.read_data.as_value())),
            sequencer.vector_done.eq(post.vector_done | (embedding.o_valid & embedding.o_last)),
        ]
        _, x_part = self._place(delay(m, post.x_group, 1))
        # An Array, not word_select: Amaranth makes the latter with a $mul cell.
        parts = Array(x.read_data.as_value()[i : i + 16 * width] for i in range(0, 16 * columns, 16 * width))
        part = Signal(16 * width)
        m.d.comb += [part.eq(parts[x_part]), post.x.eq(delay(m, part, X_LATENCY - 1))]

        self._write_groups(m, x.write, post.write_x)
        self._write_groups(m, u.write, post.write_u)
        with m.If(embedding.o_valid):
            m.d.comb += [
                x.write.address.eq(embedding.o_tile),
                x.write.enable.eq(~0),
                x.write.data.eq(embedding.x),
            ]
        for tap, vector in ((self.tap_x, x), (self.tap_u, u)):
            m.d.comb += [
                tap.address.eq(vector.write.address),
                tap.enable.eq(vector.write.enable),
                tap.data.eq(vector.write.data),
            ]
        # Size of the vector being written; taken over when the segment that reads it begins.
        size = Signal(15)
        sizes = [
            magnitude([write.data[c] for c in range(columns)], list(write.enable))
            for write in (x.write, u.write)
        ]
        m.d.sync += size.eq(size | sizes[0] | sizes[1])
        with m.If(sequencer.load):
            m.d.sync += [size.eq(0), activations.shift.eq(quantizer_shift(m, size))]

    def _place(self, group: Value) -> tuple[Value, Value]:
        """(word, group within the word) of a group of P elements."""
        bits = (self.design.columns // self.design.post_width - 1).bit_length()
        return group[bits:], group[:bits]

    def _write_groups(self, m: Module, memory_write: Any, write: Any) -> None:
        groups = self.design.columns // self.design.post_width
        word, part = self._place(write.group)
        m.d.comb += [
            memory_write.address.eq(word),
            memory_write.data.as_value().eq(write.data.as_value().replicate(groups)),
            memory_write.enable.eq(Cat(Mux(part == g, write.enable, 0) for g in range(groups))),
        ]

    def _connect_tables(self, m: Module) -> None:
        post, tables, biases = self.blocks["post"], self.blocks["tables"], self.blocks["biases"]
        assert tables.latency == TABLE_LATENCY
        for lane in range(2 * self.design.post_width):
            m.d.comb += [
                getattr(tables, f"address_{lane}").eq(post.table_address[lane]),
                post.table_entry[lane].eq(getattr(tables, f"data_{lane}")),
            ]
        m.d.comb += [biases.address_0.eq(post.bias_address), post.bias.as_value().eq(biases.data_0)]

    def _connect_noise(self, m: Module, accepted: Value) -> None:
        sequencer, post, noise = self.blocks["sequencer"], self.blocks["post"], self.blocks["noise"]
        assert noise.latency == post.requantize.latency
        m.d.comb += [
            noise.take.eq(post.tag.valid & post.tag.role.logit),
            noise.keep.eq(post.tag.keep),
            noise.temperature.eq(self.blocks["requests"].temperature),
            noise.restart.eq(accepted),
            noise.repeat.eq(sequencer.repeat),
            noise.seed.eq(self.seed),
            noise.seed_enable.eq(self.seed_enable & ~sequencer.playing),
            post.noise.eq(noise.o),
        ]

    def _connect_load(self, m: Module) -> None:
        port = self.blocks["load_port"]
        for name in ("enable", "memory", "word", "part", "data"):
            m.d.comb += getattr(port, name).eq(getattr(self, f"load_{name}"))
        m.d.comb += [port.busy.eq(self.playing), self.load_refused.eq(port.refused)]
        targets = {
            "weights": self.blocks["source"].load,
            "headers": self.blocks["sequencer"].load_header,
            "embedding": self.blocks["embedding"].load,
            "biases": self.blocks["biases"].load,
            "tables": self.blocks["tables"].load,
            "reciprocal_root": self.blocks["rms_norm"].load,
            "gumbel": self.blocks["noise"].load,
        }
        for name, target in targets.items():
            wiring.connect(m, getattr(port, f"to_{name}"), target)

    def _connect_faults(self, m: Module, accepted: Value) -> None:
        sequencer, post, faults = self.blocks["sequencer"], self.blocks["post"], self.blocks["faults"]
        check, tables = self.blocks["weight_check"], self.blocks["tables"]
        m.d.comb += check.word.eq(self.blocks["source"].words.data)
        for flag, order in {
            "valid": sequencer.take & ~sequencer.take_check,
            "last": sequencer.take_last,
            "check": sequencer.take_check,
        }.items():
            m.d.comb += getattr(check, flag).eq(delay(m, order, SOURCE_LATENCY, reset=True))
        wrong = Cat(getattr(tables, f"wrong_{lane}") for lane in range(2 * self.design.post_width))
        m.d.comb += [
            check.restart.eq(accepted),
            sequencer.checked.eq(check.done),
            sequencer.fault.eq(faults.any),
            faults.segment.eq(sequencer.segment),
            faults.weight_segment.eq(delay(m, sequencer.segment, SOURCE_LATENCY + CHECK_LATENCY)),
            faults.clear.eq(accepted),
            faults.found_weights.eq(check.done & check.fault),
            faults.found_headers.eq(delay(m, sequencer.header_wrong, 1, reset=True)),
            faults.found_embedding.eq(self.blocks["embedding"].wrong),
            faults.found_biases.eq(post.bias_used & self.blocks["biases"].wrong_0),
            faults.found_tables.eq((post.table_used & wrong).any()),
            faults.found_reciprocal_root.eq(self.blocks["rms_norm"].wrong),
            faults.found_gumbel.eq(self.blocks["noise"].wrong),
            self.fault.valid.eq(sequencer.failed_valid),
            self.fault.payload.eq(faults.first),
            sequencer.failed_ready.eq(self.fault.ready),
        ]

    def _connect_state(self, m: Module) -> None:
        """Two banks: a token reads one and writes the other; they change places when it is done."""
        sequencer, post = self.blocks["sequencer"], self.blocks["post"]
        m.submodules.banks = state = memory.Memory(
            shape=unsigned(16 * self.design.post_width), depth=2 * self._state_words.stop, init=[]
        )
        read, write = state.read_port(), state.write_port()
        bank, idle = Signal(), ~sequencer.playing
        with m.If(sequencer.pass_done):
            m.d.sync += bank.eq(~bank)
        m.d.comb += [
            read.addr.eq(Cat(bank, Mux(idle, self.state_address, post.state_address))),
            post.state.as_value().eq(read.data),
            self.state_data.as_value().eq(read.data),
        ]
        with m.If(idle):
            m.d.comb += [
                write.addr.eq(Cat(bank, self.state_address)),
                write.data.eq(self.state_write.as_value()),
                write.en.eq(self.state_enable),
            ]
        with m.Else():
            m.d.comb += [
                write.addr.eq(Cat(~bank, post.write_state.group)),
                write.data.eq(post.write_state.data.as_value()),
                write.en.eq(post.write_state.enable.any()),
            ]
        m.d.comb += [
            self.tap_state.address.eq(post.write_state.group),
            self.tap_state.enable.eq(post.write_state.enable),
            self.tap_state.data.eq(post.write_state.data),
        ]

    def _connect_logits(self, m: Module) -> None:
        post = self.blocks["post"]
        m.submodules.logits = logits = memory.Memory(
            shape=unsigned(16 * self.design.post_width), depth=self._logit_words.stop, init=[]
        )
        write, read = logits.write_port(), logits.read_port()
        m.d.comb += [
            write.addr.eq(post.write_logits.group),
            write.data.eq(post.write_logits.data.as_value()),
            write.en.eq(post.write_logits.enable.any()),
            read.addr.eq(self.logits_address),
            self.logits_data.as_value().eq(read.data),
            self.tap_logits.address.eq(post.write_logits.group),
            self.tap_logits.enable.eq(post.write_logits.enable),
            self.tap_logits.data.eq(post.write_logits.data),
        ]

    def _connect_counters(self, m: Module, accepted: Value) -> None:
        sequencer, post, counters = self.blocks["sequencer"], self.blocks["post"], self.blocks["counters"]
        m.d.comb += [
            counters.clear.eq(accepted),
            counters.busy.eq(sequencer.playing),
            counters.beat.eq(sequencer.beat.valid),
            counters.waits.eq(sequencer.waits),
            counters.saturated_quantizer.eq(self.blocks["activations"].saturated),
            *(
                getattr(counters, f"saturated_{site}").eq(getattr(post.saturations, site))
                for site in POST_SITES
            ),
            self.counters.eq(counters.o.as_value()),
        ]

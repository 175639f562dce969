"""The whole accelerator: it plays the tape in its memories once per token."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.noise import Noise
from hdl.array.decoder import Decoder
from hdl.array.row_blocks import RowBlocks
from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.control.counters import Counters
from hdl.control.faults import Faults
from hdl.control.requests import Requests
from hdl.control.sequencer import Sequencer
from hdl.fabric.pipeline import delay
from hdl.interface import OUTPUT
from hdl.link.host_ports import HostInterface, HostPorts
from hdl.memory.block_memory import BlockMemory, MemoryHolder
from hdl.memory.embedding import Embedding
from hdl.memory.load_port import LoadPort
from hdl.memory.loaded_memory import LoadedMemory
from hdl.memory.sources.block import BlockSource
from hdl.memory.sources.interface import LATENCY as SOURCE_LATENCY
from hdl.memory.state_banks import StateBanks
from hdl.memory.vectors import GroupMemory, VectorMemory
from hdl.memory.weight_check import WeightCheck
from hdl.pow2.activations import LATENCY as ACTIVATIONS_LATENCY
from hdl.pow2.activations import Activations
from hdl.pow2.forget_gate import TABLE_LATENCY
from hdl.pow2.post import BIAS_LATENCY, EARLY, POST_SITES, STATE_LATENCY, X_LATENCY, Post
from hdl.pow2.rms_norm import RMSNorm
from hdl.pow2.vector_size import VectorSize
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.memory_map import loaded_shape

ORDER_CYCLES = ACTIVATIONS_LATENCY - SOURCE_LATENCY - Decoder.LATENCY
"""Cycles by which weights are ordered later than activations, to reach the array together."""


class Accelerator(wiring.Component):
    """MatMul-free language model, one token at a time, by additions only.

    ::

        request --> Requests <----------------------- chosen row -----------------+
        result  <--    |                                                          |
            +----------+               +----------> RMSNorm -----------+          |
            v                          |                               v          |
        Sequencer --+--> x, u --> Activations --> TernaryArray --> RowBlocks --> Post <-> tables,
                    |                                  ^                          |       biases,
                    +--> BlockSource --+--> Decoder ---+                          v       state,
                    |                  |                            x, u, state, logits   Noise
                    +--> Embedding     +--> WeightCheck --+
                              |                           v
                              v      parity errors --> Faults --> fault
                              x

        load --> LoadPort --> memories of the image

    Ports::

        request     in   stream of request_layout  a token to play, or a text that goes on by itself
        result      out  stream of result_layout   row of the head that was chosen
        fault       out  stream of fault_layout    instead of a result: a check failed in this pass
        cancel      in   1                         the request ends with the token in progress
        seed        in   SeedPort                  seed of the noise
        load        in   LoadAccess                writes of the image's memories
        state       in   StateAccess               current bank of the state
        logits      in   LogitsAccess              logits of the last token
        counters    out  COUNTERS_LAYOUT           of the last token, SETTLE_CYCLES after its end
        segment     out  uintN                     entry of the segment table in progress
        playing     out  1                         a token is in progress
        pause       in   1                         the source withholds weights
        tap_x       out  group_write               every write of x
        tap_u       out  group_write               every write of u
        tap_state   out  group_write               every write of the state
        tap_logits  out  group_write               every write of the logits

    All but ``pause`` and the taps, which simulations use, are those of ``HostPorts``; ``host`` is
    they alone. After a fault state and noise are as before the pass, and the same request repeats
    it exactly.

    With an ``image`` its words are in the memories from the start; otherwise memory files or the
    load port fill them. ``array`` makes the array; another one than the ternary array is for
    experiments alone.

    Seed, state, logits and memories are accessible only while no token is played. Token ids must
    lie in the tape's vocabulary. After reset no request is in progress, and the state is undefined
    until a token with ``begin``.
    """

    def __init__(
        self,
        design: Design,
        image: Image | None = None,
        *,
        array: ArrayOf = TernaryArray,
    ) -> None:
        self.design, self._host_ports = design, HostPorts(design)
        contents = image.memories() if image is not None else {}
        columns, width = design.columns, design.post_width
        post = Post(design)
        self._logit_words = range(max(2, design.max_blocks * design.groups_per_block))
        self.blocks: dict[str, wiring.Component] = {
            "sequencer": Sequencer(design, contents.get("headers", ())),
            "embedding": Embedding(design, contents.get("embedding", ())),
            "activations": Activations(design),
            "rms_norm": RMSNorm(design),
            "source": BlockSource(design, contents),
            "decoder": Decoder(design),
            "weight_check": WeightCheck(design),
            "requests": Requests(design),
            "noise": Noise(width),
            "load_port": LoadPort(design),
            "faults": Faults(design),
            "tables": LoadedMemory(
                "tables",
                loaded_shape(design, "tables"),
                reads=2 * width,
                contents=contents.get("tables", ()),
            ),
            "biases": LoadedMemory(
                "biases", loaded_shape(design, "biases"), contents=contents.get("biases", ())
            ),
            "array": array(design),
            "row_blocks": RowBlocks(design),
            "post": post,
            "counters": Counters(
                {"quantizer": columns, **dict.fromkeys(POST_SITES, width)}, design.max_site_values
            ),
            "x": VectorMemory(columns, width, design.embedding_tiles),
            "u": VectorMemory(columns, width, design.max_tiles),
            "residual": GroupMemory(columns, width, design.embedding_tiles),
            "size": VectorSize(post.write_x.signature, post.write_u.signature),
            "state": StateBanks(design),
            "logits": BlockMemory(
                "logits", part_bits=16, parts=width, depth=self._logit_words.stop
            ),
        }
        super().__init__(
            {
                **self._host_ports.members,
                "pause": In(1),
                "tap_x": Out(post.write_x.signature),
                "tap_u": Out(post.write_u.signature),
                "tap_state": Out(post.write_state.signature),
                "tap_logits": Out(post.write_logits.signature),
            }
        )

    @property
    def memories(self) -> dict[str, tuple[BlockMemory, ...]]:
        """The block memories of each block that holds some, by the block's name."""
        return {
            name: block.memories
            for name, block in self.blocks.items()
            if isinstance(block, MemoryHolder)
        }

    @property
    def host(self) -> HostInterface:
        """The ports of HostPorts alone."""
        return HostInterface(self._host_ports, self)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[name] = block
        sequencer, requests = self.blocks["sequencer"], self.blocks["requests"]
        started = Signal()
        wiring.connect(m, wiring.flipped(self.request), requests.request)
        wiring.connect(m, wiring.flipped(self.result), requests.result)
        wiring.connect(m, requests.play, sequencer.token)
        m.d.comb += [
            started.eq(sequencer.started),
            requests.cancel.eq(self.cancel),
            requests.chosen.valid.eq(sequencer.chosen_valid),
            requests.chosen.payload.row.eq(self.blocks["post"].next_row),
            sequencer.chosen_ready.eq(requests.chosen.ready),
            requests.failed.eq(self.fault.valid & self.fault.ready),
            self.segment.eq(sequencer.segment),
            self.playing.eq(sequencer.playing),
        ]
        self._connect_weights(m, started)
        self._connect_array(m)
        self._connect_post(m, started)
        self._connect_vectors(m)
        self._connect_noise(m, started)
        self._connect_tables(m)
        self._connect_load(m)
        self._connect_faults(m, started)
        self._connect_state(m)
        self._connect_logits(m)
        self._connect_counters(m, started)
        return m

    def _connect_weights(self, m: Module, started: Value) -> None:
        sequencer, source = self.blocks["sequencer"], self.blocks["source"]
        decoder = self.blocks["decoder"]
        take = sequencer.beat.valid | sequencer.take_check
        m.d.comb += [
            source.pause.eq(self.pause),
            source.words.take.eq(delay(m, take, ORDER_CYCLES, reset=True)),
            source.words.restart.eq(started),
            sequencer.available.eq(source.words.available),
            decoder.words.eq(source.words.data),
        ]

    def _connect_array(self, m: Module) -> None:
        sequencer, activations = self.blocks["sequencer"], self.blocks["activations"]
        array, norm, decoder = self.blocks["array"], self.blocks["rms_norm"], self.blocks["decoder"]
        header = sequencer.header
        m.d.comb += [
            activations.beat.eq(sequencer.beat),
            activations.tile.eq(sequencer.tile),
            activations.tail.eq(header.tail),
            array.valid.eq(activations.o_beat.valid),
            array.first.eq(activations.o_beat.first),
            array.last.eq(activations.o_beat.last),
            array.x.eq(activations.activations),
            array.w.eq(decoder.o),
            norm.valid.eq(activations.fresh.valid),
            norm.last.eq(activations.fresh.last),
            norm.q.eq(activations.q),
            norm.clear.eq(sequencer.load),
        ]
        m.d.comb += [norm.multiplier[i].eq(header[f"multiplier{i}"]) for i in range(3)]

    def _connect_post(self, m: Module, started: Value) -> None:
        sequencer, array, norm = (
            self.blocks["sequencer"],
            self.blocks["array"],
            self.blocks["rms_norm"],
        )
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
            sequencer.logits_done.eq(post.logits_done),
            post.tag.eq(row_blocks.tag),
            post.acc.eq(row_blocks.acc),
            post.multiplier.eq(row_blocks.multiplier),
            post.shift.eq(row_blocks.shift),
            post.wide.eq(row_blocks.wide),
            post.kind.eq(sequencer.header.kind),
            post.gate.eq(sequencer.header.gate),
            post.restart.eq(started),
            post.begin.eq(sequencer.begin),
        ]

    def _connect_vectors(self, m: Module) -> None:
        """x and u: embedding and post-processing write them, the activations read them.

        The residual addition reads x too, from a second copy.
        """
        sequencer, embedding, post = (
            self.blocks["sequencer"],
            self.blocks["embedding"],
            self.blocks["post"],
        )
        activations, x, u = self.blocks["activations"], self.blocks["x"], self.blocks["u"]
        residual = self.blocks["residual"]
        # Only o and down read u.
        reads_u = Signal()
        m.d.sync += reads_u.eq(sequencer.header.kind == OUTPUT)
        m.d.comb += [
            embedding.start.eq(sequencer.embed),
            embedding.id.eq(sequencer.embedding_id),
            embedding.tiles.eq(sequencer.header.tiles),
            embedding.shift.eq(sequencer.header.base0.as_unsigned()),
            post.embedding.enable.eq(embedding.o_valid),
            post.embedding.group.eq(embedding.o_group),
            post.embedding.keep.eq(~0),
            post.embedding.data.eq(embedding.x),
            x.read_address.eq(sequencer.tile),
            u.read_address.eq(sequencer.tile),
            activations.reads_u.eq(reads_u),
            activations.x.eq(x.read_data),
            activations.u.eq(u.read_data),
            sequencer.vector_done.eq(post.vector_done | embedding.ending),
        ]
        assert embedding.EARLY + 1 == EARLY
        m.d.comb += [residual.group.eq(post.x_group), post.x.eq(residual.values)]
        assert X_LATENCY == GroupMemory.LATENCY
        _copy_write(m, residual.write, post.write_x)
        for vector, write, tap in ((x, post.write_x, self.tap_x), (u, post.write_u, self.tap_u)):
            _copy_write(m, vector.write, write)
            _copy_write(m, tap, write)
        size = self.blocks["size"]
        _copy_write(m, size.x, post.write_x)
        _copy_write(m, size.u, post.write_u)
        m.d.comb += [size.load.eq(sequencer.load), activations.shift.eq(size.shift)]

    def _connect_tables(self, m: Module) -> None:
        post, tables, biases = self.blocks["post"], self.blocks["tables"], self.blocks["biases"]
        assert (tables.latency, biases.latency) == (TABLE_LATENCY, BIAS_LATENCY)
        for lane in range(2 * self.design.post_width):
            m.d.comb += [
                tables.read[lane].address.eq(post.table_address[lane]),
                post.table_entry[lane].eq(tables.read[lane].data),
            ]
        m.d.comb += [
            biases.read[0].address.eq(post.bias_address),
            post.bias.as_value().eq(biases.read[0].data),
        ]

    def _connect_noise(self, m: Module, started: Value) -> None:
        sequencer, post, noise = self.blocks["sequencer"], self.blocks["post"], self.blocks["noise"]
        temperature = self.blocks["requests"].temperature
        m.d.comb += [
            noise.take.eq(post.tag.valid & post.tag.role.logit),
            noise.keep.eq(post.tag.keep),
            noise.temperature.eq(temperature),
            noise.restart.eq(started),
            noise.repeat.eq(sequencer.repeat),
            noise.seed.eq(self.seed.registers),
            noise.seed_enable.eq(delay(m, self.seed.enable & ~sequencer.playing, 1, reset=True)),
            post.entry.eq(noise.entry),
            post.temperature.eq(temperature),
        ]

    def _connect_load(self, m: Module) -> None:
        port = self.blocks["load_port"]
        m.d.comb += [
            port.enable.eq(self.load.enable),
            port.memory.eq(self.load.memory),
            port.word.eq(self.load.word),
            port.part.eq(self.load.part),
            port.data.eq(self.load.data),
            self.load.refused.eq(port.refused),
            port.busy.eq(self.playing),
        ]
        m.d.comb += self.blocks["sequencer"].hold.eq(port.settling)
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

    def _connect_faults(self, m: Module, started: Value) -> None:
        sequencer, post, faults = (
            self.blocks["sequencer"],
            self.blocks["post"],
            self.blocks["faults"],
        )
        check, tables = self.blocks["weight_check"], self.blocks["tables"]
        m.d.comb += check.words.eq(self.blocks["source"].words.data)
        for flag, order in {
            "valid": sequencer.beat.valid,
            "last": sequencer.take_last,
            "check": sequencer.take_check,
        }.items():
            m.d.comb += getattr(check, flag).eq(
                delay(m, order, ORDER_CYCLES + SOURCE_LATENCY, reset=True)
            )
        # Check words come in the order of the segments.
        checked = Signal(range(self.design.header_words + 1), init=1)
        with m.If(started):
            m.d.sync += checked.eq(1)
        with m.Elif(check.done):
            m.d.sync += checked.eq(checked + 1)
        parity_errors = Cat(port.parity_error for port in tables.read)
        biases = self.blocks["biases"]
        # A parity error counts if the word was used; it comes a cycle after the word.
        bias_error = delay(m, post.bias_used, 1, reset=True) & biases.read[0].parity_error
        table_error = delay(m, post.table_used, 1, reset=True) & parity_errors
        found = {
            "weights": check.done & check.fault,
            "headers": sequencer.header_parity_error,
            "embedding": self.blocks["embedding"].parity_error,
            "biases": bias_error,
            "tables": delay(m, table_error, 1, reset=True).any(),
            "reciprocal_root": self.blocks["rms_norm"].parity_error,
            "gumbel": self.blocks["noise"].parity_error,
        }
        for name, flag in found.items():
            m.d.comb += getattr(faults, f"found_{name}").eq(
                flag if name == "weights" else delay(m, flag, 1, reset=True)
            )
        m.d.comb += [
            check.restart.eq(started),
            sequencer.checked.eq(check.done),
            sequencer.fault.eq(faults.any),
            faults.segment.eq(sequencer.segment),
            faults.weight_segment.eq(checked),
            faults.clear.eq(started),
            self.fault.valid.eq(sequencer.failed_valid),
            self.fault.payload.eq(faults.first),
            sequencer.failed_ready.eq(self.fault.ready),
        ]

    def _connect_state(self, m: Module) -> None:
        sequencer, post, state = self.blocks["sequencer"], self.blocks["post"], self.blocks["state"]
        assert state.LATENCY == STATE_LATENCY
        m.d.comb += [
            state.playing.eq(sequencer.playing),
            state.swap.eq(sequencer.pass_done),
            state.address.eq(post.state_address),
            state.host_address.eq(self.state.address),
            state.host_write.eq(self.state.write),
            state.host_enable.eq(self.state.enable),
            post.state.eq(state.values),
            self.state.data.eq(state.values),
        ]
        _copy_write(m, state.write, post.write_state)
        _copy_write(m, self.tap_state, post.write_state)

    def _connect_logits(self, m: Module) -> None:
        post, logits = self.blocks["post"], self.blocks["logits"]
        write = post.write_logits
        m.d.comb += [
            logits.write.address.eq(write.group),
            logits.write.data.eq(write.data.as_value()),
            logits.write.enable.eq(write.enable.replicate(self.design.post_width)),
            logits.read[0].address.eq(self.logits.address),
            logits.read[0].enable.eq(~self.playing),
            self.logits.data.as_value().eq(logits.read[0].data),
        ]
        _copy_write(m, self.tap_logits, write)

    def _connect_counters(self, m: Module, started: Value) -> None:
        sequencer, post, counters = (
            self.blocks["sequencer"],
            self.blocks["post"],
            self.blocks["counters"],
        )
        m.d.comb += [
            counters.clear.eq(started),
            counters.busy.eq(sequencer.playing),
            counters.beat.eq(sequencer.admitted),
            counters.waits.eq(sequencer.waits),
            counters.saturated_quantizer.eq(self.blocks["activations"].saturated),
            *(
                getattr(counters, f"saturated_{site}").eq(getattr(post.saturations, site))
                for site in POST_SITES
            ),
            self.counters.eq(counters.o),
        ]


def _copy_write(m: Module, target: Any, write: Any) -> None:
    for name in ("group", "enable", "keep", "data"):
        m.d.comb += Value.cast(getattr(target, name)).eq(Value.cast(getattr(write, name)))

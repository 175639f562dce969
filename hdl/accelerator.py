"""The whole accelerator: it plays the tape in its memories once per token."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out

from hdl.array.decoder import Decoder
from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.blocks import Blocks
from hdl.fabric.pipeline import delay
from hdl.link.host_ports import HostInterface, HostPorts
from hdl.memory.block_memory import BlockMemory, MemoryHolder
from hdl.memory.sources.axi_read import AxiRead
from hdl.memory.sources.interface import LATENCY as SOURCE_LATENCY
from hdl.memory.sources.interface import TAKE_CYCLES, SourceOf
from hdl.pow2.activations import LATENCY as ACTIVATIONS_LATENCY
from hdl.pow2.post import POST_SITES
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import check_value_bits

ORDER_CYCLES = ACTIVATIONS_LATENCY - SOURCE_LATENCY - Decoder.LATENCY
"""Cycles by which weights are ordered later than activations, to reach the array together."""

assert ORDER_CYCLES + 1 <= TAKE_CYCLES


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
                    +--> Embedding     +--> StreamCheck --+
                              |                           v
                              v      parity errors --> Faults --> fault
                              x

        load --> LoadPort --> memories of the image

    Ports::

        request     in   stream of request_layout  a token to play, or a text that goes on by itself
        result      out  stream of result_layout   row of the head that was chosen
        fault       out  stream of fault_layout    instead of a result: a check failed in this pass
        cancel      in   1                         the request ends with the token in progress
        seed        in   SeedAccess                seed of the noise
        load        in   LoadAccess                writes of the image's memories
        state       in   StateAccess               current bank of the state
        logits      in   LogitsAccess              logits of the last token
        counters    out  COUNTERS_LAYOUT           of the last token, SETTLE_CYCLES after its end
        segment     out  uintN                     entry of the segment table in progress
        playing     out  1                         a token is in progress
        memory      in   MemorySettings            external memory: where the image is in it
        axi         out  G x AxiRead               external memory: the ports that read weights
        axi_rows    out  AxiRead                   external memory: the port that reads rows
        pause       in   1                         the source withholds weights
        tap_x       out  GroupWrite                every write of x
        tap_u       out  GroupWrite                every write of u
        tap_state   out  GroupWrite                every write of the state
        tap_logits  out  GroupWrite                every write of the logits

    All but ``pause`` and the taps, which simulations use, are those of ``HostPorts``; ``host`` is
    they alone. After a fault state and noise are as before the pass, and the same request repeats
    it exactly.

    With an ``image`` its words are in the memories from the start; otherwise memory files or the
    load port fill them. ``source`` makes the source of weights and ``array`` the array; another
    array than the ternary one is for experiments alone.

    Seed, state, logits and memories are accessible only while no token is played. Token ids must
    lie in the tape's vocabulary. After reset no request is in progress, and the state is undefined
    until a token with ``begin``.

    Raises
    ------
    LayoutError
        If there is no arithmetic for the design's ``value_bits``.
    """

    def __init__(
        self,
        design: Design,
        image: Image | None = None,
        *,
        source: SourceOf | None = None,
        array: ArrayOf = TernaryArray,
    ) -> None:
        check_value_bits(design)
        self.design, self._host_ports = design, HostPorts(design)
        self.blocks = Blocks.of(
            design, image.memories() if image is not None else {}, source, array
        )
        post = self.blocks.post
        super().__init__(
            {
                **self._host_ports.members,
                **self._memory_ports(),
                "pause": In(1),
                "tap_x": Out(post.write_x.signature),
                "tap_u": Out(post.write_u.signature),
                "tap_state": Out(post.write_state.signature),
                "tap_logits": Out(post.write_logits.signature),
            }
        )

    def _memory_ports(self) -> dict[str, Member]:
        """The ports to an external memory."""
        if self.design.external is None:
            return {}
        port = AxiRead(self.design.external.port_bits)
        return {"axi": Out(port).array(self.design.num_groups), "axi_rows": Out(port)}

    @property
    def memories(self) -> dict[str, tuple[BlockMemory, ...]]:
        """The block memories of each block that holds some, by the block's name."""
        return {
            name: block.memories
            for name, block in self.blocks.by_name().items()
            if isinstance(block, MemoryHolder)
        }

    @property
    def host(self) -> HostInterface:
        """The ports of HostPorts alone."""
        return HostInterface(self._host_ports, self)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, block in self.blocks.by_name().items():
            m.submodules[name] = block
        self._connect_requests(m)
        self._connect_segment(m)
        self._connect_weights(m)
        self._connect_values(m)
        self._connect_vectors(m)
        self._connect_state(m)
        self._connect_noise(m)
        self._connect_load(m)
        if self.design.external is not None:
            self._connect_memory(m)
        self._connect_faults(m)
        self._connect_counters(m)
        return m

    def _connect_requests(self, m: Module) -> None:
        """A host's requests become tokens, and rows or faults its answers."""
        blocks = self.blocks
        sequencer, requests = blocks.sequencer, blocks.requests
        wiring.connect(m, wiring.flipped(self.request), requests.request)
        wiring.connect(m, requests.play, sequencer.token)
        wiring.connect(m, sequencer.chosen, requests.chosen)
        wiring.connect(m, wiring.flipped(self.result), requests.result)
        wiring.connect(m, wiring.flipped(self.fault), sequencer.failed)
        m.d.comb += [
            requests.cancel.eq(self.cancel),
            requests.failed.eq(self.fault.valid & self.fault.ready),
            self.playing.eq(sequencer.playing),
        ]

    def _connect_segment(self, m: Module) -> None:
        """The header of the segment in progress, and when the next may begin."""
        blocks = self.blocks
        sequencer, post, embedding = blocks.sequencer, blocks.post, blocks.embedding
        wiring.connect(
            m,
            sequencer.segment,
            embedding.segment,
            blocks.activations.segment,
            blocks.rms_norm.segment,
            blocks.row_blocks.segment,
            post.segment,
        )
        wiring.connect(m, sequencer.embedding, embedding.row)
        m.d.comb += [
            self.segment.eq(sequencer.number),
            blocks.size.load.eq(sequencer.segment.load),
            sequencer.block_done.eq(blocks.row_blocks.block_done),
            sequencer.vector_done.eq(post.vector_done | embedding.vector_done),
            sequencer.logits_done.eq(post.logits_done),
            sequencer.row.eq(post.row),
            post.restart.eq(sequencer.started),
            post.begin.eq(sequencer.begin),
        ]

    def _connect_weights(self, m: Module) -> None:
        """Words of weights, ordered so that they meet their activations in the array."""
        sequencer, source, check = (
            self.blocks.sequencer,
            self.blocks.source,
            self.blocks.weight_check,
        )
        take = sequencer.take.word | sequencer.take.check
        m.d.comb += [
            source.pause.eq(self.pause),
            source.words.take.eq(delay(m, take, ORDER_CYCLES, reset=True)),
            source.words.restart.eq(sequencer.started),
            sequencer.available.eq(source.words.available),
            self.blocks.decoder.words.eq(source.words.data),
            check.words.eq(source.words.data),
            check.taken.eq(delay(m, sequencer.take, ORDER_CYCLES + SOURCE_LATENCY, reset=True)),
            check.restart.eq(sequencer.started),
            sequencer.checked.eq(check.done),
        ]
        if self.design.external is not None:
            biases = self.blocks.biases
            m.d.comb += [
                biases.words.eq(source.words.data),
                biases.taken.eq(check.taken),
                biases.parameter.eq(
                    delay(m, sequencer.parameter, ORDER_CYCLES + SOURCE_LATENCY, reset=True)
                ),
                biases.restart.eq(sequencer.started),
            ]

    def _connect_values(self, m: Module) -> None:
        """From tiles of activations to rows of results."""
        blocks = self.blocks
        activations, array = blocks.activations, blocks.array
        wiring.connect(m, activations.tiles, array.tiles)
        wiring.connect(m, activations.fresh, blocks.rms_norm.tiles)
        wiring.connect(m, array.sums, blocks.row_blocks.sums)
        wiring.connect(m, blocks.rms_norm.scale, blocks.row_blocks.scale)
        wiring.connect(m, blocks.row_blocks.rows, blocks.post.rows)
        for table, read in zip(blocks.tables.read, blocks.post.table, strict=True):
            wiring.connect(m, table, read)
        biases = blocks.biases.read
        wiring.connect(m, blocks.post.bias, biases if self.design.external else biases[0])
        m.d.comb += [
            activations.beat.eq(blocks.sequencer.beat),
            activations.tile.eq(blocks.sequencer.tile),
            array.w.eq(blocks.decoder.o),
        ]

    def _connect_vectors(self, m: Module) -> None:
        """x and u: embedding and post-processing write them, the activations read them.

        The residual addition reads x too, from a second copy.
        """
        blocks = self.blocks
        post, size = blocks.post, blocks.size
        tap_x, tap_u = wiring.flipped(self.tap_x), wiring.flipped(self.tap_u)
        wiring.connect(m, blocks.embedding.write, post.embedding)
        wiring.connect(m, post.write_x, blocks.x.write, blocks.residual.write, size.x, tap_x)
        wiring.connect(m, post.write_u, blocks.u.write, size.u, tap_u)
        wiring.connect(m, blocks.activations.x, blocks.x.read)
        wiring.connect(m, blocks.activations.u, blocks.u.read)
        wiring.connect(m, post.x, blocks.residual.read)
        m.d.comb += blocks.activations.shift.eq(size.shift)

    def _connect_state(self, m: Module) -> None:
        """State and logits: written by the post-processing, read by a host in between."""
        blocks = self.blocks
        post, state, logits = blocks.post, blocks.state, blocks.logits
        write, (read,) = post.write_logits, logits.read
        wiring.connect(m, post.state, state.read)
        wiring.connect(m, post.write_state, state.write, wiring.flipped(self.tap_state))
        wiring.connect(m, wiring.flipped(self.state), state.host)
        wiring.connect(m, write, wiring.flipped(self.tap_logits))
        m.d.comb += [
            state.playing.eq(blocks.sequencer.playing),
            state.swap.eq(blocks.sequencer.pass_done),
            logits.write.address.eq(write.group),
            logits.write.data.eq(write.data.as_value()),
            logits.write.enable.eq(write.enable.replicate(len(logits.write.enable))),
            read.address.eq(self.logits.address),
            read.enable.eq(~self.playing),
            self.logits.data.as_value().eq(read.data),
        ]

    def _connect_noise(self, m: Module) -> None:
        """Each row of the head draws its noise, by the temperature of the request."""
        sequencer, post, noise = self.blocks.sequencer, self.blocks.post, self.blocks.noise
        tag, temperature = self.blocks.row_blocks.rows.tag, self.blocks.requests.temperature
        # A register, because the enable reaches more than a hundred registers of the noise.
        seed_enable = delay(m, self.seed.enable & ~sequencer.playing, 1, reset=True)
        m.d.comb += [
            noise.take.eq(tag.valid & tag.role.logit),
            noise.keep.eq(tag.keep),
            noise.temperature.eq(temperature),
            noise.restart.eq(sequencer.started),
            noise.repeat.eq(sequencer.repeat),
            noise.seed.eq(self.seed.registers),
            noise.seed_enable.eq(seed_enable),
            post.noise_entry.eq(noise.entry),
            post.temperature.eq(temperature),
        ]

    def _connect_load(self, m: Module) -> None:
        """A host's writes to the memories of the image."""
        blocks, port = self.blocks, self.blocks.load_port
        wiring.connect(m, wiring.flipped(self.load), port.host)
        wiring.connect(m, port.writes.headers, blocks.sequencer.load_header)
        if self.design.external is None:
            wiring.connect(m, port.writes.weights, blocks.source.load)
            wiring.connect(m, port.writes.embedding, blocks.embedding.load)
            wiring.connect(m, port.writes.biases, blocks.biases.load)
        wiring.connect(m, port.writes.tables, blocks.tables.load)
        wiring.connect(m, port.writes.reciprocal_root, blocks.rms_norm.load)
        wiring.connect(m, port.writes.gumbel, blocks.noise.load)
        # A token in the cycle of a write would play the old word.
        hold = port.settling | self.load.enable
        m.d.comb += [port.busy.eq(self.playing), blocks.sequencer.hold.eq(hold)]

    def _connect_memory(self, m: Module) -> None:
        """The readers of an external memory: what they are told, and the ports that they have."""
        embedding, source = self.blocks.embedding, self.blocks.source
        for reader in (source, embedding):
            # No token must read with settings of which some are new.
            m.d.comb += [
                reader.settings.index.eq(self.memory.index),
                reader.settings.value.eq(self.memory.value),
                reader.settings.enable.eq(self.memory.enable & ~self.blocks.sequencer.playing),
                reader.playing.eq(self.blocks.sequencer.playing),
            ]
        for outer, inner in zip(self.axi, source.axi, strict=True):
            wiring.connect(m, wiring.flipped(outer), inner)
        wiring.connect(m, wiring.flipped(self.axi_rows), embedding.axi)
        m.d.comb += self.blocks.sequencer.row_checked.eq(embedding.checked)

    def _connect_memory_faults(self, m: Module) -> None:
        """What an external memory was found to have answered, or not."""
        embedding, source = self.blocks.embedding, self.blocks.source
        sequencer, faults = self.blocks.sequencer, self.blocks.faults
        # From a word's beat to its last share.
        delivery = ORDER_CYCLES + SOURCE_LATENCY + self.design.num_groups - 1
        m.d.comb += [
            faults.found.embedding.eq(embedding.fault),
            faults.found.weights_response.eq(source.response),
            faults.found.weights_timeout.eq(source.timeout),
            faults.found.embedding_response.eq(embedding.response),
            faults.found.embedding_timeout.eq(embedding.timeout),
            faults.delivered.eq(delay(m, sequencer.number, delivery)),
        ]

    def _connect_faults(self, m: Module) -> None:
        """What the checks find; each flag passes a register, for its memory may be far away.

        That of the embedding has one already: with another, an error in a row's last word would
        come when the next segment has begun.
        """
        blocks = self.blocks
        sequencer, faults, check = blocks.sequencer, blocks.faults, blocks.weight_check
        found = faults.found
        table_error = delay(m, blocks.post.table_errors, 1, reset=True).any()
        wiring.connect(m, faults.faults, sequencer.faults)
        m.d.comb += [
            found.weights.eq(check.done & check.fault),
            found.headers.eq(delay(m, sequencer.parity_error, 1, reset=True)),
            found.biases.eq(delay(m, blocks.post.bias_error, 1, reset=True)),
            found.tables.eq(delay(m, table_error, 1, reset=True)),
            found.reciprocal_root.eq(delay(m, blocks.rms_norm.parity_error, 1, reset=True)),
            found.gumbel.eq(delay(m, blocks.noise.parity_error, 1, reset=True)),
            faults.segment.eq(sequencer.number),
            faults.checked.eq(check.done),
            faults.clear.eq(sequencer.started),
        ]
        if self.design.external is None:
            m.d.comb += found.embedding.eq(blocks.embedding.parity_error)
        else:
            self._connect_memory_faults(m)

    def _connect_counters(self, m: Module) -> None:
        """What a token's cycles and saturations are counted from."""
        sequencer, counters = self.blocks.sequencer, self.blocks.counters
        saturations = self.blocks.post.saturations
        m.d.comb += [
            counters.clear.eq(sequencer.started),
            counters.busy.eq(sequencer.playing),
            counters.admitted.eq(sequencer.admitted),
            counters.waits.eq(sequencer.waits),
            counters.saturated.quantizer.eq(self.blocks.activations.saturated),
            *(counters.saturated[site].eq(saturations[site]) for site in POST_SITES),
            self.counters.eq(counters.counters),
        ]

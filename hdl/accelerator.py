"""The whole accelerator: it plays the tape in its memories once per token."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out

from hdl.absmax.parts import AbsmaxParts
from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.blocks import Blocks, Parts, named
from hdl.fabric.pipeline import delay
from hdl.interface import GroupWrite
from hdl.link.host_ports import HostInterface, HostPorts
from hdl.memory.block_memory import BlockMemory, MemoryHolder
from hdl.memory.sources.axi_read import AxiRead
from hdl.memory.sources.interface import LATENCY as SOURCE_LATENCY
from hdl.memory.sources.interface import SourceOf
from hdl.memory.state_banks import drive_with_either
from hdl.memory.vectors import as_stored, from_stored
from hdl.pow2.parts import Pow2Parts
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import check_value_bits


class Accelerator(wiring.Component):
    """MatMul-free language model, one token at a time, by additions only.

    ::

        request --> Requests <----------------------- chosen row -----------------+
        result  <--    |                                                          |
            +----------+               +-----------> norm -------------+          |
            v                          |                               v          |
        Sequencer --+--> vectors -> Activations --> TernaryArray --> RowBlocks --> Post <-> tables,
                    |                                  ^                          |    parameters,
                    +--> BlockSource --+--> Decoder ---+                          v       state,
                    |                  |                         vectors, state, logits   Noise
                    +--> Embedding     +--> StreamCheck --+
                              |                           v
                              v      parity errors --> Faults --> fault
                              x

        load --> LoadPort --> memories of the image

    Vectors, norm, Activations, Post and parameters are those of the design's arithmetic
    (``hdl.pow2.parts``, ``hdl.absmax.parts``).

    Ports::

        request     in   stream of request_layout  a token to play, or a text that goes on by itself
        result      out  stream of result_layout   row of the head that was chosen
        fault       out  stream of fault_layout    instead of a result: a check failed in this pass
        cancel      in   1                         the request ends with the token in progress
        seed        in   SeedAccess                seed of the noise
        load        in   LoadAccess                writes of the image's memories
        state       in   StateAccess               current bank of the state
        logits      in   LogitsAccess              logits of the last token, if they are stored
        counters    out  COUNTERS_LAYOUT           of the last token, SETTLE_CYCLES after its end
        segment     out  uintN                     entry of the segment table in progress
        playing     out  1                         a token is in progress
        memory      in   MemorySettings            external memory: where the image is in it
        axi         out  G x AxiRead               external memory: the ports that read weights
        axi_rows    out  AxiRead                   external memory: the port that reads rows
        pause       in   1                         the source withholds weights
        tap_x       out  GroupWrite                every write of x
        tap_u       out  GroupWrite                every write of u; in absmax W, as P x CUT
        tap_state   out  GroupWrite                every write of the state, and of x that it keeps
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
        contents = image.memories() if image is not None else {}
        self.parts: Parts = (
            AbsmaxParts.of(design)
            if design.arithmetic == "absmax"
            else Pow2Parts.of(design, contents)
        )
        self.blocks = Blocks.of(design, self.parts, contents, source, array)
        post = self.parts.post
        super().__init__(
            {
                **self._host_ports.members,
                **self._memory_ports(),
                "pause": In(1),
                "tap_x": Out(post.write_x.signature),
                "tap_u": Out(self.parts.tap_u.signature),
                "tap_state": Out(GroupWrite(design, design.kept_words)),
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
            for name, block in self._named_blocks().items()
            if isinstance(block, MemoryHolder)
        }

    def _named_blocks(self) -> dict[str, wiring.Component]:
        """Every block."""
        return named(self.blocks) | named(self.parts)

    @property
    def host(self) -> HostInterface:
        """The ports of HostPorts alone."""
        return HostInterface(self._host_ports, self)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, block in self._named_blocks().items():
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
        blocks, post = self.blocks, self.parts.post
        sequencer, embedding = blocks.sequencer, blocks.embedding
        wiring.connect(
            m, sequencer.segment, embedding.segment, blocks.row_blocks.segment, post.segment
        )
        wiring.connect(m, sequencer.embedding, embedding.row)
        m.d.comb += [
            self.segment.eq(sequencer.number),
            sequencer.block_done.eq(blocks.row_blocks.block_done),
            sequencer.vector_done.eq(self.parts.connect(m, blocks)),
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
        take, cycles = sequencer.take.word | sequencer.take.check, self.parts.order_cycles
        m.d.comb += [
            source.pause.eq(self.pause),
            source.words.take.eq(delay(m, take, cycles, reset=True)),
            source.words.restart.eq(sequencer.started),
            sequencer.available.eq(source.words.available),
            self.blocks.decoder.words.eq(source.words.data),
            check.words.eq(source.words.data),
            check.taken.eq(delay(m, sequencer.take, cycles + SOURCE_LATENCY, reset=True)),
            check.restart.eq(sequencer.started),
            sequencer.checked.eq(check.done),
        ]

    def _connect_values(self, m: Module) -> None:
        """From tiles of activations to rows of results."""
        blocks, post = self.blocks, self.parts.post
        activations, array = self.parts.activations, blocks.array
        wiring.connect(m, activations.tiles, array.tiles)
        wiring.connect(m, array.sums, blocks.row_blocks.sums)
        wiring.connect(m, blocks.row_blocks.rows, post.rows)
        for table, read in zip(blocks.tables.read, post.table, strict=True):
            wiring.connect(m, table, read)
        m.d.comb += [
            activations.beat.eq(blocks.sequencer.beat),
            activations.tile.eq(blocks.sequencer.tile),
            array.w.eq(blocks.decoder.o),
        ]

    def _connect_vectors(self, m: Module) -> None:
        """The residual's second copy, which the residual addition reads; and the taps."""
        post, residual = self.parts.post, self.blocks.residual
        wiring.connect(m, post.write_x, residual.write, wiring.flipped(self.tap_x))
        wiring.connect(m, self.parts.tap_u, wiring.flipped(self.tap_u))
        wiring.connect(m, post.x, residual.read)

    def _connect_state(self, m: Module) -> None:
        """State and logits: written by the post-processing, read by a host in between."""
        blocks, post = self.blocks, self.parts.post
        state, logits, write = blocks.state, blocks.logits, post.write_logits
        wiring.connect(m, post.state, state.read)
        if self.design.token_shift:
            wiring.connect(m, post.write_state, state.write)
            drive_with_either(m, self.tap_state, state.exchange, post.write_state)
        else:
            wiring.connect(m, post.write_state, state.write, wiring.flipped(self.tap_state))
        wiring.connect(m, wiring.flipped(self.state), state.host)
        wiring.connect(m, write, wiring.flipped(self.tap_logits))
        m.d.comb += [
            state.playing.eq(blocks.sequencer.playing),
            state.swap.eq(blocks.sequencer.pass_done),
        ]
        if logits is not None:
            (read,) = logits.read
            m.d.comb += [
                logits.write.address.eq(write.group),
                logits.write.data.eq(as_stored(self.design, write.data)),
                logits.write.enable.eq(write.enable.replicate(len(logits.write.enable))),
                read.address.eq(self.logits.address),
                read.enable.eq(~self.playing),
                self.logits.data.as_value().eq(from_stored(self.design, read.data)),
            ]

    def _connect_noise(self, m: Module) -> None:
        """Each row of the head draws its noise, by the temperature of the request."""
        sequencer, post, noise = self.blocks.sequencer, self.parts.post, self.blocks.noise
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
        wiring.connect(m, port.writes.tables, blocks.tables.load)
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
        delivery = self.parts.order_cycles + SOURCE_LATENCY + self.design.num_groups - 1
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
        table_error = delay(m, self.parts.post.table_errors, 1, reset=True).any()
        wiring.connect(m, faults.faults, sequencer.faults)
        m.d.comb += [
            found.weights.eq(check.done & check.fault),
            found.headers.eq(delay(m, sequencer.parity_error, 1, reset=True)),
            found.tables.eq(delay(m, table_error, 1, reset=True)),
            found.gumbel.eq(delay(m, blocks.noise.parity_error, 1, reset=True)),
            *(
                found[name].eq(delay(m, flag, 1, reset=True))
                for name, flag in self.parts.found().items()
            ),
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
        saturations = self.parts.saturations()
        m.d.comb += [
            counters.clear.eq(sequencer.started),
            counters.busy.eq(sequencer.playing),
            counters.admitted.eq(sequencer.admitted),
            counters.waits.eq(sequencer.waits),
            *(counters.saturated[site].eq(flags) for site, flags in saturations.items()),
            self.counters.eq(counters.counters),
        ]

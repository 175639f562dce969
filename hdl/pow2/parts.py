"""What pow2 brings to an accelerator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring

from hdl.blocks import Blocks, Parts, order_cycles
from hdl.fabric.pipeline import delay
from hdl.memory.embedding import Expand, ShiftUp
from hdl.memory.layer_biases import LayerBiases
from hdl.memory.loaded_memory import LoadedMemory
from hdl.memory.sources.interface import LATENCY as SOURCE_LATENCY
from hdl.memory.vectors import VectorMemory
from hdl.pow2.activations import LATENCY, Activations
from hdl.pow2.post import POST_SITES, Post
from hdl.pow2.rms_norm import RMSNorm
from hdl.pow2.token_shift import LATENCY as SHIFT_LATENCY
from hdl.pow2.token_shift import TokenShift
from hdl.pow2.vector_size import VectorSize
from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES
from mmfree.chip.memory_map import loaded_shape


@dataclass(frozen=True, kw_only=True)
class Pow2Parts(Parts):
    """The blocks of pow2.

    ``biases``: another block with an external memory; ``size``: of the vector that is written;
    ``token_shift``: None if nothing is shifted.

    ::

        x --> TokenShift --+--> Activations --> RMSNorm --> scale
        u -----------------+         ^
                           +--> VectorSize
    """

    design: Design
    activations: Activations
    rms_norm: RMSNorm
    biases: LoadedMemory | LayerBiases
    post: Post
    x: VectorMemory
    u: VectorMemory
    size: VectorSize
    token_shift: TokenShift | None

    @classmethod
    def of(cls, design: Design, contents: Mapping[str, Sequence[int]]) -> Pow2Parts:
        """Those of a design, with words from the start by memory."""
        external = design.external is not None
        return cls(
            design=design,
            activations=Activations(design),
            rms_norm=RMSNorm(design),
            biases=(
                LayerBiases(design)
                if external
                else LoadedMemory(
                    "biases",
                    loaded_shape(design, "biases"),
                    contents=contents.get("biases", ()),
                )
            ),
            post=Post(design),
            x=VectorMemory(design, design.embedding_tiles),
            u=VectorMemory(design, design.max_tiles),
            size=VectorSize(design),
            token_shift=TokenShift(design) if design.token_shift else None,
        )

    @property
    def order_cycles(self) -> int:
        return order_cycles(self.design, LATENCY)

    @property
    def own_activations(self) -> tuple[bool, ...]:
        return (True, False, False)

    @property
    def sites(self) -> dict[str, int]:
        width = self.design.post_width
        return {"quantizer": self.design.columns, **dict.fromkeys(POST_SITES, width)}

    @property
    def expand(self) -> Expand:
        return ShiftUp()

    @property
    def tap_u(self) -> Any:
        return self.post.write_u

    def connect(self, m: Module, blocks: Blocks) -> Value:
        activations, post, size = self.activations, self.post, self.size
        segment = blocks.sequencer.segment
        wiring.connect(m, segment, activations.segment, self.rms_norm.segment)
        wiring.connect(m, activations.fresh, self.rms_norm.tiles)
        wiring.connect(m, self.rms_norm.scale, blocks.row_blocks.scale)
        # Embedding and post-processing write x and u, the activations read them.
        wiring.connect(m, blocks.embedding.write, post.embedding)
        written = post.write_x
        if self.token_shift is not None:
            self._connect_shift(m, self.token_shift, blocks)
            written = self.token_shift.write
        wiring.connect(m, written, self.x.write, size.x)
        wiring.connect(m, post.write_u, self.u.write, size.u)
        wiring.connect(m, activations.x, self.x.read)
        wiring.connect(m, activations.u, self.u.read)
        m.d.comb += [size.load.eq(segment.load), activations.shift.eq(size.shift)]
        wiring.connect(m, blocks.load_port.writes.reciprocal_root, self.rms_norm.load)
        self._connect_biases(m, blocks)
        vector_done: Value = post.vector_done | blocks.embedding.vector_done
        if self.token_shift is not None:
            # x is complete when what is read of it is.
            kind = segment.header.kind
            is_u = (kind == KIND_CODES["gates"]) | (kind == KIND_CODES["glu"])
            late = delay(m, vector_done & ~is_u, SHIFT_LATENCY, reset=True)
            return (vector_done & is_u) | late
        return vector_done

    def _connect_shift(self, m: Module, shift: TokenShift, blocks: Blocks) -> None:
        """Its own connections to sequencer and state, and the residual's writes."""
        sequencer, state = blocks.sequencer, blocks.state
        wiring.connect(m, self.post.write_x, shift.x)
        wiring.connect(m, shift.exchange, state.exchange)
        m.d.comb += [
            shift.head.eq(sequencer.before_head),
            shift.begin.eq(sequencer.begin),
            shift.restart.eq(sequencer.started),
            shift.before.eq(state.read.data),
        ]

    def _connect_biases(self, m: Module, blocks: Blocks) -> None:
        biases, sequencer, source = self.biases, blocks.sequencer, blocks.source
        if self.design.external is None:
            wiring.connect(m, self.post.bias, biases.read[0])
            wiring.connect(m, blocks.load_port.writes.biases, biases.load)
            return
        wiring.connect(m, self.post.bias, biases.read)
        cycles = self.order_cycles + SOURCE_LATENCY
        m.d.comb += [
            biases.words.eq(source.words.data),
            biases.taken.eq(blocks.weight_check.taken),
            biases.parameter.eq(delay(m, sequencer.parameter, cycles, reset=True)),
            biases.restart.eq(sequencer.started),
        ]

    def found(self) -> dict[str, Value]:
        return {
            "biases": self.post.bias_error,
            "reciprocal_root": self.rms_norm.parity_error,
        }

    def saturations(self) -> dict[str, Value]:
        flags = {"quantizer": self.activations.saturated}
        return flags | {site: self.post.saturations[site] for site in POST_SITES}

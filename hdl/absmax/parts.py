"""What absmax brings to an accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring

from hdl.absmax.activations import LATENCY, Activations
from hdl.absmax.norm.elements import vector_words
from hdl.absmax.norm.gains import GainUnit
from hdl.absmax.norm.largest import Largest
from hdl.absmax.norm.scalars import Scalars
from hdl.absmax.norm.squares import Squares
from hdl.absmax.post import POST_SITES, Post
from hdl.absmax.row_scale import LATENCY as ROW_SCALE_LATENCY
from hdl.absmax.row_scale import RowScale
from hdl.blocks import Blocks, Parts, order_cycles
from hdl.fabric.pipeline import delay
from hdl.memory.embedding import Expand
from hdl.memory.parameters import Parameters
from hdl.memory.sources.interface import LATENCY as SOURCE_LATENCY
from hdl.memory.vectors import VectorMemory
from hdl.payloads import CUT
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT


class Scaled:
    """The step of absmax: elements of the embedding are scaled by their row's scale."""

    cycles = ROW_SCALE_LATENCY

    def __init__(self, design: Design) -> None:
        self._design = design

    def __call__(
        self, m: Module, elements: list[Value], values: Any, segment: Any, scale: Value
    ) -> None:
        m.submodules.row_scale = row_scale = RowScale(self._design)
        m.d.comb += [row_scale.elements[p].eq(element) for p, element in enumerate(elements)]
        m.d.comb += [
            row_scale.scale.eq(scale),
            row_scale.shift.eq(segment.header.base[0]),
            values.eq(row_scale.o),
        ]


@dataclass(frozen=True, kw_only=True)
class AbsmaxParts(Parts):
    """The blocks of absmax.

    ``v``: the vector that a segment reads, cut, times the gains of each matrix.

    ::

        embedding --> Post --> GainUnit --+--> v, Largest --> Activations
                       ^          ^       |        |
                     bounds     gains     |        v
                       |          |       +--> Squares --> Scalars --> scale
                       Parameters-+
    """

    design: Design
    activations: Activations
    largest: Largest
    gain_unit: GainUnit
    squares: Squares
    scalars: Scalars
    parameters: Parameters
    post: Post
    v: VectorMemory

    @classmethod
    def of(cls, design: Design) -> AbsmaxParts:
        """Those of a design."""
        return cls(
            design=design,
            activations=Activations(design),
            largest=Largest(design),
            gain_unit=GainUnit(design),
            squares=Squares(design),
            scalars=Scalars(design),
            parameters=Parameters(design),
            post=Post(design),
            v=VectorMemory(design, vector_words(design), CUT),
        )

    @property
    def order_cycles(self) -> int:
        return order_cycles(self.design, LATENCY)

    @property
    def own_activations(self) -> tuple[bool, ...]:
        return (True,) * MATRICES_PER_SEGMENT

    @property
    def sites(self) -> dict[str, int]:
        return dict.fromkeys(POST_SITES, self.design.post_width)

    @property
    def expand(self) -> Expand:
        return Scaled(self.design)

    @property
    def tap_u(self) -> Any:
        return self.post.write_u

    def connect(self, m: Module, blocks: Blocks) -> Value:
        activations, largest, gain_unit = self.activations, self.largest, self.gain_unit
        scalars, post = self.scalars, self.post
        segment = blocks.sequencer.segment
        wiring.connect(m, segment, activations.segment, scalars.segment)
        wiring.connect(m, blocks.embedding.write, post.embedding)
        wiring.connect(m, post.elements, gain_unit.elements)
        wiring.connect(m, gain_unit.write, self.v.write, largest.write)
        wiring.connect(m, gain_unit.squares, self.squares.group)
        wiring.connect(m, scalars.sums, self.squares.read)
        wiring.connect(m, scalars.scale, blocks.row_blocks.scale)
        wiring.connect(m, activations.v, self.v.read)
        m.d.comb += [
            post.embedding_end.eq(blocks.embedding.vector_done),
            gain_unit.turns.eq(segment.header.turns),
            largest.slot.eq(gain_unit.slot),
            largest.load.eq(segment.load),
            activations.largest.eq(largest.largest),
            scalars.largest.eq(largest.largest),
        ]
        self._connect_parameters(m, blocks)
        vector_done: Value = gain_unit.vector_done
        return vector_done

    def _connect_parameters(self, m: Module, blocks: Blocks) -> None:
        parameters, sequencer = self.parameters, blocks.sequencer
        wiring.connect(m, self.gain_unit.gains, parameters.gains)
        wiring.connect(m, self.post.bound, parameters.bounds)
        cycles = self.order_cycles + SOURCE_LATENCY
        m.d.comb += [
            parameters.words.eq(blocks.source.words.data),
            parameters.taken.eq(blocks.weight_check.taken),
            parameters.parameter.eq(delay(m, sequencer.parameter, cycles, reset=True)),
            parameters.restart.eq(sequencer.started),
            parameters.load.eq(sequencer.segment.load),
            parameters.number.eq(sequencer.number[0]),
        ]

    def found(self) -> dict[str, Value]:
        return {"parameters": self.parameters.parity_error}

    def saturations(self) -> dict[str, Value]:
        return {site: self.post.saturations[site] for site in POST_SITES}

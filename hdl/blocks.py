"""The blocks of an accelerator: those of every arithmetic, and what an arithmetic brings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring

from hdl.arithmetic.noise import Noise
from hdl.array.decoder import Decoder
from hdl.array.row_blocks import RowBlocks
from hdl.array.ternary_array import ArrayOf
from hdl.control.counters import Counters
from hdl.control.faults import Faults
from hdl.control.requests import Requests
from hdl.control.sequencer import Sequencer
from hdl.memory.block_memory import BlockMemory
from hdl.memory.embedding import Embedding, Expand
from hdl.memory.load_port import LoadPort
from hdl.memory.loaded_memory import LoadedMemory
from hdl.memory.sources.axi import AxiSource
from hdl.memory.sources.block import BlockSource
from hdl.memory.sources.embedding import StreamedEmbedding
from hdl.memory.sources.interface import LATENCY as SOURCE_LATENCY
from hdl.memory.sources.interface import SourceOf, take_cycles
from hdl.memory.state_banks import StateBanks
from hdl.memory.vectors import GroupMemory, value_memory
from hdl.memory.weight_check import StreamCheck
from hdl.payloads import logit_words
from mmfree.chip.design import Design
from mmfree.chip.memory_map import loaded_shape


def order_cycles(design: Design, activations: int) -> int:
    """Cycles by which weights are ordered later than activations, to reach the array together.

    ``activations``: their latency, from a beat to its tile.
    """
    cycles = activations - SOURCE_LATENCY - Decoder.LATENCY
    assert 0 <= cycles < take_cycles(design)
    return cycles


def named(blocks: Any) -> dict[str, wiring.Component]:
    """The blocks that the fields of a dataclass hold; those that a design does not have are None.

    Their names are those of the Verilog modules' instances.
    """
    found = {item.name: getattr(blocks, item.name) for item in fields(blocks)}
    return {name: block for name, block in found.items() if isinstance(block, wiring.Component)}


class Parts(ABC):
    """What an arithmetic brings to an accelerator: its blocks, and how they are connected.

    A dataclass, whose fields are the blocks (``named``).
    """

    activations: wiring.Component
    """Makes tiles of the vector that a segment reads: ports ``beat``, ``tile``, ``segment``,
    ``tiles``.
    """

    post: wiring.Component
    """Makes vectors, state and logits of the array's results."""

    @property
    @abstractmethod
    def order_cycles(self) -> int:
        """Cycles by which weights are ordered later than activations."""

    @property
    @abstractmethod
    def own_activations(self) -> tuple[bool, ...]:
        """See Sequencer."""

    @property
    @abstractmethod
    def sites(self) -> dict[str, int]:
        """Flags of saturations by site, in the order of SATURATION_SITES."""

    @property
    @abstractmethod
    def expand(self) -> Expand:
        """Makes values of elements of the embedding."""

    @property
    @abstractmethod
    def tap_u(self) -> Any:
        """Every write of what output and down read."""

    @abstractmethod
    def connect(self, m: Module, blocks: Blocks) -> Value:
        """Connect these blocks with each other and with the others, but for what all arithmetics
        have; returned: the next vector is complete EARLY cycles later.
        """

    @abstractmethod
    def found(self) -> dict[str, Value]:
        """Flags by memory: a word that was used has a parity error; of those of an arithmetic."""

    @abstractmethod
    def saturations(self) -> dict[str, Value]:
        """Flags by site: values that were clamped."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The blocks of every arithmetic.

    ``source``: see ``source_ports``; ``array``: see ``array_ports``; ``residual``: a second copy of
    x; ``logits``: None if the design does not store them. The embedding is another one with an
    external memory.
    """

    sequencer: Sequencer
    embedding: Embedding | StreamedEmbedding
    source: Any
    decoder: Decoder
    weight_check: StreamCheck
    requests: Requests
    noise: Noise
    load_port: LoadPort
    faults: Faults
    tables: LoadedMemory
    array: Any
    row_blocks: RowBlocks
    counters: Counters
    residual: GroupMemory
    state: StateBanks
    logits: BlockMemory | None

    @classmethod
    def of(
        cls,
        design: Design,
        parts: Parts,
        contents: Mapping[str, Sequence[int]],
        source: SourceOf | None,
        array: ArrayOf,
    ) -> Blocks:
        """The blocks of a design, with words from the start by memory.

        ``source``: another one than that of the design's memory.
        """
        tables = LoadedMemory(
            "tables",
            loaded_shape(design, "tables"),
            reads=2 * design.post_width,
            contents=contents.get("tables", ()),
        )
        return cls(
            sequencer=Sequencer(
                design,
                contents.get("headers", ()),
                own_activations=parts.own_activations,
                delivery_cycles=parts.order_cycles + SOURCE_LATENCY,
            ),
            embedding=(
                Embedding(design, contents.get("embedding", ()), expand=parts.expand)
                if design.external is None
                else StreamedEmbedding(design, expand=parts.expand)
            ),
            source=(source or _source)(design, contents),
            decoder=Decoder(design),
            weight_check=StreamCheck.of_weights(design),
            requests=Requests(design),
            noise=Noise(design.post_width),
            load_port=LoadPort(design),
            faults=Faults(design),
            tables=tables,
            array=array(design),
            row_blocks=RowBlocks(design),
            counters=Counters(parts.sites, design.max_site_values),
            residual=GroupMemory(design, design.embedding_tiles),
            state=StateBanks(design),
            logits=(
                value_memory("logits", design, logit_words(design))
                if design.stores_logits
                else None
            ),
        )


def _source(design: Design, contents: Mapping[str, Sequence[int]]) -> wiring.Component:
    """The source of weights of a design's memory."""
    return BlockSource(design, contents) if design.external is None else AxiSource(design)

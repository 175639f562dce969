"""The blocks of an accelerator, each with its sizes and its contents from the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

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
from hdl.memory.embedding import Embedding
from hdl.memory.layer_biases import LayerBiases
from hdl.memory.load_port import LoadPort
from hdl.memory.loaded_memory import LoadedMemory
from hdl.memory.sources.axi import AxiSource
from hdl.memory.sources.block import BlockSource
from hdl.memory.sources.embedding import StreamedEmbedding
from hdl.memory.sources.interface import SourceOf
from hdl.memory.state_banks import StateBanks
from hdl.memory.vectors import GroupMemory, VectorMemory
from hdl.memory.weight_check import StreamCheck
from hdl.payloads import logit_words
from hdl.pow2.activations import Activations
from hdl.pow2.post import POST_SITES, Post
from hdl.pow2.rms_norm import RMSNorm
from hdl.pow2.vector_size import VectorSize
from mmfree.chip.design import Design
from mmfree.chip.memory_map import loaded_shape


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The blocks of an accelerator; their names are those of the Verilog modules' instances.

    ``source``: see ``source_ports``; ``array``: see ``array_ports``; ``residual``: a second copy of
    x; ``size``: of the vector that is written. Embedding and biases are others with an external
    memory.
    """

    sequencer: Sequencer
    embedding: Embedding | StreamedEmbedding
    activations: Activations
    rms_norm: RMSNorm
    source: Any
    decoder: Decoder
    weight_check: StreamCheck
    requests: Requests
    noise: Noise
    load_port: LoadPort
    faults: Faults
    tables: LoadedMemory
    biases: LoadedMemory | LayerBiases
    array: Any
    row_blocks: RowBlocks
    post: Post
    counters: Counters
    x: VectorMemory
    u: VectorMemory
    residual: GroupMemory
    size: VectorSize
    state: StateBanks
    logits: BlockMemory

    @classmethod
    def of(
        cls,
        design: Design,
        contents: Mapping[str, Sequence[int]],
        source: SourceOf | None,
        array: ArrayOf,
    ) -> Blocks:
        """The blocks of a design, with words from the start by memory.

        ``source``: another one than that of the design's memory.
        """
        width, external = design.post_width, design.external is not None

        def loaded(name: str, reads: int = 1) -> LoadedMemory:
            words = contents.get(name, ())
            return LoadedMemory(name, loaded_shape(design, name), reads=reads, contents=words)

        sites = {"quantizer": design.columns, **dict.fromkeys(POST_SITES, width)}
        return cls(
            sequencer=Sequencer(design, contents.get("headers", ())),
            embedding=(
                StreamedEmbedding(design)
                if external
                else Embedding(design, contents.get("embedding", ()))
            ),
            activations=Activations(design),
            rms_norm=RMSNorm(design),
            source=(source or _source)(design, contents),
            decoder=Decoder(design),
            weight_check=StreamCheck.of_weights(design),
            requests=Requests(design),
            noise=Noise(width),
            load_port=LoadPort(design),
            faults=Faults(design),
            tables=loaded("tables", reads=2 * width),
            biases=LayerBiases(design) if external else loaded("biases"),
            array=array(design),
            row_blocks=RowBlocks(design),
            post=Post(design),
            counters=Counters(sites, design.max_site_values),
            x=VectorMemory(design, design.embedding_tiles),
            u=VectorMemory(design, design.max_tiles),
            residual=GroupMemory(design, design.embedding_tiles),
            size=VectorSize(design),
            state=StateBanks(design),
            logits=BlockMemory("logits", part_bits=16, parts=width, depth=logit_words(design)),
        )

    def by_name(self) -> dict[str, wiring.Component]:
        """Every block."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def _source(design: Design, contents: Mapping[str, Sequence[int]]) -> wiring.Component:
    """The source of weights of a design's memory."""
    return BlockSource(design, contents) if design.external is None else AxiSource(design)

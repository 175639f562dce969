"""Records: the entries of the segment table of a model in a design, and the words of each in the
stream of weights.

A record holds the words of weights of its segment, then the parameters that the segments after it
need, then a check word (docs/accelerator.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmfree.chip.design import Design
from mmfree.chip.memory_map import num_gains, words_of_parameters
from mmfree.contract.pow2 import SEGMENT_ROLES
from mmfree.contract.shape import AbsmaxConfig, AnyConfig
from mmfree.tape.pow2 import segment_shapes


def array_shapes(config: AnyConfig) -> Iterator[tuple[str, int | None, int, int]]:
    """Yield (kind, layer, rows of each matrix, fan_in) of every segment as an array plays it, in
    the order of use. Its matrices are those of SEGMENT_ROLES, whatever the arithmetic.
    """
    if not isinstance(config, AbsmaxConfig):
        yield from segment_shapes(config)
        return
    for kind, layer, rows, fan_in in config.segments():
        # Gate and up, one matrix on the tape, are two.
        yield kind, layer, rows // len(SEGMENT_ROLES[kind]) if kind == "glu" else rows, fan_in


@dataclass(frozen=True, kw_only=True)
class Record:
    """An entry of the segment table, and its words in the stream.

    Parameters
    ----------
    kind, layer
        "embedding", or those of the segment.
    height, width
        Rows of each matrix, 0 for the embedding; elements of the vector that it reads (the
        embedding: writes).
    matrices, blocks, tiles
        Matrices, and row blocks and tiles of each; words of C elements for the embedding.
    turns
        absmax: gains for each element that it writes, 0 for the head.
    own_gains
        absmax: words of gains for the vector that the embedding writes.
    bounds
        Words of biases, in absmax of lower bounds, for the segment after it, if that is a `gates`.
    gains
        absmax: words of gains for the vector that the segment after it writes.
    """

    kind: str
    layer: int | None
    height: int
    width: int
    matrices: int
    blocks: int
    tiles: int
    turns: int
    own_gains: int
    bounds: int
    gains: int

    @property
    def weights(self) -> int:
        """Words of weights."""
        return self.matrices * self.blocks * self.tiles

    @property
    def parameters(self) -> int:
        """Words of parameters."""
        return self.own_gains + self.bounds + self.gains

    @property
    def words(self) -> int:
        """Words in the stream, the check word included; a record of nothing has none."""
        words = self.weights + self.parameters
        return words + 1 if words else 0


def records(config: AnyConfig, design: Design) -> list[Record]:
    """The records of a pass, that of the embedding first."""
    shapes = [("embedding", None, 0, config.hidden_size), *array_shapes(config)]
    return [_record(shapes[n : n + 3], design) for n in range(len(shapes))]


def _record(shapes: list[tuple[str, int | None, int, int]], design: Design) -> Record:
    """The record of the first of ``shapes``, which are followed by those of the next two."""
    (kind, layer, height, width), *following = shapes
    absmax = design.arithmetic == "absmax"
    blocks, tiles = -(-height // design.rows), -(-width // design.columns)
    own_gains = bounds = gains = 0
    if absmax and kind == "embedding":
        elements = tiles * design.columns
        own_gains = words_of_parameters(design, num_gains(following[0][0]) * elements)
    if following:
        next_rows = -(-following[0][2] // design.rows) * design.rows
        if following[0][0] == "gates" and (absmax or design.external is not None):
            # A chip of pow2 expects as many for every tape.
            count = next_rows if absmax else design.post_width * design.bias_words
            bounds = words_of_parameters(design, count)
        if absmax and len(following) > 1:
            gains = words_of_parameters(design, num_gains(following[1][0]) * next_rows)
    return Record(
        kind=kind,
        layer=layer,
        height=height,
        width=width,
        matrices=len(SEGMENT_ROLES.get(kind, ())),
        blocks=blocks,
        tiles=tiles,
        turns=num_gains(following[0][0]) if absmax and following else 0,
        own_gains=own_gains,
        bounds=bounds,
        gains=gains,
    )

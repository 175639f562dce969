"""Elements of the vector that the next segment reads, on their way to the gains."""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hdl.payloads import CUT, values_layout, vector_groups
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT


def vector_words(design: Design) -> int:
    """Words of C elements in the vector memory: three vectors that gates read, or one of another
    kind. The first of a slot is number slot * embedding_tiles.
    """
    return max(MATRICES_PER_SEGMENT * design.embedding_tiles, design.max_tiles)


def element_groups(design: Design) -> int:
    """Groups of P elements of the longest vector, with the padding of its last word or row block.

    Groups of padding alone pass, too: each group has its gains.
    """
    blocks = -(-max(design.max_width, design.embedding_width) // design.rows)
    words = max(design.max_tiles, design.embedding_tiles)
    return max(vector_groups(design, words), blocks * design.groups_per_block)


class Elements(wiring.Signature):
    """A group of P elements, seen from the post-processing (docs/arithmetic_absmax.md, 3).

    A vector's groups come one after another; after a group, none comes for T - 1 cycles if its
    elements meet T gains. Values and bases that are not kept are anything.

    Members::

        valid  out  1              there is a group
        end    out  1              with it: it is the vector's last
        group  out  range(groups)  its number: elements group * P and up
        keep   out  P              flags: elements of the vector; the others are padding
        value  out  P x CUT        X or W
        base   out  P x CUT        g of W = g * SiLU(h'); otherwise the value itself
    """

    def __init__(self, design: Design) -> None:
        values = values_layout(design, design.post_width, CUT)
        super().__init__(
            {
                "valid": Out(1),
                "end": Out(1),
                "group": Out(range(max(2, element_groups(design)))),
                "keep": Out(design.post_width),
                "value": Out(values),
                "base": Out(values),
            }
        )

"""What every source of weights offers: the words of an image, each once and in order.

A word holds the weights of R x C lanes for one tile, in the design's weight code. It consists of
shares, one for each group of rows, because the groups work one cycle after another
(docs/decisions/0010)::

    cycle    |    0    |   ...   | LATENCY | LATENCY + 1 |
    take     |    1    |         |         |             |
    data[0]  |         |         |  share  |             |
    data[1]  |         |         |         |    share    |

Segments follow each other as in the segment table, and each ends with a check word, which is taken
like any other (docs/accelerator.md, Checks).
"""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_bits

LATENCY = 5
"""Cycles from ``take`` to ``data[0]``, the same for every source.

The accelerator orders weights so that they meet their activations in the array.
"""


class WeightSource(wiring.Signature):
    """Interface of a source, seen from the reader.

    ``available``: the next word may be taken in this cycle. A source may withhold words at any
    time; the reader waits.

    ``take``: take the next word, only while ``available``. Its share for group g is ``data[g]``
    LATENCY + g cycles later, for one cycle. One word per cycle; the reader cannot refuse data.

    ``restart``: the next word is the image's first again; not in a cycle with ``take``. Words that
    were taken before still come.
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {
                "available": In(1),
                "take": Out(1),
                "restart": Out(1),
                "data": In(data.ArrayLayout(unsigned(group_bits(design)), design.num_groups)),
            }
        )

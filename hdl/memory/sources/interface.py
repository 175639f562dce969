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

from collections.abc import Callable, Mapping, Sequence

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member, Out

from hdl.memory.loaded_memory import LoadWrite
from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_bits, loaded_shape

LATENCY = 5
"""Cycles from ``take`` to ``data[0]``, the same for every source.

The accelerator orders weights so that they meet their activations in the array.
"""

TAKE_CYCLES, LATE_TAKE_CYCLES = 3, 24
"""Most cycles from ``available`` to the ``take`` that it allows; in an arithmetic whose activations
take long.
"""


def take_cycles(design: Design) -> int:
    """Those of a design."""
    return TAKE_CYCLES if design.arithmetic == "pow2" else LATE_TAKE_CYCLES


class WeightSource(wiring.Signature):
    """Interface of a source, seen from the reader.

    Members::

        available  in   1           a word may be ordered in this cycle
        take       out  1           take it: for each order one, up to ``take_cycles`` later
        restart    out  1           the next word is the image's first again; no order is under way
        data       in   G x shares  group g's share of a word, LATENCY + g cycles after its take

    A source may withhold words at any time; the reader waits. A share stays for one cycle, and the
    reader cannot refuse it. One word per cycle. Words that were taken before a restart still come.
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


def source_ports(design: Design) -> dict[str, Member]:
    """Ports that every source has::

    words  in  WeightSource  the image's words, in order
    pause  in  1             withhold them, as a slower source would: for tests
    load   in  LoadWrite     of a part of a word, while no token is played
    """
    return {
        "words": In(WeightSource(design)),
        "pause": In(1),
        "load": In(LoadWrite(loaded_shape(design, "weights"))),
    }


SourceOf = Callable[[Design, Mapping[str, Sequence[int]]], wiring.Component]
"""Makes the source of a design, from words by memory; its ports: ``source_ports``."""

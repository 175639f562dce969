"""Block RAMs of the ECP5: how many of them hold a memory, and the cell itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Signal, Value

DISTRIBUTED_DEPTH = 64
"""Words up to which a memory is kept in LUTs."""

LANE_BITS, BLOCK_LANES = 9, 2048
"""A block holds 2048 lanes; 1, 2 or 4 of them make a word.

A lane, 9 bits, is the least that has its own write enable.
"""

ADDRESS_BITS, SIDE_BITS = 14, 18
"""Address and data pins of each side of a block.

The address counts bits. Its lowest pins are write enables where a word has several lanes.
"""

INITVAL_LANES, INITVAL_BITS = 32, 320
"""Lanes and bits of each of a block's 64 INITVAL parameters: two lanes in every 20 bits."""


@dataclass(frozen=True)
class Bank:
    """``blocks`` blocks side by side that hold the words from ``start`` on.

    ``start``: a multiple of ``depth``. ``lanes``: of a word in each block.
    """

    start: int
    lanes: int
    blocks: int

    @property
    def word_bits(self) -> int:
        """Bits of a word's address within the bank."""
        return (BLOCK_LANES // self.lanes).bit_length() - 1

    @property
    def depth(self) -> int:
        """Words that the bank has room for."""
        return BLOCK_LANES // self.lanes

    def holds(self, address: Value) -> Value:
        """Whether an address lies in the bank; only its high bits are compared."""
        return address[self.word_bits :] == self.start >> self.word_bits


@dataclass(frozen=True)
class Lane:
    """``bits`` bits of a word from ``start`` on, of part ``part``, that lie in one lane."""

    part: int
    start: int
    bits: int


def word_lanes(part_bits: int, parts: int) -> list[Lane]:
    """Lanes of a word, low bits first; parts share no lane, because each has a write enable."""
    return [
        Lane(part, part * part_bits + low, min(LANE_BITS, part_bits - low))
        for part in range(parts)
        for low in range(0, part_bits, LANE_BITS)
    ]


def plan_banks(depth: int, part_bits: int, parts: int, reads: int) -> tuple[Bank, ...]:
    """Banks of one copy of a memory, the deepest first; none if the memory is kept in LUTs.

    The plan has the fewest blocks, and of such plans the fewest banks. Two read ports share a copy.
    Words of 4 lanes take both sides of a block, one to write and one to read, so they are for a
    memory with ``reads`` = 1.
    """
    if depth <= DISTRIBUTED_DEPTH:
        return ()
    num_lanes = len(word_lanes(part_bits, parts))
    bank_blocks = {lanes: -(-num_lanes // lanes) for lanes in ((1, 2, 4) if reads == 1 else (1, 2))}
    unit = BLOCK_LANES // 4
    # best[n]: blocks, number of banks, and the lanes of each bank's words, for n * unit words.
    best: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ())]
    for n in range(1, -(-depth // unit) + 1):
        options = []
        for lanes, more_blocks in bank_blocks.items():
            blocks, num_banks, others = best[max(0, n - 4 // lanes)]
            options.append((blocks + more_blocks, num_banks + 1, (*others, lanes)))
        best.append(min(options, key=lambda option: option[:2]))
    banks: list[Bank] = []
    start = 0
    # With the deepest first, each bank starts at a multiple of its depth, and the high bits of an
    # address tell whether it lies there.
    for lanes in sorted(best[-1][2]):
        banks.append(Bank(start, lanes, bank_blocks[lanes]))
        start += banks[-1].depth
    return tuple(banks)


def num_copies(reads: int) -> int:
    """Copies of a memory that serve a number of read ports."""
    return -(-reads // 2)


def count_blocks(depth: int, part_bits: int, parts: int, reads: int = 1) -> int:
    """Blocks of a memory with all its copies; 0 if it is kept in LUTs."""
    banks = plan_banks(depth, part_bits, parts, reads)
    return num_copies(reads) * sum(bank.blocks for bank in banks)


def disabled_blocks(depth: int, part_bits: int, parts: int, reads: int = 1) -> float:
    """How many of those blocks stay disabled during a read of another bank: mean over all words."""
    banks = plan_banks(depth, part_bits, parts, reads)
    return num_copies(reads) * sum(
        bank.blocks * (1 - min(bank.depth, depth - bank.start) / depth) for bank in banks
    )


def add_block(
    submodules: Any,
    name: str,
    bank: Bank,
    *,
    address_a: Value,
    address_b: Value,
    enable_a: Value,
    enable_b: Value,
    write: Value,
    enables: Value,
    data: Value,
    init: Iterable[Sequence[int]] = (),
) -> tuple[Value, Value]:
    """Add a DP16KD that writes on side A; returns what A and B read 2 cycles after the address.

    ``address_a`` and ``address_b``: words; ``enable_a`` and ``enable_b``: whether a side reads or
    writes; ``write``, and ``enables`` of the lanes of the word that is written; ``data``: its bits;
    ``init``: the lanes of each word. Of words with 4 lanes, side A writes and side B reads all: the
    returned halves are the low and the high one. A word that is written must not be read on the
    other side.

    The output registers load in every cycle (OCE is 1). The enables act on the access alone, so a
    word comes out though its enable is 0 by then. Lattice's own simulation model of the DP8KC, an
    earlier block of this kind, does so, and takes both halves of a word of 4 lanes under side A's
    enable; not tried on hardware.
    """
    width = bank.lanes * LANE_BITS
    outputs = Signal(SIDE_BITS, name=f"{name}_a"), Signal(SIDE_BITS, name=f"{name}_b")
    low_pins = ADDRESS_BITS - bank.word_bits
    enable_pins = resized(enables, low_pins) if bank.lanes > 1 else Const(0, low_pins)
    addresses = {
        "A": Cat(enable_pins, resized(address_a, bank.word_bits)),
        "B": Cat(Const(0, low_pins), resized(address_b, bank.word_bits)),
    }
    halves = {"A": resized(data, SIDE_BITS), "B": resized(data[SIDE_BITS:], SIDE_BITS)}
    arguments: dict[str, Any] = {}
    for side, output, enable in zip("AB", outputs, (enable_a, enable_b), strict=True):
        arguments |= {
            **{f"i_AD{side}{n}": addresses[side][n] for n in range(ADDRESS_BITS)},
            **{f"i_DI{side}{n}": halves[side][n] for n in range(SIDE_BITS)},
            **{f"o_DO{side}{n}": output[n] for n in range(SIDE_BITS)},
            **{f"i_CS{side}{n}": Const(0, 1) for n in range(3)},
            f"i_CLK{side}": ClockSignal(),
            f"i_CE{side}": enable,
            f"i_OCE{side}": Const(1, 1),
            f"i_RST{side}": Const(0, 1),
            f"i_WE{side}": write if side == "A" else Const(0, 1),
            f"p_DATA_WIDTH_{side}": width,
            f"p_REGMODE_{side}": "OUTREG",
            f"p_WRITEMODE_{side}": "NORMAL",
            f"p_CSDECODE_{side}": "0b000",
            f"p_CLK{side}MUX": f"CLK{side}",
        }
    submodules[name] = Instance(
        "DP16KD",
        p_RESETMODE="SYNC",
        p_ASYNC_RESET_RELEASE="SYNC",
        p_GSR="DISABLED",
        **_initial_values(bank, init),
        **arguments,
    )
    return outputs


def resized(value: Value, bits: int) -> Value:
    """The low bits of a value, with zeros above."""
    return Cat(value, Const(0, bits))[:bits]


@cache
def _lane_places() -> list[tuple[int, int]]:
    """(INITVAL, bit in it) of each lane of a block."""
    return [
        (n // INITVAL_LANES, n % INITVAL_LANES // 2 * 20 + n % 2 * LANE_BITS)
        for n in range(BLOCK_LANES)
    ]


def _initial_values(bank: Bank, words: Iterable[Sequence[int]]) -> dict[str, Const]:
    """The parameters INITVAL_00..3F, without those that are 0, which is the default."""
    places = _lane_places()
    values = [0] * (BLOCK_LANES // INITVAL_LANES)
    for address, lanes in enumerate(words):
        for lane, value in enumerate(lanes, address * bank.lanes):
            n, bit = places[lane]
            values[n] |= value << bit
    return {f"p_INITVAL_{n:02X}": Const(v, INITVAL_BITS) for n, v in enumerate(values) if v}

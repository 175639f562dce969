"""Memories whose every read passes the RAM's own output register.

They are expressions for any tool, and block RAMs placed by hand on the ECP5: there a read without
that register takes 5.8 ns, and synthesis never infers it (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal, Value, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.ecp5_ram import (
    LANE_BITS,
    Bank,
    Lane,
    add_block,
    count_blocks,
    disabled_blocks,
    num_copies,
    plan_banks,
    resized,
    word_lanes,
)
from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import Technology, technology_of
from mmfree.errors import InputError

MAX_PART_BITS = 18
"""Bits of a word that a block RAM of the ECP5 writes under one enable on either of two ports."""

BLOCK_REACH = 16
"""Block RAMs that one copy of an address drives."""

CONTENTS = "mmfree_contents"
"""Attribute of a memory that begins with the words it was given, whatever they are."""


class ReadPort(wiring.Signature):
    """A read of a memory of ``depth`` words, seen from the reader.

    Members::

        address  out  range(depth)  of the word; should come from a register
        enable   out  1             read it: without, data is anything; 1 unless it is connected
        data     in   shape         the word, the memory's latency after address
    """

    def __init__(self, depth: int, shape: ShapeLike) -> None:
        super().__init__(
            {
                "address": Out(range(max(2, depth))),
                "enable": Out(1, init=1),
                "data": In(shape),
            }
        )


class PartWrite(wiring.Signature):
    """A write of some parts of a word, seen from the writer.

    Members::

        enable   out  parts         flags: which parts are written
        address  out  range(depth)  of the word
        data     out  bits          of the word; only those of the enabled parts count
    """

    def __init__(self, depth: int, parts: int, bits: int) -> None:
        super().__init__(
            {"enable": Out(parts), "address": Out(range(max(2, depth))), "data": Out(bits)}
        )


class BlockMemory(wiring.Component):
    """``depth`` words of ``parts`` parts of ``part_bits`` bits; each part has a write enable.

    Ports::

        write  in  PartWrite         for reads from the next cycle on
        read   in  reads x ReadPort  data ``latency`` cycles after address

    The latency is 2 (the RAM's access, and its own output register), or 5 with
    ``fabric_registers``, for RAMs all over a chip: one on the way to them, of writes too, and on
    the way from them one before and one after the multiplexer between banks. One read per port and
    cycle, without back-pressure. In cycles without ``enable`` nothing is read, the RAMs are
    disabled, and ``data`` is anything. On the ECP5 a RAM is also disabled while another bank is
    read. Nothing is reset. Addresses are below ``depth``.

    With one read port, a word may be written while another is read; reading the word that is being
    written gives anything. With several read ports, or ``fabric_registers``, reads in a cycle with
    a write give anything on all of them (on the ECP5, even ones share their address with the
    writes): for a host that writes while nothing is read.

    ``contents``: the words, for simulation: ``init``, then zeros; without ``init`` hardware begins
    with anything. Elsewhere than on the ECP5, and
    there for up to DISTRIBUTED_DEPTH words, the body is one memory ``name``.

    Raises
    ------
    InputError
        If a part is empty or wider than MAX_PART_BITS; if there is no part, word, or read port; if
        ``init`` is longer than ``depth``; if there are several read ports with
        ``fabric_registers``.
    """

    def __init__(
        self,
        name: str,
        *,
        part_bits: int,
        parts: int,
        depth: int,
        reads: int = 1,
        init: Sequence[int] = (),
        fabric_registers: bool = False,
    ) -> None:
        if not 1 <= part_bits <= MAX_PART_BITS:
            raise InputError(
                f"memory {name}: part_bits must be 1 to {MAX_PART_BITS}, not {part_bits}"
            )
        if min(parts, depth, reads) < 1:
            raise InputError(
                f"memory {name}: parts, depth and reads must be 1 or more, not {parts}, {depth} and"
                f" {reads}"
            )
        if len(init) > depth:
            raise InputError(
                f"memory {name}: {len(init)} initial words exceed its depth of {depth}"
            )
        if fabric_registers and reads > 1:
            raise InputError(
                f"memory {name}: with fabric registers it has one read port, not {reads}"
            )
        self.name = name
        self.memories = (self,)
        self._part_bits, self._parts, self._depth, self._reads = part_bits, parts, depth, reads
        self._fabric_registers, self._given = fabric_registers, len(init) > 0
        self.latency = 2 + 3 * fabric_registers
        bits = parts * part_bits
        self.contents = memory.MemoryData(shape=unsigned(bits), depth=max(2, depth), init=init)
        super().__init__(
            {
                "write": In(PartWrite(depth, parts, bits)),
                "read": In(ReadPort(depth, bits)).array(reads),
            }
        )

    def blocks(self) -> int:
        """Block RAMs of the ECP5 body; 0: the memory is kept in LUTs."""
        return count_blocks(self._depth, self._part_bits, self._parts, self._reads)

    def disabled_blocks(self) -> float:
        """How many of these stay disabled during a read, on average."""
        return disabled_blocks(self._depth, self._part_bits, self._parts, self._reads)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        on_ecp5 = technology_of(platform) is Technology.ECP5
        banks = (
            plan_banks(self._depth, self._part_bits, self._parts, self._reads) if on_ecp5 else ()
        )
        words = self._banked_words(m, banks) if banks else self._plain_words(m, distributed=on_ecp5)
        for port, word in zip(self.read, words, strict=True):
            m.d.comb += port.data.eq(delay(m, word, int(self._fabric_registers)))
        return m

    def _plain_words(self, m: Module, *, distributed: bool) -> list[Value]:
        """What each port reads from one memory, before the last register."""
        attributes: dict[str, int | str] = {CONTENTS: 1} if self._given else {}
        if distributed:
            attributes["ram_style"] = "distributed"
        words = memory.Memory(self.contents, attrs=attributes)
        setattr(m.submodules, self.name, words)
        write, way_in = words.write_port(granularity=self._part_bits), int(self._fabric_registers)
        m.d.comb += [
            write.addr.eq(delay(m, self.write.address, way_in)),
            write.data.eq(delay(m, self.write.data, way_in)),
            write.en.eq(delay(m, self.write.enable, way_in, reset=True)),
        ]
        read_words = []
        for port in self.read:
            read = words.read_port()
            m.d.comb += [
                read.addr.eq(delay(m, port.address, way_in)),
                read.en.eq(delay(m, port.enable, way_in)),
            ]
            read_words.append(delay(m, read.data, 1 + self._fabric_registers))
        return read_words

    def _banked_words(self, m: Module, banks: tuple[Bank, ...]) -> list[Value]:
        """What each port reads from block RAMs of the ECP5, before the last register."""
        addresses = [port.address for port in self.read]
        enables = [port.enable for port in self.read]
        write, any_written = self.write, self.write.enable.any()
        if self._fabric_registers:
            # A few copies of one address reach all blocks, for writes and reads, and copies of
            # whether a bank is read: one register for all would be too slow (docs/log.md).
            shared = Mux(any_written, write.address, addresses[0])
            reached = copies(
                m, Technology.ECP5, shared, _num_reached(sum(bank.blocks for bank in banks))
            )
            banked = []
            for k, bank in enumerate(banks):
                read = copies(
                    m,
                    Technology.ECP5,
                    enables[0] & bank.holds(addresses[0]),
                    _num_reached(bank.blocks),
                )
                never = [Const(0)]
                _, word = self._bank(m, f"bank_{k}", bank, reached, reached, never, read, way_in=1)
                banked.append(word)
            return [self._select(m, banks, addresses[0], banked)]
        if self._reads == 1:
            banked = [
                self._bank(
                    m,
                    f"bank_{k}",
                    bank,
                    [write.address],
                    [addresses[0]],
                    [Const(0)],
                    [enables[0] & bank.holds(addresses[0])],
                )[1]
                for k, bank in enumerate(banks)
            ]
            return [self._select(m, banks, addresses[0], banked)]
        read_words: list[Value] = []
        for copy in range(num_copies(self._reads)):
            served, reads = (
                served_by[2 * copy : 2 * copy + 2] for served_by in (addresses, enables)
            )
            address_a = Signal.like(self.write.address, name=f"address_a_{copy}")
            m.d.comb += address_a.eq(Mux(any_written, write.address, served[0]))
            address_b, read_b = (served[1], reads[1]) if len(served) == 2 else (Const(0), Const(0))
            both = [
                self._bank(
                    m,
                    f"copy_{copy}_bank_{k}",
                    bank,
                    [address_a],
                    [address_b],
                    [reads[0] & bank.holds(served[0])],
                    [read_b & bank.holds(address_b)],
                )
                for k, bank in enumerate(banks)
            ]
            for side, address in enumerate(served):
                read_words.append(self._select(m, banks, address, [words[side] for words in both]))
        return read_words

    def _bank(
        self,
        m: Module,
        name: str,
        bank: Bank,
        addresses_a: Sequence[Value],
        addresses_b: Sequence[Value],
        reads_a: Sequence[Value],
        reads_b: Sequence[Value],
        way_in: int = 0,
    ) -> tuple[Value, Value]:
        """The words that a bank reads on sides A and B, 2 cycles after addresses and enables.

        Addresses and enables (``reads_a``, ``reads_b``) may come in several copies, each for a part
        of the blocks. Side A writes, ``way_in`` cycles after ``write``.
        """
        here = bank.holds(self.write.address)
        all_lanes = word_lanes(self._part_bits, self._parts)
        words: tuple[list[Value], list[Value]] = ([], [])
        for b in range(bank.blocks):
            lanes = all_lanes[b * bank.lanes : (b + 1) * bank.lanes]
            enables = Cat(self.write.enable[lane.part] for lane in lanes)
            data = Cat(
                resized(self.write.data[lane.start :][: lane.bits], LANE_BITS) for lane in lanes
            )
            address_a, address_b, read_a, read_b = (
                side[b * len(side) // bank.blocks]
                for side in (addresses_a, addresses_b, reads_a, reads_b)
            )
            written = delay(m, here & enables.any(), way_in)
            outputs = add_block(
                m.submodules,
                f"{name}_block_{b}",
                bank,
                address_a=address_a,
                address_b=address_b,
                enable_a=read_a | written,
                enable_b=read_b,
                write=written,
                enables=delay(m, enables, way_in),
                data=delay(m, data, way_in),
                init=self._initial(bank, lanes),
            )
            # Words of 4 lanes take the data pins of both sides, and are read on side B.
            if bank.lanes == 4:
                outputs = (Const(0, 0), Cat(outputs))
            for word, output in zip(words, outputs, strict=True):
                word += [output[n * LANE_BITS :][: lane.bits] for n, lane in enumerate(lanes)]
        return Cat(words[0]), Cat(words[1])

    def _initial(self, bank: Bank, lanes: list[Lane]) -> list[list[int]]:
        """The given lanes of each of a bank's words."""
        words = [int(word) for word in self.contents.init][bank.start :][: bank.depth]
        return [[word >> lane.start & ((1 << lane.bits) - 1) for lane in lanes] for word in words]

    def _select(
        self, m: Module, banks: tuple[Bank, ...], address: Value, words: list[Value]
    ) -> Value:
        """The word of the bank that holds an address, in the cycle in which the banks give it."""
        words = [delay(m, word, int(self._fabric_registers)) for word in words]
        bank_index = Signal(range(len(banks)))
        for k, bank in enumerate(banks[1:], 1):
            with m.If(bank.holds(address)):
                m.d.comb += bank_index.eq(k)
        return _multiplexer(delay(m, bank_index, 2 + 2 * self._fabric_registers), words)


def next_word(m: Module, step: Value, restart: Value, *, words: int) -> Signal:
    """Address of a memory of ``words`` that is read in order: 0 after ``restart``, then one more
    after each ``step``.
    """
    address = Signal(range(max(2, words)))
    with m.If(restart):
        m.d.sync += address.eq(0)
    with m.Elif(step):
        m.d.sync += address.eq(address + 1)
    return address


@runtime_checkable
class MemoryHolder(Protocol):
    """A block that holds block memories: its own, and those of the blocks in it."""

    memories: tuple[BlockMemory, ...]


def _num_reached(blocks: int) -> int:
    """Copies that reach a number of blocks."""
    return -(-blocks // BLOCK_REACH)


def _multiplexer(index: Value, words: list[Value]) -> Value:
    """words[index], as a tree of 2:1 multiplexers."""
    if len(words) == 1:
        return words[0]
    level = (len(words) - 1).bit_length() - 1
    low, high = words[: 1 << level], words[1 << level :]
    return Mux(index[level], _multiplexer(index, high), _multiplexer(index, low))

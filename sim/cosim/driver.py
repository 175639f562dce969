"""The driver of a co-simulation: everything that a host can do to the chip, through its ports."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from amaranth.lib.wiring import In
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, First, RisingEdge, Timer
from numpy.typing import NDArray

from hdl.control.counters import SETTLE_CYCLES
from hdl.link.host_ports import HostPorts, accesses
from hdl.link.limits import largest_value, pack, pack_array
from hdl.link.register_map import reached_ports
from hdl.memory.load_port import SETTLE_CYCLES as SETTLE_LOAD_CYCLES
from hdl.memory.sources.watchdog import TIMEOUT_CYCLES
from hdl.payloads import (
    COUNTERS_LAYOUT,
    REGISTERS,
    fault_layout,
    request_layout,
    result_layout,
    values_layout,
)
from mmfree.chip.exchange import COUNTERS
from mmfree.chip.external_memory import ADDRESS_BITS, PAGE_BYTES
from mmfree.chip.image import Image
from mmfree.chip.memory_image import MemoryImage
from mmfree.chip.memory_map import LOADED_MEMORIES, fault_memories, loaded_shape
from mmfree.chip.registers import check_value
from mmfree.errors import InputError
from mmfree.golden.sampling import seed_registers
from mmfree.host.interface import Chip, Fault, LoadRefusedError, Request, Result, check_image
from sim.cosim.run_folder import Run
from sim.memory.model import COUNTERS as PORT_COUNTERS
from sim.memory.model import INPUTS, PortCounters

CLOCK_NS = 10


class Driver:
    """The simulated chip as its host sees it (``mmfree.host.interface.Chip``).

    Drives at falling edges, so that every rising edge sees stable inputs. Every method ends at a
    falling edge.
    """

    def __init__(self, dut: Any, run: Run) -> None:
        design, ports = run.design, HostPorts(run.design)
        self._dut, self._design, self._run = dut, design, run
        self._random = random.Random(run.seed)
        # A token takes about a cycle for each word of weights and some for each segment. Paused
        # weights make it slower, but not a hundred times: after that the chip hangs.
        self._patience = 100 * (design.weight_words + 100 * design.header_words)
        if design.external is not None:
            # A row that is never answered, then a word, are given up.
            self._patience += 3 * TIMEOUT_CYCLES
        self._inputs = [
            "__".join(str(name) for name in path)
            for path, member in ports.members.flatten()
            if member.is_port and member.flow == In
        ]
        self._largest = {
            port.name: largest_value(port.shape) for port in reached_ports(ports, accesses(design))
        }
        self._depths = {
            "state": design.kept_words,
            "logits": design.max_blocks * design.groups_per_block,
        }
        self._request, self._result = request_layout(design), result_layout(design)
        self._fault, self._values = fault_layout(design), values_layout(design, design.post_width)

    async def reset(self) -> None:
        """Start the clocks, and hold reset for two cycles."""
        dut = self._dut
        for name in (*self._inputs, "pause"):
            getattr(dut, name).value = 0
        dut.rst.value = 1
        Clock(dut.clk, CLOCK_NS, unit="ns").start()
        if self._design.external is not None:
            await self._reset_memory()
        for _ in range(2):
            await FallingEdge(dut.clk)
        dut.rst.value = 0

    async def _reset_memory(self) -> None:
        """Let the memory behave as the run asks for, and reset it."""
        dut, behaviour = self._dut, self._run.memory
        pins = dict.fromkeys(INPUTS, 0) | behaviour.pins()
        for name, value in pins.items():
            getattr(dut, name).value = value
        if behaviour.bus_ns is not None:
            Clock(dut.bus_clk, behaviour.bus_ns, unit="ns").start()
        await self.reset_bus()

    async def reset_bus(self) -> None:
        """Hold the memory, and the chip's side of its bus, in reset for two cycles of its clock."""
        dut = self._dut
        clock = dut.clk if self._run.memory.bus_ns is None else dut.bus_clk
        dut.bus_rst.value = 1
        for _ in range(2):
            await FallingEdge(clock)
        dut.bus_rst.value = 0
        # The chip sees it some cycles later: a token must not begin before.
        await self.idle(8)

    async def idle(self, cycles: float) -> None:
        """Let so many cycles pass, rounded up."""
        await Timer(math.ceil(cycles) * CLOCK_NS, unit="ns")
        await FallingEdge(self._dut.clk)

    async def send(self, request: Request) -> None:
        """Send a request to an idle chip; ends at the falling edge after its acceptance."""
        dut, run = self._dut, self._run
        fields = {
            "token": {"id": request.token, "begin": request.begin},
            "temperature": request.temperature,
            "limit": request.limit,
            "stop": request.stop or 0,
            "stops": request.stop is not None,
        }
        payload = pack(self._request, "request", fields)
        await FallingEdge(dut.clk)
        while self._random.random() < run.traffic.idle:
            await FallingEdge(dut.clk)
        dut.request__payload.value = payload
        dut.request__valid.value = 1
        # After a write through the load port the chip takes no request until the word is stored.
        for _ in range(SETTLE_LOAD_CYCLES + 2):
            if int(dut.request__ready.value):
                break
            await FallingEdge(dut.clk)
        assert int(dut.request__ready.value), "the chip is not ready for a request"
        await FallingEdge(dut.clk)
        dut.request__valid.value = 0

    async def wait(self) -> Result | Fault:
        """The next answer; it stays there until it is taken."""
        dut, pause = self._dut, self._run.traffic.pause
        if pause:
            for _ in range(self._patience):
                if self._answered():
                    break
                dut.pause.value = int(self._random.random() < pause)
                await FallingEdge(dut.clk)
            dut.pause.value = 0
        elif not self._answered():
            patience = Timer(self._patience * CLOCK_NS, unit="ns")
            await First(RisingEdge(dut.result__valid), RisingEdge(dut.fault__valid), patience)
            await FallingEdge(dut.clk)
        assert self._answered(), f"the chip gave no answer within {self._patience:,} cycles"
        if int(dut.fault__valid.value):
            fault = self._fault.from_bits(int(dut.fault__payload.value))
            return Fault(fault_memories(self._design)[fault.memory], fault.segment)
        result = self._result.from_bits(int(dut.result__payload.value))
        return Result(result.row, bool(result.last))

    def _answered(self) -> bool:
        return bool(int(self._dut.result__valid.value) or int(self._dut.fault__valid.value))

    async def take(self) -> None:
        """Take the result or fault that waits."""
        dut = self._dut
        payload = int(dut.result__payload.value)
        while self._random.random() < self._run.traffic.back_pressure:
            await FallingEdge(dut.clk)
            assert self._answered()
            assert int(dut.result__payload.value) == payload
        dut.result__ready.value = dut.fault__ready.value = 1
        await FallingEdge(dut.clk)
        dut.result__ready.value = dut.fault__ready.value = 0

    async def play(self, request: Request) -> Result | Fault:
        """Play a request that ends with its first answer, and take that."""
        await self.send(request)
        answer = await self.wait()
        await self.take()
        return answer

    async def cancel(self) -> None:
        """End the request in progress: the token in progress is its last, or the next one.

        The next, if a result waits to be taken: that is as it was offered.
        """
        dut = self._dut
        dut.cancel.value = 1
        await FallingEdge(dut.clk)
        dut.cancel.value = 0

    async def seed(self, seed: int) -> None:
        """Seed the noise of the choices, 0..2^64-1; while a token is played it has no effect."""
        dut = self._dut
        a, b = seed_registers(seed)
        registers = pack(REGISTERS, "seed.registers", {"a": a, "b": b})
        await FallingEdge(dut.clk)
        dut.seed__registers.value = registers
        dut.seed__enable.value = 1
        await FallingEdge(dut.clk)
        dut.seed__enable.value = 0

    async def load_image(self, image: Image) -> None:
        """Make the chip play another tape.

        Raises
        ------
        InputError
            If the image was laid out for another design.
        LoadRefusedError
            If the chip refuses it: a token is being played.
        """
        check_image(image, self._design)
        await self.load(image.writes())

    async def load(self, writes: Iterable[tuple[int, int, int, int]]) -> None:
        """Write parts of words: (number of the memory, word, part, data), as ``Image.writes``.

        Raises
        ------
        LoadRefusedError
            If the chip refuses a write: a token is being played, or there is no such word or part,
            or it has fewer bits.
        """
        dut, writes = self._dut, list(writes)
        for write in writes:
            for name, value in zip(("memory", "word", "part", "data"), write, strict=True):
                check_value(f"load.{name}", value, self._largest[f"load.{name}"])
        await FallingEdge(dut.clk)
        before: tuple[int, int] | None = None
        try:
            for memory, word, part, value in writes:
                dut.load__enable.value = 1
                dut.load__memory.value = memory
                dut.load__word.value = word
                dut.load__part.value = part
                dut.load__data.value = value
                await FallingEdge(dut.clk)
                # Two cycles after a write it is known whether it was refused.
                await self._check_accepted(before)
                before = (memory, word)
        finally:
            dut.load__enable.value = 0
        await FallingEdge(dut.clk)
        await self._check_accepted(before)

    async def place_image(self, image: MemoryImage, base: int) -> None:
        """Tell the chip that an image's file is in its external memory, from ``base`` on.

        Raises
        ------
        InputError
            If no image can be there: ``base`` is no multiple of PAGE_BYTES, or too high.
        LoadRefusedError
            If a token is being played.
        """
        if base < 0 or base % PAGE_BYTES or base + image.file_bytes > 1 << ADDRESS_BITS:
            raise InputError(
                f"an image of {image.file_bytes:,} bytes must be at a multiple of {PAGE_BYTES} in a"
                f" memory of 2^{ADDRESS_BITS} bytes, got {base:#x}"
            )
        if await self.playing():
            raise LoadRefusedError("the chip takes no other image: a token is being played")
        dut = self._dut
        values = [*(base + region.offset for region in image.regions), image.words]
        await FallingEdge(dut.clk)
        for index, value in enumerate(values):
            dut.memory__index.value = index
            dut.memory__value.value = value
            dut.memory__enable.value = 1
            await FallingEdge(dut.clk)
        dut.memory__enable.value = 0

    async def port_counters(self) -> list[PortCounters]:
        """What the external memory's ports have counted: the weights' in order, then the rows'."""
        dut, counters = self._dut, []
        assert self._design.external is not None
        for port in range(self._design.external.ports + 1):
            dut.memory_port.value = port
            await FallingEdge(dut.clk)
            counted = (int(getattr(dut, f"memory_{name}").value) for name in PORT_COUNTERS)
            counters.append(PortCounters(*counted))
        return counters

    async def _check_accepted(self, write: tuple[int, int] | None) -> None:
        if write is None or not int(self._dut.load__refused.value):
            return
        memory, word = write
        name = LOADED_MEMORIES[memory]
        shape = loaded_shape(self._design, name)
        why = f"it has {shape.depth} words of {shape.parts} parts of {shape.part_bits} bits"
        if await self.playing():
            why = "a token is being played"
        raise LoadRefusedError(f"the chip refused to write word {word} of {name}: {why}")

    async def read_state(self, words: int) -> NDArray[np.int32]:
        """The first ``words`` words of the state after the last token, int32 [words * P]."""
        check_value("words of the state", words, self._words("state"))
        return await self._read(self._dut.state__address, self._dut.state__data, words)

    async def read_logits(self, words: int) -> NDArray[np.int32]:
        """The first ``words`` words of the last token's logits, int32 [words * P].

        Raises
        ------
        InputError
            Also if the design stores none.
        """
        if not self._design.stores_logits:
            raise InputError("the design of this chip does not store logits: its taps show them")
        check_value("words of the logits", words, self._words("logits"))
        return await self._read(self._dut.logits__address, self._dut.logits__data, words)

    async def _read(self, address: Any, output: Any, words: int) -> NDArray[np.int32]:
        """``words`` words of P values through a read port (handles of cocotb), [words * P]."""
        values: list[int] = []
        # A word comes two cycles after its address.
        for word in range(words + 1 if words else 0):
            address.value = min(word, words - 1)
            await FallingEdge(self._dut.clk)
            if word:
                read = self._values.from_bits(int(output.value))
                values += [read[place] for place in range(self._design.post_width)]
        return np.array(values, dtype=np.int32)

    async def write_state(self, words: NDArray[np.int32]) -> None:
        """Overwrite the first words of the current bank of the state, int32 [words, P]."""
        width = self._design.post_width
        if words.ndim != 2 or words.shape[1] != width or len(words) > self._words("state"):
            raise InputError(
                f"the state must be at most {self._words('state')} words of {width} values, got"
                f" {words.shape}"
            )
        packed = [pack_array(self._values, "state.write", word.tolist()) for word in words]
        dut = self._dut
        for address, word in enumerate(packed):
            dut.state__address.value = address
            dut.state__write.value = word
            dut.state__enable.value = 1
            await FallingEdge(dut.clk)
        dut.state__enable.value = 0

    def _words(self, name: str) -> int:
        """Words that a port addresses."""
        return self._depths[name]

    async def counters(self) -> dict[str, int]:
        """The counters of the last token, as soon as they hold all of it."""
        for _ in range(SETTLE_CYCLES):
            await FallingEdge(self._dut.clk)
        return self.counters_now()

    def counters_now(self) -> dict[str, int]:
        """The counters as they are; while a token is played they lag it by SETTLE_CYCLES."""
        values = COUNTERS_LAYOUT.from_bits(int(self._dut.counters.value))
        return {name: values[name] for name in COUNTERS}

    async def playing(self) -> bool:
        """Whether a token is in progress."""
        return bool(int(self._dut.playing.value))

    async def segment(self) -> int:
        """Entry of the segment table in progress; 0: the embedding."""
        return int(self._dut.segment.value)


if TYPE_CHECKING:
    # mypy compares every method with the interface's.
    _: type[Chip] = Driver

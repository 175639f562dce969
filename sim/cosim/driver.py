"""The driver of a co-simulation: everything that a host can do to the chip, through its ports."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, First, RisingEdge, Timer
from numpy.typing import NDArray

from hdl.control.counters import COUNTER_BITS, COUNTERS, SETTLE_CYCLES
from hdl.interface import LIMIT_BITS, TEMPERATURE_BITS
from hdl.memory.load_port import SETTLE_CYCLES as SETTLE_LOAD_CYCLES
from mmfree.chip.design import LOADED_MEMORIES, Design
from mmfree.chip.image import Image
from mmfree.golden.sampling import seed_registers
from sim.cosim.run_folder import Run

CLOCK_NS = 10
_INPUTS = (
    *("request__valid", "request__payload", "result__ready", "fault__ready", "abort", "pause"),
    *("state_enable", "state_address", "state_write", "logits_address", "seed", "seed_enable"),
    *("load_enable", "load_memory", "load_word", "load_part", "load_data"),
)


def _bits(count: int) -> int:
    """Bits of a number below ``count``."""
    return (max(2, count) - 1).bit_length()


class LoadRefusedError(RuntimeError):
    """The chip refused a write through its load port; nothing was changed by it."""


@dataclass(frozen=True)
class Fault:
    """A check that failed: in a memory, while this entry of the segment table was in progress."""

    memory: str
    segment: int


class Driver:
    """Sends requests, takes results, and reads the chip's state, logits and counters.

    Drives at falling edges, so that every rising edge sees steady inputs.
    """

    def __init__(self, dut: Any, design: Design, run: Run) -> None:
        self._dut, self._design, self._run = dut, design, run
        self._random = random.Random(run.seed)
        # A slow source and a full queue do not cost a hundredth of the speed.
        self._patience = 100 * (design.weight_words + 100 * design.header_words)
        self._id_bits = _bits(design.embedding_rows)
        self._row_bits = _bits(design.max_blocks * design.rows)

    async def reset(self) -> None:
        """Start the clock, and hold reset for two cycles."""
        dut = self._dut
        for name in _INPUTS:
            getattr(dut, name).value = 0
        dut.rst.value = 1
        Clock(dut.clk, CLOCK_NS, unit="ns").start()
        for _ in range(2):
            await FallingEdge(dut.clk)
        dut.rst.value = 0

    async def send(
        self,
        token: int,
        begin: bool,
        *,
        temperature: int = 0,
        limit: int = 1,
        stop: int | None = None,
    ) -> None:
        """Send a request to an idle chip. Ends at the falling edge behind its acceptance."""
        dut, run = self._dut, self._run
        await FallingEdge(dut.clk)
        while self._random.random() < run.idle:
            await FallingEdge(dut.clk)
        fields = [(token, self._id_bits), (int(begin), 1), (temperature, TEMPERATURE_BITS)]
        fields += [(limit, LIMIT_BITS), (stop or 0, self._row_bits), (int(stop is not None), 1)]
        payload, offset = 0, 0
        for value, bits in fields:
            payload |= value << offset
            offset += bits
        dut.request__payload.value = payload
        dut.request__valid.value = 1
        for _ in range(SETTLE_LOAD_CYCLES + 2):  # after a write through the load port
            if int(dut.request__ready.value):
                break
            await FallingEdge(dut.clk)
        assert int(dut.request__ready.value), "the chip is not ready for a request"
        await FallingEdge(dut.clk)
        dut.request__valid.value = 0

    async def wait(self) -> tuple[int, bool] | Fault:
        """The next result, (row, last), or the fault that comes instead; both wait to be taken."""
        dut, run = self._dut, self._run
        if run.pause:
            for _ in range(self._patience):
                if self._answered():
                    break
                dut.pause.value = int(self._random.random() < run.pause)
                await FallingEdge(dut.clk)
            dut.pause.value = 0
        elif not self._answered():
            patience = Timer(self._patience * CLOCK_NS, unit="ns")
            await First(RisingEdge(dut.result__valid), RisingEdge(dut.fault__valid), patience)
            await FallingEdge(dut.clk)
        assert self._answered(), f"the chip gave no answer within {self._patience:,} cycles"
        if int(dut.fault__valid.value):
            payload = int(dut.fault__payload.value)
            memory_bits = _bits(len(LOADED_MEMORIES))
            return Fault(
                LOADED_MEMORIES[payload & ((1 << memory_bits) - 1)], payload >> memory_bits
            )
        payload = int(dut.result__payload.value)
        return payload & ((1 << self._row_bits) - 1), bool(payload >> self._row_bits)

    def _answered(self) -> bool:
        return bool(int(self._dut.result__valid.value) or int(self._dut.fault__valid.value))

    async def take(self) -> None:
        """Take the result or fault that waits."""
        dut = self._dut
        payload = int(dut.result__payload.value)
        while self._random.random() < self._run.back_pressure:
            await FallingEdge(dut.clk)
            assert self._answered()
            assert int(dut.result__payload.value) == payload
        dut.result__ready.value = dut.fault__ready.value = 1
        await FallingEdge(dut.clk)
        dut.result__ready.value = dut.fault__ready.value = 0

    async def play(self, token: int, begin: bool) -> tuple[int, bool] | Fault:
        """Play one token, and take what comes."""
        await self.send(token, begin)
        answer = await self.wait()
        await self.take()
        return answer

    async def seed(self, seed: int) -> None:
        """Set the registers of the noise."""
        dut = self._dut
        a, b = seed_registers(seed)
        await FallingEdge(dut.clk)
        dut.seed.value = a | b << 64
        dut.seed_enable.value = 1
        await FallingEdge(dut.clk)
        dut.seed_enable.value = 0

    async def load_image(self, image: Image) -> None:
        """Make the chip play another tape.

        Raises
        ------
        LoadRefusedError
            If the image was laid out for another design (nothing is sent), or the chip refuses it.
        """
        mine, other = self._design.to_dict(), image.design.to_dict()
        if differing := [name for name in mine if mine[name] != other[name]]:
            name = differing[0]
            raise LoadRefusedError(
                f"the image was laid out for another design: {name} of {other[name]}, but the chip"
                f" has {mine[name]}"
            )
        await self.load(image.writes())

    async def load(self, writes: Iterable[tuple[int, int, int, int]]) -> None:
        """Write through the load port: (memory, word, part, data).

        Raises
        ------
        LoadRefusedError
            If the chip refuses a write: a token is being played, or there is no such word.
        """
        dut = self._dut
        await FallingEdge(dut.clk)
        before: tuple[int, int] | None = None
        try:
            for memory, word, part, value in writes:
                dut.load_enable.value = 1
                dut.load_memory.value = memory
                dut.load_word.value = word
                dut.load_part.value = part
                dut.load_data.value = value
                await FallingEdge(dut.clk)
                # Two cycles after a write it is known whether it was refused.
                self._check_accepted(before)
                before = (memory, word)
        finally:
            dut.load_enable.value = 0
        await FallingEdge(dut.clk)
        self._check_accepted(before)

    def _check_accepted(self, write: tuple[int, int] | None) -> None:
        if write is not None and int(self._dut.load_refused.value):
            memory, word = write
            why = "a token is being played" if int(self._dut.playing.value) else "it does not exist"
            raise LoadRefusedError(
                f"the chip refused to write word {word} of {LOADED_MEMORIES[memory]}: {why}"
            )

    async def read_words(self, address: Any, output: Any, count: int) -> NDArray[np.int16]:
        """``count`` words of P values through a read port, as int16 [count * P]."""
        width = self._design.post_width
        data = bytearray()
        # A word comes two cycles after its address.
        for word in range(count + 1):
            address.value = min(word, count - 1)
            await FallingEdge(self._dut.clk)
            if word:
                data += int(output.value).to_bytes(2 * width, "little")
        return np.frombuffer(bytes(data), dtype="<i2")

    async def write_state(self, words: NDArray[np.int16]) -> None:
        """Overwrite the current bank: int16 [count, P]."""
        dut = self._dut
        for address, word in enumerate(words):
            dut.state_address.value = address
            dut.state_write.value = int.from_bytes(word.astype("<i2").tobytes(), "little")
            dut.state_enable.value = 1
            await FallingEdge(dut.clk)
        dut.state_enable.value = 0

    async def settle(self) -> None:
        """Wait until the counters hold all of a token that has ended."""
        for _ in range(SETTLE_CYCLES):
            await FallingEdge(self._dut.clk)

    def counters(self) -> dict[str, int]:
        """The counters of the last token."""
        value = int(self._dut.counters.value)
        mask = (1 << COUNTER_BITS) - 1
        return {name: value >> (COUNTER_BITS * i) & mask for i, name in enumerate(COUNTERS)}

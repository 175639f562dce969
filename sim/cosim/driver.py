"""The driver of a co-simulation: everything that a host can do to the chip, through its ports."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, First, RisingEdge, Timer
from numpy.typing import NDArray

from hdl.control.counters import SETTLE_CYCLES
from hdl.interface import (
    COUNTERS,
    COUNTERS_LAYOUT,
    REGISTERS,
    fault_layout,
    request_layout,
    result_layout,
)
from hdl.memory.load_port import SETTLE_CYCLES as SETTLE_LOAD_CYCLES
from mmfree.chip.image import Image
from mmfree.chip.memory_map import LOADED_MEMORIES
from mmfree.golden.sampling import seed_registers
from mmfree.host.interface import Chip, Fault, LoadRefusedError, Request, Result
from sim.cosim.run_folder import Run

CLOCK_NS = 10
_INPUTS = (
    *("request__valid", "request__payload", "result__ready", "fault__ready", "cancel", "pause"),
    *(
        "state__enable",
        "state__address",
        "state__write",
        "logits__address",
        "seed__registers",
        "seed__enable",
    ),
    *("load__enable", "load__memory", "load__word", "load__part", "load__data"),
)


class Driver:
    """The simulated chip as its host sees it (``mmfree.host.interface.Chip``).

    Drives at falling edges, so that every rising edge sees stable inputs. Every method ends at a
    falling edge.
    """

    def __init__(self, dut: Any, run: Run) -> None:
        design = run.design
        self._dut, self._design, self._run = dut, design, run
        self._random = random.Random(run.seed)
        # A token takes about a cycle for each word of weights and some for each segment. Paused
        # weights make it slower, but not a hundred times: after that the chip hangs.
        self._patience = 100 * (design.weight_words + 100 * design.header_words)
        self._request, self._result = request_layout(design), result_layout(design)
        self._fault = fault_layout(design)

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

    async def send(self, request: Request) -> None:
        """Send a request to an idle chip; ends at the falling edge after its acceptance."""
        dut, run = self._dut, self._run
        await FallingEdge(dut.clk)
        while self._random.random() < run.traffic.idle:
            await FallingEdge(dut.clk)
        payload = self._request.const(
            {
                "token": {"id": request.token, "begin": request.begin},
                "temperature": request.temperature,
                "limit": request.limit,
                "stop": request.stop or 0,
                "stops": request.stop is not None,
            }
        )
        dut.request__payload.value = payload.as_bits()
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
            return Fault(LOADED_MEMORIES[fault.memory], fault.segment)
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
        """End the request in progress with the token in progress, whose result is the last."""
        dut = self._dut
        dut.cancel.value = 1
        await FallingEdge(dut.clk)
        dut.cancel.value = 0

    async def seed(self, seed: int) -> None:
        """Seed the noise of the choices, 0..2^64-1; while a token is played it has no effect."""
        dut = self._dut
        a, b = seed_registers(seed)
        await FallingEdge(dut.clk)
        dut.seed__registers.value = REGISTERS.const({"a": a, "b": b}).as_bits()
        dut.seed__enable.value = 1
        await FallingEdge(dut.clk)
        dut.seed__enable.value = 0

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
        """Write parts of words: (number of the memory, word, part, data), as ``Image.writes``.

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
                dut.load__enable.value = 1
                dut.load__memory.value = memory
                dut.load__word.value = word
                dut.load__part.value = part
                dut.load__data.value = value
                await FallingEdge(dut.clk)
                # Two cycles after a write it is known whether it was refused.
                self._check_accepted(before)
                before = (memory, word)
        finally:
            dut.load__enable.value = 0
        await FallingEdge(dut.clk)
        self._check_accepted(before)

    def _check_accepted(self, write: tuple[int, int] | None) -> None:
        if write is not None and int(self._dut.load__refused.value):
            memory, word = write
            why = "a token is being played" if int(self._dut.playing.value) else "it does not exist"
            raise LoadRefusedError(
                f"the chip refused to write word {word} of {LOADED_MEMORIES[memory]}: {why}"
            )

    async def read_state(self, words: int) -> NDArray[np.int16]:
        """The first ``words`` words of the state after the last token, int16 [words * P]."""
        return await self._read(self._dut.state__address, self._dut.state__data, words)

    async def read_logits(self, words: int) -> NDArray[np.int16]:
        """The first ``words`` words of the last token's logits, int16 [words * P]."""
        return await self._read(self._dut.logits__address, self._dut.logits__data, words)

    async def _read(self, address: Any, output: Any, count: int) -> NDArray[np.int16]:
        """``count`` words of P values through a read port (handles of cocotb), [count * P]."""
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
        """Overwrite the first words of the current bank of the state, int16 [words, P]."""
        dut = self._dut
        for address, word in enumerate(words):
            dut.state__address.value = address
            dut.state__write.value = int.from_bytes(word.astype("<i2").tobytes(), "little")
            dut.state__enable.value = 1
            await FallingEdge(dut.clk)
        dut.state__enable.value = 0

    async def counters(self) -> dict[str, int]:
        """The counters of the last token, as soon as they hold all of it."""
        for _ in range(SETTLE_CYCLES):
            await FallingEdge(self._dut.clk)
        return self.counters_now()

    def counters_now(self) -> dict[str, int]:
        """The counters as they are; while a token is played they lag it by SETTLE_CYCLES."""
        values = COUNTERS_LAYOUT.from_bits(int(self._dut.counters.value))
        return {name: values[name] for name in COUNTERS}


if TYPE_CHECKING:
    # mypy compares every method with the interface's.
    _: type[Chip] = Driver

"""A host beside a whole chip in Amaranth's simulator: no compiler, and a chip in a second."""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth.hdl import Value
from numpy.typing import NDArray

from hdl.accelerator import Accelerator
from hdl.control.counters import SETTLE_CYCLES
from mmfree.chip.design import Design
from mmfree.chip.exchange import COUNTERS
from mmfree.chip.image import Image
from mmfree.chip.layout import layout
from mmfree.chip.memory_image import MemoryImage
from mmfree.chip.memory_map import fault_memories, row_words
from mmfree.golden.opening import golden_of
from mmfree.host.interface import Fault, Request, Result
from mmfree.tape.reading import AnyTape
from tests.support.hdl.bench import to_python

PATIENCE = 20_000
"""Cycles within which a small chip answers."""


class ChipHost:
    """Plays tokens on an accelerator, and reads what they leave, port by port."""

    def __init__(self, ctx: Any, chip: Accelerator) -> None:
        self._ctx, self._chip = ctx, chip

    async def seed(self, registers: tuple[int, int]) -> None:
        """Seed the noise; the registers must be there a cycle before."""
        ctx, seed = self._ctx, self._chip.seed
        ctx.set(seed.registers, dict(zip("ab", registers, strict=True)))
        await ctx.tick()
        ctx.set(seed.enable, 1)
        await ctx.tick()
        ctx.set(seed.enable, 0)

    async def play(self, request: Request) -> Result | Fault:
        """Play a request; its only answer, which is taken at once."""
        ctx, chip = self._ctx, self._chip
        fields = {
            "token": {"id": request.token, "begin": request.begin},
            "temperature": request.temperature,
            "limit": request.limit,
        }
        ctx.set(chip.request.payload, fields)
        ctx.set(chip.request.valid, 1)
        await self.until(chip.request.ready)
        await ctx.tick()
        ctx.set(chip.request.valid, 0)
        await self.until(chip.result.valid | chip.fault.valid)
        failed = ctx.get(chip.fault.valid)
        result, fault = ctx.get(chip.result.payload), ctx.get(chip.fault.payload)
        answered = chip.fault if failed else chip.result
        ctx.set(answered.ready, 1)
        await ctx.tick()
        ctx.set(answered.ready, 0)
        if failed:
            return Fault(fault_memories(chip.design)[fault.memory], int(fault.segment))
        return Result(int(result.row), bool(result.last))

    async def place(self, image: MemoryImage, base: int) -> None:
        """Tell the chip where its image is: at ``base`` in the external memory."""
        ctx, memory = self._ctx, self._chip.memory
        settings = [*(base + region.offset for region in image.regions), image.words]
        ctx.set(memory.enable, 1)
        for index, value in enumerate(settings):
            ctx.set(memory.index, index)
            ctx.set(memory.value, value)
            await ctx.tick()
        ctx.set(memory.enable, 0)

    async def load(self, image: Image, name: str, word: int, value: int) -> None:
        """Write a word of a memory."""
        ctx, load = self._ctx, self._chip.load
        for write in image.word_writes(name, word, value):
            for port, number in zip(
                (load.memory, load.word, load.part, load.data), write, strict=True
            ):
                ctx.set(port, number)
            ctx.set(load.enable, 1)
            await ctx.tick()
        ctx.set(load.enable, 0)
        await ctx.tick().repeat(2)
        assert not ctx.get(load.refused)

    async def logits(self, words: int) -> list[int]:
        """Words of the logits, value after value."""
        return await self._words(self._chip.logits, words)

    async def state(self, words: int) -> list[int]:
        """Words of the state, likewise."""
        return await self._words(self._chip.state, words)

    async def counters(self) -> dict[str, int]:
        """The counters of the last token."""
        await self._ctx.tick().repeat(SETTLE_CYCLES + 2)
        counters = self._ctx.get(self._chip.counters)
        return {name: int(counters[name]) for name in COUNTERS}

    async def until(self, flag: Value) -> None:
        """Wait for a flag."""
        for _ in range(PATIENCE):
            if self._ctx.get(flag):
                return
            await self._ctx.tick()
        raise AssertionError(f"the chip did not answer within {PATIENCE:,} cycles")

    async def _words(self, port: Any, words: int) -> list[int]:
        values: list[int] = []
        for address in range(words):
            self._ctx.set(port.address, address)
            await self._ctx.tick().repeat(2)
            values += to_python(self._ctx.get(port.data))
        return values


def words_read(
    tape: AnyTape, design: Design, token: int, state: NDArray[np.integer]
) -> dict[str, list[int]]:
    """Which words of tables and parameters one token reads, from the golden model's trace."""
    trace: dict[str, NDArray[Any]] = {}
    golden_of(tape).step(
        np.array([token]), state, trace=lambda name, values: trace.update({name: values[0]})
    )
    headers = list(range(1 + len(tape.segments)))
    tiles = row_words(design)
    rows = [t * design.embedding_rows + token for t in range(tiles)]
    if tape.arithmetic == "absmax":
        return {
            "tables": _sigmoids(trace),
            "headers": headers,
            "embedding": rows,
        }
    tables: set[int] = set()
    roots: set[int] = set()
    for name, values in trace.items():
        kind = name.rpartition("/")[2]
        if kind in ("i", "gate"):
            tables |= {256 + (int(v) & 255) for v in values}
        elif kind == "z" and tape.config.gate == "sigmoid":
            tables |= {int(v) & 255 for v in values}
        elif kind == "h":
            tables |= {256 + (max(-128, min(127, (int(v) + 64) >> 7)) & 255) for v in values}
        elif kind == "S":
            s = int(values[0]) or 4096
            roots.add(s >> 2 * max(6, (s.bit_length() - 1) >> 1) - 6)
    return {
        "tables": sorted(tables),
        "reciprocal_root": sorted(roots),
        "headers": headers,
        "embedding": rows,
        "biases": list(range(len(layout(tape, design).words["biases"]))),
    }


def _sigmoids(trace: dict[str, NDArray[Any]]) -> list[int]:
    """Entries of the sigmoid that are read for i, z, gate and the state."""
    read = {"gates/0/out", "gates/1/out", "gates/h", "glu/gate"}
    values = [v for name, v in trace.items() if name.split(" ", 2)[-1] in read]
    magnitudes = np.abs(np.concatenate(values).astype(np.int64))
    # Beyond the table the sigmoid is 1, whatever is read.
    return sorted({int(a) >> 12 for a in magnitudes if a < 1 << 24})

"""A host at the other end of a simulated serial line."""

from __future__ import annotations

from collections import deque
from typing import Any

from hdl.boards.system import System
from mmfree.chip.registers import WORD_BYTES

PATIENCE_BITS = 100
"""An answer begins within ten bytes' time."""


class SerialHost:
    """Reads and writes registers of a System bit by bit, in Amaranth's simulator."""

    def __init__(self, ctx: Any, system: System, divisor: int) -> None:
        self._ctx, self._system, self._divisor = ctx, system, divisor
        self._levels: deque[int] = deque()
        self._age, self._byte = -1, 0
        self._received: deque[int] = deque()

    async def tick(self) -> None:
        """One cycle of the line, both ways."""
        self._ctx.set(self._system.rx, self._levels.popleft() if self._levels else 1)
        await self._ctx.tick()
        level = self._ctx.get(self._system.tx)
        if self._age < 0:
            self._age = -1 if level else 0
            return
        self._age += 1
        place, phase = divmod(self._age, self._divisor)
        if phase != self._divisor // 2:
            return
        if 1 <= place <= 8:
            self._byte = self._byte >> 1 | level << 7
        elif place == 9:
            assert level, "a stop bit"
            self._received.append(self._byte)
            self._age = -1

    async def send(self, frames: bytes) -> None:
        """Send bytes, and wait until the line is idle again."""
        for byte in frames:
            bits = [0, *(byte >> n & 1 for n in range(8)), 1]
            self._levels.extend(bit for bit in bits for _ in range(self._divisor))
        while self._levels:
            await self.tick()
        for _ in range(self._divisor + 8):
            await self.tick()

    def forget(self) -> None:
        """Drop what was received and not looked at."""
        self._received.clear()

    async def write(self, name: str, value: int = 0) -> None:
        """Write a register."""
        await self.send(self._system.registers.write[name].write_frames(value))

    async def write_fields(self, name: str, fields: dict[str, int]) -> None:
        """Write fields of a struct; its others stay as they are."""
        for field, value in fields.items():
            await self.write(f"{name}.{field}", value)

    async def read(self, name: str) -> int:
        """Read a register."""
        return self._system.registers.read[name].value_of(await self._answer(name))

    async def read_fields(self, name: str) -> dict[str, int]:
        """Read a struct."""
        return self._system.registers.read[name].fields_of(await self._answer(name))

    async def lights(self) -> dict[str, int]:
        """The LEDs."""
        names = ("playing", "result", "fault")
        return {name: self._ctx.get(getattr(self._system, name)) for name in names}

    async def refused(self) -> str | None:
        """Name of the register of the first frame that was refused; it is forgotten."""
        name = self._system.registers.refused_name(await self.read("refused"))
        await self.write("refused")
        return name

    async def _answer(self, name: str) -> bytes:
        answer = bytearray()
        for frame in self._system.registers.read[name].read_frames():
            await self.send(bytes([frame]))
            for _ in range(WORD_BYTES):
                waited = 0
                while not self._received:
                    assert waited < PATIENCE_BITS * self._divisor, f"no answer to {name}"
                    waited += 1
                    await self.tick()
                answer.append(self._received.popleft())
        return bytes(answer)

"""A page's modules under wasmtime: the chip and its golden model, as its scripts drive them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wasmtime import Engine, Instance, Module, Store

from hdl.control.counters import SETTLE_CYCLES
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import state_places, state_words
from mmfree.contract.pow2 import gumbel_table, reciprocal_root_table
from mmfree.golden.sampling import seed_registers
from mmfree.host.interface import Fault, Result
from mmfree.tape.pow2 import Tape
from sim.page.chip_module import ChipModule
from sim.page.contents import about_chip, about_model

ENGINE = Engine()
"""One for all: it keeps what it has compiled."""


class Instantiated:
    """A module without imports, and its memory."""

    def __init__(self, code: bytes) -> None:
        module = Module(ENGINE, code)
        assert not module.imports, [item.name for item in module.imports]
        self._store = Store(ENGINE)
        self._exports = Instance(self._store, module, []).exports(self._store)
        self.memory = self._exports["memory"]

    def call(self, name: str, *values: int) -> Any:
        return self._exports[name](self._store, *values)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.memory.read(self._store, address, address + size))

    def write(self, address: int, data: bytes) -> None:
        self.memory.write(self._store, data, address)

    def put(self, values: NDArray[Any]) -> int:
        """The address of a copy; of modules that allocate."""
        address = int(self.call("allocate", values.nbytes))
        self.write(address, values.tobytes())
        return address


class WasmChip:
    """The chip of a page: what sim/cosim/driver.py does, in order, without a simulator."""

    def __init__(self, module: ChipModule, design: Design) -> None:
        self._own, self._design = Instantiated(module.code), design
        about = about_chip(module, design)
        self._fields, self._faults = about["fields"], about["faults"]
        self._own.call("start")
        self._pins = {
            name: (int(self._own.call("pin", index)), _storage(bits))
            for index, (name, bits) in enumerate(about["ports"])
        }
        self.set(rst=1)
        self.edge(2)
        self.set(rst=0)

    def get(self, name: str) -> int:
        address, size = self._pins[name]
        return int.from_bytes(self._own.read(address, size), "little")

    def set(self, **values: int) -> None:
        for name, value in values.items():
            address, size = self._pins[name]
            self._own.write(address, value.to_bytes(size, "little"))

    def field(self, port: str, name: str) -> int:
        start, bits = self._fields[port][name]
        return self.get(port) >> start & ((1 << bits) - 1)

    def set_fields(self, port: str, values: Mapping[str, int]) -> None:
        fields = self._fields[port]
        self.set(**{port: sum(value << fields[name][0] for name, value in values.items())})

    def edge(self, count: int = 1) -> None:
        for _ in range(count):
            self._own.call("edge")

    def load(self, image: Image) -> None:
        for write in image.writes():
            self._load(*write)
        self._end_load()

    def load_word(self, image: Image, name: str, word: int, value: int) -> None:
        for write in image.word_writes(name, word, value):
            self._load(*write)
        self._end_load()

    def _load(self, memory: int, word: int, part: int, data: int) -> None:
        self.set(load__memory=memory, load__word=word, load__part=part, load__data=data)
        self.set(load__enable=1)
        self.edge()

    def _end_load(self) -> None:
        self.set(load__enable=0)
        self.edge(2)
        assert not self.get("load__refused")

    def seed(self, seed: int) -> None:
        a, b = seed_registers(seed)
        self.set_fields("seed__registers", {"a": a, "b": b})
        self.set(seed__enable=1)
        self.edge()
        self.set(seed__enable=0)
        self.edge()

    def send(self, token: int, *, begin: bool, temperature: int = 0, limit: int = 1) -> None:
        while not self.get("request__ready"):
            self.edge()
        values = {"token.id": token, "token.begin": int(begin)}
        self.set_fields("request__payload", values | {"temperature": temperature, "limit": limit})
        self.set(request__valid=1)
        self.edge()
        self.set(request__valid=0)
        self.edge()

    def wait(self, most: int = 1 << 20) -> Result | Fault:
        self._own.call("run", most)
        if self.get("fault__valid"):
            memory = self._faults[self.field("fault__payload", "memory")]
            return Fault(memory, self.field("fault__payload", "segment"))
        assert self.get("result__valid"), "no answer"
        row, last = (self.field("result__payload", name) for name in ("row", "last"))
        return Result(row, bool(last))

    def step(self) -> None:
        """One cycle of those in which nothing changes from outside."""
        self._own.call("run", 1)

    def take(self) -> None:
        self.set(result__ready=1, fault__ready=1)
        self.edge()
        self.set(result__ready=0, fault__ready=0)
        self.edge()

    def cancel(self) -> None:
        self.set(cancel=1)
        self.edge()
        self.set(cancel=0)
        self.edge()

    def cycles(self) -> int:
        """Of the last token, as the chip counts them."""
        self.edge(SETTLE_CYCLES)
        return self.field("counters", "cycles")

    def state(self, tape: Tape) -> NDArray[np.int32]:
        """The state [L, w] after the last token."""
        values = self._values("state", state_words(tape.config, self._design))
        return values[state_places(tape.config, self._design)]

    def logits(self, rows: int) -> NDArray[np.int32]:
        return self._values("logits", -(-rows // self._design.post_width))[:rows]

    def _values(self, port: str, words: int) -> NDArray[np.int32]:
        width, found = self._design.post_width, []
        for word in range(words + 1):
            self.set(**{f"{port}__address": min(word, words - 1)})
            self.edge()
            if word:
                data = self.get(f"{port}__data").to_bytes(2 * width, "little")
                found += struct.unpack(f"<{width}h", data)
        return np.array(found, dtype=np.int32)


def _storage(bits: int) -> int:
    """Bytes in which Verilator keeps a port."""
    return next((size for size in (1, 2, 4, 8) if bits <= 8 * size), -(-bits // 32) * 4)


@dataclass
class WasmGolden:
    """The golden model of a page, of a tape itself."""

    code: bytes
    tape: Tape
    design: Design

    def __post_init__(self) -> None:
        own, tape = Instantiated(self.code), self.tape
        about = about_model(tape, self.design)
        own.call("create", own.put(np.array([*about["settings"].values()], dtype=np.int32)))
        own.call("set_embedding", own.put(tape.embedding))
        roots = np.zeros(256, dtype=np.int16)
        table = reciprocal_root_table()
        roots[: len(table)] = table
        own.call("set_tables", own.put(tape.sigmoid), own.put(tape.silu), own.put(roots))
        for number, (segment, described) in enumerate(
            zip(tape.segments, about["segments"], strict=True)
        ):
            for index, matrix in enumerate(segment.matrices):
                count = matrix.rows * matrix.fan_in
                constants = described["constants"][index]
                assert (
                    own.call("set_matrix", number, index, own.put(matrix.codes), count, *constants)
                    == 0
                )
        for layer, bias in enumerate(about["biases"]):
            own.call("set_bias", layer, own.put(np.array(bias, dtype=np.int16)))
        own.call("set_noise", own.put(gumbel_table().astype(np.int32)), about["logit_fb"])
        self._own = own

    def begin(self) -> None:
        self._own.call("begin")

    def seed(self, seed: int) -> None:
        # WebAssembly's integers have a sign for those who call it.
        self._own.call("seed", *(value - (value >> 63 << 64) for value in seed_registers(seed)))

    def play(self, token: int, temperature: int = 0) -> int:
        return int(self._own.call("play", token, temperature))

    def state(self) -> NDArray[np.int32]:
        config = self.tape.config
        data = self._own.read(self._own.call("state_words"), 2 * config.num_state_words)
        return np.frombuffer(data, dtype="<i2").reshape(config.num_layers, -1).astype(np.int32)

    def logits(self) -> NDArray[np.int32]:
        rows = self.tape.config.head_size
        return np.frombuffer(self._own.read(self._own.call("last_logits"), 4 * rows), dtype="<i4")

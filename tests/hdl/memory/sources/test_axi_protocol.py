"""The read masters against a model of AXI4 that others wrote: cocotbext-axi."""

from __future__ import annotations

import json
import random
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Module, Signal, Value
from amaranth.lib.wiring import Out

from hdl.memory.sources.axi import AxiSource
from hdl.memory.sources.interface import LATENCY
from hdl.toolchain.emit import convert_verilog
from mmfree.chip.external_memory import PAGE_BYTES
from sim.simulators.runner import build, run
from tests.support.hdl.values import small_design

WORDS, PASSES = 1037, 3
DESIGN = small_design(10, 8, 8, weight_code="1.6", memory="axi64x2", weight_words=WORDS)


class NamedPorts(Elaboratable):
    """An AxiSource whose ports have the names that AXI's tools know, and IDs, which are all 0."""

    def __init__(self) -> None:
        self._source = source = AxiSource(DESIGN)
        self._inputs: dict[str, Value] = {
            "take": source.words.take,
            "restart": source.words.restart,
            "pause": source.pause,
            "playing": source.playing,
            "index": source.settings.index,
            "value": source.settings.value,
            "enable": source.settings.enable,
        }
        self._outputs: dict[str, Value] = {
            "available": source.words.available,
            "response": source.response,
        }
        for group, port in enumerate(source.axi):
            self._outputs[f"data_{group}"] = source.words.data[group]
            for name, member in port.signature.members.items():
                own = self._outputs if member.flow == Out else self._inputs
                own[f"axi_{group}_{name}"] = getattr(port, name)
        self.ports = {
            name: Signal(Value.cast(value).shape(), name=name)
            for name, value in (*self._inputs.items(), *self._outputs.items())
        }
        for group in range(DESIGN.num_groups):
            for name in ("arid", "rid"):
                self.ports[f"axi_{group}_{name}"] = Signal(name=f"axi_{group}_{name}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.source = self._source
        m.d.comb += [value.eq(self.ports[name]) for name, value in self._inputs.items()]
        m.d.comb += [self.ports[name].eq(value) for name, value in self._outputs.items()]
        return m


def test_thousands_of_beats_from_memories_that_pause(tmp_path: Path) -> None:
    """Two ports, clocks of 10 and 14 ns: each word in order, no burst across a page."""
    rng, step = random.Random(6), DESIGN.columns
    regions = [rng.randbytes(WORDS * step) for _ in range(DESIGN.num_groups)]
    bases = [PAGE_BYTES, 7 * PAGE_BYTES]
    scene = {
        "regions": [region.hex() for region in regions],
        "settings": [*bases, 0, WORDS],
        "size": 16 * PAGE_BYTES,
        "port_bytes": step,
        "latency": LATENCY,
        "taken": PASSES * WORDS,
    }
    (tmp_path / "scene.json").write_text(json.dumps(scene))
    block = NamedPorts()
    text = rtlil.convert(block, name="source", ports=list(block.ports.values()), emit_src=False)
    (tmp_path / "source.v").write_text(convert_verilog(text, []))
    run(build([tmp_path / "source.v"], "source"), "tests.support.sim.cocotb_axi", tmp_path)
    assert json.loads((tmp_path / "cycles.json").read_text())["words"] == PASSES * WORDS

# amaranth: UnusedElaboratable=no
"""Block memories: plans of banks, and the same cycles on every body.

They are the plain body, the ECP5's, and Yosys' own mapping of the plain one.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from hypothesis import given
from hypothesis import strategies as st

from hdl.accelerator import Accelerator
from hdl.fabric.ecp5_ram import DISTRIBUTED_DEPTH, Bank, count_blocks, plan_banks
from hdl.fabric.technology import Technology
from hdl.memory.block_memory import BlockMemory
from hdl.toolchain.audit import ecp5_cells
from hdl.toolchain.emit import convert_rtlil, convert_verilog
from hdl.toolchain.yosys import run_yosys
from mmfree.chip.memory_map import chip_memories
from mmfree.errors import InputError
from sim.simulators.runner import build, run
from tests.support.hdl.bench import simulate
from tests.support.sim.shapes import ADDITION

CELL_MODELS = Path(__file__).parents[3] / "sim" / "simulators" / "ecp5_cells.v"


@dataclass(frozen=True)
class Shape:
    """A memory under test."""

    part_bits: int
    parts: int
    depth: int
    reads: int = 1
    fabric_registers: bool = False

    def __str__(self) -> str:
        return (
            f"{self.depth}x{self.parts}x{self.part_bits}-{self.reads}r{'f' * self.fabric_registers}"
        )

    def initial(self) -> list[int]:
        """The first two thirds of the words: the rest are 0."""
        rng = random.Random(self.depth)
        bits = self.part_bits * self.parts
        return [rng.getrandbits(bits) for _ in range(-(-2 * self.depth // 3))]

    def block(self) -> BlockMemory:
        return BlockMemory(
            "words",
            part_bits=self.part_bits,
            parts=self.parts,
            depth=self.depth,
            reads=self.reads,
            init=self.initial(),
            fabric_registers=self.fabric_registers,
        )


@dataclass
class Cycle:
    """Inputs before a clock edge, and the promised outputs after it."""

    inputs: dict[str, int]
    outputs: dict[str, int] = field(default_factory=dict)


def traffic(shape: Shape, num_cycles: int = 600, seed: int = 0) -> list[Cycle]:
    """Cycles with writes of parts and reads of recent words, of the banks' ends, and of any words.

    Reads that collide with a write or are not enabled occur, but nothing is promised of them.
    """
    rng = random.Random(seed)
    words = shape.initial()
    words += [0] * (shape.depth - len(words))
    ends = [
        n
        for edge in (0, 512, 1024, 2048, shape.depth)
        for n in (edge - 1, edge)
        if 0 <= n < shape.depth
    ]
    recent = [0]
    latency = 2 + 3 * shape.fabric_registers
    cycles: list[Cycle] = []
    promised: dict[int, dict[str, int]] = {}

    def place() -> int:
        return rng.choice([rng.randrange(shape.depth), rng.choice(ends), rng.choice(recent[-4:])])

    for n in range(num_cycles):
        writes = rng.random() < 0.4
        enable = rng.getrandbits(shape.parts) if writes else 0
        written = place()
        data = rng.getrandbits(shape.parts * shape.part_bits)
        inputs = {"write__enable": enable, "write__address": written, "write__data": data}
        for port in range(shape.reads):
            address = place()
            enabled = rng.random() < 0.7
            inputs |= {f"read__{port}__address": address, f"read__{port}__enable": enabled}
            alone = shape.reads == 1 and not shape.fabric_registers
            defined = not enable or (alone and address != written)
            if defined and enabled:
                promised.setdefault(n + latency - 1, {})[f"read__{port}__data"] = words[address]
        if enable:
            recent.append(written)
        for part in range(shape.parts):
            if enable >> part & 1:
                mask = ((1 << shape.part_bits) - 1) << part * shape.part_bits
                words[written] = words[written] & ~mask | data & mask
        cycles.append(Cycle(inputs, promised.get(n, {})))
    return cycles


def play_on_icarus(verilog: str, cycles: list[Cycle], shape: Shape, folder: Path) -> None:
    """Play cycles on Verilog of module ``block``, with the models of the ECP5's cells."""
    (folder / "words.hex").write_text(
        "".join(
            f"{word:x}\n" for word in [*shape.initial(), *[0] * shape.depth][: max(2, shape.depth)]
        )
    )
    (folder / "block.v").write_text(verilog)
    recorded = [{"inputs": cycle.inputs, "outputs": cycle.outputs} for cycle in cycles]
    (folder / "cycles.json").write_text(json.dumps(recorded))
    model = build([folder / "block.v", CELL_MODELS], "block", simulator="icarus")
    run(model, "tests.support.sim.cocotb_block_memory", folder)


SHAPES = [
    Shape(8, 3, 1),
    Shape(8, 2, 5),
    Shape(8, 2, DISTRIBUTED_DEPTH, reads=3),
    Shape(13, 5, 300),
    Shape(18, 2, 512, fabric_registers=True),
    Shape(12, 3, 600),
    Shape(9, 3, 1024),
    Shape(7, 1, 2048),
    Shape(18, 3, 2797),
    Shape(18, 3, 2797, fabric_registers=True),
    Shape(18, 1, 2797, reads=2),
    Shape(12, 2, 600, reads=2),
    Shape(18, 2, 1100, reads=3),
    Shape(5, 3, 700, reads=4),
    Shape(18, 1, 5300),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_plain_memories_read_what_was_written(shape: Shape) -> None:
    block, cycles = shape.block(), traffic(shape)
    ports = {"__".join(map(str, path)): port for path, _, port in block.signature.flatten(block)}

    async def bench(ctx: Any) -> None:
        for number, cycle in enumerate(cycles):
            for name, value in cycle.inputs.items():
                ctx.set(ports[name], value)
            await ctx.tick()
            for name, value in cycle.outputs.items():
                assert ctx.get(ports[name]) == value, f"cycle {number}: {name}"

    simulate(block, bench)
    assert block.latency == 2 + 3 * shape.fabric_registers


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_memories_of_the_ecp5_do_the_same(shape: Shape, tmp_path: Path) -> None:
    block = shape.block()
    text = rtlil.convert(block, name="block", platform=Technology.ECP5, emit_src=False)
    assert text.count(r"cell \DP16KD ") == block.blocks()
    verilog = convert_verilog(text, ["words"] if block.blocks() == 0 else [])
    play_on_icarus(verilog, traffic(shape), shape, tmp_path)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(13, 5, 300),
        Shape(18, 3, 2797),
        Shape(18, 3, 2797, fabric_registers=True),
        Shape(18, 1, 2797, reads=2),
    ],
    ids=str,
)
def test_blocks_are_disabled_unless_their_own_bank_is_read(shape: Shape, tmp_path: Path) -> None:
    block, cycles = shape.block(), traffic(shape)
    for cycle in cycles:
        cycle.inputs["write__enable"] = 0
        cycle.outputs.clear()
    text = rtlil.convert(block, name="block", platform=Technology.ECP5, emit_src=False)
    play_on_icarus(convert_verilog(text, []), cycles, shape, tmp_path)
    banks = plan_banks(shape.depth, shape.part_bits, shape.parts, shape.reads)
    # With fabric registers the last enable is still on its way.
    reads = [
        cycle.inputs[f"read__{port}__address"]
        for cycle in cycles[: len(cycles) - shape.fabric_registers]
        for port in range(shape.reads)
        if cycle.inputs[f"read__{port}__enable"]
    ]
    expected = sum(
        bank.blocks * sum(bank.start <= word < bank.start + bank.depth for word in reads)
        for bank in banks
    )
    assert json.loads((tmp_path / "enabled.json").read_text()) == expected
    of_all = (
        sum(bank.blocks * min(bank.depth, shape.depth - bank.start) for bank in banks) / shape.depth
    )
    # A copy serves two ports: of a read's blocks, those of the other banks are disabled.
    assert block.disabled_blocks() == pytest.approx(block.blocks() - of_all)
    assert bool(block.disabled_blocks()) == (len(banks) > 1)


@pytest.mark.parametrize(
    "shape", [Shape(13, 5, 300), Shape(18, 2, 1024), Shape(9, 1, 2048)], ids=str
)
def test_the_cell_models_agree_with_what_yosys_makes_of_a_memory(
    shape: Shape, tmp_path: Path
) -> None:
    """Initial values, addresses, write enables and halves of words.

    The plain body, mapped by Yosys, runs on the same cell models.
    """
    text = rtlil.convert(shape.block(), name="block", emit_src=False)
    # A word that is read while it is written may be anything: Yosys then adds no logic that keeps
    # the old one.
    text, ports = re.subn(
        r"(COLLISION_X_MASK )(\d+)'[01]+", lambda m: f"{m[1]}{m[2]}'{'1' * int(m[2])}", text
    )
    assert ports == 1
    (tmp_path / "block.il").write_text(text)
    commands = [
        "read_rtlil block.il",
        "synth_ecp5 -top block -run begin:map_gates",
        "opt_clean -purge",
        "write_verilog -norename -noattr mapped.v",
    ]
    run_yosys(commands, tmp_path)
    verilog = (tmp_path / "mapped.v").read_text()
    assert verilog.count("DP16KD #(") == count_blocks(shape.depth, shape.part_bits, shape.parts)
    play_on_icarus(verilog, traffic(shape), shape, tmp_path)


@pytest.mark.parametrize(
    "shape", [Shape(13, 5, 300), Shape(18, 3, 2797), Shape(12, 2, 600, reads=2)], ids=str
)
def test_synthesis_finds_the_blocks_of_the_plan_and_little_else(shape: Shape) -> None:
    block = shape.block()
    cells = ecp5_cells(
        {"block.il": rtlil.convert(block, name="block", platform=Technology.ECP5, emit_src=False)},
        "block",
    )
    assert cells.pop("DP16KD") == block.blocks()
    assert set(cells) <= {"LUT4", "TRELLIS_FF"}
    # A multiplexer per bit where there are two banks; decoders.
    bits = shape.parts * shape.part_bits
    assert cells["LUT4"] <= bits * (shape.depth > 2048) + 16


def test_the_accelerator_says_which_memories_it_holds() -> None:
    """As many blocks as are placed by hand, and every name: no memory is forgotten."""
    accelerator = Accelerator(ADDITION.design())
    text = convert_rtlil(accelerator, Technology.ECP5)
    memories = [memory for held in accelerator.memories.values() for memory in held]
    assert text.count(r"cell \DP16KD ") == sum(memory.blocks() for memory in memories) > 0
    written = {"banks", "groups", "logits"}
    assert {memory.name for memory in memories} == {*chip_memories(ADDITION.design()), *written}


def test_a_copy_of_an_address_drives_at_most_16_blocks() -> None:
    """Of a memory all over a chip, in two banks of 40 and of 20 blocks; their enables likewise."""
    shape = Shape(18, 20, 2800, fabric_registers=True)
    block = shape.block()
    text = rtlil.convert(block, name="block", platform=Technology.ECP5, emit_src=False)
    cells = re.findall(r"cell \\DP16KD .*?\n  end\n", text, re.DOTALL)
    assert len(cells) == block.blocks() == 60
    # 12 bits of the address, for all blocks; whether a bank is read.
    assert text.count(r"cell \TRELLIS_FF ") == 12 * 4 + 3 + 2
    for pin in ("ADA13", "ADB13"):
        drivers = Counter(re.findall(rf"connect \\{pin} (.*)", "".join(cells)))
        assert sorted(drivers.values()) == [5] * 4 + [10] * 4
    drivers = Counter(re.findall(r"connect \\CEB (.*)", "".join(cells)))
    assert sorted(drivers.values()) == [10, 10, 13, 13, 14]


def test_small_memories_are_in_luts() -> None:
    block = Shape(8, 2, DISTRIBUTED_DEPTH).block()
    cells = ecp5_cells(
        {"block.il": rtlil.convert(block, name="block", platform=Technology.ECP5, emit_src=False)},
        "block",
    )
    assert block.blocks() == 0
    assert "DP16KD" not in cells
    assert cells["TRELLIS_DPR16X4"] == 16


@pytest.mark.parametrize(
    ("arguments", "banks"),
    [
        ((DISTRIBUTED_DEPTH, 18, 3, 1), ()),
        ((DISTRIBUTED_DEPTH + 1, 9, 4, 1), (Bank(0, 4, 1),)),
        ((300, 13, 5, 1), (Bank(0, 4, 3),)),
        ((300, 13, 5, 2), (Bank(0, 2, 5),)),
        ((1024, 9, 3, 1), (Bank(0, 2, 2),)),
        ((2048, 7, 1, 1), (Bank(0, 1, 1),)),
        ((2797, 18, 3, 1), (Bank(0, 1, 6), Bank(2048, 2, 3))),
        ((2500, 18, 2, 1), (Bank(0, 1, 4), Bank(2048, 4, 1))),
    ],
)
def test_banks_worked_by_hand(
    arguments: tuple[int, int, int, int], banks: tuple[Bank, ...]
) -> None:
    assert plan_banks(*arguments) == banks


@given(
    st.integers(DISTRIBUTED_DEPTH + 1, 7000),
    st.integers(1, 18),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_banks_hold_the_memory_in_the_fewest_blocks(
    depth: int, part_bits: int, parts: int, reads: int
) -> None:
    banks = plan_banks(depth, part_bits, parts, reads)
    lanes = parts * (1 if part_bits <= 9 else 2)
    kinds = (1, 2, 4) if reads == 1 else (1, 2)
    start = 0
    for bank in banks:
        assert bank.lanes in kinds
        assert bank.start == start
        assert bank.start % bank.depth == 0
        assert bank.blocks * bank.lanes >= lanes
        start += bank.depth
    assert start >= depth
    fewest = min(
        sum(n * -(-lanes // kind) for n, kind in zip(counts, kinds, strict=True))
        for counts in itertools.product(range(5), range(8), *[range(15)] * (len(kinds) - 2))
        if sum(n * 2048 // kind for n, kind in zip(counts, kinds, strict=True)) >= depth
    )
    assert sum(bank.blocks for bank in banks) == fewest
    assert count_blocks(depth, part_bits, parts, reads) == fewest * (1 if reads <= 2 else 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"part_bits": 19, "parts": 1, "depth": 4},
            "memory words: part_bits must be 1 to 18, not 19",
        ),
        ({"part_bits": 0, "parts": 1, "depth": 4}, "part_bits must be 1 to 18, not 0"),
        ({"part_bits": 8, "parts": 0, "depth": 4}, "must be 1 or more, not 0, 4 and 1"),
        ({"part_bits": 8, "parts": 1, "depth": 4, "reads": 0}, "must be 1 or more, not 1, 4 and 0"),
        (
            {"part_bits": 8, "parts": 1, "depth": 2, "init": [1, 2, 3]},
            "3 initial words exceed its depth of 2",
        ),
        (
            {"part_bits": 8, "parts": 1, "depth": 2, "reads": 2, "fabric_registers": True},
            "with fabric registers it has one read port, not 2",
        ),
    ],
)
def test_what_no_memory_can_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BlockMemory("words", **arguments)

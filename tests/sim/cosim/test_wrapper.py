"""The module around a chip: which ports it has, and what is compiled with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdl.toolchain.emit import TOP
from mmfree.chip.external_memory import ExternalMemory, find_memory
from mmfree.chip.sizing import design_for_memory
from sim.cosim.wrapper import AXI_PORTS, WRAPPER, wrap, write_bench
from sim.memory.model import COUNTERS, INPUTS
from sim.simulators.tools import SimulatorError
from sim.simulators.verilator import Port, find_ports
from tests.support.sim.shapes import ABSMAX_ODD, ODD

MEMORY = ExternalMemory(port_bits=128, ports=2)
OWN = [
    Port("input", "", "clk"),
    Port("input", "", "rst"),
    Port("input", "[39:0]", "memory__value"),
    Port("output", "", "result__valid"),
    Port("output", "", "fault__valid"),
    Port("output", "[3:0]", "segment"),
    Port("output", "[1:0]", "tap_x__keep"),
]
"""Ports of a chip that its module has, too."""


def chip(*ports: Port) -> str:
    """A chip's Verilog, as far as it is looked at."""
    names = ", ".join(port.name for port in ports)
    lines = [f"  {port.direction} {port.range} {port.name};" for port in ports]
    return "\n".join(["module other(a);", "  input a;", "endmodule", f"module {TOP}({names});"]) + (
        "\n" + "\n".join(lines) + "\nendmodule\n"
    )


def external() -> str:
    buses = [Port("input", "", "bus_clk"), Port("input", "", "bus_rst")]
    axi = [
        Port("input", "[127:0]", f"{name}__{port}")
        for name in ("axi__0", "axi__1", "axi_rows")
        for port in AXI_PORTS
    ]
    return chip(*OWN, *buses, *axi)


def test_ports_of_the_memory_are_inside() -> None:
    text = wrap(external(), TOP, MEMORY)
    ports = find_ports(text, WRAPPER)
    model = [Port("input", f"[{bits - 1}:0]", name) for name, bits in INPUTS.items()]
    counters = [Port("output", "[63:0]", f"memory_{name}") for name in COUNTERS]
    assert ports == [*OWN, Port("input", "", "bus_rst"), *model, *counters]
    for number, name in enumerate(("axi__0", "axi__1", "axi_rows")):
        assert text.count(f".PORT({number})) memory_{number} (") == 1
        assert text.count(f".rdata({name}__rdata)") == 1
    assert text.count("axi_memory #(.BITS(128)") == 3
    assert "wire bus_clk = clk;" in text
    assert "tap_recorder" not in text


def test_the_memory_may_have_a_clock_of_its_own() -> None:
    text = wrap(external(), TOP, MEMORY, two_clocks=True)
    assert Port("input", "", "bus_clk") in find_ports(text, WRAPPER)
    assert "wire bus_clk" not in text


def test_a_chip_with_block_ram_has_its_own_ports_alone() -> None:
    design = ODD.design()
    text = wrap(chip(*OWN), TOP, None, recorded=design)
    assert find_ports(text, WRAPPER) == OWN
    assert text.count("tap_recorder #(") == text.count(f".WIDTH({design.post_width}), ") == 4
    assert text.count(".BITS(16),") == text.count(".SIGNED(1), .STORED_BITS(16),") == 4
    assert "axi_memory" not in text


def test_what_is_cut_is_recorded_as_it_is() -> None:
    """Of a chip for published checkpoints: x, state and logits have a sign, u has none."""
    text = wrap(chip(*OWN), TOP, None, recorded=ABSMAX_ODD.design())
    assert text.count(".BITS(32),\n    .SIGNED(1), .STORED_BITS(64),") == 3
    assert text.count(".BITS(36),\n    .SIGNED(0), .STORED_BITS(64),") == 1


def test_verilog_without_the_chip_is_refused() -> None:
    with pytest.raises(SimulatorError, match="the Verilog holds no module mmfree"):
        wrap("module other(a);\n  input a;\nendmodule\n", TOP, None)


def test_what_is_compiled_is_what_the_module_needs(tmp_path: Path) -> None:
    memory = find_memory("axi64")
    assert memory is not None
    (tmp_path / "mmfree.v").write_text(external())
    designs = {"block": ODD.design(), "axi64": design_for_memory(ODD.config, memory)}
    kinds = {
        ("block", True): ["bench.sv", "mmfree.v", "tap_recorder.sv", "tap_recorder.cpp"],
        ("axi64", False): ["bench.sv", "mmfree.v", "axi_memory.sv", "memory.cpp"],
    }
    for (name, recorded), expected in kinds.items():
        sources = write_bench(tmp_path, designs[name], recorded=recorded, two_clocks=False)
        assert [source.name for source in sources] == expected
        shown = designs[name] if recorded else None
        assert sources[0].read_text() == wrap(
            external(), TOP, designs[name].external, recorded=shown
        )

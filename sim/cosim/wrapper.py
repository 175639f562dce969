"""The module around a chip in a simulation: its memory's ports, and what records its taps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hdl.payloads import START_CYCLES
from hdl.toolchain.emit import TOP
from mmfree.chip.design import Design
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.folder import VERILOG_NAME
from sim.memory.model import COUNTERS, INPUTS
from sim.memory.model import SOURCES as MEMORY_SOURCES
from sim.simulators.verilator import Port, find_ports
from sim.tracing.writes import SOURCES as RECORDER_SOURCES
from sim.tracing.writes import TAPS, stored_bits, tap_values

WRAPPER = "mmfree_bench"
"""The module's name."""

AXI_PORTS = (
    *("araddr", "arlen", "arsize", "arburst", "arvalid", "arready"),
    *("rdata", "rresp", "rlast", "rvalid", "rready"),
)
"""Of a port of the chip, and of ``axi_memory.sv``."""

_BENCH_NAME = "bench.sv"

_HIDDEN = ("axi_", "bus_")
"""How the ports of the chip begin that the module does not have."""


def wrap(
    verilog: str,
    top: str,
    memory: ExternalMemory | None,
    *,
    recorded: Design | None = None,
    two_clocks: bool = False,
) -> str:
    """Verilog of WRAPPER, a module around the module ``top`` of ``verilog``.

    It has all ports of ``top`` but those of its external ``memory``; instead ``bus_rst``, and the
    pins of ``sim.memory.model``. The memory's clock is the chip's, or with ``two_clocks`` the input
    ``bus_clk``. ``recorded``: the chip's design, if its taps are recorded.

    Raises
    ------
    SimulatorError
        If ``verilog`` has no module ``top``.
    """
    chip = find_ports(verilog, top)
    shown = [port for port in chip if not port.name.startswith(_HIDDEN)]
    if memory is not None:
        shown.append(Port("input", "", "bus_rst"))
        if two_clocks:
            shown.append(Port("input", "", "bus_clk"))
        shown += [Port("input", f"[{bits - 1}:0]", name) for name, bits in INPUTS.items()]
        shown += [Port("output", "[63:0]", f"memory_{name}") for name in COUNTERS]
    lines = [f"module {WRAPPER}({', '.join(port.name for port in shown)});"]
    lines += [f"  {port.direction} {port.range} {port.name};" for port in shown]
    lines += [f"  wire {port.range} {port.name};" for port in chip if port.name.startswith("axi_")]
    if memory is not None and not two_clocks:
        lines.append("  wire bus_clk = clk;")
    lines += [
        f"  {top} chip ({', '.join(f'.{port.name}({port.name})' for port in chip)});",
        *(_memories(memory) if memory is not None else ()),
        *(_recorders(recorded) if recorded is not None else ()),
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def write_bench(folder: Path, design: Design, *, recorded: bool, two_clocks: bool) -> list[Path]:
    """Write WRAPPER around the Verilog in a folder; what is to be compiled, the wrapper first.

    Raises
    ------
    SimulatorError
        If the Verilog has no module TOP.
    """
    chip, bench = folder / VERILOG_NAME, folder / _BENCH_NAME
    text = wrap(
        chip.read_text(encoding="utf-8"),
        TOP,
        design.external,
        recorded=design if recorded else None,
        two_clocks=two_clocks,
    )
    bench.write_text(text, encoding="utf-8")
    return [
        *(bench, chip),
        *(MEMORY_SOURCES if design.external is not None else ()),
        *(RECORDER_SOURCES if recorded else ()),
    ]


def _memories(memory: ExternalMemory) -> Iterator[str]:
    names = [*(f"axi__{port}" for port in range(memory.ports)), "axi_rows"]
    for counter in COUNTERS:
        yield f"  wire [63:0] {counter} [0:{memory.ports}];"
        yield f"  assign memory_{counter} = {counter}[memory_port];"
    shared = [
        *(f".{name}(memory_{name})" for name in ("base", "latency_low", "latency_high")),
        *(f".{name}(memory_{name})" for name in ("address_withheld", "withheld", "seed")),
        *(f".{name}(memory_{name})" for name in ("error", "error_address", "mute_after")),
    ]
    for number, name in enumerate(names):
        connections = [
            ".clk(bus_clk), .rst(bus_rst)",
            *(f".{port}({name}__{port})" for port in AXI_PORTS),
            *shared,
            f".mute(memory_mute && memory_mute_port == {number})",
            *(f".{counter}({counter}[{number}])" for counter in COUNTERS),
        ]
        yield f"  axi_memory #(.BITS({memory.port_bits}), .PORT({number})) memory_{number} ("
        yield f"    {', '.join(connections)});"
    yield '  import "DPI-C" function void mmfree_memory_flip(input longint unsigned offset,'
    yield "    input int bit_number);"
    yield "  reg flipped = 0;"
    yield "  always @(posedge bus_clk) begin"
    yield "    flipped <= memory_flip;"
    yield "    if (memory_flip && !flipped)"
    yield "      mmfree_memory_flip(64'(memory_flip_offset), 32'(memory_flip_bit));"
    yield "  end"


def _recorders(design: Design) -> Iterator[str]:
    yield "  reg [63:0] cycle = 0;"
    yield "  reg answered = 0;"
    yield '  import "DPI-C" function void mmfree_taps_end();'
    yield "  always @(posedge clk) begin"
    yield "    cycle <= cycle + 1;"
    yield "    answered <= result__valid || fault__valid;"
    yield "    if (rst || ((result__valid || fault__valid) && !answered)) mmfree_taps_end();"
    yield "  end"
    shown = tap_values(design)
    for number, vector in enumerate(TAPS):
        fields = ("enable", "group", "keep", "data")
        connections = [
            ".clk(clk), .cycle(cycle), .segment(segment)",
            *(f".{field}(tap_{vector}__{field})" for field in fields),
        ]
        bits, signed = shown[vector].bits, int(shown[vector].signed)
        yield f"  tap_recorder #(.VECTOR({number}), .WIDTH({design.post_width}), .BITS({bits}),"
        yield f"    .SIGNED({signed}), .STORED_BITS({stored_bits(design)}),"
        yield f"    .SEGMENT_CYCLES({START_CYCLES})) recorder_{vector} ({', '.join(connections)});"

"""What `verilog`, `build` and `cosim` ask for and say."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import ANY

from hdl.boards import BOARDS
from hdl.toolchain.build import Request
from hdl.toolchain.products import ProductUnit
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.sizing import design_for, design_for_memory
from sim.cosim.chip_folder import ChipFolder
from sim.cosim.run import CosimResult, Recording
from sim.cosim.run_folder import Sequence
from sim.cosim.verdict import KINDS, Verdict
from sim.memory.model import Behaviour
from tests.support.below import REAL
from tests.support.verbs.case import GONE, MADE, OUT, TEXT_TAPE, Case, Row
from tests.support.verbs.training import NOT_DRAWN

DESIGN = design_for(TEXT_TAPE, 64)
DESIGN_ROWS = {
    "lanes": Row(words="--lanes 16", changes={"design_for(lanes)": 16}),
    "bits": Row(words="--bits 1.6", changes={"design_for(weight_code)": "1.6"}),
}
EXTERNAL = design_for_memory(TEXT_TAPE.config, ExternalMemory(port_bits=64, ports=2))
OF_MEMORY = dict.fromkeys(
    ("design_for(tape)", "design_for(lanes)", "design_for(weight_code)"), GONE
)
"""Ports of an external memory decide lanes and bits."""

DESCRIPTION = {
    "design": DESIGN.to_dict(),
    "multipliers": 0,
    "shift_and_add_products_per_token": 1777,
    "shift_and_add_units": [
        asdict(
            ProductUnit(
                use=use,
                operands="a * b",
                a_bits=8,
                b_bits=9,
                count=count,
                luts_each=335,
                uses_per_token=0,
            )
        )
        for use, count in (("square", 3), ("scale", 4))
    ],
    "shift_and_add_luts": 2345,
    "tape_sha256": TEXT_TAPE.sha256,
    "padding_share": 0.125,
    "files": {"mmfree.v": "0"},
}

VERILOG = Case(
    words="verilog text.tape --out out",
    below={
        "mmfree.inference.backends:load_tape_or_export": TEXT_TAPE,
        "mmfree.chip.sizing:design_for": REAL,
        "mmfree.files.folders:refuse_to_replace_folder": None,
        "mmfree.files.folders:new_folder": nullcontext(MADE),
        "hdl.toolchain.emit:write_verilog": DESCRIPTION,
    },
    asked={
        "load_tape_or_export(path)": Path("text.tape"),
        "design_for(tape)": TEXT_TAPE,
        "design_for(lanes)": None,
        "design_for(weight_code)": None,
        "refuse_to_replace_folder(path)": OUT,
        "refuse_to_replace_folder(force)": False,
        "new_folder(path)": OUT,
        "new_folder(kind)": ANY,
        "new_folder(force)": False,
        "write_verilog(design)": ANY,
        "write_verilog(folder)": MADE,
        "write_verilog(tape)": TEXT_TAPE,
    },
    values=DESCRIPTION,
    said=(
        "out: 64 lanes (4 rows x 16 columns), 0 multipliers, 7 shift-and-add units of 2,345"
        " LUT4-equivalents (ECP5, Yosys estimate), 1,777 products per token; 12.5 % of the lanes'"
        " work is padding"
    ),
    rows=DESIGN_ROWS
    | {
        "source": Row(
            instead={"text.tape": "sums.tape"},
            changes={"load_tape_or_export(path)": Path("sums.tape")},
        ),
        "out": Row(
            words="--out other",
            changes=dict.fromkeys(
                ("refuse_to_replace_folder(path)", "new_folder(path)"), Path("other")
            ),
        ),
        "force": Row(
            words="--force",
            changes=dict.fromkeys(("refuse_to_replace_folder(force)", "new_folder(force)"), True),
        ),
        "memory": Row(
            words="--memory axi64x2:64K", changes=OF_MEMORY | {"write_verilog(design)": EXTERNAL}
        ),
        "seed": NOT_DRAWN,
    },
)

BUILT = {
    "clock_hz": 131.24e6,
    "clock_asked_hz": 140e6,
    "pll_hz": 139.5e6,
    "clock_met": False,
    "clock_possible_hz": 160.5e6,
    "lanes": 1024,
    "dsp": 3,
    "padding_share": 0.125,
    "lut": 9000,
    "ff": 8000,
    "memory_blocks": 7,
    "utilisation": {
        "TRELLIS_COMB": (9000, 83640),
        "TRELLIS_FF": (8000, 83641),
        "DP16KD": (7, 208),
    },
    "counts": {"routed": {"luts": 9001, "flip_flops": 8001, "ram_blocks": 7, "what": "all of it"}},
}
REQUEST = Request(
    tape=TEXT_TAPE,
    design=DESIGN,
    board=BOARDS["ulx3s-85f"],
    clock_hz=100e6,
    seed=0,
    allow_slow=False,
)

BUILD = Case(
    words="build text.tape --board ulx3s-85f --out out",
    below={
        "hdl.boards:find_board": REAL,
        "mmfree.cli.build:refuse_to_replace_folder": None,
        "mmfree.inference.backends:load_tape_or_export": TEXT_TAPE,
        "hdl.toolchain.build:build": BUILT,
    },
    asked={
        "find_board(name)": "ulx3s-85f",
        "refuse_to_replace_folder(path)": OUT,
        "refuse_to_replace_folder(force)": False,
        "load_tape_or_export(path)": Path("text.tape"),
        "build(request)": REQUEST,
        "build(out)": OUT,
        "build(progress)": ANY,
        "build(force)": False,
    },
    values=BUILT
    | {
        "bitstream": "out/mmfree.bit",
        "utilisation": {
            "TRELLIS_COMB": [9000, 83640],
            "TRELLIS_FF": [8000, 83641],
            "DP16KD": [7, 208],
        },
    },
    said="""\
bitstream      out/mmfree.bit
clock          131.2 MHz routed, runs at 139.5 MHz (asked for 140 MHz): TOO SLOW, kept by\
 --allow-slow
faster         131.2 MHz reached, 140 MHz asked: --clock 160.5 would be legal, and the PLL makes it
lanes          1,024; 12.5 % of the lanes' work is padding
LUTs           9,000 of 83,640
registers      8,000 of 83,641
memory blocks  7 of 208
DSP blocks     3

cells            LUTs  flip-flops  block RAMs
routed          9,001       8,001           7  all of it""",
    rows={
        "model": Row(
            instead={"text.tape": "sums.tape"},
            changes={"load_tape_or_export(path)": Path("sums.tape")},
        ),
        "board": Row(
            words="--board ulx3s-85f", why="there is one; that others are refused is tested"
        ),
        "clock": Row(
            words="--clock 75.5", changes={"build(request)": replace(REQUEST, clock_hz=75.5e6)}
        ),
        "allow_slow": Row(
            words="--allow-slow", changes={"build(request)": replace(REQUEST, allow_slow=True)}
        ),
        "lanes": Row(
            words="--lanes 16",
            changes={"build(request)": replace(REQUEST, design=design_for(TEXT_TAPE, 16))},
        ),
        "bits": Row(
            words="--bits 1.6",
            changes={"build(request)": replace(REQUEST, design=design_for(TEXT_TAPE, 64, "1.6"))},
        ),
        "out": Row(
            words="--out other",
            changes=dict.fromkeys(("refuse_to_replace_folder(path)", "build(out)"), Path("other")),
        ),
        "force": Row(
            words="--force",
            changes={"refuse_to_replace_folder(force)": True, "build(force)": True},
        ),
        "seed": Row(words="--seed 5", changes={"build(request)": replace(REQUEST, seed=5)}),
    },
)

ALL = dict.fromkeys(KINDS, 0) | {"rows": 5, "logits": 1280, "states": 80}
RESULT = CosimResult(
    verdict=Verdict(due=ALL, compared=ALL, differing=dict.fromkeys(KINDS, 0)),
    # The prompt's three positions choose something, too.
    rows=[[1, 2, 72, 105, 33]],
    logits=[],
    states=[],
    cycles_per_token=1234.5,
    weights_per_token=6272,
    lanes=64,
    lane_utilization=0.0794,
    counters={"tokens": 5},
    simulated_hz=54321.0,
)
PROFILE = {"head": {"beats": 100, "wait_room": 5}, "layer 0 glu": {"beats": 25, "wait_room": 0}}
RECORDING = Recording(path=Path("w.vcd"), num_bytes=1_250_000_000, shows="all 5 tokens")
COSIM_SAID = """\
Hi!
bit-exact: 5 tokens, 1,360 of 1,360 logits and state words compared
1,234 cycles per token at 64 lanes, lane utilization 7.9 % (simulated); 54,321 cycles simulated per\
 second"""
COSIM_VALUES = {
    "bit_exact": True,
    "tokens": 5,
    "tokens_due": 5,
    "compared": 1360,
    "due": 1360,
    "missing": {},
    "cycles_per_token": 1234.5,
    "weights_per_token": 6272,
    "lanes": 64,
    "lane_utilization": 0.0794,
    "simulated_hz": 54321.0,
    "counters": {"tokens": 5},
    "memory": "block",
    "sha256": TEXT_TAPE.sha256,
    "text": "Hi!",
}
SEQUENCE = Sequence(prompt=[0, 97, 98], generate=3, temperature=0, seed=0, stop=None)
COSIM_ROWS = {
    "prompt": Row(
        words="--prompt z",
        changes={"cosim(sequences)": [replace(SEQUENCE, prompt=[0, 122])]},
    ),
    "tokens": Row(
        words="--tokens 9", changes={"cosim(sequences)": [replace(SEQUENCE, generate=9)]}
    ),
    "temperature": Row(
        words="--temperature 0.5",
        changes={"cosim(sequences)": [replace(SEQUENCE, temperature=32)]},
    ),
    "stop": Row(words="--stop 10", changes={"cosim(sequences)": [replace(SEQUENCE, stop=10)]}),
    "seed": Row(
        words="--seed 5",
        changes={"cosim(seed)": 5, "cosim(sequences)": [replace(SEQUENCE, seed=5)]},
    ),
    "profile": Row(words="--profile", changes={"cosim(profile)": True}),
    "waveform": Row(
        words="--waveform w.vcd",
        changes={
            "reserved(path)": Path("w.vcd"),
            "reserved(force)": False,
            "cosim(waveform)": Path("w.vcd"),
        },
    ),
    "force": Row(
        words="--waveform w.vcd --force",
        changes={
            "reserved(path)": Path("w.vcd"),
            "reserved(force)": True,
            "cosim(waveform)": Path("w.vcd"),
        },
    ),
    "simulator": Row(words="--simulator icarus", changes={"cosim(simulator)": "icarus"}),
}

AXI = OF_MEMORY | {"cosim(design)": EXTERNAL, "cosim(behaviour)": Behaviour()}
MEMORY_ROWS = {
    "memory": Row(words="--memory axi64x2:64K", changes=AXI),
    "latency": Row(
        words="--memory axi64x2 --latency 5:9",
        changes=AXI | {"cosim(behaviour)": Behaviour(latency=(5, 9))},
    ),
    "withheld": Row(
        words="--memory axi64x2 --withheld 12.5 --seed 3",
        changes=AXI
        | {
            "cosim(behaviour)": Behaviour(withheld=12.5, seed=3),
            "cosim(seed)": 3,
            "cosim(sequences)": [replace(SEQUENCE, seed=3)],
        },
    ),
}

COSIM = Case(
    words="cosim text.tape --prompt ab --tokens 3",
    below={
        "mmfree.inference.backends:load_tape_or_export": TEXT_TAPE,
        "mmfree.chip.sizing:design_for": REAL,
        "mmfree.files.atomic:reserved": nullcontext(),
        "sim.cosim.run:cosim": RESULT,
    },
    asked={
        "load_tape_or_export(path)": Path("text.tape"),
        "design_for(tape)": TEXT_TAPE,
        "design_for(lanes)": None,
        "design_for(weight_code)": None,
        "cosim(tapes)": [TEXT_TAPE],
        "cosim(design)": ANY,
        "cosim(sequences)": [SEQUENCE],
        "cosim(loaded)": False,
        "cosim(seed)": 0,
        "cosim(traffic)": None,
        "cosim(profile)": False,
        "cosim(waveform)": None,
        "cosim(simulator)": "verilator",
        "cosim(technology)": ANY,
        "cosim(array)": ANY,
        "cosim(behaviour)": None,
        "cosim(processes)": None,
    },
    values=COSIM_VALUES,
    said=COSIM_SAID,
    rows=COSIM_ROWS
    | DESIGN_ROWS
    | MEMORY_ROWS
    | {
        "model": Row(
            instead={"text.tape": "copy.tape"},
            changes={"load_tape_or_export(path)": Path("copy.tape")},
        )
    },
)

CHIP = ChipFolder(path=Path("chip"), design=DESIGN, tape=TEXT_TAPE, files={}, altered=("a.hex",))
COSIM_FOLDER = Case(
    words="cosim chip --prompt ab --tokens 3 --lanes 64 --bits 2",
    below={
        "sim.cosim.chip_folder:read_chip_folder": CHIP,
        "mmfree.files.atomic:reserved": nullcontext(),
        "sim.cosim.run:cosim_folder": replace(
            RESULT,
            altered=("a.hex", "b.hex"),
            recording=RECORDING,
            profile=PROFILE,
            memory="axi64",
            bandwidth_utilization=0.9876,
        ),
    },
    asked={
        "read_chip_folder(path)": Path("chip"),
        "cosim_folder(chip)": CHIP,
        "cosim_folder(sequences)": [SEQUENCE],
        "cosim_folder(seed)": 0,
        "cosim_folder(profile)": False,
        "cosim_folder(waveform)": None,
        "cosim_folder(simulator)": "verilator",
        "cosim_folder(behaviour)": None,
    },
    values=COSIM_VALUES
    | {
        "altered": ["a.hex", "b.hex"],
        "memory": "axi64",
        "bandwidth_utilization": 0.9876,
        "waveform": "w.vcd",
        "waveform_bytes": 1_250_000_000,
        "waveform_shows": "all 5 tokens",
        "profile": PROFILE,
    },
    said="""\
Hi!
altered since `mmfree verilog` wrote them: a.hex, b.hex
bit-exact: 5 tokens, 1,360 of 1,360 logits and state words compared
waveform: w.vcd, 1,250.0 MB, all 5 tokens
1,234 cycles per token at 64 lanes, lane utilization 7.9 % (simulated); 54,321 cycles simulated per\
 second
memory axi64: 98.8 % of the words that it could give

cycles per token       beats      room
head                    20.0       1.0
layer 0 glu              5.0       0.0
total                   25.0       1.0""",
    rows={
        name: replace(
            row,
            changes={
                asked.replace("cosim(", "cosim_folder("): value
                for asked, value in row.changes.items()
            },
        )
        for name, row in COSIM_ROWS.items()
    }
    | {"memory": Row(words="--memory block", why="the folder's own; another one is refused")},
)

PAGE = Case(
    words="page text.tape --out out",
    below={
        "mmfree.cli.page:load_tape_or_export": TEXT_TAPE,
        "sim.page.limits:design_for": REAL,
        "mmfree.cli.page:claimed": nullcontext(),
        "mmfree.cli.page:refuse_to_overwrite": None,
        "mmfree.cli.page:write_atomically": None,
        "sim.page.page:page_of": b"<!doctype html>",
    },
    asked={
        "load_tape_or_export(path)": Path("text.tape"),
        "design_for(tape)": TEXT_TAPE,
        "design_for(lanes)": 64,
        "design_for(weight_code)": "1.6",
        "claimed(path)": OUT,
        "refuse_to_overwrite(path)": OUT,
        "refuse_to_overwrite(force)": False,
        "write_atomically(path)": OUT,
        "write_atomically(data)": b"<!doctype html>",
        "page_of(tape)": TEXT_TAPE,
        "page_of(name)": "text",
        "page_of(design)": design_for(TEXT_TAPE, 64, "1.6"),
        "page_of(card)": "",
        "page_of(progress)": ANY,
    },
    values={"page": "out", "bytes": 15, "lanes": 64, "tape_sha256": TEXT_TAPE.sha256},
    said="out: 15 bytes, a chip of 64 lanes; open it in a browser",
    rows={
        "model": Row(
            instead={"text.tape": "sums.tape"},
            changes={"load_tape_or_export(path)": Path("sums.tape"), "page_of(name)": "sums"},
        ),
        "lanes": Row(
            words="--lanes 16",
            changes={
                "design_for(lanes)": 16,
                "page_of(design)": design_for(TEXT_TAPE, 16, "1.6"),
            },
        ),
        "bits": Row(
            words="--bits 2",
            changes={
                "design_for(weight_code)": "2",
                "page_of(design)": design_for(TEXT_TAPE, 64, "2"),
            },
        ),
        "out": Row(
            words="--out other",
            changes=dict.fromkeys(
                ("claimed(path)", "refuse_to_overwrite(path)", "write_atomically(path)"),
                Path("other"),
            ),
        ),
        "force": Row(words="--force", changes={"refuse_to_overwrite(force)": True}),
        "seed": NOT_DRAWN,
    },
)

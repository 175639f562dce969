"""What `demo` and `report` ask for and say."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

from mmfree.chip.sizing import design_for
from mmfree.inference.scoring import TaskResult
from mmfree.training.loop import TrainingResult
from mmfree.training.presets import PRESETS
from tests.support.below import REAL
from tests.support.verbs.case import MADE, OUT, SUM_TAPE, Case, Row
from tests.support.verbs.chips import DESCRIPTION, PROFILE, RESULT
from tests.support.verbs.training import NOT_DRAWN

PAGE = Path("page.html")
"""A page of ten bytes in the current folder."""

SUMS_PLAYED = replace(RESULT, rows=[[0, 0, 3, 0, 2, 0, 1], [0, 0, 7], [0, 0, 0]], profile=PROFILE)
"""The chip says 123, 7 and 0."""

DEMO = Case(
    words="demo --out out",
    below={
        "mmfree.training.train:train": TrainingResult(
            step=7, steps=7, loss=1.5, tokens_per_second=1.0, held_bytes=1
        ),
        "mmfree.cli.demo:load_trained_tape": SUM_TAPE,
        "mmfree.cli.demo:write_tape": None,
        "mmfree.cli.demo:evaluate_task": TaskResult("golden", "addition", 100, 1000, 999),
        "mmfree.cli.demo:design_for": REAL,
        "mmfree.cli.demo:new_folder": nullcontext(MADE),
        "hdl.toolchain.emit:write_verilog": DESCRIPTION,
        "sim.cosim.run:cosim": SUMS_PLAYED,
        "mmfree.cli.demo:_write_page": OUT / "page.html",
        "mmfree.report.run:write_report": (PAGE, []),
        "mmfree.cli.demo:_story": ["", "Once."],
    },
    asked={
        "train(config)": PRESETS["addition"](),
        "train(folder)": OUT / "checkpoint",
        "train(data)": None,
        "train(field)": None,
        "train(teacher)": None,
        "train(seed)": 0,
        "train(minutes)": None,
        "train(resume)": False,
        "train(extend)": False,
        "train(force)": False,
        "train(stop_at)": None,
        "train(tensorboard)": False,
        "train(shard)": False,
        "train(corpus)": None,
        "load_trained_tape(path)": OUT / "checkpoint",
        "write_tape(tape)": SUM_TAPE,
        "write_tape(path)": OUT / "model.tape",
        "evaluate_task(backend)": ANY,
        "evaluate_task(name)": "addition",
        "evaluate_task(digits)": 100,
        "evaluate_task(examples)": 1000,
        "evaluate_task(seed)": 0,
        "evaluate_task 2(backend)": ANY,
        "evaluate_task 2(name)": "addition-chains",
        "evaluate_task 2(digits)": 100,
        "evaluate_task 2(examples)": 1000,
        "evaluate_task 2(seed)": 0,
        "_story(seed)": 0,
        "design_for(tape)": SUM_TAPE,
        "design_for(lanes)": 64,
        "design_for(weight_code)": None,
        "new_folder(path)": OUT / "verilog",
        "new_folder(kind)": ANY,
        "new_folder(force)": True,
        "write_verilog(design)": design_for(SUM_TAPE, 64),
        "write_verilog(folder)": MADE,
        "write_verilog(tape)": SUM_TAPE,
        "cosim(tapes)": [SUM_TAPE],
        "cosim(design)": design_for(SUM_TAPE, 64),
        "cosim(sequences)": ANY,
        "cosim(loaded)": False,
        "cosim(seed)": 0,
        "cosim(traffic)": None,
        "cosim(profile)": True,
        "cosim(waveform)": None,
        "cosim(simulator)": "verilator",
        "cosim(technology)": ANY,
        "cosim(array)": ANY,
        "cosim(behaviour)": None,
        "cosim(processes)": None,
        "_write_page(tape)": SUM_TAPE,
        "_write_page(name)": "addition",
        "_write_page(lanes)": 64,
        "_write_page(path)": OUT / "page.html",
        "write_report(run)": OUT,
        "write_report(out)": None,
    },
    values={
        "checks": [
            {
                "name": "golden model, random sums",
                "due": 1000,
                "right": 999,
                "detail": "999 of 1,000 of 100 digits exact",
                "passed": False,
            },
            {
                "name": "golden model, random sums",
                "due": 1000,
                "right": 999,
                "detail": "999 of 1,000 of 100 digits exact",
                "passed": False,
            },
            {
                "name": "chip equals golden model",
                "due": 1365,
                "right": 1365,
                "detail": "1,360 of 1,360 logits and state words of 5 tokens",
                "passed": True,
            },
            {
                "name": "chip, sums",
                "due": 3,
                "right": 0,
                "detail": "0 of 3 equal to Python's +, one a full-carry chain",
                "passed": False,
            },
        ],
        # 2,336 ternary weights, 31 rows of 16 of the embedding, and 16 of f's bias.
        "parameters": 2336 + 31 * 16 + 16,
        "weights_per_token": 6272,
        "lanes": 64,
        "cycles_per_token": 1234.5,
        "lane_utilization": 0.0794,
        "adds_per_token": 4 * 16 * 16 + 3 * 16 * 24 + 10 * 16,
        # A root for each of five segments, SiLU twice for d and once for I, noise for the head.
        "table_reads_per_token": 5 + 2 * 16 + 24 + 10,
        "products_per_token": 1777,
        "multipliers": 0,
        "bit_exact": True,
        "tokens": 5,
        "compared": 1360,
        "simulated_hz": 54321.0,
        "sha256": SUM_TAPE.sha256,
        "seconds": ANY,
        "report": "page.html",
        "page": "out/page.html",
    },
    said=ANY,
    code=1,
    rows={
        "lanes": Row(
            words="--lanes 16",
            changes={"design_for(lanes)": 16, "_write_page(lanes)": 16}
            | dict.fromkeys(("write_verilog(design)", "cosim(design)"), design_for(SUM_TAPE, 16)),
        ),
        "out": Row(
            words="--out other",
            changes={
                "train(folder)": Path("other/checkpoint"),
                "load_trained_tape(path)": Path("other/checkpoint"),
                "write_tape(path)": Path("other/model.tape"),
                "new_folder(path)": Path("other/verilog"),
                "_write_page(path)": Path("other/page.html"),
                "write_report(run)": Path("other"),
            },
        ),
        "force": Row(words="--force", changes={"train(force)": True}),
        # The sums differ, too: tests/cli/test_demo.py.
        "seed": Row(
            words="--seed 5",
            changes={
                "train(seed)": 5,
                "_story(seed)": 5,
                "evaluate_task(seed)": 5,
                "evaluate_task 2(seed)": 5,
            },
        ),
    },
)

DEMO_AGAIN = Case(
    words="demo addition --out trained",
    below=DEMO.below,
    asked=DEMO.asked
    | {
        "train(folder)": Path("trained/checkpoint"),
        "train(resume)": True,
        "load_trained_tape(path)": Path("trained/checkpoint"),
        "write_tape(path)": Path("trained/model.tape"),
        "new_folder(path)": Path("trained/verilog"),
        "_write_page(path)": Path("trained/page.html"),
        "write_report(run)": Path("trained"),
    },
    values=DEMO.values,
    said=ANY,
    code=1,
    rows={
        "force": Row(words="--force", changes={"train(resume)": False, "train(force)": True}),
        "out": Row(
            instead={"--out": "", "trained": ""},
            changes={
                "train(folder)": Path("runs/addition/checkpoint"),
                "train(resume)": False,
                "load_trained_tape(path)": Path("runs/addition/checkpoint"),
                "write_tape(path)": Path("runs/addition/model.tape"),
                "new_folder(path)": Path("runs/addition/verilog"),
                "_write_page(path)": Path("runs/addition/page.html"),
                "write_report(run)": Path("runs/addition"),
            },
        ),
        "preset": Row(
            instead={"addition": ""}, why="addition is the default; text is in test_demo.py"
        ),
    },
)

REPORT = Case(
    words="report run",
    below={"mmfree.report.run:write_report": (PAGE, ["Training", "Ranges"])},
    asked={"write_report(run)": Path("run"), "write_report(out)": None},
    values={"report": "page.html", "bytes": 10, "sections": ["Training", "Ranges"]},
    said="page.html: Training, Ranges",
    rows={
        "run": Row(instead={"run": "run2"}, changes={"write_report(run)": Path("run2")}),
        "out": Row(words="--out other", changes={"write_report(out)": Path("other")}),
        "seed": NOT_DRAWN,
    },
)

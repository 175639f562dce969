"""The whole product once: train, export, generate the chip, simulate it, and compare every bit."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for
from mmfree.cli.options import add_lanes
from mmfree.cli.outcome import Outcome
from mmfree.errors import InputError, Stopped, ToolMissing
from mmfree.files.atomic import write_atomically
from mmfree.files.claim import claimed
from mmfree.files.folders import new_folder, refuse_to_replace_folder
from mmfree.golden.sampling import temperature_code
from mmfree.inference.backends import load_backend, load_trained_tape, tape_player
from mmfree.inference.generate import generate, generate_rows
from mmfree.inference.places import training_of
from mmfree.inference.scoring import evaluate_task, evaluate_text
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.report.record import PAGE_NAME, REPORT_NAME, RUN_NAME, Check
from mmfree.shipped import FOLDER, UNASKED
from mmfree.tape.operations import count_operations
from mmfree.tape.pow2 import Tape, write_tape
from mmfree.tasks.addition import draw_sums
from mmfree.text.corpus import python_prose
from mmfree.text.loading import load_corpus
from mmfree.text.tokenizer import Tokenizer, document_ends
from mmfree.text.tokenizers import tokenizer_from_dict
from mmfree.training.presets import PRESETS, run_config
from mmfree.training.recipe import CONFIG_NAME, RunConfig

if TYPE_CHECKING:
    from sim.cosim.run import CosimResult
    from sim.cosim.run_folder import Sequence

EXAMPLES = (
    "mmfree demo",
    "mmfree demo text --out runs/text",
)

DIGITS, GOLDEN_SUMS = 100, 1000
CHIP_SUMS = {"random": 2, "chains": 1}
"""Sums that the simulated chip adds."""

SUMS_ARE = {"random": "random sums", "chains": "full-carry sums"}
"""Kind of sum -> its name for people."""

TEXT_NAME = "text.txt"
TEXT_TOKENIZER, TEXT_STEPS = "bpe:1024", 500
"""Whole words after two minutes of training: bytes would have to learn to spell first. More steps
learn the text by heart (docs/log.md)."""

TEXT_PROMPT, TEXT_TOKENS, TEXT_TEMPERATURE = "If the", 64, 0.4


def _adds(folder: Path) -> tuple[RunConfig, list[Path]]:
    return PRESETS["addition"](), []


def _writes(folder: Path) -> tuple[RunConfig, list[Path]]:
    data = [folder / TEXT_NAME]
    write_atomically(data[0], python_prose().encode())
    return run_config("text", tokenizer=TEXT_TOKENIZER, data=data, steps=TEXT_STEPS), data


RUNS: dict[str, Callable[[Path], tuple[RunConfig, list[Path]]]] = {
    "addition": _adds,
    "text": _writes,
}
"""What can be shown -> the run that trains it in a folder, and the text that it learns from."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "preset", nargs="?", choices=tuple(RUNS), default="addition", help="model to train"
    )
    add_lanes(parser)
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="folder for what it makes (default: runs/PRESET)"
    )
    parser.add_argument(
        "--force", action="store_true", help="train again if there is a trained model"
    )


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    folder = options.out or Path("runs") / options.preset
    if training_of(folder) == folder:
        raise InputError(
            f"{folder}: a checkpoint; a demo has one within its own folder: another --out"
        )
    with claimed(folder):
        refuse_to_replace_folder(folder, True)
        try:
            return _demo(options, folder)
        except Stopped as stopped:
            # What training says of going on is about its own options.
            raise Stopped(
                "stopped; the same command goes on, without --force", stopped.signal
            ) from None


def _demo(options: argparse.Namespace, folder: Path) -> Outcome:
    from mmfree.report.run import write_report
    from sim.cosim.run import cosim

    started = time.monotonic()
    config, data = RUNS[options.preset](folder)
    _train(options.preset, config, data, folder, options.seed, options.force)
    with _stage("export: floats become one tape of integers"):
        tape = load_trained_tape(folder / "checkpoint")
        _withdraw(folder)
        write_tape(tape, folder / "model.tape")
        _say(f"{folder / 'model.tape'}: {tape.num_bytes:,} bytes, sha256 {tape.sha256}")
    golden = GoldenBackend(tape)
    task = (
        _Addition(options.seed)
        if options.preset == "addition"
        else _Text(golden.tokenizer, data, options.seed)
    )
    with _stage(f"golden model: {task.golden_summary}"):
        checks = task.check_golden(golden)
    design = design_for(tape, options.lanes)
    with _stage(f"Verilog of the accelerator: {design.lanes} lanes"):
        description = _write_verilog(design, folder / "verilog", tape)
    with _stage(f"co-simulation: {task.chip_summary}"):
        result = cosim([tape], design, task.sequences(), profile=True)
    checks += [
        Check(
            name="chip equals golden model",
            due=sum(result.verdict.due.values()),
            right=sum(result.verdict.compared.values()) - sum(result.verdict.differing.values()),
            detail=(
                f"{result.compared:,} of {result.due:,} logits and state words of"
                f" {result.tokens} tokens"
                if result.bit_exact
                else f"first difference: {result.divergence}; {result.verdict.describe()}"
            ),
        ),
        *task.check_chip(result.rows, golden),
    ]
    with _stage("the chip in a page"):
        page_path = _write_page(tape, options.preset, options.lanes, folder / PAGE_NAME)
    figures, story = _figures(tape, description, result), list(_story(options.seed))
    values = {
        "checks": [check.to_dict() for check in checks],
        **figures,
        "bit_exact": result.bit_exact,
        "tokens": result.tokens,
        "compared": result.compared,
        "simulated_hz": result.simulated_hz,
        "sha256": tape.sha256,
        "seconds": time.monotonic() - started,
    }
    answers = task.answers(result.rows)
    record = values | {"design": design.to_dict(), "profile": result.profile, "answers": answers}
    write_atomically(folder / RUN_NAME, (json.dumps(record, indent=1) + "\n").encode())
    with _stage("report"):
        page, _ = write_report(folder)
        _say(str(page))
    ok = all(check.passed for check in checks)
    lines = [*_report(checks, figures, answers, ok), *story]
    made = {"report": str(page), "page": None if page_path is None else str(page_path)}
    return Outcome(values | made, "\n".join(lines), ok)


def _story(seed: int) -> Iterator[str]:
    """What the model writes that comes with mmfree."""
    unasked = UNASKED["stories"]
    pieces = generate(
        load_backend(FOLDER / "stories.tape", tape_player()),
        unasked.prompt,
        unasked.tokens,
        seed=seed,
    )
    yield ""
    yield "And a story, by the model that comes with mmfree (`mmfree generate stories`):"
    yield ""
    yield unasked.prompt + "".join(text for text, _ in pieces)


class _Addition:
    """Streaming addition, checked against Python's own ``+``."""

    golden_summary = (
        f"{GOLDEN_SUMS:,} random and {GOLDEN_SUMS:,} full-carry sums of {DIGITS} digits"
    )
    chip_summary = f"{sum(CHIP_SUMS.values())} sums of {DIGITS} digits"

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = np.random.default_rng(seed)
        self._sums: list[tuple[str, int, int]] = []
        for kind, count in CHIP_SUMS.items():
            for a, b in zip(*draw_sums(rng, kind, DIGITS, count), strict=True):
                numbers = [int("".join(map(str, digits[::-1]))) for digits in (a, b)]
                self._sums.append((kind, numbers[0], numbers[1]))
        self._tokenizer = tokenizer_from_dict({"kind": "addition"})

    def check_golden(self, golden: GoldenBackend) -> list[Check]:
        """Every sum exact."""
        results = [
            evaluate_task(golden, name, digits=DIGITS, examples=GOLDEN_SUMS, seed=self._seed)
            for name in ("addition", "addition-chains")
        ]
        return [
            Check(
                name=(
                    "golden model, "
                    + SUMS_ARE["chains" if r.task == "addition-chains" else "random"]
                ),
                due=GOLDEN_SUMS,
                right=r.exact,
                detail=f"{r.exact:,} of {GOLDEN_SUMS:,} of {r.digits} digits exact",
            )
            for r in results
        ]

    def sequences(self) -> list[Sequence]:
        """What the chip plays."""
        from sim.cosim.run_folder import Sequence

        return [
            Sequence(prompt=self._tokenizer.encode(f"{a:0{DIGITS}}+{b:0{DIGITS}}"))
            for _, a, b in self._sums
        ]

    def check_chip(self, rows: list[list[int]], golden: GoldenBackend) -> list[Check]:
        """The chip's digits are those of Python's ``+``."""
        answers = [self._tokenizer.decode(chosen) for chosen in rows]
        right = sum(
            answer == str(a + b) for answer, (_, a, b) in zip(answers, self._sums, strict=False)
        )
        total = len(self._sums)
        detail = f"{right} of {total} equal to Python's +, one a full-carry chain"
        return [Check(name="chip, sums", due=total, right=right, detail=detail)]

    def answers(self, rows: list[list[int]]) -> list[str]:
        """The sums, as people write them."""
        lines = []
        for (kind, a, b), chosen in zip(self._sums, rows, strict=False):
            lines += [f"{SUMS_ARE[kind]}:", f"   {a:0{DIGITS}}", f" + {b:0{DIGITS}}"]
            lines.append(f" ={self._tokenizer.decode(chosen):>{DIGITS + 1}}")
        return lines


class _Text:
    """Text: bits per byte on held-out text, and a continuation drawn by the chip."""

    golden_summary = "bits per byte of held-out text"
    chip_summary = f"{TEXT_TOKENS} tokens after {TEXT_PROMPT!r}"

    def __init__(self, tokenizer: Tokenizer, data: list[Path], seed: int) -> None:
        self._tokenizer, self._data, self._seed = tokenizer, data, seed
        self._prompt = tokenizer.encode(TEXT_PROMPT)
        self._ends = document_ends(tokenizer)

    def check_golden(self, golden: GoldenBackend) -> list[Check]:
        """Better than the bytes' own frequencies would be."""
        corpus = load_corpus(self._data)
        result = evaluate_text(golden, corpus.validation.tobytes())
        counts = np.bincount(np.asarray(corpus.training), minlength=256) + 1
        frequencies = counts / counts.sum()
        entropy = float(-np.log2(frequencies[corpus.validation]).mean())
        return [
            Check(
                name="golden model, text",
                due=len(corpus.validation),
                right=result.bytes if result.bits_per_byte < entropy else 0,
                detail=(
                    f"{result.bits_per_byte:.3f} bits per byte on {result.bytes:,} held-out bytes "
                    f"({entropy:.3f} from the frequencies of bytes alone)"
                ),
            )
        ]

    def sequences(self) -> list[Sequence]:
        """What the chip plays."""
        from sim.cosim.run_folder import Sequence

        return [
            Sequence(
                prompt=self._prompt,
                generate=TEXT_TOKENS,
                temperature=temperature_code(TEXT_TEMPERATURE),
                seed=self._seed,
                stop=self._ends[0],
            )
        ]

    def check_chip(self, rows: list[list[int]], golden: GoldenBackend) -> list[Check]:
        """The chip wrote what the golden model writes by itself: neither less nor more."""
        expected = list(
            generate_rows(
                golden,
                self._prompt,
                TEXT_TOKENS,
                temperature=temperature_code(TEXT_TEMPERATURE),
                seed=self._seed,
            )
        )
        chosen = self._chosen(rows)
        due = max(len(expected), len(chosen))
        right = sum(row == wanted for row, wanted in zip(chosen, expected, strict=False))
        detail = f"{right} of {due} tokens are those that the golden model writes by itself"
        return [Check(name="chip, text", due=due, right=right, detail=detail)]

    def answers(self, rows: list[list[int]]) -> list[str]:
        """What the chip wrote."""
        drawn = f"the chip wrote (temperature {TEXT_TEMPERATURE}, seed {self._seed}):"
        return [drawn, *f"{TEXT_PROMPT}{self._written(rows)}".splitlines()]

    def _written(self, rows: list[list[int]]) -> str:
        return self._tokenizer.decode([row for row in self._chosen(rows) if row not in self._ends])

    def _chosen(self, rows: list[list[int]]) -> list[int]:
        """What the chip chose after the prompt."""
        return rows[0][len(self._prompt) - 1 :]


def _train(
    preset: str, config: RunConfig, data: list[Path], folder: Path, seed: int, force: bool
) -> None:
    from mmfree.training.train import train

    checkpoint = folder / "checkpoint"
    there = (checkpoint / CONFIG_NAME).exists() and not force
    with _stage(f"training: {preset}" + (f", going on with {checkpoint}" if there else "")):
        if not there:  # to go on may be refused, and then all stays as it is
            _withdraw(folder)
        result = train(config, checkpoint, data=data or None, seed=seed, resume=there, force=force)
        again = f": {result.step} steps; train again with --force"
        _say(f"{checkpoint}{again if there else ''}")


def _withdraw(folder: Path) -> None:
    """Remove what an earlier demo says of its model, before another one takes its place."""
    for name in (RUN_NAME, REPORT_NAME, PAGE_NAME):
        (folder / name).unlink(missing_ok=True)


def _write_verilog(design: Design, folder: Path, tape: Tape) -> dict[str, Any]:
    from hdl.toolchain.emit import write_verilog
    from mmfree.chip.folder import VERILOG_FOLDER

    # A demo makes anew what follows from its checkpoint.
    with new_folder(folder, VERILOG_FOLDER, force=True) as made:
        description = write_verilog(design, made, tape)
    _say(f"{folder}: mmfree.v, memory files, design.json")
    return description


def _write_page(tape: Tape, name: str, lanes: int, path: Path) -> Path | None:
    """Where the page is; None, and a line that says why, without its compiler or with more lanes
    than a page has.
    """
    from sim.page.limits import design_of
    from sim.page.page import page_of

    try:
        data = page_of(tape, name, design_of(tape, lanes))
    except (InputError, ToolMissing) as error:
        _say(f"no page: {error}")
        return None
    write_atomically(path, data)
    _say(f"{path}: {len(data):,} bytes; open it in a browser")
    return path


def _figures(tape: Tape, description: dict[str, Any], result: CosimResult) -> dict[str, Any]:
    operations = count_operations(tape)
    return {
        "parameters": tape.config.num_parameters,
        "weights_per_token": result.weights_per_token,
        "lanes": result.lanes,
        "cycles_per_token": result.cycles_per_token,
        "lane_utilization": result.lane_utilization,
        "adds_per_token": operations.ternary_additions,
        "table_reads_per_token": sum(operations.table_reads.values()),
        "products_per_token": description["shift_and_add_products_per_token"],
        "multipliers": description["multipliers"],
    }


def _report(
    checks: list[Check], figures: dict[str, Any], answers: list[str], ok: bool
) -> Iterator[str]:
    yield from answers
    yield ""
    for check in checks:
        yield f"{'ok  ' if check.passed else 'FAIL'}  {check.name + ':':<34}{check.detail}"
    yield ""
    rows = [
        ("parameters", f"{figures['parameters']:,}"),
        ("ternary weights", f"{figures['weights_per_token']:,}"),
        ("lanes", f"{figures['lanes']:,}"),
        ("cycles per token (simulated)", f"{figures['cycles_per_token']:,.0f}"),
        ("lane utilization (simulated)", f"{100 * figures['lane_utilization']:.1f} %"),
        ("ternary additions per token", f"{figures['adds_per_token']:,}"),
        ("table reads per token", f"{figures['table_reads_per_token']:,}"),
        ("shift-and-add products per token", f"{figures['products_per_token']:,}"),
        ("multipliers", f"{figures['multipliers']:,}"),
    ]
    width = max(len(value) for _, value in rows)
    yield from (f"{name:<34}{value:>{width}}" for name, value in rows)
    yield ""
    yield "Every check passed." if ok else "A check failed: see FAIL above."


@contextmanager
def _stage(title: str) -> Iterator[None]:
    started = time.monotonic()
    _say(f"== {title}")
    yield
    _say(f"   {time.monotonic() - started:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

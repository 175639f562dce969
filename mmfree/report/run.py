"""One self-contained HTML page about a run: its training, its accuracy, its chip."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from mmfree.chip.design import Design
from mmfree.contract.tokenizers import SUBWORD_KINDS
from mmfree.errors import InputError
from mmfree.files.atomic import write_atomically
from mmfree.files.claim import claimed
from mmfree.inference.ranges import describe_ranges, measure_ranges, real_data
from mmfree.inference.scoring import evaluate_task
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.report.figures import (
    accuracy_against_digits,
    cycles_by_segment,
    followed_accuracy,
    operations_per_token,
    training_curve,
)
from mmfree.report.page import figure, html_page, note, table
from mmfree.report.picture import draw_accelerator
from mmfree.report.record import PAGE_NAME, REPORT_NAME, RUN_NAME, read_record
from mmfree.report.story import coloured
from mmfree.shipped import UNASKED, shipped_tape
from mmfree.tape.operations import count_operations
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import open_pow2_tape
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.text.tokenizers import tokenizer_from_dict
from mmfree.training.metrics import (
    ACCURACY_NAME,
    METRICS_NAME,
    SAMPLES_NAME,
    VALIDATION_NAME,
    Row,
    Sample,
    read_rows,
    read_samples,
)

REFERENCE = Path(__file__).parent / "reference" / "accuracy_against_digits.json"
DIGITS = {10: 200, 30: 200, 100: 200, 300: 50, 1000: 20}
"""Digits -> full-carry sums that the report evaluates: fewer where they take longer."""

_SAMPLES = 4
"""Texts shown of those that a model wrote while it was trained."""

_TEXT = ' class="text"'


def write_report(run: Path, out: Path | None = None) -> tuple[Path, list[str]]:
    """Write the report of a demo's folder, of a checkpoint's, of a tape, or of a shipped model.

    Returns where, and the titles of its sections. ``out``: None: report.html in the folder, or
    beside the tape NAME.html.

    Raises
    ------
    InputError
        If the folder is neither a demo's nor a checkpoint's, or the demo checked another tape than
        the one in the folder; or if ``out`` is the tape.
    """
    source = shipped_tape(run) or run
    alone = source.is_file()
    out = out or (run.with_name(f"{run.name}.html") if alone else run / REPORT_NAME)
    if alone and out.resolve() == source.resolve():
        raise InputError(f"{out}: the tape that is read; give another --out")
    with claimed(out):
        prompt = UNASKED[str(run)].prompt if source != run else None
        sections = list(_sections(source, prompt, _chip_in_a_page(run, out)))
        if not sections:
            raise InputError(
                f"{run}: neither a demo's folder ({RUN_NAME}) nor a checkpoint (metrics.csv):"
                " nothing to report"
            )
        write_atomically(out, html_page(run.resolve().name, sections).encode())
    return out, [name for name, _ in sections]


def _sections(run: Path, prompt: str | None, note_of_page: str) -> Iterator[tuple[str, str]]:
    """``prompt``: of the text that a model of text writes for the page; None: a line feed.
    ``note_of_page``: where the chip plays the model (HTML).
    """
    checkpoint = run / "checkpoint" if (run / "checkpoint").is_dir() else run
    values: dict[str, Any] = read_record(run / RUN_NAME) if (run / RUN_NAME).is_file() else {}
    lies = run if run.is_file() else run / "model.tape"
    tape = open_pow2_tape(lies) if lies.is_file() else None
    if values and tape is not None and values["sha256"] != tape.sha256:
        raise InputError(f"{run / RUN_NAME}: checked another tape than model.tape; run it again")
    adds = tape is not None and tape.tokenizer.get("kind") == "addition"
    if values:
        # Digits stand below each other, and lines of a text may break.
        yield "What was checked", _checks(values) + _lines(values["answers"], wrap=not adds)
    if tape is not None:
        yield "The model", _model(tape) + note_of_page
    if tape is not None and _writes(tape):
        yield "What it writes", coloured(tape, prompt or "\n")
    if rows := read_rows(checkpoint / METRICS_NAME):
        yield "Training", _training(rows, read_rows(checkpoint / VALIDATION_NAME))
    if samples := read_samples(checkpoint / SAMPLES_NAME):
        yield "What it wrote while training", _samples(samples)
    if rows := read_rows(checkpoint / ACCURACY_NAME):
        remark = "Share of exact examples during training, in the chip's arithmetic (measured)."
        drawn = figure(lambda width: followed_accuracy(rows, width=width))
        yield "Learning the rule", drawn + note(remark)
    if tape is not None and adds:
        yield "Accuracy against digits", _digits(tape)
    if values:
        yield "Cycles by segment", _cycles(values)
    if tape is not None:
        yield "Operations per token", _operations(tape)
    if values:
        design = Design.from_dict(values["design"], RUN_NAME)
        remark = "Sizes of this design. At most 16 rows and columns of the array are drawn."
        drawn = figure(lambda width: draw_accelerator(design, width=width))
        yield "The accelerator", drawn + note(remark)
    if tape is not None:
        yield "Ranges", _ranges(tape, checkpoint)


def _writes(tape: Tape) -> bool:
    """Whether a tape is of a model of text, and knows its tokenizer."""
    return tape.tokenizer.get("kind") in (ByteTokenizer.kind, *SUBWORD_KINDS)


def _checks(values: dict[str, Any]) -> str:
    lines = "".join(
        f"{_verdict(check.passed)}<td>{escape(check.name)}</td><td>{escape(check.detail)}</td></tr>"
        for check in values["checks"]
    )
    figures = table(
        [
            ("lanes", f"{values['lanes']:,}"),
            ("cycles per token (simulated, batch 1)", f"{values['cycles_per_token']:,.0f}"),
            ("lane utilization (simulated)", f"{100 * values['lane_utilization']:.1f} %"),
            ("multipliers (cells of the RTLIL)", f"{values['multipliers']:,}"),
            ("simulation speed, cycles/s (measured)", f"{values['simulated_hz']:,.0f}"),
        ]
    )
    checks = f'<div class="scroll"><table>{lines}</table></div>'
    return checks + figures


def _chip_in_a_page(run: Path, report: Path) -> str:
    """A link to the page of a demo that lies beside its report, or how to make one."""
    if report.resolve().parent == run.resolve() and (run / PAGE_NAME).is_file():
        return (
            f'<p><a href="{PAGE_NAME}">The chip in a page</a>: its RTL plays this model there.</p>'
        )
    return note(f"`mmfree page {run} --out page.html` makes a page in which the chip plays it.")


def _lines(lines: list[str], *, wrap: bool = False) -> str:
    """Lines of equally wide letters."""
    return f"<pre{_TEXT if wrap else ''}>{escape(chr(10).join(lines))}</pre>"


def _verdict(passed: bool) -> str:
    """The first cell of a row of checks."""
    return f'<tr><td class="{"ok" if passed else "fail"}">{"passed" if passed else "FAILED"}</td>'


def _training(rows: list[Row], validation: list[Row]) -> str:
    """The curve, and what the last and the best validation gave."""
    remark = (
        "Measured: the loss of every step, and its mean over the steps around it, a fiftieth of"
        " all."
    )
    if validation:
        best = min(validation, key=lambda row: row[2])
        remark += (
            f" Validation is on text that was held out: {validation[-1][2]:.3f} bits per byte at"
            f" the end, at best {best[2]:.3f}, after step {best[0]:,}."
        )
    return figure(lambda width: training_curve(rows, validation, width=width)) + note(remark)


def _samples(samples: list[Sample]) -> str:
    """Texts at even distances, the last one among them."""
    count = min(_SAMPLES, len(samples))
    chosen = [samples[(n + 1) * len(samples) // count - 1] for n in range(count)]
    return "".join(
        note(f"After step {sample.step:,}:") + _lines([sample.text], wrap=True) for sample in chosen
    )


def _model(tape: Tape) -> str:
    config = tape.config
    return table(
        [
            ("identity (sha256 of the tape)", tape.sha256),
            (
                "hidden size, intermediate size, layers",
                f"{config.hidden_size}, {config.intermediate_size}, {config.num_layers}",
            ),
            ("forget gate", config.gate),
            ("parameters", f"{config.num_parameters:,}"),
            ("ternary weights", f"{config.num_ternary_weights:,}"),
            ("state words", f"{config.num_state_words:,}"),
            ("bytes of the tape", f"{tape.num_bytes:,}"),
        ]
    )


def _digits(tape: Tape) -> str:
    backend = GoldenBackend(tape)
    own = [
        (
            digits,
            evaluate_task(backend, "addition-chains", digits=digits, examples=examples).accuracy,
        )
        for digits, examples in DIGITS.items()
    ]
    reference = json.loads(REFERENCE.read_text())
    remark = (
        "Sums with a carry through all digits, by the golden model (measured): this model now; the"
        " reference, three seeds for each gate, earlier with"
        " tools/figures/accuracy_against_digits.py. The hard gate can hold a carry bit for bit; a"
        " sigmoid gate mostly leaks."
    )
    gate = tape.config.gate
    drawn = figure(lambda width: accuracy_against_digits(own, gate, reference, width=width))
    return drawn + note(remark)


def _cycles(values: dict[str, Any]) -> str:
    remark = (
        "Simulated, batch 1: from a token's acceptance until its result is valid; every cycle has"
        " one cause."
    )
    profile, tokens = values["profile"], values["tokens"]
    return figure(lambda width: cycles_by_segment(profile, tokens, width=width)) + note(remark)


def _operations(tape: Tape) -> str:
    operations = count_operations(tape)
    counts = {"ternary additions": operations.ternary_additions}
    counts["of these, weight not 0"] = operations.nonzero_weights
    counts["table reads"] = sum(operations.table_reads.values())
    counts |= {f"products: {use.replace('_', ' ')}": n for use, n in operations.products.items()}
    remark = (
        "Counted from the tape. Products of two variables are made by shift-and-add units; noise is"
        " needed only when sampling."
    )
    return figure(lambda width: operations_per_token(counts, width=width)) + note(remark)


def _ranges(tape: Tape, checkpoint: Path) -> str:
    tokenizer = tokenizer_from_dict(tape.tokenizer)
    real = real_data(tokenizer, [], run=checkpoint)
    lines = describe_ranges(measure_ranges(tape, real.ids))
    remark = (
        f"How close each intermediate comes to its limits on {real.ids.size:,} positions of real"
        f" data ({real.source}; golden model)."
    )
    return _lines(lines) + note(remark)

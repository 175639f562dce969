"""The verbs of the command line that have no module of their own."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.backends import load_backend, load_tape_or_export
from mmfree.config import read_json
from mmfree.data import load_corpus, read_text
from mmfree.design import Design, describe_padding, design_for
from mmfree.evaluate import evaluate_task, evaluate_tokens
from mmfree.export_formats import export_for_others
from mmfree.files import refuse_to_overwrite, write_atomically
from mmfree.operations import count_operations
from mmfree.outcome import Outcome
from mmfree.published import model_type
from mmfree.published_verbs import export_published_checkpoint, inspect_absmax
from mmfree.ranges import (
    describe_ranges,
    measure_ranges,
    ranges_to_dicts,
    real_ids,
    refuse_saturation,
)
from mmfree.sampling import temperature_code
from mmfree.sources import is_shards
from mmfree.tape import Tape, is_absmax, read_tape, write_tape
from mmfree.tasks import TASKS
from mmfree.tokenizer import (
    Tokenizer,
    describe_tokenizer,
    reads_text,
    text_tokenizer,
    tokenizer_from_dict,
)

CURVE_NAME = "loss.svg"
"""The loss of a run, drawn beside its checkpoint."""

EXAMPLES_AFTER_TRAINING = 200
"""Examples of each task that score a trained model."""

RANDOM_PROMPT_TOKENS = 16


def train(options: argparse.Namespace) -> Outcome:
    """``mmfree train``."""
    from mmfree.corpora import run_config
    from mmfree.train import train as run

    result = run(
        run_config(options),
        options.out,
        data=options.data,
        seed=options.seed,
        minutes=options.minutes,
        resume=options.resume,
        force=options.force,
        tensorboard=options.tensorboard,
        shard=options.shard,
    )
    if not result.main:
        return Outcome({}, "")
    _draw_loss(options.out)
    score, text = _score(options.out, options.data or [])
    values = {
        "checkpoint": str(options.out),
        **score,
        "tokens_per_second": result.tokens_per_second,
        "steps": result.step,
        "loss": result.loss,
        "held_bytes": result.held_bytes,
    }
    speed = f"{result.tokens_per_second:,.0f} tokens/s"
    return Outcome(values, f"{options.out}: {result.step} steps, {speed}; {text}")


def _draw_loss(folder: Path) -> None:
    """The curve of the loss, beside the numbers."""
    from mmfree.checkpoint import METRICS_NAME
    from mmfree.train import read_rows
    from sim.report_figures import training_curve

    write_atomically(folder / CURVE_NAME, training_curve(read_rows(folder / METRICS_NAME)).encode())


def _score(folder: Path, data: list[Path]) -> tuple[dict[str, Any], str]:
    """How a fresh checkpoint does on what it was not trained on, in the contract's arithmetic."""
    from mmfree.checkpoint import load_config
    from mmfree.scores import describe_task

    if load_config(folder).architecture != "matmul-free":
        return {}, "not scored: the baseline is compared, not played"
    golden = load_backend(folder, "golden")
    kind = golden.tokenizer.kind
    if tasks := [name for name, task in TASKS.items() if task.tokenizer == kind]:
        results = [
            evaluate_task(
                golden, name, examples=EXAMPLES_AFTER_TRAINING if TASKS[name].examples else None
            )
            for name in tasks
        ]
        accuracy = sum(r.exact for r in results) / sum(r.examples for r in results)
        return {"accuracy": accuracy}, "; ".join(describe_task(result) for result in results)
    corpus = load_corpus(data, text_tokenizer(golden.tokenizer))
    text = evaluate_tokens(golden, corpus.validation, corpus.validation_bytes)
    return (
        {"bits_per_byte": text.bits_per_byte},
        f"{text.bits_per_byte:.4f} bits per byte on {text.bytes:,} held-out bytes",
    )


def export(options: argparse.Namespace) -> Outcome:
    """``mmfree export``."""
    if not options.checkpoint.is_dir():
        raise ValueError(f"{options.checkpoint}: not a checkpoint folder")
    if options.format != "tape":
        return export_for_others(options)
    refuse_to_overwrite(options.out, options.force)
    if model_type(options.checkpoint) is not None:
        return export_published_checkpoint(options)
    tape = load_tape_or_export(options.checkpoint)
    ranges = measure_ranges(tape, real_sequences(tokenizer_from_dict(tape.tokenizer), options.data))
    if not options.allow_saturation:
        refuse_saturation(ranges)
    write_tape(tape, options.out)
    values = {"sha256": tape.sha256, "weights": tape.num_ternary_weights, "bytes": len(tape.data)}
    line = f"{options.out}: {len(tape.data):,} bytes, {tape.num_ternary_weights:,} ternary weights, sha256 {tape.sha256}"
    values |= {"tape": str(options.out), "ranges": ranges_to_dicts(ranges)}
    return Outcome(values, "\n".join([line, "", *describe_ranges(ranges)]))


def real_sequences(tokenizer: Tokenizer, data: Path | None) -> NDArray[np.int64]:
    """Sequences to watch ranges on: of the tokenizer's task, or of ``data``, or of the built-in text."""
    if data is not None and not reads_text(tokenizer):
        raise ValueError(f"--data: a model for {tokenizer.kind} makes its own examples")
    text = b""
    if reads_text(tokenizer):
        text = read_text(data) if data is not None else load_corpus([]).validation.tobytes()
    return real_ids(tokenizer, text)


def inspect(options: argparse.Namespace) -> Outcome:
    """``mmfree inspect``."""
    if is_shards(options.tape):
        from mmfree.corpora import inspect_shards

        return inspect_shards(options.tape)
    if is_absmax(options.tape):
        return inspect_absmax(options.tape)
    tape = read_tape(options.tape)
    segments = [
        {
            "name": segment.name,
            "fan_in": segment.fan_in,
            "matrices": [
                {
                    "role": matrix.role,
                    "rows": matrix.rows,
                    "multiplier": matrix.multiplier,
                    "exponent": matrix.exponent,
                    "zeros": float(np.mean(matrix.trits == 0)),
                }
                for matrix in segment.matrices
            ],
        }
        for segment in tape.segments
    ]
    values = {
        "sha256": tape.sha256,
        "bytes": len(tape.data),
        "config": tape.config.to_dict(),
        "formats": asdict(tape.formats),
        "tokenizer": describe_tokenizer(tape.tokenizer),
        "embedding_shift": tape.embedding_shift,
        "parameters": tape.config.num_parameters,
        "weights": tape.num_ternary_weights,
        "state_words": tape.config.num_state_words,
        "operations": asdict(count_operations(tape)),
        "segments": segments,
    }
    return Outcome(values, _describe_tape(tape))


def _describe_tape(tape: Tape) -> str:
    config = tape.config
    lines = [
        f"sha256 {tape.sha256}, {len(tape.data):,} bytes",
        f"d {config.hidden_size}, intermediate {config.intermediate_size}, layers {config.num_layers}, "
        f"gate {config.gate}, vocabulary {config.vocab_size}, head rows {config.head_size}, "
        f"tokenizer {tape.tokenizer.get('kind')}",
        f"parameters {config.num_parameters:,}, ternary weights {tape.num_ternary_weights:,}, "
        f"state words {config.num_state_words:,}",
        "",
        f"{'segment':<18}{'matrix':<8}{'rows':>7}{'fan-in':>8}{'m_w':>6}{'a':>4}{'zeros':>8}",
        f"{'embedding':<18}{'':<8}{config.vocab_size:>7}{'':>8}{'':>6}{tape.embedding_shift:>4}",
    ]
    for segment in tape.segments:
        for index, matrix in enumerate(segment.matrices):
            zeros = f"{100 * np.mean(matrix.trits == 0):.1f} %"
            lines.append(
                f"{segment.name if index == 0 else '':<18}{matrix.role:<8}{matrix.rows:>7}"
                f"{matrix.fan_in:>8}{matrix.multiplier:>6}{matrix.exponent:>4}{zeros:>8}"
            )
    return "\n".join(lines)


def generate(options: argparse.Namespace) -> Outcome:
    """``mmfree generate``: the text as it comes, unless ``--json`` wants it whole."""
    from mmfree.generate import generate as pieces_of

    backend = load_backend(options.model, options.backend, options.lanes)
    texts: list[str] = []
    rows: list[int] = []
    pieces = pieces_of(
        backend, options.prompt, options.tokens, temperature=options.temperature, seed=options.seed, stop=options.stop
    )
    for text, chosen in pieces:
        texts.append(text)
        rows += chosen
        if not options.json:
            print(text, end="", flush=True)
    if not options.json:
        print()
    return Outcome({"backend": backend.name, "text": "".join(texts), "ids": rows}, "")


def verilog(options: argparse.Namespace) -> Outcome:
    """``mmfree verilog``."""
    from hdl.emit import VERILOG_NAME, write_verilog

    refuse_to_overwrite(options.out / VERILOG_NAME, options.force)
    if options.source.suffix == ".json":
        tape, design = None, Design.from_dict(read_json(options.source), str(options.source))
        if design.multiplies:
            raise ValueError(f"{options.source}: a design that multiplies is for comparison alone (tools/multiplying.py)")
    else:
        tape = read_tape(options.source)
        design = design_for(tape, options.lanes, options.bits)
    print("generating, and synthesizing the product units to count their LUTs ...", file=sys.stderr)
    description = write_verilog(design, options.out, tape)
    products = description["shift_and_add_products_per_token"]
    line = (
        f"{options.out}: {design.lanes} lanes ({design.rows} rows x {design.columns} columns), 0 multipliers, "
        f"{sum(unit['count'] for unit in description['shift_and_add_units'])} shift-and-add units of "
        f"{description['shift_and_add_luts']:,} LUT4-equivalents (ECP5, Yosys estimate)"
    )
    if products is not None:
        line += f", {products:,} products per token; {describe_padding(description['padding_share'])}"
    return Outcome(description, line)


def cosim(options: argparse.Namespace) -> Outcome:
    """``mmfree cosim``."""
    from sim.cosim import Sequence
    from sim.cosim import cosim as play

    tape = read_tape(options.tape)
    tokenizer = tokenizer_from_dict(tape.tokenizer)
    if options.tokens < 0:
        raise ValueError(f"--tokens must be 0 or more, got {options.tokens}")
    if options.tokens and not tokenizer.feeds_back:
        raise ValueError(f"--tokens: a model for {tokenizer.kind} reads out its answer and generates nothing")
    if options.prompt is not None:
        prompt = tokenizer.encode(options.prompt)
    else:
        rng = np.random.default_rng(options.seed)
        prompt = rng.integers(0, tape.config.vocab_size, RANDOM_PROMPT_TOKENS).tolist()
    temperature = temperature_code(options.temperature)
    if (temperature or options.stop is not None) and not options.tokens:
        raise ValueError("--temperature and --stop need --tokens: nothing is chosen without")
    sequence = Sequence(
        prompt=prompt,
        generate=options.tokens,
        temperature=temperature,
        seed=options.seed,
        stop=options.stop,
    )
    result = play(
        tape,
        design_for(tape, options.lanes, options.bits),
        [sequence],
        seed=options.seed,
        profile=options.profile,
        waveform=options.waveform,
        simulator=options.simulator,
    )
    rows = result.rows[0] if not tokenizer.feeds_back else result.rows[0][len(prompt) - 1 :]
    text = tokenizer.decode(rows) if options.prompt is not None else None
    values = {
        "bit_exact": result.bit_exact,
        "tokens": result.tokens,
        "compared": result.compared,
        "cycles_per_token": result.cycles_per_token,
        "weights_per_token": result.weights_per_token,
        "lanes": result.lanes,
        "lane_utilization": result.lane_utilization,
        "simulated_hz": result.simulated_hz,
        "counters": result.counters,
        "sha256": tape.sha256,
        "text": text,
    }
    if result.divergence is not None:
        values["divergence"] = result.divergence
        values["waveform"] = None if result.waveform is None else str(result.waveform)
    if result.profile is not None:
        values["profile"] = result.profile
    return Outcome(values, _describe_cosim(values), result.bit_exact)


def _describe_cosim(values: dict[str, Any]) -> str:
    lines = []
    if values["text"] is not None:
        lines.append(values["text"])
    if values["bit_exact"]:
        lines.append(
            f"bit-exact: {values['tokens']} tokens, {values['compared']:,} logits and state words compared"
        )
    else:
        place = values.get("divergence") or {}
        where = ", ".join(f"{key} {place[key]}" for key in place)
        lines.append(f"NOT bit-exact; the first difference: {where}")
        if values.get("waveform"):
            lines.append(f"waveform: {values['waveform']}")
    lines.append(
        f"{values['cycles_per_token']:,.0f} cycles per token at {values['lanes']} lanes, lane utilization "
        f"{100 * values['lane_utilization']:.1f} % (simulated); {values['simulated_hz']:,.0f} cycles simulated per second"
    )
    if "profile" in values:
        lines += ["", *_describe_profile(values["profile"], values["tokens"])]
    return "\n".join(lines)


def _describe_profile(profile: dict[str, dict[str, int]], tokens: int) -> list[str]:
    """Cycles per token by segment and cause."""
    causes = list(next(iter(profile.values())))
    lines = ["cycles per token  " + "".join(f"{cause.removeprefix('wait_'):>10}" for cause in causes)]
    for name, cycles in profile.items():
        lines.append(f"{name:<18}" + "".join(f"{cycles[cause] / tokens:>10.1f}" for cause in causes))
    return lines


def report(options: argparse.Namespace) -> Outcome:
    """``mmfree report``."""
    from sim.report import write_report

    if not options.run.is_dir():
        raise ValueError(f"{options.run}: not a folder")
    path, sections = write_report(options.run, options.out)
    values = {"report": str(path), "bytes": path.stat().st_size, "sections": sections}
    return Outcome(values, f"{path}: {', '.join(sections)}")

"""What `evaluate`, `export`, `inspect` and `generate` ask for and say."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np

from mmfree.inference.choices import ChoiceResult
from mmfree.inference.places import Place
from mmfree.inference.ranges import Range, RealData
from mmfree.inference.scoring import TaskResult, TextResult
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer
from tests.support.models import SMALL_TEXT
from tests.support.verbs.case import GONE, MADE, OUT, SUM_TAPE, TEXT_TAPE, Case, Row
from tests.support.verbs.training import NOT_DRAWN

TEXT_BACKEND = SimpleNamespace(name="golden", tokenizer=ByteTokenizer(), training=None)
SUM_BACKEND = SimpleNamespace(name="golden", tokenizer=AdditionTokenizer(), training=None)
LOADED = {
    "find_model(path)": Path("m"),
    "tokenizer_at(path)": Path("m"),
    "load_backend(path)": Path("m"),
    "load_backend(name)": "cpu",
    "load_backend(lanes)": None,
}
A_TAPE = Place(path=Path("m"), tape=Path("m"))
REAL_DATA = RealData(np.arange(100)[None], "numbers")
THERE = {"Text.of(paths)": [Path("d")], "Text.of(field)": "text"}
RANGES = [Range(segment="head", name="logits", largest=50, limit=100, share_at_limit=0.25)]
BACKEND_ROWS = {
    "model": Row(
        instead={"m": "n"},
        changes=dict.fromkeys(
            ("find_model(path)", "tokenizer_at(path)", "load_backend(path)"), Path("n")
        ),
    ),
    "backend": Row(words="--backend rtl", changes={"load_backend(name)": "rtl"}),
    "lanes": Row(
        words="--backend rtl --lanes 16",
        changes={"load_backend(name)": "rtl", "load_backend(lanes)": 16},
    ),
}

EVALUATE_TEXT = Case(
    words="evaluate m",
    below={
        "mmfree.cli.evaluate:find_model": A_TAPE,
        "mmfree.cli.evaluate:tokenizer_at": TEXT_BACKEND.tokenizer,
        "mmfree.cli.evaluate:Text.of": SimpleNamespace(is_one=False),
        "mmfree.cli.evaluate:load_backend": TEXT_BACKEND,
        "mmfree.cli.evaluate:ranged_tape": TEXT_TAPE,
        "mmfree.cli.evaluate:real_data": REAL_DATA,
        "mmfree.cli.evaluate:measure_ranges": RANGES,
        "mmfree.cli.evaluate:score_text": TextResult(
            backend="golden",
            bits_per_byte=1.25,
            bytes=4000,
            tokens=2000,
            token_perplexity=8.5,
            words=1500,
            word_perplexity=1234.5,
        ),
    },
    asked=LOADED
    | {
        "score_text(backend)": TEXT_BACKEND,
        "score_text(data)": None,
        "score_text(words)": False,
        "score_text(field)": "text",
        "score_text(run)": None,
    },
    values={
        "backend": "golden",
        "bits_per_byte": 1.25,
        "bytes": 4000,
        "tokens": 2000,
        "token_perplexity": 8.5,
        "words": 1500,
        "word_perplexity": 1234.5,
    },
    said=(
        "1.2500 bits per byte on 4,000 bytes, perplexity 8.50 per token (2,000), 1,234.50 per word"
        " (1,500) (golden)"
    ),
    rows=BACKEND_ROWS
    | {
        "data": Row(words="--data d", changes=THERE | {"score_text(data)": Path("d")}),
        "field": Row(
            words="--data d --field body",
            changes=THERE | {"score_text(data)": Path("d"), "score_text(field)": "body"},
        ),
        "words": Row(words="--words", changes={"score_text(words)": True}),
        "ranges": Row(
            words="--ranges",
            changes={
                "ranged_tape(backend)": TEXT_BACKEND,
                "real_data(tokenizer)": TEXT_BACKEND.tokenizer,
                "real_data(data)": [],
                "real_data(field)": "text",
                "real_data(run)": None,
                "measure_ranges(tape)": TEXT_TAPE,
                "measure_ranges(ids)": REAL_DATA.ids,
                "measure_ranges(player)": "golden",
            },
        ),
        "seed": NOT_DRAWN,
    },
)

EVALUATE_RUN = Case(
    words="evaluate run --ranges --data d --field body",
    below=EVALUATE_TEXT.below,
    asked=LOADED
    | THERE
    | dict.fromkeys(("find_model(path)", "tokenizer_at(path)"), Path("run"))
    | {
        "load_backend(path)": Path("run"),
        "score_text(backend)": TEXT_BACKEND,
        "score_text(data)": Path("d"),
        "score_text(words)": False,
        "score_text(field)": "body",
        "score_text(run)": Path("run"),
        "ranged_tape(backend)": TEXT_BACKEND,
        "real_data(tokenizer)": TEXT_BACKEND.tokenizer,
        "real_data(data)": [Path("d")],
        "real_data(field)": "body",
        "real_data(run)": Path("run"),
        "measure_ranges(tape)": TEXT_TAPE,
        "measure_ranges(ids)": REAL_DATA.ids,
        "measure_ranges(player)": "golden",
    },
    values=EVALUATE_TEXT.values
    | {
        "ranges": [
            {
                "segment": "head",
                "name": "logits",
                "largest": 50,
                "limit": 100,
                "share_at_limit": 0.25,
                "use": 0.5,
            }
        ],
        "ranges_on": "numbers",
    },
    said=ANY,
    rows={},
)

EVALUATE_TASK = Case(
    words="evaluate m",
    below={
        "mmfree.cli.evaluate:find_model": A_TAPE,
        "mmfree.cli.evaluate:tokenizer_at": SUM_BACKEND.tokenizer,
        "mmfree.cli.evaluate:load_backend": SUM_BACKEND,
        "mmfree.cli.evaluate:evaluate_task": TaskResult("golden", "addition", 100, 80, 60),
    },
    asked=LOADED
    | {
        "evaluate_task(backend)": SUM_BACKEND,
        "evaluate_task(name)": "addition",
        "evaluate_task(digits)": None,
        "evaluate_task(examples)": None,
        "evaluate_task(seed)": 0,
    },
    values={
        "backend": "golden",
        "task": "addition",
        "digits": 100,
        "accuracy": 0.75,
        "examples": 80,
    },
    said="addition, 100 digits: 60 of 80 exact (golden)",
    rows=BACKEND_ROWS
    | {
        "task": Row(
            words="--task addition-chains", changes={"evaluate_task(name)": "addition-chains"}
        ),
        "digits": Row(words="--digits 7", changes={"evaluate_task(digits)": 7}),
        "examples": Row(words="--examples 9", changes={"evaluate_task(examples)": 9}),
        "seed": Row(words="--seed 5", changes={"evaluate_task(seed)": 5}),
    },
)

EVALUATE_CHOICES = Case(
    words="evaluate m --choices q.jsonl",
    below={
        "mmfree.cli.evaluate:find_model": A_TAPE,
        "mmfree.cli.evaluate:tokenizer_at": TEXT_BACKEND.tokenizer,
        "mmfree.cli.evaluate:load_backend": TEXT_BACKEND,
        "mmfree.cli.evaluate:read_questions": ["questions"],
        "mmfree.cli.evaluate:evaluate_choices": ChoiceResult(
            backend="golden",
            examples=1200,
            accuracy=0.5,
            accuracy_error=0.0312,
            accuracy_by_byte=0.625,
            accuracy_by_byte_error=0.0156,
            chance=0.25,
        ),
    },
    asked=LOADED
    | {
        "read_questions(path)": Path("q.jsonl"),
        "read_questions(examples)": None,
        "evaluate_choices(backend)": TEXT_BACKEND,
        "evaluate_choices(questions)": ["questions"],
    },
    values={
        "backend": "golden",
        "examples": 1200,
        "accuracy": 0.5,
        "accuracy_error": 0.0312,
        "accuracy_by_byte": 0.625,
        "accuracy_by_byte_error": 0.0156,
        "chance": 0.25,
    },
    said=(
        "q.jsonl: 1,200 questions, 50.0 +- 3.1 % right, 62.5 +- 1.6 % by likelihood per byte,"
        " 25.0 % by chance (golden)"
    ),
    rows=BACKEND_ROWS
    | {
        "choices": Row(
            instead={"q.jsonl": "r.jsonl"}, changes={"read_questions(path)": Path("r.jsonl")}
        ),
        "examples": Row(words="--examples 9", changes={"read_questions(examples)": 9}),
        "seed": NOT_DRAWN,
    },
)

EXPORT = Case(
    words="export run --out out",
    below={
        "mmfree.files.atomic:reserved": nullcontext(),
        "mmfree.inference.backends:is_published": False,
        "mmfree.inference.backends:tokenizer_at": ByteTokenizer(),
        "mmfree.inference.backends:load_trained_tape": TEXT_TAPE,
        "mmfree.inference.ranges:real_data": REAL_DATA,
        "mmfree.inference.ranges:measure_ranges": RANGES,
        "mmfree.inference.ranges:refuse_saturation": None,
        "mmfree.tape.pow2:write_tape": None,
    },
    asked={
        "reserved(path)": OUT,
        "reserved(force)": False,
        "is_published(folder)": Path("run"),
        "tokenizer_at(path)": Path("run"),
        "load_trained_tape(path)": Path("run"),
        "real_data(tokenizer)": ANY,
        "real_data(data)": [],
        "real_data(field)": "text",
        "real_data(run)": Path("run"),
        "measure_ranges(tape)": TEXT_TAPE,
        "measure_ranges(ids)": REAL_DATA.ids,
        "measure_ranges(player)": None,
        "refuse_saturation(tape)": TEXT_TAPE,
        "refuse_saturation(ranges)": RANGES,
        "refuse_saturation(source)": "numbers",
        "write_tape(tape)": TEXT_TAPE,
        "write_tape(path)": OUT,
    },
    values={
        "sha256": TEXT_TAPE.sha256,
        "weights": 4 * 16 * 16 + 3 * 16 * 24 + 256 * 16,
        "bytes": 7440,
        "tape": "out",
        "arithmetic": "pow2",
        "bits_per_weight": 8 * 1259 / 6272,
        "ranges": EVALUATE_RUN.values["ranges"],
        "ranges_on": "numbers",
    },
    said=ANY,
    rows={
        "checkpoint": Row(
            instead={"run": "run2"},
            changes=dict.fromkeys(
                (
                    "is_published(folder)",
                    "tokenizer_at(path)",
                    "load_trained_tape(path)",
                    "real_data(run)",
                ),
                Path("run2"),
            ),
        ),
        "data": Row(words="--data a b", changes={"real_data(data)": [Path("a"), Path("b")]}),
        "field": Row(
            words="--data a --field body",
            changes={"real_data(data)": [Path("a")], "real_data(field)": "body"},
        ),
        "allow_saturation": Row(
            words="--allow-saturation",
            changes=dict.fromkeys(
                (f"refuse_saturation({name})" for name in ("tape", "ranges", "source")), GONE
            ),
        ),
        "out": Row(
            words="--out other",
            changes=dict.fromkeys(("reserved(path)", "write_tape(path)"), Path("other")),
        ),
        "force": Row(words="--force", changes={"reserved(force)": True}),
        "seed": NOT_DRAWN,
    },
)

EXPORT_PUBLISHED = Case(
    words="export run --out out",
    below={
        "mmfree.files.atomic:reserved": nullcontext(),
        "mmfree.inference.backends:is_published": True,
        "mmfree.published.export:export_published": None,
        "mmfree.tape.reading:open_tape": TEXT_TAPE,
    },
    asked={
        "reserved(path)": OUT,
        "reserved(force)": False,
        "is_published(folder)": Path("run"),
        "export_published(folder)": Path("run"),
        "export_published(out)": OUT,
        "export_published(tokenizer)": None,
        "export_published(formats)": ANY,
        "open_tape(path)": OUT,
    },
    values={name: EXPORT.values[name] for name in list(EXPORT.values)[:6]},
    said=f"out: 7,440 bytes, 6,272 ternary weights of 1.606 bits, sha256 {TEXT_TAPE.sha256}",
    rows={"force": Row(words="--force", changes={"reserved(force)": True})},
)

EXPORT_HUGGING_FACE = Case(
    words="export run --format hf --out out",
    below={
        "mmfree.hf:to_hugging_face": TEXT_TAPE,
        "mmfree.cli.export:load_trained_tape": TEXT_TAPE,
        "mmfree.cli.export:new_folder": nullcontext(MADE),
        "mmfree.cli.export:write_bitnet": None,
        "mmfree.hf:to_checkpoint": SMALL_TEXT,
    },
    asked={
        "to_hugging_face(checkpoint)": Path("run"),
        "to_hugging_face(out)": OUT,
        "to_hugging_face(mode)": "fakequant",
        "to_hugging_face(force)": False,
    },
    values={"folder": "out", "format": "hf", "sha256": TEXT_TAPE.sha256},
    said=(
        "out: a Hugging Face folder; AutoModelForCausalLM.from_pretrained reads it with"
        " trust_remote_code=True"
    ),
    rows={
        "format": Row(
            words="--format checkpoint --force",
            changes=dict.fromkeys(
                (f"to_hugging_face({name})" for name in ("checkpoint", "out", "mode", "force")),
                GONE,
            )
            | {
                "to_checkpoint(source)": Path("run"),
                "to_checkpoint(out)": OUT,
                "to_checkpoint(force)": True,
            },
        ),
        "force": Row(words="--force", changes={"to_hugging_face(force)": True}),
        "out": Row(words="--out other", changes={"to_hugging_face(out)": Path("other")}),
    },
)

EXPORT_BITNET = Case(
    words="export run --format bitnet --out out",
    below=EXPORT_HUGGING_FACE.below,
    asked={
        "load_trained_tape(path)": Path("run"),
        "new_folder(path)": OUT,
        "new_folder(kind)": ANY,
        "new_folder(force)": False,
        "write_bitnet(tape)": TEXT_TAPE,
        "write_bitnet(folder)": MADE,
    },
    values={"folder": "out", "format": "bitnet", "sha256": TEXT_TAPE.sha256, "weights": 6272},
    said="out: 6,272 ternary weights, four to a byte (docs/huggingface.md)",
    rows={"force": Row(words="--force", changes={"new_folder(force)": True})},
)

EXPORT_CHECKPOINT = Case(
    words="export run --format checkpoint --out out",
    below=EXPORT_HUGGING_FACE.below,
    asked={
        "to_checkpoint(source)": Path("run"),
        "to_checkpoint(out)": OUT,
        "to_checkpoint(force)": False,
    },
    # 256 rows of 16 and as many of the head, 4 16^2 + 3 16 24 in the layer, and 16 of its f's bias.
    values={"folder": "out", "format": "checkpoint", "parameters": 8192 + 1024 + 1152 + 16},
    said="out: a checkpoint of 10,384 parameters, not to be resumed",
    rows={},
)

INSPECT = Case(
    words="inspect sums.tape",
    below={"mmfree.cli.inspect:open_tape": SUM_TAPE},
    asked={"open_tape(path)": Path("sums.tape")},
    values=ANY,
    said=ANY,
    rows={
        "model": Row(
            instead={"sums.tape": "text.tape"}, changes={"open_tape(path)": Path("text.tape")}
        ),
        "seed": NOT_DRAWN,
    },
)

GENERATE = Case(
    words="generate m --prompt hi",
    below={
        "mmfree.cli.generate:tokenizer_at": ByteTokenizer(),
        "mmfree.cli.generate:at_once": None,
        "mmfree.cli.generate:load_backend": TEXT_BACKEND,
        "mmfree.cli.generate:generate": [("Hel", [72, 101, 108]), ("", [200]), ("lo", [9])],
    },
    asked={
        "tokenizer_at(path)": Path("m"),
        "at_once(path)": Path("m"),
        "load_backend(path)": Path("m"),
        "load_backend(name)": None,
        "load_backend(lanes)": None,
        "generate(backend)": TEXT_BACKEND,
        "generate(prompt)": "hi",
        "generate(tokens)": None,
        "generate(temperature)": 0.5,
        "generate(seed)": 0,
        "generate(top_k)": None,
        "generate(top_p)": None,
        "generate(stop)": None,
    },
    values={
        "backend": "golden",
        "prompt": "hi",
        "text": "Hello",
        "ids": [72, 101, 108, 200, 9],
        "temperature": 0.5,
        "seed": 0,
        "top_k": None,
        "top_p": None,
        "stop": None,
    },
    said="hiHello",
    rows={
        "model": Row(
            instead={"m": "n"},
            changes=dict.fromkeys(
                ("at_once(path)", "load_backend(path)", "tokenizer_at(path)"), Path("n")
            ),
        ),
        "backend": Row(
            words="--backend float",
            changes={"load_backend(name)": "float", "at_once(path)": GONE},
        ),
        "lanes": Row(words="--lanes 16", changes={"load_backend(lanes)": 16}),
        "prompt": Row(words="--prompt other", changes={"generate(prompt)": "other"}),
        "tokens": Row(words="--tokens 9", changes={"generate(tokens)": 9}),
        "temperature": Row(words="--temperature 0.8", changes={"generate(temperature)": 0.8}),
        "top_k": Row(words="--top-k 40", changes={"generate(top_k)": 40}),
        "top_p": Row(words="--top-p 0.9", changes={"generate(top_p)": 0.9}),
        "stop": Row(words="--stop 10", changes={"generate(stop)": "10"}),
        "seed": Row(words="--seed 5", changes={"generate(seed)": 5}),
    },
)

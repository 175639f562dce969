"""What each verb of the command line asks for, option by option, and what it then says.

The work below the verbs is replaced (``tests.support.below``); the numbers here are made up.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import numpy as np

from hdl.boards import BOARDS
from hdl.toolchain.build import Request
from hdl.toolchain.built import Built
from hdl.toolchain.counts import ROUTED, WAYS, Count
from hdl.toolchain.families import Area
from mmfree.chip.sizing import design_for
from mmfree.inference.choices import ChoiceResult
from mmfree.inference.ranges import Range, RealData
from mmfree.inference.scoring import TaskResult, TextResult
from mmfree.tape.pow2 import Tape
from mmfree.text.shards import Manifest, Shard
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.comparison import RATES, Comparison, Trained
from mmfree.training.loop import TrainingResult
from mmfree.training.presets import PRESETS
from sim.cosim.chip_folder import ChipFolder
from sim.cosim.run import CosimResult, Recording
from sim.cosim.run_folder import Sequence
from sim.cosim.verdict import KINDS, Verdict
from sim.power.activity import Activity, BlockActivity
from sim.power.basis import Cells, Clock
from sim.power.cells import CellEnergy
from sim.power.coefficients import load_part
from sim.power.estimate import Interval, Power
from sim.power.validation import Prediction
from tests.support.below import REAL
from tests.support.models import SMALL_TEXT
from tests.support.random_tapes import random_tape

GONE = object()
"""In place of a value: this is not asked for any more."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What an option changes.

    ``words``: added to the base's. ``instead``: word of the base -> words in its place.
    ``changes``: of what is asked for. ``why``: where nothing changes, why not.
    """

    words: str = ""
    instead: dict[str, str] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command line, what it asks for and what it says.

    ``below``: what is replaced, "module:function" -> its result. ``asked``: all that the base asks
    for. ``values``: its JSON; ``said``: its text; ``code``: how it ends. ``rows``: option, by the
    parser's ``dest``.
    """

    words: str
    below: dict[str, Any]
    asked: dict[str, Any]
    values: dict[str, Any]
    said: str
    rows: dict[str, Row]
    code: int = 0

    @property
    def verb(self) -> str:
        """The verb."""
        return self.words.partition(" ")[0]


def tape_of(tokenizer: str, vocab_size: int, head_size: int) -> Tape:
    """A random model: 4 d^2 + 3 d I + head d weights for each of its one layer, d 16, I 24."""
    tape = random_tape(
        np.random.default_rng(1),
        hidden_size=16,
        intermediate_size=24,
        num_layers=1,
        vocab_size=vocab_size,
        head_size=head_size,
        gate="hard",
    )
    return replace(tape, tokenizer={"kind": tokenizer})


TEXT_TAPE, SUM_TAPE = tape_of("bytes", 256, 256), tape_of("addition", 31, 10)
FILES = {"text.tape": TEXT_TAPE, "copy.tape": TEXT_TAPE, "sums.tape": SUM_TAPE}
"""Tapes that lie in the current folder."""

OUT, MADE = Path("out"), Path("made")
"""What is asked for, and the folder that is filled for it."""

NOT_DRAWN = Row(words="--seed 5", why="nothing is drawn")

MANIFEST = Manifest(
    tokenizer_sha256="f",
    vocab_size=1256,
    dtype="uint16",
    split="tail",
    documents=1,
    sources=("a.txt",),
    training=(Shard("shard_0.bin", 800, 2500, "a"), Shard("shard_1.bin", 400, 1000, "b")),
    validation=(Shard("held_out_0.bin", 100, 500, "c"),),
)

TOKENIZE = Case(
    words="tokenize a.txt --out out",
    below={
        "mmfree.cli.tokenize:check_output": None,
        "mmfree.cli.tokenize:Text.of": "the text",
        "mmfree.cli.tokenize:find_tokenizer": SimpleNamespace(kind="tokenizers"),
        "mmfree.cli.tokenize:write_shards": MANIFEST,
    },
    asked={
        "check_output(folder)": OUT,
        "check_output(force)": False,
        "Text.of(paths)": [Path("a.txt")],
        "Text.of(field)": "text",
        "find_tokenizer(name)": "bytes",
        "find_tokenizer(text)": "the text",
        "write_shards(text)": "the text",
        "write_shards(tokenizer)": SimpleNamespace(kind="tokenizers"),
        "write_shards(folder)": OUT,
        "write_shards(force)": False,
        "write_shards(shard_tokens)": 1 << 26,
        "write_shards(held_out_tokens)": 1 << 18,
    },
    values={
        "shards": "out",
        "tokenizer": "tokenizers",
        "vocab_size": 1256,
        "documents": 1,
        "bytes": 4000,
        "training_tokens": 1200,
        "held_out_tokens": 100,
        "megabytes_per_second": 0.002,
    },
    said=(
        "out: 1,200 tokens for training, 100 held out (the last tenth), vocabulary 1,256,"
        " 3.08 bytes per token; 0.00 MB/s"
    ),
    rows={
        "data": Row(
            instead={"a.txt": "b.txt c.txt"},
            changes={"Text.of(paths)": [Path("b.txt"), Path("c.txt")]},
        ),
        "tokenizer": Row(words="--tokenizer bpe:300", changes={"find_tokenizer(name)": "bpe:300"}),
        "field": Row(words="--field a.b", changes={"Text.of(field)": "a.b"}),
        "out": Row(
            words="--out other",
            changes={
                "check_output(folder)": Path("other"),
                "write_shards(folder)": Path("other"),
            },
        ),
        "force": Row(
            words="--force", changes={"check_output(force)": True, "write_shards(force)": True}
        ),
        "seed": NOT_DRAWN,
    },
)

TRAIN = Case(
    words="train text --out out",
    below={
        "mmfree.training.resumption:text_of": ([Path("known.txt")], "body"),
        "mmfree.training.presets:run_config": "the run",
        "mmfree.training.train:train": TrainingResult(
            step=1007, steps=2000, loss=1.5, tokens_per_second=12345.6, held_bytes=321
        ),
        "mmfree.cli.train:_draw_loss": None,
        "mmfree.cli.train:_score": ({"bits_per_byte": 2.5}, "2.5 bits per byte"),
    },
    asked={
        "text_of(folder)": OUT,
        "text_of(data)": [],
        "text_of(field)": None,
        "text_of(goes_on)": False,
        "run_config(name)": "text",
        "run_config(gate)": None,
        "run_config(tokenizer)": None,
        "run_config(data)": [Path("known.txt")],
        "run_config(field)": "body",
        "run_config(steps)": None,
        "run_config(goes_on)": None,
        "train(config)": "the run",
        "train(folder)": OUT,
        "train(data)": [],
        "train(field)": None,
        "train(seed)": 0,
        "train(minutes)": None,
        "train(resume)": False,
        "train(extend)": False,
        "train(force)": False,
        "train(stop_at)": None,
        "train(tensorboard)": False,
        "train(shard)": False,
        "_draw_loss(folder)": OUT,
        "_score(folder)": OUT,
        "_score(corpus)": None,
    },
    values={
        "checkpoint": "out",
        "bits_per_byte": 2.5,
        "tokens_per_second": 12345.6,
        "steps": 1007,
        "loss": 1.5,
        "held_bytes": 321,
    },
    said="out: 1007 steps, 12,346 tokens/s; 2.5 bits per byte",
    rows={
        "config": Row(instead={"text": "addition"}, changes={"run_config(name)": "addition"}),
        "gate": Row(words="--gate sigmoid", changes={"run_config(gate)": "sigmoid"}),
        "data": Row(
            words="--data a b",
            changes={
                "text_of(data)": [Path("a"), Path("b")],
                "train(data)": [Path("a"), Path("b")],
            },
        ),
        "tokenizer": Row(words="--tokenizer bpe:9", changes={"run_config(tokenizer)": "bpe:9"}),
        "field": Row(
            words="--field meta", changes={"text_of(field)": "meta", "train(field)": "meta"}
        ),
        "steps": Row(words="--steps 9", changes={"run_config(steps)": 9}),
        "minutes": Row(words="--minutes 0.5", changes={"train(minutes)": 0.5}),
        "resume": Row(
            words="--resume",
            changes={
                "text_of(goes_on)": True,
                "run_config(goes_on)": OUT,
                "train(resume)": True,
            },
        ),
        "extend": Row(
            words="--continue",
            changes={
                "text_of(goes_on)": True,
                "run_config(goes_on)": OUT,
                "train(extend)": True,
            },
        ),
        "shard": Row(words="--shard", changes={"train(shard)": True}),
        "tensorboard": Row(words="--tensorboard", changes={"train(tensorboard)": True}),
        "out": Row(
            words="--out other",
            changes=dict.fromkeys(
                ("text_of(folder)", "train(folder)", "_draw_loss(folder)", "_score(folder)"),
                Path("other"),
            ),
        ),
        "force": Row(words="--force", changes={"train(force)": True}),
        "seed": Row(words="--seed 5", changes={"train(seed)": 5}),
    },
)

RUNS = [
    Trained(
        architecture=name,
        learning_rate=rate,
        seed=4,
        folder=f"out/{name}",
        bits_per_byte=bits,
        tokens=3000,
        bytes=6000,
        parameters=12345,
    )
    for name, rate, bits in (("matmul-free", 0.004, 1.5), ("transformer", 0.0006, 1.75))
]
BEST: dict[str, Any] = {
    run.architecture: {
        "learning_rate": run.learning_rate,
        "at_the_edge": run.architecture == "transformer",
        "bits_per_byte": run.bits_per_byte,
        "lowest": run.bits_per_byte - 0.25,
        "highest": run.bits_per_byte + 0.125,
        "seeds": 3,
        "parameters": 12345,
        "tokens_per_second": 6789.4,
    }
    for run in RUNS
}

COMPARE = Case(
    words="compare text --out out",
    below={
        "mmfree.cli.compare:refuse_to_overwrite": None,
        "mmfree.cli.compare:run_config": SMALL_TEXT,
        "mmfree.training.comparison:compare": Comparison(
            data="a.txt", length=128, tokens=3000, bytes=6000, runs=RUNS, best=BEST
        ),
        "mmfree.cli.compare:_curves": "<svg/>",
    },
    asked={
        "refuse_to_overwrite(path)": OUT / "compare.json",
        "refuse_to_overwrite(force)": False,
        "refuse_to_overwrite 2(path)": OUT / "compare.svg",
        "refuse_to_overwrite 2(force)": False,
        "run_config(name)": "text",
        "run_config(gate)": None,
        "run_config(tokenizer)": None,
        "run_config(data)": None,
        "run_config(field)": None,
        "run_config(steps)": None,
        "run_config(goes_on)": None,
        "compare(config)": SMALL_TEXT,
        "compare(out)": OUT,
        "compare(data)": None,
        "compare(field)": None,
        "compare(rates)": RATES,
        "compare(seeds)": 3,
        "compare(seed)": 0,
        "_curves(runs)": RUNS,
        "_curves(best)": BEST,
        "_curves(tokens_per_step)": 4 * 32,
    },
    values={
        "label": "measured",
        "data": "a.txt",
        "length": 128,
        "tokens": 3000,
        "bytes": 6000,
        "runs": [
            {
                "architecture": run.architecture,
                "learning_rate": run.learning_rate,
                "seed": 4,
                "folder": run.folder,
                "bits_per_byte": run.bits_per_byte,
                "tokens": 3000,
                "bytes": 6000,
                "parameters": 12345,
            }
            for run in RUNS
        ],
        "best": BEST,
    },
    said="""\
architecture   learning rate  seed  bits per byte
matmul-free            0.004     4         1.5000
transformer           0.0006     4         1.7500

matmul-free: 1.5000 bits per byte (1.2500 to 1.6250, 3 seeds) at 0.004, 12,345 parameters, 6,789\
 tokens/s
transformer: 1.7500 bits per byte (1.5000 to 1.8750, 3 seeds) at 0.0006, 12,345 parameters, 6,789\
 tokens/s; the best rate is the outermost one tried: try more
difference: -0.2500 bits per byte (measured, on 6,000 bytes held out, 3,000 tokens, in windows of\
 at most 128)
out/compare.svg""",
    rows={
        "config": Row(instead={"text": "c.json"}, changes={"run_config(name)": "c.json"}),
        "data": Row(
            words="--data a b",
            changes={
                "run_config(data)": [Path("a"), Path("b")],
                "compare(data)": [Path("a"), Path("b")],
            },
        ),
        "field": Row(
            words="--field body",
            changes=dict.fromkeys(("run_config(field)", "compare(field)"), "body"),
        ),
        "tokenizer": Row(words="--tokenizer bpe:9", changes={"run_config(tokenizer)": "bpe:9"}),
        "rates": Row(
            words="--rates 1e-3 2e-3",
            changes={"compare(rates)": RATES | {"matmul-free": [1e-3, 2e-3]}},
        ),
        "baseline_rates": Row(
            words="--baseline-rates 1e-3",
            changes={"compare(rates)": RATES | {"transformer": [1e-3]}},
        ),
        "seeds": Row(words="--seeds 7", changes={"compare(seeds)": 7}),
        "out": Row(
            words="--out other",
            changes={
                "refuse_to_overwrite(path)": Path("other/compare.json"),
                "refuse_to_overwrite 2(path)": Path("other/compare.svg"),
                "compare(out)": Path("other"),
            },
        ),
        "force": Row(
            words="--force",
            changes={"refuse_to_overwrite(force)": True, "refuse_to_overwrite 2(force)": True},
        ),
        "seed": Row(words="--seed 5", changes={"compare(seed)": 5}),
    },
)

TEXT_BACKEND = SimpleNamespace(name="golden", tokenizer=ByteTokenizer())
SUM_BACKEND = SimpleNamespace(name="golden", tokenizer=AdditionTokenizer())
LOADED = {"load_backend(path)": Path("m"), "load_backend(name)": None, "load_backend(lanes)": 64}
REAL_DATA = RealData(np.arange(100)[None], "numbers")
RANGES = [Range(segment="head", name="logits", largest=50, limit=100, share_at_limit=0.25)]
BACKEND_ROWS = {
    "model": Row(instead={"m": "n"}, changes={"load_backend(path)": Path("n")}),
    "backend": Row(words="--backend float", changes={"load_backend(name)": "float"}),
    "lanes": Row(words="--lanes 16", changes={"load_backend(lanes)": 16}),
}

EVALUATE_TEXT = Case(
    words="evaluate m",
    below={
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
        "data": Row(words="--data d", changes={"score_text(data)": Path("d")}),
        "field": Row(
            words="--data d --field body",
            changes={"score_text(data)": Path("d"), "score_text(field)": "body"},
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
            },
        ),
        "seed": NOT_DRAWN,
    },
)

EVALUATE_RUN = Case(
    words="evaluate run --ranges --data d --field body",
    below=EVALUATE_TEXT.below,
    asked=LOADED
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
        "mmfree.inference.backends:load_tape_or_export": TEXT_TAPE,
        "mmfree.inference.ranges:real_data": REAL_DATA,
        "mmfree.inference.ranges:measure_ranges": RANGES,
        "mmfree.inference.ranges:refuse_saturation": None,
        "mmfree.tape.pow2:write_tape": None,
    },
    asked={
        "reserved(path)": OUT,
        "reserved(force)": False,
        "is_published(folder)": Path("run"),
        "load_tape_or_export(path)": Path("run"),
        "real_data(tokenizer)": ANY,
        "real_data(data)": [],
        "real_data(field)": "text",
        "real_data(run)": Path("run"),
        "measure_ranges(tape)": TEXT_TAPE,
        "measure_ranges(ids)": REAL_DATA.ids,
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
                ("is_published(folder)", "load_tape_or_export(path)", "real_data(run)"),
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
        "mmfree.cli.export:load_tape_or_export": TEXT_TAPE,
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
        "load_tape_or_export(path)": Path("run"),
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
        "tape": Row(
            instead={"sums.tape": "text.tape"}, changes={"open_tape(path)": Path("text.tape")}
        ),
        "seed": NOT_DRAWN,
    },
)

GENERATE = Case(
    words="generate m --prompt hi",
    below={
        "mmfree.cli.generate:load_backend": TEXT_BACKEND,
        "mmfree.cli.generate:generate": [("Hel", [72, 101, 108]), ("", [200]), ("lo", [9])],
    },
    asked=LOADED
    | {
        "generate(backend)": TEXT_BACKEND,
        "generate(prompt)": "hi",
        "generate(tokens)": 200,
        "generate(temperature)": 0.0,
        "generate(seed)": 0,
        "generate(stop)": None,
    },
    values={"backend": "golden", "text": "Hello", "ids": [72, 101, 108, 200, 9]},
    said="Hello",
    rows=BACKEND_ROWS
    | {
        "prompt": Row(words="--prompt other", changes={"generate(prompt)": "other"}),
        "tokens": Row(words="--tokens 9", changes={"generate(tokens)": 9}),
        "temperature": Row(words="--temperature 0.5", changes={"generate(temperature)": 0.5}),
        "stop": Row(words="--stop 10", changes={"generate(stop)": 10}),
        "seed": Row(words="--seed 5", changes={"generate(seed)": 5}),
    },
)

DESIGN = design_for(TEXT_TAPE, 64)
DESIGN_ROWS = {
    "lanes": Row(words="--lanes 16", changes={"design_for(lanes)": 16}),
    "bits": Row(words="--bits 1.6", changes={"design_for(weight_code)": "1.6"}),
}
DESCRIPTION = {
    "design": DESIGN.to_dict(),
    "multipliers": 0,
    "shift_and_add_products_per_token": 1777,
    "shift_and_add_units": [{"count": 3}, {"count": 4}],
    "shift_and_add_luts": 2345,
    "padding_share": 0.125,
}

VERILOG = Case(
    words="verilog text.tape --out out",
    below={
        "mmfree.tape.reading:open_chip_tape": TEXT_TAPE,
        "mmfree.chip.sizing:design_for": REAL,
        "mmfree.files.folders:new_folder": nullcontext(MADE),
        "hdl.toolchain.emit:write_verilog": DESCRIPTION,
    },
    asked={
        "open_chip_tape(path)": Path("text.tape"),
        "design_for(tape)": TEXT_TAPE,
        "design_for(lanes)": 64,
        "design_for(weight_code)": "2",
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
            changes={"open_chip_tape(path)": Path("sums.tape")},
        ),
        "out": Row(words="--out other", changes={"new_folder(path)": Path("other")}),
        "force": Row(words="--force", changes={"new_folder(force)": True}),
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
        "mmfree.cli.build:open_chip_tape": TEXT_TAPE,
        "hdl.toolchain.build:build": BUILT,
    },
    asked={
        "find_board(name)": "ulx3s-85f",
        "refuse_to_replace_folder(path)": OUT,
        "refuse_to_replace_folder(force)": False,
        "open_chip_tape(path)": Path("text.tape"),
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
clock          131.2 MHz routed, runs at 139.5 MHz (asked for 140): TOO SLOW, kept by --allow-slow
faster         131.2 MHz reached, 140 asked: --clock 160.5 would be legal, and the PLL makes it
lanes          1,024; 12.5 % of the lanes' work is padding
LUTs           9,000 of 83,640
registers      8,000 of 83,641
memory blocks  7 of 208
DSP blocks     3

cells            LUTs  flip-flops  block RAMs
routed          9,001       8,001           7  all of it""",
    rows={
        "tape": Row(
            instead={"text.tape": "sums.tape"},
            changes={"open_chip_tape(path)": Path("sums.tape")},
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

COSIM = Case(
    words="cosim text.tape --prompt ab --tokens 3",
    below={
        "mmfree.tape.reading:open_chip_tape": TEXT_TAPE,
        "mmfree.chip.sizing:design_for": REAL,
        "mmfree.files.atomic:reserved": nullcontext(),
        "sim.cosim.run:cosim": RESULT,
    },
    asked={
        "open_chip_tape(path)": Path("text.tape"),
        "design_for(tape)": TEXT_TAPE,
        "design_for(lanes)": 64,
        "design_for(weight_code)": "2",
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
    },
    values=COSIM_VALUES,
    said=COSIM_SAID,
    rows=COSIM_ROWS
    | DESIGN_ROWS
    | {
        "tape": Row(
            instead={"text.tape": "copy.tape"},
            changes={"open_chip_tape(path)": Path("copy.tape")},
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
            RESULT, altered=("a.hex", "b.hex"), recording=RECORDING, profile=PROFILE
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
    },
    values=COSIM_VALUES
    | {
        "altered": ["a.hex", "b.hex"],
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

cycles per token       beats      room
head                    20.0       1.0
layer 0 glu              5.0       0.0""",
    rows={
        name: replace(
            row,
            changes={
                asked.replace("cosim(", "cosim_folder("): value
                for asked, value in row.changes.items()
            },
        )
        for name, row in COSIM_ROWS.items()
    },
)

ACTIVITY = Activity(
    tape_sha256=TEXT_TAPE.sha256,
    design=DESIGN.to_dict(),
    text="a test",
    tokens=20,
    cycles=10_000,
    blocks={
        name: BlockActivity(registers=100, register_toggles=5000) for name in ("array", "post")
    },
)
AREAS = {"array": Area(luts=234, flip_flops=333), "post": Area(luts=1051, flip_flops=1757)}
JOULES = Interval(1e-6, 2e-6, 4e-6)
PART = load_part("ecp5-85")
POWER_FOUND = Power(
    part="ecp5-85",
    device="LFE5U-85F",
    clock_hz=62.5e6,
    clock_label="as asked",
    cycles_per_token=500.4,
    tokens_per_second=124_900.2,
    watts=Interval(0.0125, 0.25, 1.5),
    joules_per_token=JOULES,
    by_kind={
        "logic": Interval(5e-7, 1.5e-6, 3e-6),
        "none": Interval(0, 0, 0),
        "clock": Interval(0, 5e-10, 1e-9),
    },
    by_block={
        f"block {number}": Interval(0, number * 1e-9, number * 2e-9) for number in range(1, 11)
    },
    by_segment={"head": JOULES},
    utilisation={"luts": (1285, 83640)},
    assumptions=("all is assumed", "and more"),
)
CELL_ENERGIES = [
    CellEnergy(
        node="7 nm",
        weights_are="int8",
        arithmetic=Interval(1e-12, 2.5e-12, 3e-12),
        weight_memory=Interval(1e-3, 2e-3, 3e-3),
    )
]
COUNT = Count(way=ROUTED, luts=1500, flip_flops=2200, ram_blocks=2)
BUILT_CHIP = Built(
    device="LFE5U-85F",
    tape_sha256=TEXT_TAPE.sha256,
    design=design_for(TEXT_TAPE, 32, "1.6"),
    pll_hz=100e6,
    routed_hz=120e6,
    counts=(COUNT,),
)
CELLS = Cells(areas=AREAS, counts=(COUNT,), text="cells: counted")
ON_THE_CHIP = "weights on the chip, one sequence, the host answers at once"
POWER_VALUES: dict[str, Any] = {
    "tape_sha256": TEXT_TAPE.sha256,
    "lanes": 64,
    "weight_code": "2",
    "ternary_weights": 6272,
    "part": "ecp5-85",
    "device": "LFE5U-85F",
    "clock_hz": 62.5e6,
    "clock_label": "as asked",
    "cycles_per_token": 500.4,
    "tokens_per_second": 124_900.2,
    "watts": {"low": 0.0125, "best": 0.25, "high": 1.5},
    "joules_per_token": {"low": 1e-6, "best": 2e-6, "high": 4e-6},
    "by_kind": ANY,
    "by_block": ANY,
    "by_segment": {"head": {"low": 1e-6, "best": 2e-6, "high": 4e-6}},
    "utilisation": {"luts": [1285, 83640]},
    "assumptions": ["all is assumed", "and more"],
    "label": "estimated",
    "clock_limit_hz": 80e6,
    "counts": {"routed": {"luts": 1500, "flip_flops": 2200, "ram_blocks": 2, "what": WAYS[ROUTED]}},
    "cells": [
        {
            "node": "7 nm",
            "weights_are": "int8",
            "arithmetic": {"low": 1e-12, "best": 2.5e-12, "high": 3e-12},
            "weight_memory": {"low": 1e-3, "best": 2e-3, "high": 3e-3},
        }
    ],
}
POWER_OUT = {
    "refuse_to_replace_folder(path)": OUT,
    "refuse_to_replace_folder(force)": False,
    "new_folder(path)": OUT,
    "new_folder(kind)": ANY,
    "new_folder(force)": False,
    "power_page(found)": POWER_FOUND,
    "power_page(part)": PART,
    "power_page(activity)": ACTIVITY,
    "power_page(tape)": TEXT_TAPE,
    "power_page(design)": DESIGN,
    "power_page(cells)": CELL_ENERGIES,
    "power_page(counts)": (COUNT,),
}
MEASURED = ("tape", "design", "prompt", "text", "image", "array")
ASSUMED_OF_BUILD = (
    ON_THE_CHIP,
    "activity: a test, 20 tokens, zero-delay RTL simulation: no glitches seen (a coefficient stands"
    " for them)",
    "cells: counted",
    "without board and regulators",
)

POWER = Case(
    words="power text.tape",
    below={
        "hdl.toolchain.built:read_built": BUILT_CHIP,
        "sim.power.coefficients:load_part": PART,
        "mmfree.cli.power:open_chip_tape": TEXT_TAPE,
        "mmfree.cli.power:refuse_to_replace_folder": None,
        "mmfree.cli.power:new_folder": nullcontext(MADE),
        "mmfree.cli.power:design_for": REAL,
        "sim.power.basis:clock_of": Clock(hz=62.5e6, label="as asked", limit_hz=80e6),
        "mmfree.inference.ranges:real_data": REAL_DATA,
        "sim.power.activity:measure_activity": ACTIVITY,
        "sim.power.activity:read_activity": ACTIVITY,
        "sim.power.basis:cells_of": CELLS,
        "sim.power.estimate:estimate": POWER_FOUND,
        "sim.power.cells:cell_energies": CELL_ENERGIES,
        "sim.power.page:power_page": "the page",
    },
    asked={
        "load_part(name)": "ecp5-85",
        "load_part(technology)": None,
        "open_chip_tape(path)": Path("text.tape"),
        "design_for(tape)": TEXT_TAPE,
        "design_for(lanes)": 64,
        "design_for(weight_code)": "2",
        "clock_of(part)": PART,
        "clock_of(design)": DESIGN,
        "clock_of(asked_hz)": None,
        "clock_of(built)": None,
        "real_data(tokenizer)": ANY,
        "real_data(data)": [],
        "real_data(field)": "text",
        "real_data(run)": None,
        "measure_activity(tape)": TEXT_TAPE,
        "measure_activity(design)": DESIGN,
        "measure_activity(prompt)": list(range(32)),
        "measure_activity(text)": "numbers",
        "measure_activity(image)": None,
        "measure_activity(array)": ANY,
        "cells_of(part)": PART,
        "cells_of(design)": DESIGN,
        "cells_of(built)": None,
        "cells_of(source)": None,
        "estimate(part)": PART,
        "estimate(load)": ANY,
        "estimate(clock_hz)": 62.5e6,
        "estimate(clock_label)": "as asked",
        "estimate(segments)": ANY,
        "estimate(assumptions)": (
            *ASSUMED_OF_BUILD[:3],
            "without board and regulators, and without the host's link",
        ),
        "estimate(external)": None,
        "cell_energies(ternary_weights)": 6272,
        "cell_energies(design)": DESIGN,
    },
    values=POWER_VALUES,
    said="""\
LFE5U-85F, 64 lanes at 62.5 MHz (as asked)
energy per token         2 uJ (1 to 4)  (estimated; 319 pJ per ternary weight)
power                  250 mW (12.5 to 1.5e+03)  at 124,900 tokens/s (500 cycles per token,\
 simulated)

where it goes, per token: low, best, high
  logic            1.5 uJ (0.5 to 3)   75.0 %
  clock            500 pJ (0 to 1e+03)    0.0 %

largest blocks
  block 10            10 nJ (0 to 20)
  block 9              9 nJ (0 to 18)
  block 8              8 nJ (0 to 16)
  block 7              7 nJ (0 to 14)
  block 6              6 nJ (0 to 12)
  block 5              5 nJ (0 to 10)
  block 4              4 nJ (0 to 8)
  block 3              3 nJ (0 to 6)

cells            LUTs  flip-flops  block RAMs
routed          1,500       2,200           2  the whole board, placed and routed by nextpnr: what\
 the device has in use

the matrices alone in bare cells of an ASIC (no wires, registers, clock or control): arithmetic;\
 weights from SRAM
  7 nm, int8           2.5 pJ (1 to 3);        2 mJ (1 to 3)

- all is assumed
- and more""",
    rows={
        "model": Row(
            instead={"text.tape": "sums.tape"},
            changes={"open_chip_tape(path)": Path("sums.tape")},
        ),
        "part": Row(words="--part xc7a35t", changes={"load_part(name)": "xc7a35t"}),
        "technology": Row(
            words="--technology technology.toml",
            changes={"load_part(technology)": Path("technology.toml")},
        ),
        "clock": Row(words="--clock 75.5", changes={"clock_of(asked_hz)": 75.5e6}),
        "build": Row(
            words="--build b",
            changes={
                "read_built(folder)": Path("b"),
                "design_for(tape)": GONE,
                "design_for(lanes)": GONE,
                "design_for(weight_code)": GONE,
                "clock_of(design)": BUILT_CHIP.design,
                "clock_of(built)": BUILT_CHIP,
                "measure_activity(design)": BUILT_CHIP.design,
                "cells_of(design)": BUILT_CHIP.design,
                "cells_of(built)": BUILT_CHIP,
                "cells_of(source)": Path("b"),
                "estimate(assumptions)": ASSUMED_OF_BUILD,
                "cell_energies(design)": BUILT_CHIP.design,
            },
        ),
        "activity": Row(
            words="--activity a.json",
            changes=dict.fromkeys(
                (
                    *(f"real_data({name})" for name in ("tokenizer", "data", "field", "run")),
                    *(f"measure_activity({name})" for name in MEASURED),
                ),
                GONE,
            )
            | {"read_activity(path)": Path("a.json")},
        ),
        "prompt": Row(
            words="--prompt ab",
            changes=dict.fromkeys(
                (f"real_data({name})" for name in ("tokenizer", "data", "field", "run")), GONE
            )
            | {
                "measure_activity(prompt)": [0, 97, 98],
                "measure_activity(text)": "the prompt given",
            },
        ),
        "lanes": Row(
            words="--lanes 16",
            changes={"design_for(lanes)": 16}
            | dict.fromkeys(
                (
                    f"{name}(design)"
                    for name in ("clock_of", "measure_activity", "cells_of", "cell_energies")
                ),
                design_for(TEXT_TAPE, 16),
            ),
        ),
        "bits": Row(
            words="--bits 1.6",
            changes={"design_for(weight_code)": "1.6"}
            | dict.fromkeys(
                (
                    f"{name}(design)"
                    for name in ("clock_of", "measure_activity", "cells_of", "cell_energies")
                ),
                design_for(TEXT_TAPE, 64, "1.6"),
            ),
        ),
        "out": Row(words="--out out", changes=POWER_OUT),
        "force": Row(
            words="--out out --force",
            changes=POWER_OUT
            | {"refuse_to_replace_folder(force)": True, "new_folder(force)": True},
        ),
        "seed": NOT_DRAWN,
    },
)

VALIDATION = Case(
    words="power --validate",
    below={
        "sim.power.validation:predictions": [
            Prediction(
                name=name,
                held_out=held_out,
                kind="meter",
                what="all of it",
                watts=Interval(1, 2.5, 4),
                published=published,
                source="a paper",
            )
            for name, held_out, published in (
                ("seen", False, 3.0),
                ("within", True, 4.0),
                ("outside", True, 4.5),
                ("below", True, 0.5),
            )
        ]
    },
    asked={},
    values={"systems": ANY, "held_out": 3, "held_out_inside": 1},
    said="""\
system                                       low    best    high  published  watts
seen                                           1     2.5       4          3  inside, seen, meter:\
 all of it
within                                         1     2.5       4          4  inside, held out,\
 meter: all of it
outside                                        1     2.5       4        4.5  OUTSIDE, held out,\
 meter: all of it
below                                          1     2.5       4        0.5  OUTSIDE, held out,\
 meter: all of it

held out: 1 of 3 inside (estimated against published)""",
    rows={"validate": Row(why="this line is its own")},
)

PAGE = Path("page.html")
"""A page of ten bytes in the current folder."""

SUMS_PLAYED = replace(RESULT, rows=[[0, 0, 3, 0, 2, 0, 1], [0, 0, 7], [0, 0, 0]], profile=PROFILE)
"""The chip says 123, 7 and 0."""

DEMO = Case(
    words="demo --out out",
    below={
        "mmfree.cli.demo:array_shape": REAL,
        "mmfree.training.train:train": TrainingResult(
            step=7, steps=7, loss=1.5, tokens_per_second=1.0, held_bytes=1
        ),
        "mmfree.cli.demo:load_tape_or_export": SUM_TAPE,
        "mmfree.cli.demo:write_tape": None,
        "mmfree.cli.demo:evaluate_task": TaskResult("golden", "addition", 100, 1000, 999),
        "mmfree.cli.demo:design_for": REAL,
        "mmfree.cli.demo:new_folder": nullcontext(MADE),
        "hdl.toolchain.emit:write_verilog": DESCRIPTION,
        "sim.cosim.run:cosim": SUMS_PLAYED,
        "mmfree.report.run:write_report": (PAGE, []),
    },
    asked={
        "array_shape(config)": PRESETS["addition"]().model,
        "array_shape(lanes)": 64,
        "train(config)": PRESETS["addition"](),
        "train(folder)": OUT / "checkpoint",
        "train(data)": None,
        "train(field)": None,
        "train(seed)": 0,
        "train(minutes)": None,
        "train(resume)": False,
        "train(extend)": False,
        "train(force)": False,
        "train(stop_at)": None,
        "train(tensorboard)": False,
        "train(shard)": False,
        "load_tape_or_export(path)": OUT / "checkpoint",
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
        "design_for(tape)": SUM_TAPE,
        "design_for(lanes)": 64,
        "design_for(weight_code)": "2",
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
    },
    said=ANY,
    code=1,
    rows={
        "lanes": Row(
            words="--lanes 16",
            changes={"array_shape(lanes)": 16, "design_for(lanes)": 16}
            | dict.fromkeys(("write_verilog(design)", "cosim(design)"), design_for(SUM_TAPE, 16)),
        ),
        "out": Row(
            words="--out other",
            changes={
                "train(folder)": Path("other/checkpoint"),
                "load_tape_or_export(path)": Path("other/checkpoint"),
                "write_tape(path)": Path("other/model.tape"),
                "new_folder(path)": Path("other/verilog"),
                "write_report(run)": Path("other"),
            },
        ),
        "force": Row(words="--force", changes={"train(force)": True}),
        # The sums differ, too: tests/cli/test_demo.py.
        "seed": Row(
            words="--seed 5",
            changes={
                "train(seed)": 5,
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
        "load_tape_or_export(path)": Path("trained/checkpoint"),
        "write_tape(path)": Path("trained/model.tape"),
        "new_folder(path)": Path("trained/verilog"),
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
                "load_tape_or_export(path)": Path("runs/addition/checkpoint"),
                "write_tape(path)": Path("runs/addition/model.tape"),
                "new_folder(path)": Path("runs/addition/verilog"),
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

CASES = {
    "tokenize": TOKENIZE,
    "train": TRAIN,
    "compare": COMPARE,
    "evaluate text": EVALUATE_TEXT,
    "evaluate a run": EVALUATE_RUN,
    "evaluate a task": EVALUATE_TASK,
    "evaluate choices": EVALUATE_CHOICES,
    "export": EXPORT,
    "export a published one": EXPORT_PUBLISHED,
    "export for Hugging Face": EXPORT_HUGGING_FACE,
    "export packed trits": EXPORT_BITNET,
    "export back": EXPORT_CHECKPOINT,
    "inspect": INSPECT,
    "generate": GENERATE,
    "verilog": VERILOG,
    "build": BUILD,
    "cosim": COSIM,
    "cosim a folder": COSIM_FOLDER,
    "power": POWER,
    "power, validation": VALIDATION,
    "demo": DEMO,
    "demo, trained already": DEMO_AGAIN,
    "report": REPORT,
}

"""What `tokenize`, `train` and `compare` ask for and say; the numbers are made up."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmfree.comparison.contest import RATES, Comparison, Trained
from mmfree.text.shards import Manifest, Shard
from mmfree.training.loop import TrainingResult
from tests.support.models import SMALL_TEXT
from tests.support.verbs.case import OUT, Case, Row

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

CHANGED = ("steps", "width", "layers", "rate", "batch", "length")
UNCHANGED: dict[str, Any] = {f"run_config({name})": None for name in CHANGED}

CHANGES = {
    "gate": Row(words="--gate sigmoid", changes={"run_config(gate)": "sigmoid"}),
    "rate": Row(words="--rate 4e-3", changes={"run_config(rate)": 4e-3}),
    **{
        name: Row(words=f"--{name} 9", changes={f"run_config({name})": 9})
        for name in ("steps", "width", "layers", "batch", "length")
    },
}
"""Options that change a preset or a file."""


def _goes_on(how: str) -> dict[str, Any]:
    """What changes with --resume ("resume") or --continue ("extend")."""
    names = ("check_options", "check_place", "prepared", "train")
    told = {f"{name}({how})": True for name in names}
    return {"text_of(goes_on)": True, "run_config(goes_on)": OUT, **told}


TRAIN = Case(
    words="train text --out out",
    below={
        "mmfree.training.folder:check_options": None,
        "mmfree.training.folder:check_place": None,
        "mmfree.training.folder:prepared": nullcontext("the corpus"),
        "mmfree.training.folder:text_of": ([Path("known.txt")], "body"),
        "mmfree.training.presets:run_config": "the run",
        "mmfree.training.train:train": TrainingResult(
            step=1007,
            steps=2000,
            loss=1.5,
            tokens_per_second=12345.6,
            held_bytes=321,
            best_step=1000,
            replaced_best=900,
            at_limit=0.0255,
        ),
        "mmfree.cli.train:_draw_loss": None,
        "mmfree.cli.train:_score": ({"bits_per_byte": 2.5}, "2.5 bits per byte"),
    },
    asked={
        "check_options(folder)": OUT,
        "check_options(seed)": 0,
        "check_options(minutes)": None,
        "check_options(resume)": False,
        "check_options(extend)": False,
        "check_options(force)": False,
        "check_place(folder)": OUT,
        "check_place(resume)": False,
        "check_place(extend)": False,
        "check_place(force)": False,
        "text_of(folder)": OUT,
        "text_of(data)": [],
        "text_of(field)": None,
        "text_of(goes_on)": False,
        "run_config(name)": "text",
        "run_config(gate)": None,
        "run_config(tokenizer)": None,
        "run_config(data)": [Path("known.txt")],
        "run_config(field)": "body",
        **UNCHANGED,
        "run_config(goes_on)": None,
        "prepared(config)": "the run",
        "prepared(folder)": OUT,
        "prepared(data)": [],
        "prepared(field)": None,
        "prepared(teacher)": None,
        "prepared(resume)": False,
        "prepared(extend)": False,
        "prepared(shard)": False,
        "prepared(tensorboard)": False,
        "train(config)": "the run",
        "train(folder)": OUT,
        "train(data)": [],
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
        "train(corpus)": "the corpus",
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
        "best_step": 1000,
        "replaced_best": 900,
        "at_limit": 0.0255,
    },
    said=(
        "out: 1,007 steps, 12,346 tokens/s, the model after step 1,000 is the best and kept,"
        " the earlier best (step 900) was replaced: losses on another text or window length do not"
        " compare, 2.5 % of an intermediate's values lie at its limit in every model of this run,"
        " so export will refuse it: lower --rate, or raise hold in the config; 2.5 bits per byte"
    ),
    rows={
        "config": Row(instead={"text": "addition"}, changes={"run_config(name)": "addition"}),
        **CHANGES,
        "data": Row(
            words="--data a b",
            changes={
                f"{name}(data)": [Path("a"), Path("b")] for name in ("text_of", "prepared", "train")
            },
        ),
        "tokenizer": Row(words="--tokenizer bpe:9", changes={"run_config(tokenizer)": "bpe:9"}),
        "field": Row(
            words="--field meta",
            changes=dict.fromkeys(("text_of(field)", "prepared(field)", "train(field)"), "meta"),
        ),
        "teacher": Row(
            words="--teacher large",
            changes=dict.fromkeys(("prepared(teacher)", "train(teacher)"), Path("large")),
        ),
        "minutes": Row(
            words="--minutes 0.5", changes={"check_options(minutes)": 0.5, "train(minutes)": 0.5}
        ),
        "resume": Row(words="--resume", changes=_goes_on("resume")),
        "extend": Row(words="--continue", changes=_goes_on("extend")),
        "shard": Row(
            words="--shard", changes=dict.fromkeys(("prepared(shard)", "train(shard)"), True)
        ),
        "tensorboard": Row(
            words="--tensorboard",
            changes=dict.fromkeys(("prepared(tensorboard)", "train(tensorboard)"), True),
        ),
        "out": Row(
            words="--out other",
            changes=dict.fromkeys(
                (
                    *(f"{name}(folder)" for name in ("check_options", "check_place", "text_of")),
                    *(f"{name}(folder)" for name in ("prepared", "train", "_draw_loss", "_score")),
                ),
                Path("other"),
            ),
        ),
        "force": Row(
            words="--force",
            changes=dict.fromkeys(
                ("check_options(force)", "check_place(force)", "train(force)"), True
            ),
        ),
        "seed": Row(
            words="--seed 5", changes=dict.fromkeys(("check_options(seed)", "train(seed)"), 5)
        ),
    },
)

CONFIG = Case(
    words="config text",
    below={"mmfree.cli.config:run_config": SMALL_TEXT},
    asked={
        "run_config(name)": "text",
        "run_config(gate)": None,
        "run_config(tokenizer)": None,
        "run_config(data)": None,
        "run_config(field)": None,
        **UNCHANGED,
        "run_config(goes_on)": None,
    },
    values=SMALL_TEXT.to_dict(),
    said=json.dumps(SMALL_TEXT.to_dict(), indent=1),
    rows={
        "config": Row(instead={"text": "c.json"}, changes={"run_config(name)": "c.json"}),
        **CHANGES,
        "seed": NOT_DRAWN,
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
        "weight_bytes": 6000,
        "tokens_per_second": 6789.4,
    }
    for run in RUNS
}

COMPARE = Case(
    words="compare text --out out",
    below={
        "mmfree.cli.compare:Text.of": None,
        "mmfree.cli.compare:refuse_to_overwrite": None,
        "mmfree.cli.compare:run_config": SMALL_TEXT,
        "mmfree.cli.compare:check_teacher": None,
        "mmfree.comparison.contest:compare": Comparison(
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
        **UNCHANGED,
        "run_config(goes_on)": None,
        "check_teacher(config)": SMALL_TEXT,
        "check_teacher(folder)": OUT,
        "check_teacher(teacher)": None,
        "compare(config)": SMALL_TEXT,
        "compare(out)": OUT,
        "compare(data)": None,
        "compare(field)": None,
        "compare(baseline)": None,
        "compare(teacher)": None,
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
        "teacher": None,
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

matmul-free: 1.5000 bits per byte (1.2500 to 1.6250, 3 seeds) at 0.004, 12,345 parameters in 6,000\
 bytes, 6,789 tokens/s
transformer: 1.7500 bits per byte (1.5000 to 1.8750, 3 seeds) at 0.0006, 12,345 parameters in\
 6,000 bytes, 6,789 tokens/s; the best rate is the outermost one tried: try more
difference: -0.2500 bits per byte (measured, on 6,000 bytes held out, 3,000 tokens, in windows of\
 at most 128)
out/compare.svg""",
    rows={
        "config": Row(instead={"text": "c.json"}, changes={"run_config(name)": "c.json"}),
        "data": Row(
            words="--data a b",
            changes={
                "run_config(data)": [Path("a"), Path("b")],
                "Text.of(paths)": [Path("a"), Path("b")],
                "Text.of(field)": "text",
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
        "baseline": Row(
            words="--baseline b.json",
            changes={
                "run_config 2(name)": "b.json",
                **{
                    f"run_config 2({name})": None
                    for name in ("gate", "tokenizer", "data", "field", "goes_on", *CHANGED)
                },
                "compare(baseline)": SMALL_TEXT.model,
            },
        ),
        "teacher": Row(
            words="--teacher large",
            changes=dict.fromkeys(("check_teacher(teacher)", "compare(teacher)"), Path("large")),
        ),
        "seeds": Row(words="--seeds 7", changes={"compare(seeds)": 7}),
        "out": Row(
            words="--out other",
            changes={
                "refuse_to_overwrite(path)": Path("other/compare.json"),
                "refuse_to_overwrite 2(path)": Path("other/compare.svg"),
                "compare(out)": Path("other"),
                "check_teacher(folder)": Path("other"),
            },
        ),
        "force": Row(
            words="--force",
            changes={"refuse_to_overwrite(force)": True, "refuse_to_overwrite 2(force)": True},
        ),
        "seed": Row(words="--seed 5", changes={"compare(seed)": 5}),
    },
)

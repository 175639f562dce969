"""What `tokenize`, `train` and `compare` ask for and say; the numbers are made up."""

from __future__ import annotations

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

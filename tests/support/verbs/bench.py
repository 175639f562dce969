"""What `bench` asks for and says."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

from mmfree.inference.places import Place
from mmfree.inference.speed import Speed
from mmfree.text.tokenizer import ByteTokenizer
from tests.support.below import Each
from tests.support.verbs.case import GONE, TEXT_TAPE, Case, Row
from tests.support.verbs.training import NOT_DRAWN

GOLDEN, CPU = SimpleNamespace(name="golden"), SimpleNamespace(name="cpu")
SLOW = Speed(
    backend="golden",
    decode_tokens_per_second=162.54,
    prompt_tokens_per_second=203.49,
)
FAST = Speed(
    backend="cpu",
    decode_tokens_per_second=2500.0,
    prompt_tokens_per_second=4567.8,
    threads=1,
    automatic=False,
    path="avx512",
    weights_bytes=10_000_000,
    read_bytes_per_second=30e9,
    huge_pages=0.5,
)
FASTER = replace(FAST, threads=2, automatic=True, decode_tokens_per_second=4500.0, huge_pages=None)
FAST_VALUES = asdict(FAST) | {"share_of_read": 2500 / 3000}

WITHOUT_CPU = dict.fromkeys(
    (
        "load_tape_or_export(path)",
        *(f"CpuBackend{call}({name})" for call in ("", " 2") for name in ("tape", "threads")),
        *(f"measure_speed {call}({name})" for call in (2, 3) for name in ("backend", "seconds")),
    ),
    GONE,
)

BENCH = Case(
    words="bench m",
    below={
        "mmfree.cli.bench:find_model": Place(path=Path("m"), tape=Path("m")),
        "mmfree.cli.bench:tape_player": "cpu",
        "mmfree.cli.bench:tokenizer_at": ByteTokenizer(),
        "mmfree.cli.bench:allowed_threads": 2,
        "mmfree.cli.bench:processor_name": "A processor",
        "mmfree.cli.bench:load_backend": GOLDEN,
        "mmfree.cli.bench:load_tape_or_export": TEXT_TAPE,
        "mmfree.cli.bench:CpuBackend": CPU,
        "mmfree.cli.bench:measure_speed": Each([SLOW, FAST, FASTER]),
    },
    asked={
        "find_model(path)": Path("m"),
        "load_backend(path)": Path("m"),
        "load_backend(name)": "golden",
        "load_backend(lanes)": None,
        "load_tape_or_export(path)": Path("m"),
        "CpuBackend(tape)": TEXT_TAPE,
        "CpuBackend(threads)": 1,
        "CpuBackend 2(tape)": TEXT_TAPE,
        "CpuBackend 2(threads)": None,
        "tokenizer_at(path)": Path("m"),
        "measure_speed(backend)": GOLDEN,
        "measure_speed(seconds)": 2.0,
        "measure_speed 2(backend)": CPU,
        "measure_speed 2(seconds)": 2.0,
        "measure_speed 3(backend)": CPU,
        "measure_speed 3(seconds)": 2.0,
    },
    values={
        "processor": "A processor",
        "processors": 2,
        "prompt_tokens": 64,
        "results": [
            asdict(SLOW) | {"share_of_read": None},
            FAST_VALUES,
            asdict(FASTER) | {"share_of_read": 1.5},
        ],
    },
    said="""\
tokens/s, best of several runs, on 2 x A processor
backend         path  threads      decode      prompt   pure read  reached  huge pages
golden                              162.5       203.5
cpu           avx512        1       2,500       4,568     30 GB/s     83 %        50 %
cpu           avx512  auto: 2       4,500       4,568     30 GB/s    150 %     unknown""",
    rows={
        "model": Row(
            instead={"m": "n"},
            changes=dict.fromkeys(
                (
                    "find_model(path)",
                    "tokenizer_at(path)",
                    "load_backend(path)",
                    "load_tape_or_export(path)",
                ),
                Path("n"),
            ),
        ),
        "backend": Row(words="--backend golden", changes=WITHOUT_CPU),
        "threads": Row(
            words="--threads 2",
            changes={
                "CpuBackend(threads)": 2,
                "CpuBackend 2(tape)": GONE,
                "CpuBackend 2(threads)": GONE,
                "measure_speed 3(backend)": GONE,
                "measure_speed 3(seconds)": GONE,
            },
        ),
        "seconds": Row(
            words="--seconds 0.5",
            changes={f"measure_speed{call}(seconds)": 0.5 for call in ("", " 2", " 3")},
        ),
        "lanes": Row(
            words="--backend rtl --lanes 16",
            changes=WITHOUT_CPU | {"load_backend(name)": "rtl", "load_backend(lanes)": 16},
        ),
        "seed": NOT_DRAWN,
    },
)

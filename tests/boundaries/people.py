"""Boundaries of what people ask for: verbs, published checkpoints, Hugging Face, scores."""

from __future__ import annotations

import argparse
import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmfree import api
from mmfree.cli.parser import _help_as_option, build_parser
from mmfree.cli.values import above_zero, whole
from mmfree.golden.sampling import SEED_MAX
from mmfree.inference.choices import read_questions
from mmfree.inference.generate import generate
from mmfree.inference.scoring import evaluate_task
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.published.export import quantize_matrix, read_tokenizer
from mmfree.published.hgrn_bit import read_config
from mmfree.published.tensors import Tensors
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer
from tests.support.boundaries import Boundary
from tests.support.published_checkpoints import Shape, config_of
from tests.support.verbs.case import tape_of

CLI, HF, INFERENCE, PUBLISHED = (
    f"mmfree/{room}" for room in ("cli", "hf", "inference", "published")
)
TAPE = tape_of("bytes", 256, 256)


class Reached(Exception):
    """The work after a guard, which is not done."""


def verb(*words: object, work: str) -> None:
    """Run a verb until it reaches its ``work``."""
    options: argparse.Namespace = build_parser().parse_args(list(map(str, words)))
    with mock.patch(work, side_effect=Reached), pytest.raises(Reached):
        options.command(options)


def cosim(tokens: int) -> None:
    with (
        mock.patch("mmfree.api.chip_for", return_value=(TAPE, mock.Mock(lanes=64))),
        mock.patch("sim.cosim.run.cosim"),
        mock.patch("mmfree.api.replace"),
    ):
        api.cosim("a.tape", tokens=tokens)


def build(folder: Path, seed: int) -> None:
    verb(
        *("build", "a.tape", "--board", "ulx3s-85f", "--out", folder / "out", "--seed", seed),
        work="mmfree.api.chip_for",
    )


def evaluate(*words: str) -> None:
    verb("evaluate", "m", *words, work="mmfree.cli.evaluate.find_model")


def config(**values: Any) -> None:
    pytest.importorskip("transformers", reason="extra hf is not installed")
    from mmfree.hf import MatMulFreeConfig

    MatMulFreeConfig(**values)


def lay_out(mask: list[list[int]], *, from_state: bool = False) -> None:
    """Two ids under a mask."""
    from mmfree.hf.documents import find_layout

    ids = torch.zeros((1, 2), dtype=torch.int64)
    find_layout(ids, torch.tensor(mask), None, None, from_state=from_state)


def mask_in(width: int, mask: list[int]) -> None:
    from mmfree.hf.documents import find_layout

    ids = torch.zeros((1, width), dtype=torch.int64)
    find_layout(ids, torch.tensor([mask]), None, None, from_state=False)


def options_of(**options: Any) -> None:
    from mmfree.hf.generation_options import read_generation_options

    read_generation_options(options)


def judge(batch_size: int) -> None:
    pytest.importorskip("lm_eval", reason="extra hf is not installed")
    from mmfree.hf.lm_eval import MatMulFreeEvalLM

    with mock.patch("mmfree.hf.lm_eval.load_backend", return_value=GoldenBackend(TAPE)):
        MatMulFreeEvalLM("m", batch_size=batch_size)


def questions(folder: Path, examples: int | None = None, **changes: Any) -> None:
    question = {"query": "x", "choices": ["a", "b", "c"], "gold": 0} | changes
    (folder / "q.jsonl").write_text(json.dumps(question) + "\n")
    read_questions(folder / "q.jsonl", examples)


class Mute:
    """A backend that always chooses its first row."""

    name, fraction_bits, choosable = "mute", 0, None
    end_ids: tuple[int, ...] = ()

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def state(self, batch: int) -> None:
        return None

    def run(self, ids: np.ndarray, state: None) -> tuple[np.ndarray, None]:
        return np.zeros((*ids.shape, self.tokenizer.head_size), dtype=np.float32), None


def write(tokens: int = 1, top_k: int | None = None) -> None:
    list(generate(Mute(ByteTokenizer()), "a", tokens, top_k=top_k))


def score(digits: int = 1, examples: int = 1, seed: int = 0) -> None:
    evaluate_task(
        Mute(AdditionTokenizer()), "addition", digits=digits, examples=examples, seed=seed
    )


def padded(folder: Path, vocab_size: int) -> None:
    """A tokenizer of 4 tokens for a vocabulary."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {"<s>": 0, "a": 1, "b": 2, "c": 3}
    Tokenizer(WordLevel(words, unk_token="a")).save(str(folder / "tokenizer.json"))
    read_tokenizer(folder, vocab_size, 0)


def weight_of(folder: Path, largest: float) -> None:
    name = "lm_head.weight"
    save_file({name: torch.tensor([[1.0, -largest]])}, folder / "model.safetensors")
    quantize_matrix(Tensors(folder), name)


def ratio(folder: Path, value: int) -> None:
    (folder / "config.json").write_text(json.dumps(config_of(Shape(), hidden_ratio=value)))
    read_config(folder)


def header(folder: Path, text: bytes, data: bytes = b"", size: int | None = None) -> None:
    """A safetensors file of a header, which says that it has ``size`` bytes, and data."""
    said = len(text) if size is None else size
    path = folder / "model.safetensors"
    path.write_bytes(said.to_bytes(8, "little") + text + data)
    Tensors(folder)


def limited(folder: Path, size: int) -> None:
    """A header of ``size`` bytes, where 50 are the most."""
    with mock.patch("mmfree.published.tensors._HEADER_LIMIT", 50):
        header(folder, b"{}".ljust(size))


def described(values: int) -> bytes:
    """A header that describes a tensor of so many values, none of which is there."""
    entry = {"dtype": "F32", "shape": [values], "data_offsets": [0, 0]}
    return json.dumps({"lm_head.a": entry}).encode()


TWO_VALUES = json.dumps(
    {"lm_head.a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
).encode()


def both(
    file: str,
    compares: str,
    run: Callable[..., object],
    *ends: tuple[object, object],
    says: str,
    folder: bool = False,
) -> list[Boundary]:
    """Rows of a guard: (last allowed, first refused) at each of its limits."""

    def of(value: object) -> Callable[[Path], object]:
        return (lambda path: run(path, value)) if folder else (lambda _: run(value))

    return [
        Boundary(
            file=file,
            compares=compares,
            allowed=of(allowed),
            refused=of(refused),
            says=says.replace("VALUE", str(refused)),
        )
        for allowed, refused in ends
    ]


ROWS: list[Boundary] = [
    *both(
        "mmfree/api.py",
        "tokens < 0",
        cosim,
        (0, -1),
        says="--tokens must be 0 or more, got VALUE$",
    ),
    *both(
        f"{CLI}/build.py",
        "options.seed >= 1 << 31",
        build,
        ((1 << 31) - 1, 1 << 31),
        says=r"--seed must lie in 0\.\.2\^31-1 for placement, got VALUE$",
        folder=True,
    ),
    Boundary(
        file=f"{CLI}/evaluate.py",
        compares="len(asked) > 1",
        allowed=lambda _: evaluate("--task", "parity"),
        refused=lambda _: evaluate("--task", "parity", "--data", "x"),
        says="^give --data or --task, not both$",
    ),
    Boundary(
        file=f"{CLI}/parser.py",
        compares="len(words) > 2",
        allowed=lambda _: _help_as_option(["help", "train"]),
        refused=lambda _: _help_as_option(["help", "train", "text"]),
        says="^'text' is not expected here: help takes one verb$",
    ),
    Boundary(
        file=f"{CLI}/values.py",
        compares="value < low",
        allowed=lambda _: whole(3)("3"),
        refused=lambda _: whole(3)("2"),
        says="^must be at least 3, got 2$",
        raises=ArgumentTypeError,
    ),
    Boundary(
        file=f"{CLI}/values.py",
        compares="value > high",
        allowed=lambda _: whole(0, 1 << 64, "2^64")(str(1 << 64)),
        refused=lambda _: whole(0, 1 << 64, "2^64")(str((1 << 64) + 1)),
        says=r"^must lie in 0\.\.2\^64, got 18446744073709551617$",
        raises=ArgumentTypeError,
    ),
    Boundary(
        file=f"{CLI}/values.py",
        compares="value <= 0",
        allowed=lambda _: above_zero("MHz")("5e-324"),
        refused=lambda _: above_zero("MHz")("0.0"),
        says="^must be above 0, got 0 MHz$",
        raises=ArgumentTypeError,
    ),
    *both(
        f"{HF}/config.py",
        "0 <= token < vocab_size",
        lambda token: config(vocab_size=40, head_size=40, eos_token_id=token),
        (0, -1),
        (39, 40),
        says=r"config: eos_token_id must lie in 0\.\.39, got VALUE$",
    ),
    Boundary(
        file=f"{HF}/documents.py",
        compares="shape[1] < time",
        allowed=lambda _: lay_out([[1, 1]]),
        refused=lambda _: lay_out([[1]]),
        says=r"attention_mask must be \[batch, time\] = \[1, at least 2\], got shape \(1, 1\)$",
    ),
    Boundary(
        file=f"{HF}/documents.py",
        compares="shape[1] > time",
        allowed=lambda _: (lay_out([[1, 1]]), lay_out([[1, 1, 1]], from_state=True)),
        refused=lambda _: lay_out([[1, 1, 1]]),
        says="attention_mask has 3 columns for 2 input_ids: the tokens before them are missing",
    ),
    *both(
        f"{HF}/documents.py",
        "begins_B > 1",
        lambda mask: mask_in(5, mask),
        ([0, 1, 1, 1, 0], [0, 1, 0, 1, 1]),
        ([1, 1, 1, 0, 0], [1, 0, 0, 0, 1]),
        says="attention_mask: padding between tokens is not supported",
    ),
    Boundary(
        file=f"{HF}/generation_options.py",
        compares="len(set(counts.values())) > 1",
        allowed=lambda _: options_of(max_gen_toks=3, max_tokens=3),
        refused=lambda _: options_of(max_gen_toks=3, max_tokens=4),
        says="generation options: max_gen_toks and max_tokens differ; give one of them$",
    ),
    *both(
        f"{HF}/generation_options.py",
        "tokens < 1",
        lambda tokens: options_of(max_gen_toks=tokens),
        (1, 0),
        says="max_gen_toks must be an integer of at least 1, got VALUE$",
    ),
    *both(
        f"{HF}/generation_options.py",
        "top_k < 1",
        lambda top_k: options_of(temperature=1, top_k=top_k),
        (1, -2),
        says="top_k must be an integer of at least 1, got VALUE$",
    ),
    *both(
        f"{HF}/generation_options.py",
        "abs(number) < float('inf')",
        lambda tokens: options_of(max_gen_toks=tokens),
        (sys.float_info.max, float("inf")),
        says="generation options: max_gen_toks must be a number, got inf$",
    ),
    *both(
        f"{HF}/lm_eval.py",
        "int(batch_size) >= 1",
        judge,
        (1, 0),
        says="batch_size must be a positive integer, got VALUE$",
    ),
    *both(
        f"{INFERENCE}/tape_backends.py",
        "tokenizer.vocab_size > tape.config.vocab_size",
        lambda words: GoldenBackend(tape_of("bytes", words, words)),
        (256, 255),
        says="its tokenizer has ids up to 255, its model VALUE words$",
    ),
    *both(
        f"{INFERENCE}/choices.py",
        "examples < 1",
        questions,
        (1, 0),
        says="--examples must be at least 1, got VALUE$",
        folder=True,
    ),
    *both(
        f"{INFERENCE}/choices.py",
        "len(choices) < 2",
        lambda folder, choices: questions(folder, choices=choices),
        (["a", "b"], ["a"]),
        says=r"line 1: choices must be two texts or more, got \['a'\]$",
        folder=True,
    ),
    *both(
        f"{INFERENCE}/choices.py",
        "0 <= gold < len(choices)",
        lambda folder, gold: questions(folder, gold=gold),
        (0, -1),
        (2, 3),
        says=r"line 1: gold must lie in 0\.\.2, got VALUE$",
        folder=True,
    ),
    *both(
        f"{INFERENCE}/generate.py",
        "tokens < 1",
        write,
        (1, 0),
        says="--tokens must be at least 1, got VALUE$",
    ),
    *both(
        f"{INFERENCE}/generate.py",
        "top_k < 1",
        lambda top_k: write(top_k=top_k),
        (1, 0),
        says="--top-k must be at least 1, got VALUE$",
    ),
    *both(
        f"{INFERENCE}/scoring.py",
        "0 <= seed <= SEED_MAX",
        lambda seed: score(seed=seed),
        (0, -1),
        (SEED_MAX, SEED_MAX + 1),
        says=r"--seed must lie in 0\.\.2\^64-1, got VALUE$",
    ),
    *both(
        f"{INFERENCE}/scoring.py",
        "digits < 1",
        score,
        (1, 0),
        says="--digits and --examples must be at least 1, got VALUE and 1$",
    ),
    *both(
        f"{INFERENCE}/scoring.py",
        "examples < 1",
        lambda examples: score(examples=examples),
        (1, 0),
        says="--digits and --examples must be at least 1, got 1 and VALUE$",
    ),
    *both(
        f"{PUBLISHED}/export.py",
        "vocab_size - tokens > MOST_PADDING",
        padded,
        (4 + 1023, 4 + 1024),
        says=r"has 4 tokens, but vocab_size of config\.json is VALUE: at most 1023 ids can be",
        folder=True,
    ),
    *both(
        f"{PUBLISHED}/export.py",
        "(largest := float(magnitude.max())) > _LARGEST_WEIGHT",
        weight_of,
        (1024.0, float(np.nextafter(np.float32(1024), np.float32(2000)))),
        says=r"lm_head\.weight: weights must stay within 1024, found 1024$",
        folder=True,
    ),
    *both(
        f"{PUBLISHED}/hgrn_bit.py",
        "1 <= ratio <= 64",
        ratio,
        (1, 0),
        (64, 65),
        says=r"hidden_ratio must be an integer in 1\.\.64, got VALUE$",
        folder=True,
    ),
    Boundary(
        file=f"{PUBLISHED}/tensors.py",
        compares="start + last > size",
        allowed=lambda folder: header(folder, TWO_VALUES, bytes(8)),
        refused=lambda folder: header(folder, TWO_VALUES, bytes(7)),
        says=r"tensor lm_head\.a: its data of 8 bytes is not within the file; it is truncated$",
    ),
    Boundary(
        file=f"{PUBLISHED}/tensors.py",
        compares="number >= 0",
        allowed=lambda folder: header(folder, described(0)),
        refused=lambda folder: header(folder, described(-1)),
        says=r"tensor lm_head\.a needs dtype, shape and data_offsets, got .*\[-1\]",
    ),
    Boundary(
        file=f"{PUBLISHED}/tensors.py",
        compares="2 <= header_bytes <= min(size - 8, _HEADER_LIMIT)",
        allowed=lambda folder: header(folder, b"{}"),
        refused=lambda folder: header(folder, b"{}", size=1),
        says="not a safetensors file, or truncated$",
    ),
    Boundary(
        file=f"{PUBLISHED}/tensors.py",
        compares="2 <= header_bytes <= min(size - 8, _HEADER_LIMIT)",
        allowed=lambda folder: header(folder, b"{}  "),
        refused=lambda folder: header(folder, b"{}  ", size=5),
        says="not a safetensors file, or truncated$",
    ),
    Boundary(
        file=f"{PUBLISHED}/tensors.py",
        compares="2 <= header_bytes <= min(size - 8, _HEADER_LIMIT)",
        allowed=lambda folder: limited(folder, 50),
        refused=lambda folder: limited(folder, 51),
        says="not a safetensors file, or truncated$",
    ),
]

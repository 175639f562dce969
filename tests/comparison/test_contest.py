"""A comparison scores what an evaluation scores: the same tokens of the same bytes held out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mmfree.text.sources
from mmfree.comparison import contest
from mmfree.comparison.contest import Comparison, compare, held_out_text, score_model
from mmfree.comparison.speed import Contestant
from mmfree.contract.pow2 import DEFAULT_FORMATS
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.inference.backends import TorchBackend
from mmfree.inference.scoring import evaluate_tokens
from mmfree.text.corpus import Corpus, Text
from mmfree.text.loading import load_corpus
from mmfree.text.scores import Score, ScoredText
from mmfree.text.shard_writing import write_shards
from mmfree.text.shards import open_shards
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from mmfree.training.checkpoint import build_model, load_config, load_training_state
from mmfree.training.recipe import ARCHITECTURES, RunConfig
from tests.support.models import SMALL_TEXT
from tests.support.subwords import LINES, bpe, pieces

DOCUMENTS = [f"{line}\n{number}" for number, line in enumerate(LINES)]
LENGTH = 2000
"""No less than the tokens held out: one window, and one stream."""


def config_of(tokenizer: TextTokenizer, architecture: str, length: int = LENGTH) -> RunConfig:
    size = tokenizer.vocab_size
    return replace(
        SMALL_TEXT,
        architecture=architecture,
        subword=None if tokenizer.kind == "bytes" else tokenizer.to_dict(),
        model=replace(SMALL_TEXT.model, vocab_size=size, head_size=size),
        recipe=replace(SMALL_TEXT.recipe, length=length),
    )


def corpus_of(kind: str, tokenizer: TextTokenizer, folder: Path) -> Corpus:
    """One text; documents; both as shards, of which several are held out."""
    one = kind.startswith("text")
    path = folder / ("a.txt" if one else "a.jsonl")
    path.write_text(
        "\n".join(DOCUMENTS)
        if one
        else "".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS),
        encoding="utf-8",
    )
    if not kind.endswith("shards"):
        return load_corpus([path], tokenizer)
    manifest = write_shards(Text.of([path]), tokenizer, folder / "shards", held_out_tokens=20)
    assert len(manifest.validation) > 1
    return open_shards(folder / "shards", tokenizer)


TOKENIZERS = [ByteTokenizer(), bpe(), pieces()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.kind)
@pytest.mark.parametrize("kind", ["text", "documents", "text shards", "documents shards"])
def test_compare_and_evaluate_give_the_same_score(
    kind: str,
    tokenizer: TextTokenizer,
    architecture: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of documents in several pieces, of which the first begins with a start token."""
    monkeypatch.setattr(mmfree.text.sources, "PIECE_BYTES", 40)
    corpus = corpus_of(kind, tokenizer, tmp_path)
    config = config_of(tokenizer, architecture)
    torch.manual_seed(1)
    model = build_model(config)
    compared = score_model(model, held_out_text(config, corpus))
    if architecture == "matmul-free":
        backend = TorchBackend("fakequant", model, tokenizer, DEFAULT_FORMATS.residual_fb)
        evaluated = evaluate_tokens(backend, *corpus.all_held_out())
        assert (compared.tokens, compared.bytes) == (evaluated.tokens, evaluated.bytes)
        assert compared.bits_per_byte == pytest.approx(evaluated.bits_per_byte, rel=1e-6)
    tokens, num_bytes = corpus.all_held_out()
    assert compared.bytes == num_bytes
    assert compared.tokens == len(tokens) - int((tokens == tokenizer.start).sum())
    assert (tokenizer.start in tokens) == kind.startswith("documents")


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.kind)
def test_what_is_held_out_is_known_beforehand(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """By the documents alone: their tokens, without the one that each begins with."""
    corpus = corpus_of("documents shards", tokenizer, tmp_path)
    text = held_out_text(config_of(tokenizer, "matmul-free", length=7), corpus)
    documents = load_corpus([tmp_path / "a.jsonl"], tokenizer)
    pieces = np.split(
        documents.validation, np.flatnonzero(documents.validation == tokenizer.start)[1:]
    )
    held_out = [tokenizer.decode(piece[1:].tolist()) for piece in pieces]
    assert set(held_out) <= set(DOCUMENTS)
    assert len(held_out) > 1
    assert text.bytes == sum(len(document.encode()) for document in held_out)
    assert text.tokens == sum(len(ids) for ids in tokenizer.encode_texts(held_out))


@pytest.mark.parametrize("at_once", [1, 40])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_windows_are_no_longer_than_those_of_training(
    architecture: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And their score is the sum of the cross-entropies of their tokens, however many at once."""
    monkeypatch.setattr(contest, "_TOKENS_AT_ONCE", at_once)
    corpus = corpus_of("documents", bpe(), tmp_path)
    config = config_of(bpe(), architecture, length=16)
    model, text = build_model(config), held_out_text(config, corpus)
    assert len(text.batch.ids) > 1 < text.batch.ids.shape[1] <= 16
    nats = 0.0
    for ids, targets, mask in zip(text.batch.ids, text.batch.targets, text.batch.mask, strict=True):
        with torch.no_grad():
            logits, _ = model(torch.from_numpy(ids[None]), mode="fakequant")
        wanted = torch.from_numpy(targets[mask])
        nats += float(F.cross_entropy(logits[0][torch.from_numpy(mask)], wanted, reduction="sum"))
    given: list[torch.Size] = []
    model.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].shape))
    found = score_model(model, text)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / text.bytes, rel=1e-5)
    assert all(rows == 1 or rows * columns <= at_once for rows, columns in given)
    assert max(rows for rows, _ in given) == max(1, at_once // text.batch.ids.shape[1])


# Rates, seeds and the best of them

RATES = {"matmul-free": (1e-3, 2e-3, 4e-3), "transformer": (3e-4, 1e-4)}
SHORT = replace(
    SMALL_TEXT,
    model=replace(SMALL_TEXT.model, hidden_size=8, intermediate_size=8),
    recipe=replace(SMALL_TEXT.recipe, steps=1, batch_size=4, length=8, accumulate=2),
)
Run = tuple[str, float, int]


class Rehearsal:
    """Comparisons whose runs have scores that are given; what was trained, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scores: dict[Run, float] = {}
        self.trained: list[Run] = []
        self.options: list[dict[str, Any]] = []
        self.folder, self.data = folder, folder / "a.jsonl"
        self.data.write_text("".join(json.dumps({"story": text}) + "\n" for text in DOCUMENTS))
        self._train = contest.train
        monkeypatch.setattr(contest, "train", self.train)
        monkeypatch.setattr(contest, "score_model", self.score)
        monkeypatch.setattr(contest, "race", self.race)

    def train(self, config: RunConfig, folder: Path, **options: Any) -> Any:
        self.trained.append((config.architecture, config.recipe.learning_rate, options["seed"]))
        self.options.append(options)
        return self._train(config, folder, **options)

    def score(self, model: torch.nn.Module, text: ScoredText) -> Score:
        bits = self.scores[self.trained[-1]]
        return Score(nats=bits * math.log(2) * text.bytes, tokens=text.tokens, bytes=text.bytes)

    def race(self, contestants: list[Contestant], rounds: int) -> None:
        """The first takes 2 s a step, the other 4 s."""
        assert rounds == 10
        for number, contestant in enumerate(contestants, 1):
            assert contestant.ids.shape == contestant.targets.shape == (2, 8)
            assert (contestant.parts, contestant.bf16) == (2, False)
            contestant.seconds = [2.0 * number]

    def compare(
        self,
        scores: dict[Run, float],
        seed: int = 0,
        seeds: int = 1,
        baseline: ModelConfig | None = None,
        teacher: Path | None = None,
    ) -> Comparison:
        self.scores, self.trained, self.options = scores, [], []
        rates = {name: sorted({run[1] for run in scores if run[0] == name}) for name in RATES}
        return compare(
            SHORT,
            self.folder / "out",
            data=[self.data],
            field="story",
            baseline=baseline,
            teacher=teacher,
            rates=rates,
            seeds=seeds,
            seed=seed,
        )


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rehearsal:
    return Rehearsal(tmp_path, monkeypatch)


def test_the_best_rate_is_repeated_with_the_seeds_after_the_first(rehearsal: Rehearsal) -> None:
    """Worked by hand: means of the seeds at the best rate, which the first seed chose."""
    scores = {
        ("matmul-free", 1e-3, 7): 3.0,
        ("matmul-free", 2e-3, 7): 2.0,
        ("matmul-free", 4e-3, 7): 2.5,
        ("matmul-free", 2e-3, 8): 2.25,
        ("matmul-free", 2e-3, 9): 1.0,
        ("transformer", 1e-4, 7): 2.5,
        ("transformer", 3e-4, 7): 2.0,
        ("transformer", 3e-4, 8): 4.0,
        ("transformer", 3e-4, 9): 3.0,
    }
    found = rehearsal.compare(scores, seed=7, seeds=3)
    assert rehearsal.trained == list(scores)
    for options in rehearsal.options:
        assert options["data"] == [rehearsal.data]
        assert (options["field"], options["resume"]) == ("story", False)
    runs = {(run.architecture, run.learning_rate, run.seed): run for run in found.runs}
    assert list(runs) == list(scores)
    assert [run.bits_per_byte for run in found.runs] == pytest.approx(list(scores.values()))
    own, baseline = found.best["matmul-free"], found.best["transformer"]
    assert own == {
        "learning_rate": 2e-3,
        "at_the_edge": False,
        "bits_per_byte": pytest.approx(1.75),
        "lowest": pytest.approx(1.0),
        "highest": pytest.approx(2.25),
        "seeds": 3,
        "parameters": SHORT.model.num_parameters,
        # By hand: five ternary weights to a byte; embedding and biases are bytes.
        "weight_bytes": -(-(4 * 8 * 8 + 3 * 8 * 8 + 8 * 256) // 5) + 256 * 8 + 8,
        "tokens_per_second": 2 * 16 / 2.0,
    }
    assert baseline["bits_per_byte"] == pytest.approx(3.0)
    assert (baseline["learning_rate"], baseline["at_the_edge"]) == (3e-4, True)
    assert baseline["tokens_per_second"] == 2 * 16 / 4.0
    assert baseline["parameters"] == baseline["weight_bytes"] != own["parameters"]
    corpus = load_corpus([rehearsal.data], field="story")
    assert (found.length, found.bytes) == (8, corpus.validation_bytes)
    assert found.tokens == found.bytes, "bytes, without start tokens"
    assert found.data == str(rehearsal.data)
    names = {Path(run.folder).name for run in found.runs}
    assert {"matmul-free-0.002-seed9", "transformer-0.0003-seed7"} < names
    assert all(Path(run.folder, "config.json").is_file() for run in found.runs)
    # Again: nothing is scored, and every run is resumed.
    again = rehearsal.compare(dict.fromkeys(scores, 9.9), seed=7, seeds=3)
    assert (again.runs, again.best) == (found.runs, found.best)
    assert all(options["resume"] for options in rehearsal.options)


def test_a_transformer_may_have_other_sizes(rehearsal: Rehearsal) -> None:
    """Beside the same MatMul-free runs, which are not trained again; with the same recipe."""
    scores = {("matmul-free", 1e-3, 0): 2.0, ("transformer", 1e-3, 0): 3.0}
    same = rehearsal.compare(scores)
    model = replace(SHORT.model, hidden_size=6, num_layers=2, intermediate_size=10)
    other = rehearsal.compare(scores | {("transformer", 1e-3, 0): 1.0}, baseline=model)
    assert other.runs[0] == same.runs[0]
    folder = Path(other.runs[1].folder)
    assert folder.name == "transformer-6x2x10-0.001-seed0"
    assert load_config(folder) == replace(
        SHORT,
        architecture="transformer",
        model=model,
        recipe=replace(SHORT.recipe, learning_rate=1e-3),
    )
    found = other.best["transformer"]
    weights = 2 * 256 * 6 + 2 * (4 * 6 * 6 + 3 * 6 * 10) + (2 * 2 + 1) * 6
    assert found["parameters"] == found["weight_bytes"] == weights
    assert [best["bits_per_byte"] for best in other.best.values()] == pytest.approx([2.0, 1.0])
    with pytest.raises(InputError, match="needs vocab_size 256 and head_size 256, got 300 and 300"):
        rehearsal.compare(scores, baseline=replace(model, vocab_size=300, head_size=300))


def test_every_run_has_the_teacher(rehearsal: Rehearsal) -> None:
    scores = {("matmul-free", 1e-3, 0): 2.0, ("transformer", 1e-3, 0): 3.0}
    teacher = Path(rehearsal.compare(scores).runs[1].folder)
    with pytest.raises(InputError, match="trained without a teacher; leave --teacher out"):
        rehearsal.compare(scores, teacher=teacher)
    # Elsewhere, where nothing was trained without it.
    rehearsal.folder /= "taught"
    found = rehearsal.compare(scores, teacher=teacher)
    digests = {load_training_state(Path(run.folder)).teacher for run in found.runs}
    assert len(digests) == 1
    assert digests != {""}
    assert [options["teacher"] for options in rehearsal.options] == [teacher] * 2
    longer = replace(SHORT, recipe=replace(SHORT.recipe, length=9))
    with pytest.raises(InputError, match="has learned 8 positions, fewer than the 9 of a window"):
        compare(
            longer,
            rehearsal.folder / "longer",
            data=[rehearsal.data],
            field="story",
            teacher=teacher,
            rates=RATES,
            seeds=1,
            seed=0,
        )
    assert not (rehearsal.folder / "longer").exists()


@pytest.mark.parametrize(
    ("bits", "edge"),
    [((2.0, 3.0, 4.0), True), ((4.0, 3.0, 2.0), True), ((3.0, 2.0, 3.0), False), ((2.0,), False)],
)
def test_a_best_rate_at_the_edge_is_reported(
    bits: tuple[float, ...], edge: bool, rehearsal: Rehearsal
) -> None:
    """Also on its own side alone; of one rate there is no edge."""
    rates = (1e-3, 2e-3, 4e-3)[: len(bits)]
    scores = {
        (name, rate, 0): score
        for name in ARCHITECTURES
        for rate, score in zip(rates, bits, strict=True)
    }
    found = rehearsal.compare(scores)
    assert [best["at_the_edge"] for best in found.best.values()] == [edge, edge]
    assert [best["seeds"] for best in found.best.values()] == [1, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", "1e-3"),
        ("bits_per_byte", None),
        ("bits_per_byte", True),
        ("seed", 0.0),
        ("tokens", True),
        ("bytes", 1.5),
        ("parameters", "3"),
        ("architecture", 3),
        ("folder", None),
        ("surplus", 1),
    ],
)
def test_a_result_of_another_kind_is_refused(
    name: str, value: object, rehearsal: Rehearsal
) -> None:
    scores = {("matmul-free", 1e-3, 0): 2.0, ("transformer", 1e-3, 0): 2.0}
    rehearsal.compare(scores)
    path = rehearsal.folder / "out" / "transformer-0.001-seed0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(InputError, match=r"result\.json: must be the result of a run, with the"):
        rehearsal.compare(scores)


def test_a_score_of_other_bytes_is_refused(rehearsal: Rehearsal) -> None:
    scores = {("matmul-free", 1e-3, 0): 2.0, ("transformer", 1e-3, 0): 2.0}
    rehearsal.compare(scores)
    path = rehearsal.folder / "out" / "transformer-0.001-seed0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bytes": 5}))
    with pytest.raises(InputError, match=r"tokens of 5 bytes were scored, but .* are held out"):
        rehearsal.compare(scores)


def test_speeds_are_of_what_the_recipe_says(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(SHORT.recipe, precision="bf16", accumulate=1, compile=True)
    seen: list[Contestant] = []

    def race(contestants: list[Contestant], rounds: int) -> None:
        seen.extend(contestants)
        for contestant in contestants:
            contestant.seconds = [1.0]

    monkeypatch.setattr(contest, "race", race)
    compiled: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or f)
    with monkeypatch.context() as patch:
        patch.setattr("tests.comparison.test_contest.SHORT", replace(SHORT, recipe=recipe))
        scores = {("matmul-free", 1e-3, 0): 2.0, ("transformer", 1e-3, 0): 2.0}
        rehearsal.compare(scores)
    assert [(c.bf16, c.parts, tuple(c.ids.shape)) for c in seen] == [(True, 1, (4, 8))] * 2
    assert len(compiled) == 2 + 2, "each run, and each that is timed"


def test_four_rates_are_tried_unless_others_are_given() -> None:
    """Each twice the one before; ternary weights want about ten times a Transformer's."""
    own, baseline = contest.RATES["matmul-free"], contest.RATES["transformer"]
    assert (own[0], baseline[0]) == (2e-3, 3e-4)
    for rates in (own, baseline):
        assert list(rates) == pytest.approx([rates[0] * 2**n for n in range(4)])

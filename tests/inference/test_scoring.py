"""Evaluation, against models whose score is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmfree.inference.backends
import mmfree.inference.scoring
import mmfree.text.sources
from mmfree.errors import InputError
from mmfree.inference.scoring import count_words, evaluate_task, evaluate_text, score_text
from mmfree.tasks.addition import add_digits, draw_sums
from mmfree.tasks.modular import split_pairs
from mmfree.text.corpus import Corpus, python_documentation
from mmfree.text.task_tokenizers import (
    MODULUS,
    AdditionTokenizer,
    ModularTokenizer,
    ParityTokenizer,
)
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.provenance import Provenance
from tests.support.below import Below


class Table:
    """A backend that gives the same logits at every position."""

    name = "table"
    fraction_bits = 0
    end_ids: tuple[int, ...] = ()
    choosable = None
    tokenizer = ByteTokenizer()

    def __init__(self, logits: np.ndarray) -> None:
        self._logits = logits.astype(np.float32)

    def state(self, batch: int) -> Any:
        return None

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        return np.broadcast_to(self._logits, (*ids.shape, len(self._logits))), state


class Adder:
    """A backend that adds, by carrying in its state.

    Wrong in the digits above ``limit`` columns.
    """

    name = "adder"
    fraction_bits = 0
    end_ids: tuple[int, ...] = ()
    choosable = None
    tokenizer = AdditionTokenizer()

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def state(self, batch: int) -> Any:
        return np.zeros((3, batch), dtype=np.int64)  # carry, a, column

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        carry, a, column = state
        logits = np.zeros((*ids.shape, 10), dtype=np.float32)
        for position in range(ids.shape[1]):
            token = ids[:, position]
            is_b = (token >= 10) & (token < 20)
            total = a + token - 10 + carry
            digit = np.where(column < self._limit, total % 10, 0)
            logits[np.arange(len(ids)), position, np.where(is_b, digit, 0)] = 1
            carry, column = np.where(is_b, total // 10, carry), column + is_b
            a = np.where(token < 10, token, a)
        return logits, (carry, a, column)


def test_uniform_logits_cost_eight_bits() -> None:
    result = evaluate_text(Table(np.zeros(256)), b"any text at all")
    assert result.bits_per_byte == pytest.approx(8)
    assert (result.backend, result.bytes) == ("table", 15)


def test_bits_per_byte_are_the_cross_entropy() -> None:
    text = b"abab" * 2000 + b"a"
    logits = np.full(256, -1e9)
    logits[ord("a")], logits[ord("b")] = np.log(0.75), np.log(0.25)
    expected = -(4001 * np.log2(0.75) + 4000 * np.log2(0.25)) / 8001
    assert evaluate_text(Table(logits), text).bits_per_byte == pytest.approx(expected)


def test_perplexity_is_per_token_and_per_word() -> None:
    """Uniform over bytes: 256 per token; 8 bits a byte over words and ends of lines."""
    result = evaluate_text(Table(np.zeros(256)), b" = Title = \n\n two words\n", words=True)
    assert result.token_perplexity == pytest.approx(256)
    assert (result.tokens, result.bytes, result.words) == (24, 24, 8)
    assert result.word_perplexity == pytest.approx(256 ** (24 / 8))


@pytest.mark.parametrize(
    ("text", "words"),
    [("a b\n", 3), ("a b", 3), ("\n", 1), ("", 1), (" a \n \n", 3), ("a\u00a0b\n", 3)],
)
def test_words_and_ends_of_lines_are_counted(text: str, words: int) -> None:
    assert count_words(text) == words
    assert count_words(text) == sum(
        len([*line.split(), "<eos>"]) for line in text.removesuffix("\n").split("\n")
    )


def test_a_large_vocabulary_is_played_in_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    text = np.random.default_rng(0).integers(1, 127, 3000).astype(np.uint8).tobytes()
    logits = np.random.default_rng(1).normal(size=256)
    widths: list[int] = []

    class Watched(Table):
        def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
            widths.append(ids.shape[1])
            return super().run(ids, state)

    whole = evaluate_text(Watched(logits), text).bits_per_byte
    assert max(widths) == mmfree.inference.scoring.CHUNK
    widths.clear()
    monkeypatch.setattr(mmfree.inference.backends, "LOGITS", 2 * 256 * 7)
    assert evaluate_text(Watched(logits), text).bits_per_byte == pytest.approx(whole, rel=1e-12)
    assert max(widths) == 7


@pytest.mark.parametrize("task", ["addition", "addition-chains"])
@pytest.mark.parametrize("digits", [1, 100, 300])
def test_an_adder_is_exact(task: str, digits: int) -> None:
    result = evaluate_task(Adder(10**6), task, digits=digits, examples=7)
    assert (result.exact, result.examples, result.accuracy) == (7, 7, 1.0)


def test_one_wrong_digit_is_not_exact() -> None:
    """The last carry alone is lost.

    Chains are all wrong, random sums right where nothing is carried out.
    """
    assert evaluate_task(Adder(20), "addition-chains", digits=20, examples=9).exact == 0
    random = evaluate_task(Adder(20), "addition", digits=20, examples=200, seed=4)
    a, b = draw_sums(np.random.default_rng(4), "random", 20, 200)
    assert random.exact == int((add_digits(a, b)[:, -1] == 0).sum())
    assert 0.3 < random.accuracy < 0.7


@pytest.mark.parametrize(("digits", "examples"), [(0, 1), (1, 0)])
def test_nothing_to_evaluate_is_refused(digits: int, examples: int) -> None:
    with pytest.raises(InputError, match="--digits and --examples must be at least 1"):
        evaluate_task(Adder(1), "addition", digits=digits, examples=examples)


def test_a_task_examines_its_own_models_only() -> None:
    with pytest.raises(InputError, match="--task parity: the model is for addition"):
        evaluate_task(Adder(1), "parity")
    with pytest.raises(InputError, match=r"--task must be one of addition, .*, got 'chess'"):
        evaluate_task(Adder(1), "chess")


class Parity(Adder):
    """A backend that keeps the parity of the bits in its state."""

    name, tokenizer = "parity", ParityTokenizer()

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        bits = np.where(ids == ParityTokenizer.start, 0, ids)
        parity = (state[0][:, None] + np.cumsum(bits, axis=1)) % 2
        return np.stack([1 - parity, parity], axis=-1).astype(np.float32), [parity[:, -1]]


def test_parity_is_asked_at_every_bit() -> None:
    assert evaluate_task(Parity(0), "parity", digits=300, examples=9).exact == 9
    result = evaluate_task(Parity(0), "parity")
    assert (result.digits, result.examples, result.accuracy) == (512, 1000, 1.0)


class Modular(Adder):
    """A backend that adds modulo 97, but for sums of 5."""

    name, tokenizer = "modular", ModularTokenizer()

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        logits = np.zeros((*ids.shape, MODULUS), dtype=np.float32)
        total = (ids[:, 0] + ids[:, 1] - MODULUS) % MODULUS
        logits[np.arange(len(ids)), 2, np.where(total == 5, 0, total)] = 1
        return logits, state


def test_modular_addition_examines_every_held_out_pair() -> None:
    result = evaluate_task(Modular(0), "modular-addition")
    assert result.examples == 9409 - 3763
    wrong = (split_pairs()[1].sum(axis=1) % MODULUS == 5).sum()
    assert result.exact == result.examples - wrong
    assert evaluate_task(Modular(0), "modular-addition", examples=50).examples == 50
    with pytest.raises(InputError, match="--examples must be at most 5646"):
        evaluate_task(Modular(0), "modular-addition", examples=6000)
    with pytest.raises(
        InputError, match="--digits: the examples of task modular-addition have one length"
    ):
        evaluate_task(Modular(0), "modular-addition", digits=3)


CORPUS = Corpus("a.jsonl", np.arange(90), np.arange(90, 100), 25)


def held_out(
    monkeypatch: pytest.MonkeyPatch, corpus: Any, digest: str = CORPUS.digest, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """Scores a run that was trained on a.jsonl; what was asked for."""
    record = Provenance(sources=("a.jsonl",), field="body", text="a.jsonl", digest=digest)
    below = Below(monkeypatch)
    below.replace(
        {
            "mmfree.inference.scoring:read_provenance": record,
            "mmfree.inference.scoring:load_corpus": corpus,
            "mmfree.inference.scoring:evaluate_tokens": "scored",
        }
    )
    found = score_text(Table(np.zeros(256)), None, run=Path("run"), **options)
    return found, below.asked


def test_a_run_is_scored_on_all_that_it_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = held_out(monkeypatch, CORPUS)
    assert found == "scored"
    assert asked["read_provenance(folder)"] == Path("run")
    assert asked["load_corpus(paths)"] == [Path("a.jsonl")]
    assert asked["load_corpus(field)"] == "body"
    assert asked["evaluate_tokens(tokens)"].tolist() == list(range(90, 100))
    assert asked["evaluate_tokens(num_bytes)"] == 25


def test_text_that_is_not_that_of_training_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, corpus, message in (
        ({"digest": "f" * 64}, CORPUS, r"^a\.jsonl: no longer the text that .* with --data$"),
        ({"words": True}, CORPUS, r"--words needs the text: give --data \(trained on a\.jsonl\)"),
        ({}, InputError("gone"), r"^gone \(what the model was trained on; --data names another\)$"),
    ):
        with pytest.raises(InputError, match=message):
            held_out(monkeypatch, corpus, **options)


def test_a_run_on_the_built_in_text_is_scored_on_that(monkeypatch: pytest.MonkeyPatch) -> None:
    below = Below(monkeypatch)
    below.replace(
        {
            "mmfree.inference.scoring:read_provenance": Provenance(text="built-in"),
            "mmfree.inference.scoring:evaluate_text": "scored",
        }
    )
    assert score_text(Table(np.zeros(256)), None, run=Path("run"), words=True) == "scored"
    text = below.asked["evaluate_text(text)"]
    assert text == python_documentation()[-len(text) :], "its last tenth"
    assert len(text) == pytest.approx(len(python_documentation()) / 10, rel=0.01)
    assert below.asked["evaluate_text(words)"] is True


def test_words_are_those_of_whole_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain files of a folder are one text, joined by line feeds; it comes in pieces."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("one two")
    (folder / "b.txt").write_text("three four five six seven")
    uniform = Table(np.zeros(256))
    alone = score_text(uniform, folder / "a.txt", words=True)
    assert (alone.bytes, alone.tokens, alone.words) == (7, 7, 3)
    together = score_text(uniform, folder, words=True)
    assert (together.bytes, together.tokens, together.words) == (33, 33, 2 + 1 + 5 + 1)
    assert together.word_perplexity == pytest.approx(256 ** (33 / 9))
    monkeypatch.setattr(mmfree.text.sources, "PIECE_BYTES", 6)
    assert score_text(uniform, folder, words=True) == together
    records = '{"body": "one two"}\n{"body": "three four five six seven"}\n'
    (tmp_path / "a.jsonl").write_text(records)
    documents = score_text(uniform, tmp_path / "a.jsonl", field="body", words=True)
    assert (documents.bytes, documents.words) == (32, 3 + 6)
    assert score_text(uniform, folder).words is None


def test_examples_are_drawn_from_the_seed() -> None:
    """Of columns that a model adds wrongly when a carry is lost: other sums, other scores."""
    scores = [
        evaluate_task(Adder(2), "addition", digits=2, examples=100, seed=seed).exact
        for seed in (0, 0, 1, 2, 3)
    ]
    assert scores[0] == scores[1]
    assert len(set(scores)) > 2
    assert evaluate_task(Adder(2), "addition", digits=2, examples=100).exact == scores[0]
    result = evaluate_task(Adder(10**6), "addition")
    assert (result.digits, result.examples) == (100, 1000)

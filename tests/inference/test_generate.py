"""Generation."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.inference.backends import LOGITS, GoldenBackend, load_backend
from mmfree.inference.generate import generate, generate_rows
from mmfree.tape.pow2 import write_tape
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from mmfree.training.train import train
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tests.support.subwords import bpe, pieces


@pytest.fixture(scope="module")
def text_backend(tmp_path_factory: pytest.TempPathFactory) -> GoldenBackend:
    return GoldenBackend(tape_of(trained(SMALL_TEXT, tmp_path_factory.mktemp("text"))))


def test_greedy_rows_are_fed_back(text_backend: GoldenBackend) -> None:
    pieces = list(generate(text_backend, "ab", 12))
    rows = [row for _, chosen in pieces for row in chosen]
    golden, ids = text_backend.golden, [0, 97, 98]
    for row in rows:
        assert int(golden.play(ids)[-1].argmax()) == row
        ids.append(row)
    assert len(rows) == 12
    assert "".join(text for text, _ in pieces) == bytes(rows).decode("utf-8", errors="replace")


def test_sampling_depends_on_the_seed(text_backend: GoldenBackend) -> None:
    def rows(seed: int) -> list[int]:
        pieces = generate(text_backend, "ab", 30, temperature=1.0, seed=seed)
        return [row for _, chosen in pieces for row in chosen]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


class Scripted:
    """A backend that wants to say ``rows``, whatever it is told."""

    name = "scripted"
    fraction_bits = 0
    choosable = None

    def __init__(
        self, tokenizer: TextTokenizer, rows: list[int], end_ids: tuple[int, ...] = ()
    ) -> None:
        self.tokenizer, self._rows, self.end_ids = tokenizer, rows, end_ids

    def state(self, batch: int) -> Any:
        return 0

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        logits = np.zeros((*ids.shape, self.tokenizer.head_size), dtype=np.float32)
        logits[..., self._rows[state]] = 1
        return logits, state + 1


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), bpe(), pieces()], ids=lambda t: t.kind)
def test_text_comes_as_soon_as_its_characters_are_whole(tokenizer: TextTokenizer) -> None:
    """A continuation that begins with a blank keeps it, and no piece ends within a character."""
    prompt, rest = "the cat", " sees 東京 🙂 and  then\n a Жук."
    whole, begun = tokenizer.encode(prompt + rest), tokenizer.encode(prompt)
    assert whole[: len(begun)] == begun
    rows = whole[len(begun) :]
    pieces_of_text = [text for text, _ in generate(Scripted(tokenizer, rows), prompt, len(rows))]
    assert "".join(pieces_of_text) == rest
    assert not any("\ufffd" in text for text in pieces_of_text)
    assert sum(1 for text in pieces_of_text if text) > 10


def test_a_row_without_text_takes_no_blank_from_the_next() -> None:
    """SentencePiece leaves out the blank at the start of a text, and what is not text."""
    tokenizer, prompt, rest = pieces(), "the cat", " sees the cat"
    whole, begun = tokenizer.encode(prompt + rest), tokenizer.encode(prompt)
    rows = [row for token in whole[len(begun) :] for row in (tokenizer.start, token)]
    assert tokenizer.decode([tokenizer.start]) == ""
    written = [text for text, _ in generate(Scripted(tokenizer, rows), prompt, len(rows))]
    assert "".join(written) == rest


def test_bytes_that_are_no_text_are_replaced_and_what_is_cut_comes_last() -> None:
    rows = [0xFF, 0x61, 0xE6, 0x9D, 0x62, 0xF0, 0x9F]
    pieces_of_text = [text for text, _ in generate(Scripted(ByteTokenizer(), rows), "x", len(rows))]
    assert "".join(pieces_of_text) == bytes(rows).decode("utf-8", errors="replace")
    assert pieces_of_text[-1] == "\ufffd"


def test_a_sum_comes_at_once(tmp_path: Path) -> None:
    backend = GoldenBackend(tape_of(trained(SMALL_ADDITION, tmp_path)))
    ((text, rows),) = generate(backend, "12+34", 1)
    assert len(rows) == 7
    assert text.isdigit()


def test_a_stop_token_ends_the_text(text_backend: GoldenBackend) -> None:
    rows = [
        row
        for _, chosen in generate(text_backend, "a", 30, temperature=1.0, seed=3)
        for row in chosen
    ]
    stop = next(row for row in rows[2:] if row not in rows[:2])
    pieces = generate(text_backend, "a", 30, temperature=1.0, seed=3, stop=stop)
    assert [row for _, chosen in pieces for row in chosen] == rows[: rows.index(stop) + 1]


class Hardware(Scripted):
    """The same, but it chooses itself, and knows of one stop token."""

    def generate(
        self, prompt: list[int], tokens: int, *, temperature: int, seed: int, stop: int | None
    ) -> list[int]:
        rows = self._rows[:tokens]
        return rows[: rows.index(stop) + 1] if stop in rows else rows


@pytest.mark.parametrize("kind", [Scripted, Hardware])
@pytest.mark.parametrize(
    ("ends", "stop", "rows", "text"),
    [
        ((), None, b"one. two! three", "one. two! three"),
        ((ord("!"),), None, b"one. two!", "one. two"),
        ((ord("!"), ord(".")), None, b"one.", "one"),
        ((ord("!"),), ord("."), b"one.", "one."),
        ((ord("."),), ord("!"), b"one.", "one"),
        ((ord("."),), ord("."), b"one.", "one"),
        ((ord("o"),), None, b"o", ""),
    ],
)
def test_an_end_token_ends_the_text_and_is_not_in_it(
    kind: type[Scripted], ends: tuple[int, ...], stop: int | None, rows: bytes, text: str
) -> None:
    backend = kind(ByteTokenizer(), list(b"one. two! three"), ends)
    found = list(generate(backend, "x", 15, stop=stop))
    assert [row for _, chosen in found for row in chosen] == list(rows)
    assert "".join(piece for piece, _ in found) == text


def test_a_character_that_an_end_token_cuts_is_replaced() -> None:
    backend = Scripted(ByteTokenizer(), [0x61, 0xE6, 0x9D, 0, 0x62], (0,))
    assert "".join(text for text, _ in generate(backend, "x", 5)) == "a\ufffd"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "--tokens must be at least 1, got 0"),
        ({"temperature": -1.0}, r"--temperature must lie in 0\.\.3\.98, got -1"),
        ({"temperature": float("nan")}, r"--temperature must lie in 0\.\.3\.98, got nan"),
        ({"seed": -1}, r"--seed must lie in 0\.\.2\^64-1 to sample, got -1"),
        ({"stop": 256}, "--stop 256 is not in the vocabulary of 256"),
    ],
)
def test_bad_options_are_refused(
    text_backend: GoldenBackend, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        list(generate(text_backend, "a", **{"tokens": 3, **options}))


def test_a_model_that_reads_out_its_answer_is_not_sampled(tmp_path: Path) -> None:
    backend = GoldenBackend(tape_of(trained(SMALL_ADDITION, tmp_path)))
    for options in ({"temperature": 1.0}, {"stop": 0}):
        with pytest.raises(
            InputError, match="--temperature and --stop are for text: a model for addition"
        ):
            list(generate(backend, "1+1", 1, **options))


class Words:
    """A backend of 32,000 words that keeps only a count, and notes how much it was asked for."""

    name, fraction_bits = "words", 16
    end_ids: tuple[int, ...] = ()
    choosable = None

    def __init__(self) -> None:
        self.tokenizer = ByteTokenizer()
        self.tokenizer.head_size = 32_000
        self.most_logits = self.positions = 0

    def state(self, batch: int) -> int:
        return 0

    def run(self, ids: np.ndarray, state: int) -> tuple[np.ndarray, int]:
        self.positions += ids.shape[1]
        logits = np.zeros((*ids.shape, self.tokenizer.head_size), dtype=np.int32)
        self.most_logits = max(self.most_logits, logits.size)
        logits[0, -1, state + ids.shape[1]] = 1
        return logits, state + ids.shape[1]


def test_a_long_prompt_needs_no_more_memory_than_a_short_one() -> None:
    backend = Words()
    tracemalloc.start()
    rows = list(generate_rows(backend, [1] * 10_000, 2, temperature=0, seed=0, stop=None))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == [10_000, 10_001], "the whole prompt was read, once"
    assert backend.most_logits <= LOGITS
    assert peak < 3 * 4 * LOGITS, "1.3 GB are the logits of all positions"


@pytest.mark.parametrize("fraction_bits", [9, 16])
def test_greedy_generation_takes_the_largest_of_the_backends_own_logits(fraction_bits: int) -> None:
    """A difference of 40 / 65,536 nats is lost where logits are rounded to 9 fraction bits."""

    class Close(Scripted):
        def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
            logits = np.full((*ids.shape, 256), -1000, dtype=np.int32)
            logits[..., 7], logits[..., 200] = 64_000, 64_040
            return logits, state

    backend = Close(ByteTokenizer(), [])
    backend.fraction_bits = fraction_bits
    assert list(generate_rows(backend, [0], 2, temperature=0, seed=0, stop=None)) == [200, 200]


@pytest.fixture(scope="module")
def documents_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on documents of three letters, until it knows their end."""
    folder = tmp_path_factory.mktemp("documents")
    texts = [f"{letter}bc" for letter in "abcdefghijklmnopqrstuvwxyz"] * 20
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    recipe = replace(SMALL_TEXT.recipe, steps=120, batch_size=8, length=16)
    train(replace(SMALL_TEXT, recipe=recipe), folder / "run", data=[folder / "a.jsonl"])
    return folder / "run"


@pytest.mark.parametrize(
    "name", ["float", "fakequant", "golden", pytest.param("rtl", marks=pytest.mark.slow)]
)
def test_a_text_of_a_model_trained_here_ends_where_the_next_document_begins(
    name: str, documents_run: Path, tmp_path: Path
) -> None:
    """It has learned that documents are separated by the token that no text makes."""
    model = documents_run
    if name == "rtl":
        write_tape(tape_of(model), model := tmp_path / "a.tape")
    backend = load_backend(model, name, lanes=16)
    assert backend.end_ids == (0,)
    found = list(generate(backend, "a", 20))
    assert "".join(text for text, _ in found) == "bc"
    assert [row for _, rows in found for row in rows][-1] == 0

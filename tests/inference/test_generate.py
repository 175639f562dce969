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
from mmfree.inference.backends import LOGITS, load_backend
from mmfree.inference.generate import TEXT_TEMPERATURE, generate, generate_rows
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.tape.pow2 import write_tape
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from mmfree.training.train import train
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tests.support.subwords import bpe, pieces


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SMALL_TEXT, tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def text_backend(text_run: Path) -> GoldenBackend:
    return GoldenBackend(tape_of(text_run))


@pytest.fixture(scope="module")
def sums_backend(tmp_path_factory: pytest.TempPathFactory) -> GoldenBackend:
    return GoldenBackend(tape_of(trained(SMALL_ADDITION, tmp_path_factory.mktemp("sums"))))


def test_greedy_rows_are_fed_back(text_backend: GoldenBackend) -> None:
    pieces = list(generate(text_backend, "ab", 12, temperature=0))
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


def rows_of(backend: Any, *arguments: Any, **options: Any) -> list[int]:
    return [row for _, chosen in generate(backend, *arguments, **options) for row in chosen]


def test_text_is_drawn_unless_another_temperature_is_asked_for(
    text_backend: GoldenBackend, sums_backend: GoldenBackend
) -> None:
    unasked = rows_of(text_backend, "ab", 30, seed=4)
    assert unasked == rows_of(text_backend, "ab", 30, seed=4, temperature=TEXT_TEMPERATURE)
    assert unasked != rows_of(text_backend, "ab", 30, seed=4, temperature=0)
    assert rows_of(sums_backend, "1 + 2") == rows_of(sums_backend, "1+2", temperature=0)


def test_what_is_drawn_from_is_limited(text_backend: GoldenBackend) -> None:
    """To one token it is greedy; to all it is as without; each share and number has its effect."""
    greedy = rows_of(text_backend, "ab", 40, temperature=0)
    assert rows_of(text_backend, "ab", 40, temperature=2.0, top_k=1) == greedy
    assert rows_of(text_backend, "ab", 40, temperature=2.0, top_p=1e-9) == greedy
    whole = rows_of(text_backend, "ab", 40, temperature=2.0, seed=3)
    assert rows_of(text_backend, "ab", 40, temperature=2.0, seed=3, top_k=256) == whole
    assert rows_of(text_backend, "ab", 40, temperature=2.0, seed=3, top_p=1.0) == whole
    few = rows_of(text_backend, "ab", 40, temperature=2.0, seed=3, top_k=5)
    share = rows_of(text_backend, "ab", 40, temperature=2.0, seed=3, top_p=0.4)
    both = rows_of(text_backend, "ab", 40, temperature=2.0, seed=3, top_k=5, top_p=0.4)
    assert len({tuple(rows) for rows in (greedy, whole, few, share, both)}) == 5


@pytest.mark.parametrize("limits", [{"top_k": 7}, {"top_p": 0.6}, {"top_k": 40, "top_p": 0.9}])
def test_golden_and_fakequant_draw_the_same_tokens(
    limits: dict[str, Any], text_backend: GoldenBackend, text_run: Path
) -> None:
    fakequant = load_backend(text_run, "fakequant")
    options = {"temperature": 1.5, "seed": 9, **limits}
    assert rows_of(text_backend, "ab", 40, **options) == rows_of(fakequant, "ab", 40, **options)


class Scripted:
    """A backend that wants to say ``rows``, whatever it is told."""

    name = "scripted"
    fraction_bits = 0
    choosable = training = None

    def __init__(
        self, tokenizer: TextTokenizer, rows: list[int], end_ids: tuple[int, ...] = ()
    ) -> None:
        self.tokenizer, self._rows, self.end_ids = tokenizer, rows, end_ids

    def state(self, batch: int) -> Any:
        return 0

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        logits = np.zeros((*ids.shape, self.tokenizer.head_size), dtype=np.float32)
        logits[..., self._rows[state]] = 100  # nats: more than any noise
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


def test_a_sum_comes_at_once(sums_backend: GoldenBackend) -> None:
    ((text, rows),) = generate(sums_backend, "12+34")
    assert len(rows) == 7
    assert text.isdigit()


@pytest.mark.parametrize(
    ("written", "stop", "text", "made"),
    [
        ("one two three", " t", "one", 5),
        ("one two three", "one", "", 3),
        ("one two three", "e", "on", 3),
        ("aab", "ab", "a", 3),
        ("ababac", "abac", "ab", 6),
        ("one two", "o three", "one two", 7),
        ("one\n\ntwo", "\n\n", "one", 5),
        ("x Жук", "у", "x Ж", 6),
        ("one two", "the cat", "one two", 7),
    ],
)
def test_a_stop_text_ends_the_text_and_is_not_in_it(
    written: str, stop: str, text: str, made: int
) -> None:
    """However it falls into tokens; what only begins like it is text. A prompt's does not count."""
    rows = list(written.encode())
    found = list(generate(Scripted(ByteTokenizer(), rows), "the cat", len(rows), stop=stop))
    assert "".join(piece for piece, _ in found) == text
    assert [row for _, chosen in found for row in chosen] == rows[:made]


def test_a_stop_text_may_lie_within_a_token() -> None:
    tokenizer, prompt = bpe(), "the cat"
    rows = tokenizer.encode(" sees the cat")[1:]
    found = list(generate(Scripted(tokenizer, rows), prompt, len(rows), stop="ees"))
    assert "".join(piece for piece, _ in found) == " s"


class Hardware(Scripted):
    """The same, but it chooses itself, and knows of one stop token."""

    stop: int | None = None

    def generate(
        self, prompt: list[int], tokens: int, *, temperature: int, seed: int, stop: int | None
    ) -> list[int]:
        self.stop = stop
        rows = self._rows[:tokens]
        return rows[: rows.index(stop) + 1] if stop in rows else rows


@pytest.mark.parametrize("kind", [Scripted, Hardware])
@pytest.mark.parametrize(
    ("ends", "stop", "rows", "text"),
    [
        ((), None, b"one. two! three", "one. two! three"),
        ((ord("!"),), None, b"one. two!", "one. two"),
        ((ord("!"), ord(".")), None, b"one.", "one"),
        ((ord("!"),), ".", b"one.", "one"),
        ((ord("."),), "!", b"one.", "one"),
        ((ord("."),), ".", b"one.", "one"),
        ((ord("o"),), None, b"o", ""),
    ],
)
def test_an_end_token_ends_the_text_and_is_not_in_it(
    kind: type[Scripted], ends: tuple[int, ...], stop: str | None, rows: bytes, text: str
) -> None:
    backend = kind(ByteTokenizer(), list(b"one. two! three"), ends)
    found = list(generate(backend, "x", 15, stop=stop))
    assert [row for _, chosen in found for row in chosen] == list(rows)
    assert "".join(piece for piece, _ in found) == text


@pytest.mark.parametrize(("stop", "told"), [(".", ord(".")), (". ", None), ("é", None)])
def test_hardware_is_told_of_a_stop_text_that_is_always_one_token(
    stop: str, told: int | None
) -> None:
    backend = Hardware(ByteTokenizer(), list(b"one. two! three"))
    assert "".join(text for text, _ in generate(backend, "x", 15, stop=stop)).startswith("one")
    assert backend.stop == told
    subwords = Hardware(bpe(), [65, 66])
    list(generate(subwords, "x", 2, stop="."))
    assert subwords.stop is None


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
        ({"top_k": 0}, "--top-k must be at least 1, got 0"),
        ({"top_p": 1.5}, r"--top-p must lie above 0 and be at most 1, got 1\.5"),
        ({"stop": ""}, "--stop must be a text of at least one character"),
        ({"stop": "\ud800"}, "the text is not Unicode"),
        ({"top_k": 3, "temperature": 0}, "--temperature 0 draws nothing: leave them out"),
        ({"top_p": 0.9, "temperature": 0}, "--temperature 0 draws nothing: leave them out"),
    ],
)
def test_bad_options_are_refused_at_once(
    text_backend: GoldenBackend, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        generate(text_backend, "a", **{"tokens": 3, **options})


@pytest.mark.parametrize(
    "options", [{"temperature": 1.0}, {"stop": "1"}, {"top_k": 1}, {"top_p": 0.5}, {"tokens": 3}]
)
def test_a_model_that_reads_out_its_answer_is_not_sampled(
    sums_backend: GoldenBackend, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="and --stop are for text: a model for addition reads out"):
        generate(sums_backend, "1+1", **options)


@pytest.mark.parametrize("options", [{"top_k": 40}, {"top_p": 0.9}])
def test_hardware_chooses_among_all_rows(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="the chip chooses among all tokens; leave them out, or"):
        generate(Hardware(ByteTokenizer(), [65]), "a", 1, **options)


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
    backend = load_backend(model, name, lanes=16 if name == "rtl" else None)
    assert backend.end_ids == (0,)
    found = list(generate(backend, "a", 20, temperature=0))
    assert "".join(text for text, _ in found) == "bc"
    assert [row for _, rows in found for row in rows][-1] == 0

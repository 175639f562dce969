"""Whether a model's stories make sense: true endings, names, words, repetitions.

    python -m tools.stories.sense stories --text stories.txt

The text is that of the training (tools.stories.text makes it): one story in ten is held out, by its
own hash. Measured of the model: in how many held-out stories it finds the true last sentence more
likely, by what the story adds, than those of three other stories. Of the stories that it writes,
and beside them of the held-out ones: where the first character that has a name is named again, the
share of words that the training text has, and of sequences of four words that the story had before.
A checkpoint of a Transformer, the baseline, is measured likewise.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmfree.errors import InputError, ToolMissing
from mmfree.inference.backends import Backend
from mmfree.inference.choices import Question, likelihoods_of
from mmfree.inference.generate import generate
from mmfree.text.corpus import Text
from mmfree.text.sources import SEPARATOR
from tools.stories.text import SHARED_CHARACTERS
from tools.stories.transformer import backend_of

OPENING = "Once upon a time"
CHOICES = 4
NO_STORY = "The end."
"""What stands before a sentence whose likelihood is to be that without a story."""

WORDS_IN_SEQUENCE = 4

_SENTENCE = re.compile(r"(?<=[.!?])[\"”']?\s+(?=[A-Z\"“'])")
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")

NO_NAMES = frozenset(("I", "I'm", "I'll", "I've", "I'd", "Mom", "Dad", "Mommy", "Daddy"))
"""Words that are capital within a sentence, and name nobody in particular."""


@dataclass(frozen=True, kw_only=True)
class Endings:
    """In how many of ``stories`` the true ending is the likeliest of CHOICES.

    ``chosen``: share of them, likeliest being what the story raises most: log P(ending | story) -
    log P(ending | NO_STORY); ``error``: its standard error. ``by_likelihood``: share by the first
    term alone, which is largest for short and usual sentences.
    """

    stories: int
    chosen: float
    error: float
    by_likelihood: float


@dataclass(frozen=True, kw_only=True)
class Sense:
    """Measures of some stories.

    ``named``: those in which somebody has a name; ``named_again``: share of them in which the first
    one is named again. ``known_words``, ``repeated_sequences``: shares of all words, and of all
    sequences of four words.
    """

    stories: int
    words: int
    named: int
    named_again: float
    known_words: float
    repeated_sequences: float


def read_stories(path: Path) -> tuple[list[str], list[str]]:
    """The stories of a text to train on, and those that it holds out.

    Raises
    ------
    InputError
        If either are none, or a long line is on both sides.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    for piece in Text.of([path]).pieces():
        sides[piece.held_out].append(piece.text)
    if not all(sides):
        raise InputError(f"{path}: no stories to hold some out, each followed by {SEPARATOR}")
    lines = [
        {line for story in stories for line in story.split("\n") if len(line) >= SHARED_CHARACTERS}
        for stories in sides
    ]
    if shared := lines[0] & lines[1]:
        raise InputError(
            f"{path}: {len(shared)} line(s) of {SHARED_CHARACTERS} characters are in training and"
            f" in what is held out, such as {min(shared)!r}: take tools.stories.text"
        )
    return sides


def sentences(story: str) -> list[str]:
    """Its sentences, in order."""
    return [part for part in _SENTENCE.split(story) if part]


def parted(story: str) -> tuple[str, str] | None:
    """What stands before its last sentence, as it stands there, and that; None: it is all."""
    last = sentences(story)[-1]
    before = story[: len(story) - len(last)]
    # A blank between them belongs to the sentence, as it does to those of other stories.
    return (before.removesuffix(" "), last) if before.strip() else None


def words(story: str) -> list[str]:
    """Its words, in small letters."""
    return [word.lower().replace("’", "'") for word in _WORD.findall(story)]


def first_name(story: str) -> str | None:
    """The first capital word within a sentence, also of what somebody says, which is taken for a
    name; None: there is none.
    """
    for sentence in sentences(story):
        for match in list(_WORD.finditer(sentence))[1:]:
            word, before = match[0], sentence[: match.start()]
            begins = before.endswith(('"', "“", "'", "‘"))
            if word[0].isupper() and not begins and word.replace("’", "'") not in NO_NAMES:
                return word
    return None


def sense_of(stories: Iterable[str], vocabulary: frozenset[str]) -> Sense:
    """Measures of stories; ``vocabulary``: the words of the training text."""
    again, known, repeated = [], [], []
    stories = list(stories)
    for story in stories:
        if (name := first_name(story)) is not None:
            again.append(len(re.findall(rf"\b{re.escape(name)}\b", story)) > 1)
        said = words(story)
        known += [word in vocabulary for word in said]
        repeated += list(_seen_before(said))
    return Sense(
        stories=len(stories),
        words=len(known),
        named=len(again),
        named_again=_share(again),
        known_words=_share(known),
        repeated_sequences=_share(repeated),
    )


def _seen_before(said: list[str]) -> Iterator[bool]:
    """Of each sequence of words, whether it stood in the story before."""
    seen: set[tuple[str, ...]] = set()
    for start in range(len(said) - WORDS_IN_SEQUENCE + 1):
        sequence = tuple(said[start : start + WORDS_IN_SEQUENCE])
        yield sequence in seen
        seen.add(sequence)


def _share(marks: list[bool]) -> float:
    return sum(marks) / len(marks) if marks else 0.0


def endings(stories: list[str], seed: int) -> list[Question]:
    """Of each story of two sentences or more: which of four last sentences is its own."""
    pairs = [pair for story in stories if (pair := parted(story)) is not None]
    last = [ending for _, ending in pairs]
    if len(set(last)) < CHOICES:
        raise InputError(f"{CHOICES} stories with different last sentences are needed, or more")
    rng = np.random.default_rng(seed)
    questions = []
    for before, own in pairs:
        others: set[str] = set()
        while len(others) < CHOICES - 1:
            others |= {last[rng.integers(len(last))]} - {own}
        choices = [own, *sorted(others)]
        order = rng.permutation(CHOICES)
        questions.append(Question(before, tuple(choices[i] for i in order), int(order.argmin())))
    return questions


def choose_endings(backend: Backend, questions: list[Question]) -> Endings:
    """Ask a model for the true endings."""
    alone = [replace(question, query=NO_STORY) for question in questions]
    told, untold = (likelihoods_of(backend, asked) for asked in (questions, alone))
    chosen, likely = [], []
    for question, after, before in zip(questions, told, untold, strict=True):
        chosen.append(int((after - before).argmax()) == question.gold)
        likely.append(int(after.argmax()) == question.gold)
    share = _share(chosen)
    return Endings(
        stories=len(questions),
        chosen=share,
        error=math.sqrt(share * (1 - share) / max(len(questions) - 1, 1)),
        by_likelihood=_share(likely),
    )


def written(backend: Backend, count: int, tokens: int, temperature: float) -> Iterator[str]:
    """Stories that a model writes, each with a seed of its own."""
    for seed in tqdm(range(count), unit="story", disable=None, leave=False):
        pieces = generate(backend, OPENING, tokens, temperature=temperature, seed=seed)
        yield OPENING + "".join(text for text, _ in pieces)


def describe(found: dict[str, Sense], asked: Endings) -> Iterator[str]:
    """A table for people."""
    yield (
        f"true endings: {100 * asked.chosen:.1f} +- {100 * asked.error:.1f} % of"
        f" {asked.stories:,} ({100 / CHOICES:.0f} % by chance; by likelihood alone"
        f" {100 * asked.by_likelihood:.1f} %)"
    )
    yield f"{'':<10}{'stories':>9}{'named again':>14}{'known words':>14}{'repeated':>11}"
    for name, sense in found.items():
        yield (
            f"{name:<10}{sense.stories:>9,}{100 * sense.named_again:>12.1f} %"
            f"{100 * sense.known_words:>12.2f} %{100 * sense.repeated_sequences:>9.2f} %"
        )


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a tape, a checkpoint or a run folder")
    parser.add_argument(
        "--text", type=Path, required=True, metavar="FILE", help="what it was trained on"
    )
    parser.add_argument(
        "--stories", type=int, default=200, metavar="N", help="to write (default %(default)s)"
    )
    parser.add_argument(
        "--held-stories", type=int, default=500, metavar="N", help="to ask of (default %(default)s)"
    )
    parser.add_argument(
        "--tokens", type=int, default=300, metavar="N", help="of a story (default %(default)s)"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.5, metavar="T", help="(default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choices (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        seen, held = read_stories(options.text)
        held = held[: options.held_stories]
        vocabulary = frozenset(word for story in seen for word in words(story))
        questions = endings(held, options.seed)
        backend = backend_of(options.model)
        asked = choose_endings(backend, questions)
        stories = written(backend, options.stories, options.tokens, options.temperature)
        found = {"written": sense_of(stories, vocabulary), "held out": sense_of(held, vocabulary)}
    except (InputError, ToolMissing) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    if options.json:
        senses = {name: asdict(sense) for name, sense in found.items()}
        print(json.dumps({"endings": asdict(asked), **senses}, indent=1))
        return
    print("\n".join(describe(found, asked)))


if __name__ == "__main__":
    main()

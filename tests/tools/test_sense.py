"""Measures of sense, on stories where they are known."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.inference.choices import Question
from mmfree.text.sources import SEPARATOR
from tests.support.models import SMALL_TEXT, trained
from tools.stories import sense
from tools.stories.sense import (
    NO_STORY,
    choose_endings,
    endings,
    first_name,
    parted,
    read_stories,
    sense_of,
    sentences,
    words,
)
from tools.stories.text import SHARED_CHARACTERS
from tools.stories.transformer import backend_of

STORIES = [
    'Once upon a time there was a girl. "I am Lily!" she said. Then Lily went home. The end came.',
    "One day a dog named Max ran. He ran far. It was fun.",
    "There was a cat. She was sad.",
    "A bird sang. A bird sang. A bird sang again.",
]


def test_sentences_and_words() -> None:
    assert sentences('He said, "Go!" Then he ran. Why? No.') == [
        'He said, "Go!',
        "Then he ran.",
        "Why?",
        "No.",
    ]
    assert words("Don’t go, Tom's dog!") == ["don't", "go", "tom's", "dog"]


@pytest.mark.parametrize(
    ("story", "name"),
    [
        (STORIES[0], "Lily"),
        (STORIES[1], "Max"),
        (STORIES[2], None),
        ("I met her. I think I'm lost, Mom said.", None),
        ('She said, "Can you see Tim?"', "Tim"),
    ],
)
def test_the_first_name(story: str, name: str | None) -> None:
    assert first_name(story) == name


def test_measures_of_stories() -> None:
    found = sense_of(STORIES, frozenset(words(" ".join(STORIES[1:]))))
    assert (found.stories, found.named) == (4, 2)
    assert found.named_again == 0.5, "Lily, and not Max"
    said = [words(story) for story in STORIES]
    assert found.words == sum(map(len, said))
    unknown = [
        word for word in said[0] if word not in {word for story in said[1:] for word in story}
    ]
    assert found.known_words == 1 - len(unknown) / found.words
    # "a bird sang a", "bird sang a bird", "sang a bird sang" come twice; the last is another.
    assert found.repeated_sequences == 3 / sum(len(story) - 3 for story in said)
    assert sense_of([], frozenset()).named_again == 0


def test_endings_are_asked_for_once_each() -> None:
    """What stands before them is the story as it is, but for the blank that joins them."""
    stories = [*STORIES[:3], "A bird sang. A bird sang.\nA bird sang again."]
    questions = endings(stories, 0)
    own = [sentences(story)[-1] for story in stories]
    assert [question.choices[question.gold] for question in questions] == own
    for question, story in zip(questions, stories, strict=True):
        assert sorted(question.choices) == sorted(own)
        blank = "" if question.query.endswith("\n") else " "
        assert question.query + blank + question.choices[question.gold] == story
    assert len({question.gold for question in endings(stories * 4, 0)}) == 4
    with pytest.raises(InputError, match="4 stories with different last sentences"):
        endings(stories[:3], 0)
    assert parted("One. ") is None


class Rising:
    """Likelihoods by the query: the story's, and those of what follows no story."""

    def __init__(self, told: list[float], untold: list[float]) -> None:
        self.told, self.untold = told, untold

    def __call__(self, _: object, questions: list[Question]) -> list[np.ndarray]:
        values = self.untold if questions[0].query == NO_STORY else self.told
        return [np.array(values)] * len(questions)


def test_an_ending_is_chosen_by_what_the_story_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    rising = Rising([-9.0, -2.0, -5.0, -5.5], [-20.0, -3.0, -4.0, -7.0])
    monkeypatch.setattr(sense, "likelihoods_of", rising)
    questions = [Question("It was.", ("a", "b", "c", "d"), gold) for gold in (0, 0, 1, 2)]
    found = choose_endings(None, questions)  # type: ignore[arg-type]
    assert (found.stories, found.chosen, found.by_likelihood) == (4, 0.5, 0.25)
    assert found.error == pytest.approx((0.25 / 3) ** 0.5)


def stories_file(folder: Path, stories: list[str]) -> Path:
    path = folder / "stories.txt"
    path.write_text("".join(f"{story}\n{SEPARATOR}\n" for story in stories))
    return path


def test_a_model_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the baseline; and what is not held out in earnest is refused."""
    told = [f"{story} Number {n}." for n in range(20) for story in STORIES]
    path = stories_file(tmp_path, told)
    seen, held = read_stories(path)
    assert sorted([*seen, *held]) == sorted(told)
    assert 4 <= len(held) <= 14
    run = trained(SMALL_TEXT, tmp_path / "run")
    baseline = trained(replace(SMALL_TEXT, architecture="transformer"), tmp_path / "baseline")
    for model in (run, baseline):
        words = ["sense", str(model), "--text", str(path), "--tokens", "20"]
        monkeypatch.setattr(sys, "argv", [*words, "--stories", "2", "--json"])
        sense.main()
        found = json.loads(capsys.readouterr().out)
        assert found["endings"]["stories"] == len(held)
        assert (found["written"]["stories"], found["held out"]["stories"]) == (2, len(held))
    monkeypatch.setattr(sys, "argv", [*words, "--stories", "1"])
    sense.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("true endings: ")
    assert [line.split()[0] for line in lines[2:]] == ["written", "held"]
    long = "x" * SHARED_CHARACTERS
    stories_file(tmp_path, [f"{story}\n{long}" for story in told])
    with pytest.raises(SystemExit) as stopped:
        sense.main()
    assert stopped.value.code == 2
    assert "1 line(s) of 60 characters are in training and" in capsys.readouterr().err
    stories_file(tmp_path, told[:1])
    with pytest.raises(SystemExit):
        sense.main()
    assert "no stories to hold some out" in capsys.readouterr().err


def test_a_transformer_goes_on_from_what_it_has_read(tmp_path: Path) -> None:
    backend = backend_of(
        trained(replace(SMALL_TEXT, architecture="transformer"), tmp_path / "baseline")
    )
    ids = np.random.default_rng(0).integers(0, 256, (2, 11))
    whole, read = backend.run(ids, backend.state(2))
    assert read.tolist() == ids.tolist()
    first, state = backend.run(ids[:, :4], backend.state(2))
    rest, _ = backend.run(ids[:, 4:], state)
    assert np.abs(np.concatenate([first, rest], axis=1) - whole).max() <= 1

"""Measures of sense, on stories where they are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mmfree.errors import InputError
from tests.support.models import SMALL_TEXT, trained
from tools.stories import sense
from tools.stories.sense import endings, first_name, read_stories, sense_of, sentences, words

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
    questions = endings(STORIES, 0)
    own = [sentences(story)[-1] for story in STORIES]
    assert [question.choices[question.gold] for question in questions] == own
    for question, story in zip(questions, STORIES, strict=True):
        assert sorted(question.choices) == sorted(own)
        assert question.query == " ".join(sentences(story)[:-1])
    assert len({question.gold for question in endings(STORIES * 4, 0)}) == 4
    with pytest.raises(InputError, match="4 stories with different last sentences"):
        endings(STORIES[:3], 0)


def test_a_model_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(SMALL_TEXT, tmp_path / "run")
    held, train = tmp_path / "held.txt", tmp_path / "train.txt"
    for path, stories in ((held, STORIES), (train, STORIES[:2])):
        path.write_text("".join(f"{story}\n{sense.END}\n" for story in stories))
    assert read_stories(held) == STORIES
    words = ["sense", str(run), "--held", str(held), "--train", str(train)]
    monkeypatch.setattr(sys, "argv", [*words, "--stories", "2", "--tokens", "20", "--json"])
    sense.main()
    found = json.loads(capsys.readouterr().out)
    assert found["endings"]["examples"] == 4
    assert (found["written"]["stories"], found["held out"]["stories"]) == (2, 4)
    assert found["held out"]["named_again"] == 0.5
    monkeypatch.setattr(sys, "argv", [*words, "--stories", "1", "--tokens", "5"])
    sense.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("true endings: ")
    assert [line.split()[0] for line in lines[2:]] == ["written", "held"]
    train.write_text(sense.END)
    with pytest.raises(SystemExit) as stopped:
        sense.main()
    assert stopped.value.code == 2
    assert "train.txt: no story in it" in capsys.readouterr().err

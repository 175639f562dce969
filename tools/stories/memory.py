"""What the memory of a model of stories holds: gates and states along a story.

    python -m tools.stories.memory stories --text stories.txt

Plays held-out stories with the golden model, and asks its states by a least-squares probe, fitted
on one half of the stories and measured on the other: is a quotation open, and is the one who was
named first a boy or a girl (by the story's first "he" or "she", at places after the name and before
that word is read again)? Writes docs/figures/story_memory.json and story_memory.svg: along a story
the share of each layer's channels that hold (f at least 0.9), and the channel that tells best
whether a quotation is open.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmfree.errors import InputError
from mmfree.files.atomic import write_atomically
from mmfree.golden.pow2 import Golden
from mmfree.inference.backends import load_trained_tape
from mmfree.report.figures import WIDE, add_legend, figure_of, svg_of
from mmfree.report.palette import AMBER, GREEN, SKY, VIOLET
from mmfree.text.tokenizer import TextTokenizer, text_tokenizer
from mmfree.text.tokenizers import tokenizer_from_dict
from tools.stories.sense import read_stories

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
HELD = 0.9
"""A channel holds where its forget gate is at least this."""

_PRONOUN = re.compile(r"\b(he|she)\b", re.IGNORECASE)
_COLORS = (GREEN, SKY, VIOLET)


@dataclass(frozen=True)
class Story:
    """A story played: ``pieces`` [T], ``states`` [T, L * d] of h, ``held`` [T, L] shares, and per
    position whether a quotation is open, and who it is about: 1 a girl, 0 a boy, -1 not known.
    """

    pieces: list[str]
    states: NDArray[np.float32]
    held: NDArray[np.float64]
    open: NDArray[np.bool_]
    about: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a linear probe of the states tells, on stories that it was not fitted on.

    ``accuracy``: the mean of that of both classes, 0.5 by guessing; ``channel``: the same by the
    best single channel, number ``best`` of all layers' channels.
    """

    positions: int
    accuracy: float
    channel: float
    best: int


def play(golden: Golden, tokenizer: TextTokenizer, text: str) -> Story:
    """Play a story from its start."""
    ids = tokenizer.encode(text)
    config = golden.tape.config
    state, states, held = golden.state(1), [], []
    for token in ids:
        gates: list[float] = []

        def note(name: str, values: NDArray[np.int32], found: list[float] = gates) -> None:
            if name.endswith("/f"):
                found.append(float((values >= HELD * 256).mean()))

        _, state = golden.step(np.array([token]), state, trace=note)
        shift = config.token_shift
        states.append(state[:, 0, shift : shift + config.hidden_size].astype(np.float32).ravel())
        held.append(gates)
    pieces = [tokenizer.decode([token]) for token in ids]
    read = ["", *(tokenizer.decode(ids[1 : n + 1]) for n in range(1, len(ids)))]
    opened = np.array([part.count('"') % 2 == 1 for part in read])
    return Story(pieces, np.stack(states), np.array(held), opened, _about(text, read))


def _about(text: str, read: list[str]) -> NDArray[np.int64]:
    """Who a story is about, from its first pronoun on and where no pronoun is among the last 40
    characters: there the state must remember.
    """
    first = _PRONOUN.search(text)
    found = np.full(len(read), -1)
    if first is None:
        return found
    who = int(first[0].lower() == "she")
    others = {match[0].lower() for match in _PRONOUN.finditer(text)}
    if len(others) > 1:
        return found
    for place, part in enumerate(read):
        if len(part) > first.end() and not _PRONOUN.search(part[-40:]):
            found[place] = who
    return found


def probe(stories: list[Story], wanted: str) -> Probe:
    """Fit on every other story, measure on the rest; ``wanted``: "open" or "about"."""
    sides = []
    for part in (stories[::2], stories[1::2]):
        states = np.concatenate([story.states for story in part])
        labels = np.concatenate([getattr(story, wanted) for story in part]).astype(np.int64)
        sides.append((states[labels >= 0], labels[labels >= 0]))
    (x, y), (x_other, y_other) = sides
    if not (0 < y.sum() < len(y) and 0 < y_other.sum() < len(y_other)):
        raise InputError(f"the stories have one class of {wanted!r} only: give more")
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, x_other = (x - mean) / scale, (x_other - mean) / scale
    # Both classes weigh as much.
    weights = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    target = 2.0 * y - 1
    centre = np.average(target, weights=weights)
    gram = (x * weights[:, None]).T @ x + 10 * np.eye(x.shape[1])
    solution = np.linalg.solve(gram, (x * weights[:, None]).T @ (target - centre))
    alone = np.array([_balanced(np.sign(c) * x[:, n] > 0, y) for n, c in enumerate(solution)])
    best = int(alone.argmax())
    return Probe(
        positions=len(y_other),
        accuracy=_balanced(x_other @ solution + centre > 0, y_other),
        channel=_balanced(np.sign(solution[best]) * x_other[:, best] > 0, y_other),
        best=best,
    )


def _balanced(said: NDArray[np.bool_], true: NDArray[np.int64]) -> float:
    return float(np.mean([(said[true == label] == label).mean() for label in (0, 1)]))


def draw(story: Story, best: int, last: int) -> str:
    """The figure: shares that hold, by layer; and the channel of open quotations."""
    figure = figure_of(WIDE, 3.2)
    (axes,) = figure.axes
    places = np.arange(min(last, len(story.pieces)))
    for layer, color in enumerate(_COLORS[: story.held.shape[1]]):
        axes.plot(places, story.held[places, layer], color=color, label=f"layer {layer}: holds")
    values = story.states[:, best]
    low, high = values.min(), values.max()
    axes.plot(
        places,
        (values[places] - low) / max(high - low, 1),
        color=AMBER,
        label=f"channel {best}: state",
    )
    inside = story.open[places]
    axes.fill_between(places, 0, 1, where=inside, color=AMBER, alpha=0.15, label="quotation open")
    axes.set_xlabel("pieces of the story")
    axes.set_ylabel("share of channels; state")
    add_legend(figure, axes)
    return svg_of(figure)


def _stories(golden: Golden, texts: list[str]) -> Iterator[Story]:
    tokenizer = text_tokenizer(tokenizer_from_dict(golden.tape.tokenizer))
    for text in tqdm(texts, unit="story", disable=None, leave=False):
        yield play(golden, tokenizer, text)


def main() -> None:
    """Measure, draw, and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a tape, a checkpoint, a run folder, or stories")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="of its training")
    parser.add_argument(
        "--stories", type=int, default=300, metavar="N", help="to play (default %(default)s)"
    )
    parser.add_argument(
        "--pieces", type=int, default=160, metavar="N", help="to draw (default %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=FIGURES, metavar="FOLDER", help="(default docs/figures)"
    )
    options = parser.parse_args()
    try:
        _, held = read_stories(options.text)
        golden = Golden(load_trained_tape(options.model))
        stories = list(_stories(golden, held[: options.stories]))
        probes = {wanted: probe(stories, wanted) for wanted in ("open", "about")}
    except InputError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    shown = max(stories, key=lambda story: np.diff(story.open[: options.pieces]).sum())
    found = {
        "tape": golden.tape.sha256,
        "stories": len(stories),
        "probes": {name: asdict(each) for name, each in probes.items()},
        "text": "".join(shown.pieces[1 : options.pieces]),
    }
    write_atomically(
        options.out / "story_memory.json", (json.dumps(found, indent=1) + "\n").encode()
    )
    picture = draw(shown, probes["open"].best, options.pieces)
    write_atomically(options.out / "story_memory.svg", picture.encode())
    for name, each in probes.items():
        print(
            f"{name}: {100 * each.accuracy:.1f} % of {each.positions:,} positions by a linear"
            f" probe, {100 * each.channel:.1f} % by channel {each.best} (50 % by guessing)"
        )


if __name__ == "__main__":
    main()

"""The range report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.golden.pow2 import Golden
from mmfree.inference.ranges import (
    SaturationError,
    describe_ranges,
    measure_ranges,
    real_data,
    refuse_saturation,
)
from mmfree.text.loading import load_corpus
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.provenance import PROVENANCE_NAME
from mmfree.training.train import train
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tests.support.random_tapes import random_tape
from tests.support.subwords import TEXT, bpe

SHAPE = {
    "hidden_size": 9,
    "intermediate_size": 13,
    "num_layers": 2,
    "vocab_size": 6,
    "head_size": 4,
}


def test_largest_values_and_shares_are_those_of_the_trace() -> None:
    tape = random_tape(np.random.default_rng(0), gate="hard", wild=True, **SHAPE)
    ids = np.random.default_rng(1).integers(0, 6, (3, 5))
    golden, state = Golden(tape), Golden(tape).state(3)
    seen: dict[str, list[np.ndarray]] = {}
    for column in ids.T:
        _, state = golden.step(
            column, state, trace=lambda n, v: seen.setdefault(n, []).append(v.copy())
        )
    found = {f"{r.segment}/{r.name}": r for r in measure_ranges(tape, ids)}
    for name in ("layer 0 gates/i", "layer 1 glu/up", "layer 1 down/x", "head/logits", "head/acc"):
        values = np.concatenate(seen[name]).astype(int)
        assert found[name].largest == abs(values).max()
        if name != "head/acc":
            at_limit = (values <= -found[name].limit) | (values >= found[name].limit - 1)
            assert found[name].share_at_limit == at_limit.mean()
    assert found["head/acc"].limit == 128 * 9
    assert found["embedding/embedding"].limit == 32768
    assert describe_ranges(list(found.values()))[0].split() == [
        "segment",
        "value",
        "largest",
        "limit",
        "use",
        "at",
        "limit",
    ]


def test_trained_models_pass_and_saturating_ones_are_refused(tmp_path: Path) -> None:
    tape = tape_of(trained(SMALL_ADDITION, tmp_path))
    ids = real_data(AdditionTokenizer(), []).ids
    assert ids.shape == (64, 2 * 64 + 3)
    refuse_saturation(tape, measure_ranges(tape, ids), "sums")
    *segments, head = tape.segments
    loudest = replace(head, matrices=(replace(head.matrices[0], exponent=5, multiplier=256),))
    loud = replace(tape, segments=(*segments, loudest))
    with pytest.raises(
        SaturationError, match=r"head, logits: .* % of the values lie at the limit 32768"
    ):
        refuse_saturation(loud, measure_ranges(loud, ids), "sums")


def test_every_judged_intermediate_is_due() -> None:
    """Which are is known from the tape, not from what was seen."""
    tape = random_tape(np.random.default_rng(0), gate="hard", wild=False, **SHAPE)
    ranges = measure_ranges(tape, np.zeros((2, 3), dtype=np.int64))
    refuse_saturation(tape, ranges, "zeros")
    for segment, name in (("layer 1 gates", "h"), ("layer 0 down", "x"), ("head", "logits")):
        rest = [found for found in ranges if (found.segment, found.name) != (segment, name)]
        assert len(rest) == len(ranges) - 1
        with pytest.raises(
            ValueError, match=f"ranges lack 1 of 23, such as .'{segment}', '{name}'"
        ):
            refuse_saturation(tape, rest, "sums")
    with pytest.raises(ValueError, match="ranges lack 23 of 23"):
        refuse_saturation(tape, [], "sums")
    with pytest.raises(InputError, match="no data to watch ranges on"):
        measure_ranges(tape, np.zeros((0, 3), dtype=np.int64))


def test_text_is_cut_into_sequences(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(1, 128)) * 80)
    real = real_data(ByteTokenizer(), [tmp_path / "a.txt"])
    assert real.source == str(tmp_path / "a.txt")
    assert real.ids.shape == (64, 64)
    assert real.ids[0, :4].tolist() == [0, 1, 2, 3]


def test_text_of_subwords_is_cut_into_sequences(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT * 4)
    ids = real_data(bpe(), [tmp_path / "a.txt"]).ids
    assert ids.shape == (64, 64)
    assert (ids[:, 0] == bpe().start).all()
    assert ids[0, 1:].tolist() == bpe().encode(TEXT)[1:64]


def test_a_run_is_watched_on_what_it_held_out(tmp_path: Path) -> None:
    """With its own tokenizer, wherever its text is now; without a record on the built-in text."""
    (tmp_path / "stories.txt").write_text(TEXT)
    config = replace(
        SMALL_TEXT,
        model=replace(SMALL_TEXT.model, vocab_size=bpe().vocab_size, head_size=bpe().vocab_size),
        subword=bpe().to_dict(),
        recipe=replace(SMALL_TEXT.recipe, steps=2, batch_size=2, length=8),
    )
    train(config, tmp_path / "run", data=[tmp_path / "stories.txt"])
    held_out = load_corpus([tmp_path / "stories.txt"], bpe()).validation
    (tmp_path / "stories.txt").unlink()
    real = real_data(bpe(), [], run=tmp_path / "run")
    assert real.source == f"{tmp_path / 'stories.txt'}, held out in training"
    flat = real.ids.ravel()
    assert set(flat) <= {bpe().start, *held_out.tolist()}
    assert real.ids[0, 1:20].tolist() == held_out[:19].tolist()
    with pytest.raises(InputError, match="its record of the text has tokens that its tokenizer"):
        real_data(ByteTokenizer(), [], run=tmp_path / "run")
    (tmp_path / "run" / PROVENANCE_NAME).unlink()
    unknown = real_data(bpe(), [], run=tmp_path / "run")
    assert unknown.source.startswith("Python documentation, held out: the model does not say")


def test_a_model_for_a_task_is_watched_on_its_examples(tmp_path: Path) -> None:
    assert real_data(AdditionTokenizer(), []).source == "examples of the task addition"
    with pytest.raises(InputError, match="a model for addition makes its own examples"):
        real_data(AdditionTokenizer(), [tmp_path])

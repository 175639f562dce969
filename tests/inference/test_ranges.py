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
    real_ids,
    refuse_saturation,
)
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer
from tests.support.models import SMALL_ADDITION, tape_of, trained
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
    ids = real_ids(AdditionTokenizer(), b"")
    assert ids.shape == (64, 2 * 64 + 3)
    refuse_saturation(tape, measure_ranges(tape, ids))
    *segments, head = tape.segments
    loudest = replace(head, matrices=(replace(head.matrices[0], exponent=5, multiplier=256),))
    loud = replace(tape, segments=(*segments, loudest))
    with pytest.raises(
        SaturationError, match=r"head, logits: .* % of the values lie at the limit 32768"
    ):
        refuse_saturation(loud, measure_ranges(loud, ids))


def test_every_judged_intermediate_is_due() -> None:
    """Which are is known from the tape, not from what was seen."""
    tape = random_tape(np.random.default_rng(0), gate="hard", wild=False, **SHAPE)
    ranges = measure_ranges(tape, np.zeros((2, 3), dtype=np.int64))
    refuse_saturation(tape, ranges)
    for segment, name in (("layer 1 gates", "h"), ("layer 0 down", "x"), ("head", "logits")):
        rest = [found for found in ranges if (found.segment, found.name) != (segment, name)]
        assert len(rest) == len(ranges) - 1
        with pytest.raises(
            ValueError, match=f"ranges lack 1 of 23, such as .'{segment}', '{name}'"
        ):
            refuse_saturation(tape, rest)
    with pytest.raises(ValueError, match="ranges lack 23 of 23"):
        refuse_saturation(tape, [])
    with pytest.raises(InputError, match="no data to watch ranges on"):
        measure_ranges(tape, np.zeros((0, 3), dtype=np.int64))


def test_text_is_cut_into_sequences() -> None:
    ids = real_ids(ByteTokenizer(), bytes(range(1, 128)) * 80)
    assert ids.shape == (64, 64)
    assert ids[0, :4].tolist() == [0, 1, 2, 3]


def test_text_of_subwords_is_cut_into_sequences() -> None:
    text = (TEXT * 4).encode()
    ids = real_ids(bpe(), text)
    assert ids.shape == (64, 64)
    assert (ids[:, 0] == bpe().start).all()
    assert ids[0, 1:].tolist() == bpe().encode(TEXT)[1:64]

"""What a page refuses, before anything is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.shipped import FOLDER
from mmfree.tape.reading import open_tape
from sim.page.limits import MANY_WEIGHTS, MOST_WEIGHTS, design_of
from sim.page.tokenizers import about_tokenizer
from tests.support.integers.absmax_tapes import absmax_tape
from tests.support.random_tapes import random_tape
from tests.support.subwords import bpe, pieces
from tests.support.verbs.case import SUM_TAPE, TEXT_TAPE


def test_lanes_and_bits() -> None:
    assert (design_of(SUM_TAPE).lanes, design_of(SUM_TAPE).weight_code) == (64, "1.6")
    stories = open_tape(FOLDER / "stories.tape")
    assert stories.config.num_ternary_weights >= MANY_WEIGHTS
    assert design_of(stories).lanes == 256
    found = design_of(stories, 16, "2")
    assert (found.lanes, found.weight_code) == (16, "2")


def test_a_page_has_a_thousand_lanes_at_most() -> None:
    stories = open_tape(FOLDER / "stories.tape")
    assert design_of(stories, 1024).lanes == 1024
    with pytest.raises(InputError, match=r"^--lanes: .* at most 1,024, not 2,048$"):
        design_of(stories, 2048)


def test_a_tape_that_is_too_large_is_told_its_size() -> None:
    tape = random_tape(
        np.random.default_rng(0),
        hidden_size=512,
        intermediate_size=1536,
        num_layers=3,
        vocab_size=256,
        head_size=256,
        gate="hard",
    )
    large = replace(tape, tokenizer={"kind": "bytes"})
    weights = large.config.num_ternary_weights
    assert weights > MOST_WEIGHTS
    with pytest.raises(InputError, match=rf"would have \d+ MB, of {weights:,} weights; a page has"):
        design_of(large)


def test_other_arithmetics_and_tokenizers_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plays models trained here \(pow2\), not absmax"):
        design_of(absmax_tape(tmp_path, {}))
    for described, told in (
        (pieces().to_dict(), r"like this one \(sentencepiece\): it reads bytes"),
        ({"kind": "none"}, "kind must be one of"),
    ):
        with pytest.raises(InputError, match=told):
            about_tokenizer(described)
    assert about_tokenizer(TEXT_TAPE.tokenizer) == {"kind": "bytes", "start": 0}
    found = about_tokenizer(bpe().to_dict())
    assert (found["kind"], len(found["alphabet"])) == ("byte-pairs", 256)
    assert len(found["tokens"]) == bpe().vocab_size

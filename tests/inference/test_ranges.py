"""The range report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.golden.pow2 import Golden
from mmfree.inference.cpu import CpuBackend
from mmfree.inference.ranges import (
    Range,
    SaturationError,
    describe_ranges,
    measure_ranges,
    ranged_tape,
    ranges_to_dicts,
    real_data,
    refuse_saturation,
)
from mmfree.inference.tape_backends import GoldenBackend, TapeBackend
from mmfree.tasks.catalog import TASKS
from mmfree.text.loading import load_corpus
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.provenance import PROVENANCE_NAME, Provenance, write_provenance
from mmfree.training.train import train
from tests.support.integers.absmax_tapes import absmax_tape
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tests.support.random_tapes import random_tape
from tests.support.subwords import TEXT, bpe, pieces

SHAPE = {
    "hidden_size": 9,
    "intermediate_size": 13,
    "num_layers": 2,
    "vocab_size": 6,
    "head_size": 4,
}


@pytest.mark.parametrize("player", ["cpu", "golden"])
def test_largest_values_and_shares_are_those_of_the_trace(player: str) -> None:
    tape = random_tape(np.random.default_rng(0), gate="hard", wild=True, **SHAPE)
    ids = np.random.default_rng(1).integers(0, 6, (3, 5))
    golden, state = Golden(tape), Golden(tape).state(3)
    seen: dict[str, list[np.ndarray]] = {}
    for column in ids.T:
        _, state = golden.step(
            column, state, trace=lambda n, v: seen.setdefault(n, []).append(v.copy())
        )
    found = {f"{r.segment}/{r.name}": r for r in measure_ranges(tape, ids, player)}
    narrow, wide = {"q", "i", "g", "gate", "up"}, {"embedding", "h", "u", "y", "x", "logits"}
    due = [n for n in seen if n.rpartition("/")[2] in {"acc", *narrow, *wide}]
    assert list(found) == ["embedding/embedding", *due[1:]]
    for name in due:
        segment, _, kind = name.rpartition("/")
        values = np.concatenate(seen[name]).astype(int)
        half = 128 if kind in narrow else 1 << 15
        low, high = -half, half - 1
        if kind == "acc":
            fan_in = 13 if segment.endswith("down") else 9
            low, high = -128 * fan_in, 128 * fan_in
        one = found[name if segment else "embedding/embedding"]
        assert (one.largest, one.limit) == (abs(values).max(), -low)
        assert one.share_at_limit == ((values <= low) | (values >= high)).mean()
        assert one.use == one.largest / one.limit
    assert {0.0} < {one.share_at_limit for one in found.values()}


def test_the_worst_is_the_one_most_often_at_its_limit() -> None:
    """Not the largest, nor one that is made to fill its width."""
    tape = random_tape(np.random.default_rng(0), gate="hard", **SHAPE)
    ranges = [
        replace(found, share_at_limit=0.0) for found in measure_ranges(tape, np.zeros((1, 1), int))
    ]

    def with_shares(shares: dict[str, tuple[int, float]]) -> list[Range]:
        return [
            replace(found, largest=shares[place][0], share_at_limit=shares[place][1])
            if (place := f"{found.segment}/{found.name}") in shares
            else found
            for found in ranges
        ]

    shares = {
        "layer 0 gates/q": (128, 1.0),
        "layer 1 down/acc": (1664, 1.0),
        "layer 0 gates/h": (32768, 0.02),
        "layer 1 glu/gate": (127, 0.254),
        "head/logits": (32768, 0.1),
    }
    with pytest.raises(
        SaturationError,
        match=r"^layer 1 glu, gate: 25\.4 % of the values lie at the limit 128 "
        r"\(at most 1 % may\), on sums: ",
    ):
        refuse_saturation(tape, with_shares(shares), "sums")
    refuse_saturation(tape, with_shares(dict.fromkeys(list(shares)[:2], (128, 1.0))), "sums")
    for segment in tape.segments:
        for name in JUDGED[segment.kind]:
            with pytest.raises(SaturationError, match=f"^{segment.name}, {name}: 2.0 %"):
                refuse_saturation(tape, with_shares({f"{segment.name}/{name}": (3, 0.02)}), "sums")


JUDGED = {
    "gates": ["i", "g", "h", "u"],
    "output": ["y", "x"],
    "glu": ["gate", "up", "u"],
    "down": ["y", "x"],
    "head": ["logits"],
}
"""What saturates because the scale of a matrix is too large."""


def test_people_and_programs_are_shown_the_same() -> None:
    ranges = [
        Range(segment="layer 0 gates", name="q", largest=127, limit=128, share_at_limit=0.25),
        Range(segment="layer 0 gates", name="acc", largest=1000, limit=1152, share_at_limit=0.0),
        Range(segment="head", name="logits", largest=8192, limit=32768, share_at_limit=0.00004),
    ]
    table = [
        "segment           value        largest     limit     use   at limit",
        "layer 0 gates     q                127       128   99.2%    25.000%",
        "                  acc            1,000     1,152   86.8%     0.000%",
        "head              logits         8,192    32,768   25.0%     0.004%",
    ]
    assert describe_ranges(ranges) == table
    assert describe_ranges(ranges, "sums") == ["ranges on sums:", *table]
    assert ranges_to_dicts(ranges)[2] == {
        "segment": "head",
        "name": "logits",
        "largest": 8192,
        "limit": 32768,
        "share_at_limit": 0.00004,
        "use": 0.25,
    }


@pytest.mark.parametrize("kind", [GoldenBackend, CpuBackend])
def test_only_tapes_of_ours_show_ranges(kind: type[TapeBackend], tmp_path: Path) -> None:
    backend = kind.__new__(kind)
    backend.tape = random_tape(np.random.default_rng(0), gate="hard", **SHAPE)
    assert ranged_tape(backend) is backend.tape
    backend.tape = absmax_tape(tmp_path, {})
    with pytest.raises(InputError, match="--ranges: a tape of absmax arithmetic"):
        ranged_tape(backend)
    assert ranged_tape(object()) is None  # type: ignore[arg-type]


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


def test_the_field_of_records_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    record = {"text": "a" * 300, "body": "b" * 300}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    for field, letter in (("text", "a"), ("body", "b")):
        real = real_data(ByteTokenizer(), [tmp_path / "a.jsonl"], field=field)
        assert set(real.ids.ravel()) == {0, ord(letter)}


def test_text_of_subwords_is_cut_into_sequences(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT * 4)
    ids = real_data(bpe(), [tmp_path / "a.txt"]).ids
    assert ids.shape == (64, 64)
    assert (ids[:, 0] == bpe().start).all()
    assert ids[0, 1:].tolist() == bpe().encode(TEXT)[1:64]
    # Whose sequences begin with another id than those of bytes.
    assert pieces().start != ByteTokenizer.start
    assert set(real_data(pieces(), [tmp_path / "a.txt"]).ids[:, 0]) == {pieces().start}


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
    assert unknown.ids.shape == (64, 64)
    write_provenance(tmp_path / "run", Provenance(text="stories"))
    nothing = real_data(bpe(), [], run=tmp_path / "run")
    assert (nothing.source, nothing.ids.tolist()) == (unknown.source, unknown.ids.tolist())


def test_a_model_for_a_task_is_watched_on_its_examples(tmp_path: Path) -> None:
    shapes = {}
    for task in TASKS.values():
        real = real_data(SimpleNamespace(kind=task.tokenizer), [])  # type: ignore[arg-type]
        assert real.source == f"examples of the task {task.tokenizer}"
        again = real_data(SimpleNamespace(kind=task.tokenizer), [])  # type: ignore[arg-type]
        assert np.array_equal(real.ids, again.ids)
        shapes[task.tokenizer] = real.ids.shape
    # 64 of 64 columns (two tokens each, and three) or bits; of the pairs all that are examined.
    assert shapes == {"addition": (64, 131), "parity": (64, 65), "modular-addition": (5646, 3)}
    with pytest.raises(InputError, match="a model for addition makes its own examples"):
        real_data(AdditionTokenizer(), [tmp_path])

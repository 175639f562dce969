"""The model card: valid for the hub, and only facts of the checkpoint."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mmfree.errors import InputError

pytest.importorskip("transformers", reason="extra hf is not installed")
from huggingface_hub import ModelCard

from mmfree.hf import MatMulFreeConfig, to_hugging_face
from mmfree.hf.card import TrainingRecord, model_card, read_training_record
from mmfree.inference.backends import load_tape_or_export


def test_the_front_matter_is_valid_and_leaves_the_licence_to_the_user(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert data == {
        "library_name": "mmfree",
        "tags": ["mmfree", "matmul-free", "ternary", "text-generation"],
    }
    assert "# license: yours to choose" in (folder / "README.md").read_text()
    assert "## Licence\n\nNot chosen yet." in card.content


def test_every_figure_is_the_checkpoints(folder: Path, run: Path) -> None:
    text = (folder / "README.md").read_text()
    tape = load_tape_or_export(run)
    with (run / "metrics.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert tape.sha256 in text
    assert f"{tape.config.num_parameters:,} parameters" in text
    assert f"| Ternary weights | {tape.num_ternary_weights:,}, 1.6 bits each on a tape |" in text
    assert (
        f"| Tape | {len(tape.data):,} bytes, {8 * len(tape.data) / tape.config.num_parameters:.2f}"
        " bits per parameter" in text
    )
    assert "Recipe: task text, steps 25, batch_size 4, length 32, learning_rate 0.006" in text
    mean = sum(losses) / len(losses)
    assert (
        f"{len(losses)} steps were done; the loss of the last one was {losses[-1]:.4f} nats, and"
        f" {mean:.4f} on average over the last {len(losses)}" in text
    )
    assert "{" not in text.replace("{#", ""), "no field was left open"


def test_a_model_that_reads_out_an_answer_says_so(addition_run: Path, tmp_path: Path) -> None:
    to_hugging_face(addition_run, tmp_path / "hf")
    card = ModelCard.load(tmp_path / "hf" / "README.md")
    assert "text-generation" not in card.data.to_dict()["tags"]
    assert "The head's rows are answers, not token ids" in card.content
    assert 'tokenizer_from_dict({"kind": "addition"})' in card.content
    assert not (tmp_path / "hf" / "tokenizer.json").exists()


def test_what_is_not_known_is_not_said() -> None:
    text = model_card(MatMulFreeConfig(mode="float"), None, None)
    assert "The checkpoint does not say how it was trained." in text
    assert "none was made when this card was written" in text
    assert "its logits are not those of the chip" in text
    assert "steps were done" not in text


def test_the_record_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_training_record(path) is None
    path.write_text("step,loss,learning_rate\n")
    assert read_training_record(path) is None
    path.write_text("step,loss,learning_rate\n" + "".join(f"{n},{n / 2},0.1\n" for n in range(60)))
    record = read_training_record(path)
    assert record is not None
    assert (record.steps, record.last_loss, record.recent) == (60, 29.5, 50)
    assert record.mean_loss == pytest.approx(sum(n / 2 for n in range(10, 60)) / 50)
    # As a kill may leave it: the last line is not whole.
    path.write_bytes(path.read_bytes() + b"60,3")
    assert read_training_record(path) == record
    for data in (b"step,error\n1,2\n", b"step,loss\n1,\xff\n", b"step,loss\n1," + b"1" * 200_000):
        path.write_bytes(data + b"\n")
        with pytest.raises(
            InputError, match=r"metrics\.csv: must be a table of a step and two numbers"
        ):
            read_training_record(path)


def test_every_fact_of_the_shape_is_in_the_table() -> None:
    """Two layers of d 1,000 and I 30: 4 d^2 + 3 d I each, and 40 rows of the head."""
    config = MatMulFreeConfig(
        vocab_size=50,
        head_size=40,
        hidden_size=1000,
        intermediate_size=30,
        num_layers=2,
        gate="signed",
        tokenizer={"kind": "parity"},
        recipe={"task": "parity", "steps": 7},
    )
    text = model_card(config, None, None)
    ternary = 2 * (4 * 1000**2 + 3 * 1000 * 30) + 40 * 1000
    parameters = ternary + 50 * 1000 + 2 * 1000
    for fact in (
        "| Task, tokenizer | parity, parity |",
        f"| Parameters | {parameters:,} |",
        f"| Ternary weights | {ternary:,}, 1.6 bits each on a tape |",
        "| Shape | width 1000, intermediate 30, 2 layers, 50 token ids, 40 rows of the head |",
        "| Forget gate | signed |",
        "| State | 2,000 words, whatever the length |",
        "| Tape | none was made when this card was written |",
        "Recipe: task parity, steps 7.",
        f"# MatMul-free language model, {parameters:,} parameters",
    ):
        assert fact in text.splitlines(), fact
    assert 'tokenizer_from_dict({"kind": "parity"}).encode(...)`.' in text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bytes", '`pipeline("text-generation", model="PATH", trust_remote_code=True)` both'),
        ("tokenizers", "`AutoTokenizer.from_pretrained` gives the tokenizer"),
        ("sentencepiece", "reads `mmfree_tokenizer.json` (kind sentencepiece)."),
    ],
)
def test_how_prompts_are_encoded_depends_on_the_tokenizer(kind: str, said: str) -> None:
    text = " ".join(model_card(MatMulFreeConfig(tokenizer={"kind": kind}), None, None).split())
    assert said in text
    assert "equal to those of the golden model and of the generated chip" in text
    assert "there is no `generate`" not in text


def test_a_long_run_is_told_with_its_last_steps() -> None:
    record = TrainingRecord(steps=12345, last_loss=1.25, mean_loss=1.5, recent=50)
    text = " ".join(model_card(MatMulFreeConfig(), None, record).split())
    assert (
        "12,345 steps were done; the loss of the last one was 1.2500 nats, and 1.5000 on average"
        " over the last 50."
    ) in text

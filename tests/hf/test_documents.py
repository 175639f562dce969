"""Packed documents and padding: each document is computed as it would be alone, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmfree.errors import InputError

pytest.importorskip("transformers", reason="extra hf is not installed")
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DataCollatorWithFlattening

from mmfree.hf import MatMulFreeForCausalLM

TEXTS = ("The quick brown fox", "a", "jumps", "again")


def ids_of(text: str) -> list[int]:
    return [0, *text.encode()]


@pytest.fixture(scope="module")
def model(folder: Path) -> MatMulFreeForCausalLM:
    loaded: MatMulFreeForCausalLM = AutoModelForCausalLM.from_pretrained(folder)
    return loaded


def packed(**options: Any) -> dict[str, Tensor]:
    collate = DataCollatorWithFlattening(**options)
    batch: dict[str, Tensor] = collate([{"input_ids": ids_of(text)} for text in TEXTS])
    return batch


def alone(model: MatMulFreeForCausalLM, text: str) -> Any:
    return model(torch.tensor([ids_of(text)]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"position_ids_start": 2},
        {"return_seq_idx": True},
        {"return_seq_idx": True, "return_position_ids": False},
    ],
)
def test_packed_documents_are_those_that_stand_alone(
    options: dict[str, Any], model: MatMulFreeForCausalLM
) -> None:
    output = model(**packed(**options))
    place = 0
    for text in TEXTS:
        wanted = alone(model, text)
        length = len(ids_of(text))
        assert torch.equal(output.logits[:, place : place + length], wanted.logits), text
        place += length
    assert torch.equal(output.state, wanted.state), "of the last document"


def test_the_loss_of_packed_documents_counts_their_own_tokens_only(
    model: MatMulFreeForCausalLM,
) -> None:
    nats, tokens = 0.0, 0
    for text in TEXTS:
        ids = torch.tensor([ids_of(text)])
        nats += model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    batch = packed()
    assert model(**batch).loss.item() == pytest.approx(nats / tokens, rel=1e-6)
    # Also where the labels do not say where documents begin.
    whole = batch | {"labels": batch["input_ids"]}
    assert model(**whole).loss.item() == pytest.approx(nats / tokens, rel=1e-6)


def test_a_label_after_the_last_token_counts(model: MatMulFreeForCausalLM) -> None:
    """As where a text is padded with the token that ends it."""
    ids, labels = torch.tensor([[0, 97, 98, 5, 5]]), torch.tensor([[0, 97, 98, 5, -100]])
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    wanted = model(ids[:, :4], labels=labels[:, :4]).loss.item()
    assert model(ids, attention_mask=mask, labels=labels).loss.item() == pytest.approx(wanted)


def test_gradients_of_packed_documents_are_those_of_a_padded_batch(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder).train()
    model(**packed()).loss.backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    length = max(len(ids_of(text)) for text in TEXTS)
    ids, mask = torch.zeros((4, length), dtype=torch.long), torch.zeros((4, length))
    for row, text in enumerate(TEXTS):
        ids[row, : len(ids_of(text))] = torch.tensor(ids_of(text))
        mask[row, : len(ids_of(text))] = 1
    model(ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
    for got, parameter in zip(found, model.parameters(), strict=True):
        assert torch.allclose(got, parameter.grad, atol=1e-6)


def test_only_the_first_document_goes_on_from_a_state(model: MatMulFreeForCausalLM) -> None:
    begin, rest, other = (torch.tensor([ids_of(text)]) for text in ("The quick", "brown", "fox"))
    rest = rest[:, 1:]
    positions = torch.cat([torch.arange(10, 15), torch.arange(4)])[None]
    output = model(
        torch.cat([rest, other], dim=1), state=model(begin).state, position_ids=positions
    )
    whole = model(torch.cat([begin, rest], dim=1)).logits[:, -5:]
    assert torch.equal(output.logits[:, :5], whole)
    assert torch.equal(output.logits[:, 5:], model(other).logits)


def test_packed_rows_may_be_padded(model: MatMulFreeForCausalLM) -> None:
    """Two rows, the second with padding on the left and documents of one token."""
    first, short = ids_of("abcde"), [0]
    ids = torch.tensor([first, [7, 7, 7, 0, 0, 97]])
    mask = torch.tensor([[1] * 6, [0, 0, 0, 1, 1, 1]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 0, 0, 1]])
    output = model(ids, attention_mask=mask, position_ids=positions)
    assert torch.equal(output.logits[0, :3], model(ids[:1, :3]).logits[0])
    assert torch.equal(output.logits[0, 3:], model(ids[:1, 3:]).logits[0])
    assert torch.equal(output.logits[1, 3:4], model(torch.tensor([short])).logits[0])
    assert torch.equal(output.logits[1, 4:], model(torch.tensor([[0, 97]])).logits[0])
    assert not output.logits[1, :3].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"position_ids": torch.tensor([[0, 1, 5, 6]])},
            "must count up by one, and begin again at each document: in row 0 1 is followed by 5",
        ),
        (
            {"position_ids": torch.tensor([[0, 1, 2, 1]])},
            "in row 0 2 is followed by 1",
        ),
        (
            {"position_ids": torch.tensor([[0, 1, 0, 5]])},
            "in row 0 0 is followed by 5",
        ),
        (
            {"position_ids": torch.arange(3)[None]},
            r"position_ids must be \[batch, time\] = \[1, 4\], got shape \(1, 3\)",
        ),
        ({"position_ids": torch.arange(4)}, r"position_ids must be .* got shape \(4,\)"),
        ({"seq_idx": torch.zeros(2, 4)}, r"seq_idx must be .* got shape \(2, 4\)"),
        (
            {
                "position_ids": torch.tensor([[0, 1, 0, 1]]),
                "seq_idx": torch.tensor([[0, 1, 1, 1]]),
            },
            "position_ids and seq_idx begin documents at different tokens",
        ),
        (
            {"attention_mask": torch.tensor([[1, 1, 2, 2]])},
            "attention_mask must be 1 for tokens and 0 for padding, got 2; for packed documents"
            " give position_ids",
        ),
        (
            {"attention_mask": torch.tensor([[0.0, 0.0, 0.0, -torch.inf]])},
            "for padding, got -inf",
        ),
        (
            {"attention_mask": torch.ones(1, 6)},
            "attention_mask has 6 columns for 4 input_ids: the tokens before them are missing",
        ),
        (
            {"cu_seq_lens_q": torch.tensor([0, 2, 4])},
            "cu_seq_lens_q: belongs to attention; give position_ids",
        ),
    ],
)
def test_what_does_not_say_where_documents_are_is_refused(
    options: dict[str, Any], message: str, model: MatMulFreeForCausalLM
) -> None:
    with pytest.raises(InputError, match=message):
        model(torch.tensor([[0, 97, 0, 98]]), **options)


def test_a_second_run_of_generate_that_would_lose_its_state_is_refused(
    model: MatMulFreeForCausalLM,
) -> None:
    """Guidance runs the model beside the prompt's own run, with a cache in place of the state."""
    ids = torch.tensor([ids_of("The quick")])
    with pytest.raises(InputError, match="the tokens before them are missing"):
        model.generate(ids, max_new_tokens=4, do_sample=False, guidance_scale=2.0)
    guided = model.generate(
        ids, max_new_tokens=4, do_sample=False, guidance_scale=2.0, use_cache=False
    )
    assert guided.shape == (1, ids.shape[1] + 4)

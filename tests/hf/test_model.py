"""The model under transformers: the golden model's logits, steps, padding, loss, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.errors import InputError

pytest.importorskip("transformers", reason="extra hf is not installed")
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from mmfree.hf import MatMulFreeConfig, MatMulFreeForCausalLM
from mmfree.inference.backends import load_backend
from mmfree.inference.generate import generate

TEXT = "The quick brown fox"


def load(folder: Path, **options: Any) -> MatMulFreeForCausalLM:
    model: MatMulFreeForCausalLM = AutoModelForCausalLM.from_pretrained(folder, **options)
    return model


def ids_of(*texts: str) -> Tensor:
    return torch.tensor([[0, *text.encode()] for text in texts])


@pytest.fixture(scope="module")
def model(folder: Path) -> MatMulFreeForCausalLM:
    return load(folder)


def test_logits_are_those_of_the_golden_model(model: MatMulFreeForCausalLM, run: Path) -> None:
    ids = ids_of(TEXT, TEXT[::-1])
    golden = load_backend(run, "golden")
    wanted, _ = golden.run(ids.numpy(), golden.state(2))
    with torch.no_grad():
        output = model(ids)
    assert output.logits.dtype == torch.float32
    assert np.array_equal(output.logits.numpy(), wanted * 2.0**-golden.fraction_bits)


def test_autocast_changes_nothing(model: MatMulFreeForCausalLM) -> None:
    ids = ids_of(TEXT)
    wanted = model(ids).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(ids).logits, wanted)


def test_mode_float_is_that_of_the_backend(folder: Path, run: Path) -> None:
    model = load(folder, mode="float")
    ids = ids_of(TEXT)
    backend = load_backend(run, "float")
    wanted, _ = backend.run(ids.numpy(), backend.state(1))
    with torch.no_grad():
        assert np.array_equal(model(ids).logits.numpy(), wanted)


def test_one_token_per_step_equals_the_whole(model: MatMulFreeForCausalLM) -> None:
    ids = ids_of(TEXT, TEXT[::-1])
    whole = model(ids)
    state, logits = None, []
    for position in range(ids.shape[1]):
        output = model(ids[:, position : position + 1], state=state)
        logits.append(output.logits)
        state = output.state
    assert torch.equal(torch.cat(logits, dim=1), whole.logits)
    assert torch.equal(state, whole.state)
    assert state.shape == (2, 1, 16), "batch first"
    assert model(ids, use_cache=False).state is None


def test_generate_feeds_one_token_per_step(
    model: MatMulFreeForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    forward = MatMulFreeForCausalLM.forward

    def counted(self: MatMulFreeForCausalLM, input_ids: Tensor, **options: Any) -> Any:
        lengths.append(input_ids.shape[1])
        return forward(self, input_ids, **options)

    monkeypatch.setattr(MatMulFreeForCausalLM, "forward", counted)
    ids = ids_of(TEXT)
    with_state = model.generate(ids, max_new_tokens=6, do_sample=False)
    assert lengths == [ids.shape[1], 1, 1, 1, 1, 1]
    lengths.clear()
    without = model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=False)
    assert lengths == [ids.shape[1] + n for n in range(6)]
    assert torch.equal(with_state, without)


def test_pipeline_writes_what_the_golden_model_writes(folder: Path, run: Path) -> None:
    writer = pipeline("text-generation", model=str(folder))
    (result,) = writer(TEXT, max_new_tokens=12, do_sample=False, return_full_text=False)
    golden = load_backend(run, "golden")
    wanted = "".join(text for text, _ in generate(golden, TEXT, 12, temperature=0))
    assert result["generated_text"] == wanted


def test_sampling_draws_a_row_for_each_sequence(model: MatMulFreeForCausalLM) -> None:
    torch.manual_seed(0)
    drawn = model.generate(ids_of(TEXT), max_new_tokens=8, do_sample=True, num_return_sequences=3)
    assert drawn.shape == (3, len(TEXT) + 9)
    assert len({tuple(row) for row in drawn.tolist()}) == 3


def test_a_sequence_goes_on_from_its_state(model: MatMulFreeForCausalLM) -> None:
    ids = ids_of(TEXT)
    wanted = model.generate(ids, max_new_tokens=5, do_sample=False)
    state = model(ids[:, :-1]).state
    assert torch.equal(
        model.generate(ids[:, -1:], state=state, max_new_tokens=5, do_sample=False)[0, 1:],
        wanted[0, -5:],
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model: MatMulFreeForCausalLM, side: str) -> None:
    texts = [TEXT, "a", "Two", "abc"]
    time = len(TEXT) + 1
    ids, mask = torch.full((4, time), 7), torch.zeros((4, time), dtype=torch.long)
    places = []
    for row, text in enumerate(texts):
        length = len(text) + 1
        place = slice(time - length, time) if side == "left" else slice(0, length)
        ids[row, place], mask[row, place] = ids_of(text)[0], 1
        places.append(place)
    output = model(ids, attention_mask=mask)
    for row, (text, place) in enumerate(zip(texts, places, strict=True)):
        alone = model(ids_of(text))
        assert torch.equal(output.logits[row, place], alone.logits[0])
        assert torch.equal(output.state[row], alone.state[0])
    assert not output.logits[mask == 0].any()
    if side == "left":
        written = model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
        for row, text in enumerate(texts):
            alone = model.generate(ids_of(text), max_new_tokens=4, do_sample=False)
            assert torch.equal(written[row, -4:], alone[0, -4:])
    else:
        with pytest.raises(InputError, match="pad prompts on the left"):
            model.generate(ids, attention_mask=mask, max_new_tokens=4)


def test_without_a_mask_the_start_token_counts(model: MatMulFreeForCausalLM) -> None:
    """transformers would take it for padding, once a token to pad with is named."""
    ids = ids_of("a")
    options: dict[str, Any] = {
        "max_new_tokens": 1,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    found = model.generate(ids, pad_token_id=0, **options)
    assert torch.equal(found.logits[0], model(ids).logits[:, -1])
    assert not torch.equal(found.logits[0], model(ids[:, 1:]).logits[:, -1])


def test_the_loss_is_the_mean_over_predicted_tokens(model: MatMulFreeForCausalLM) -> None:
    ids = ids_of("abcd", "wxyz")
    labels = ids.clone()
    labels[1, 3:] = -100
    logits = model(ids).logits
    nats = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert model(ids, labels=labels).loss.item() == pytest.approx(nats.item(), rel=1e-6)
    # Padding predicts nothing: not even the first token after it.
    padded = torch.nn.functional.pad(ids, (2, 0), value=9)
    mask = torch.nn.functional.pad(torch.ones_like(ids), (2, 0))
    whole = model(ids, labels=ids).loss.item()
    assert model(padded, attention_mask=mask, labels=padded).loss.item() == pytest.approx(
        whole, rel=1e-6
    )


def test_it_can_be_trained(folder: Path) -> None:
    model = load(folder).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    ids = ids_of(TEXT * 4)
    losses = []
    for _ in range(12):
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_trainer_of_transformers_trains_it(folder: Path, tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    ids = ids_of(TEXT)[0]
    options = TrainingArguments(
        tmp_path,
        max_steps=3,
        per_device_train_batch_size=2,
        save_steps=3,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    examples = [{"input_ids": ids, "labels": ids}] * 6
    trainer = Trainer(load(folder), options, train_dataset=examples)  # type: ignore[arg-type]
    assert trainer.train().global_step == 3
    assert (tmp_path / "checkpoint-3" / "README.md").exists(), "a card with each checkpoint"
    assert load(tmp_path / "checkpoint-3").config.recipe == load(folder).config.recipe


def test_a_fresh_model_is_that_of_mmfree(tmp_path: Path) -> None:
    from mmfree.models.matmul_free import MatMulFreeLM

    config = MatMulFreeConfig(hidden_size=12, intermediate_size=16, num_layers=2)
    torch.manual_seed(3)
    wanted = MatMulFreeLM(config.model_config()).state_dict()
    torch.manual_seed(3)
    fresh = AutoModelForCausalLM.from_config(config)
    assert all(
        torch.equal(tensor, wanted[name]) for name, tensor in fresh.model.state_dict().items()
    )
    fresh.save_pretrained(tmp_path)
    assert "does not say how it was trained" in (tmp_path / "README.md").read_text(), (
        "every folder has a card"
    )
    (tmp_path / "README.md").write_text("mine")
    fresh.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_what_is_not_supported_is_refused(model: MatMulFreeForCausalLM, folder: Path) -> None:
    ids = ids_of("abc")
    hole = torch.tensor([[1, 0, 1, 1]])
    with pytest.raises(InputError, match="padding between tokens is not supported"):
        model(ids, attention_mask=hole)
    with pytest.raises(
        InputError,
        match=r"attention_mask must be \[batch, time\] = \[1, at least 4\], got shape \(1, 3\)",
    ):
        model(ids, attention_mask=hole[:, 1:])
    for options, message in [
        ({"inputs_embeds": torch.zeros(1, 4, 16)}, "give input_ids"),
        ({"atention_mask": hole}, "atention_mask: forward has no such argument; it has input_ids,"),
        ({"atention_mask": None}, "atention_mask: forward has no such argument"),
        ({"output_attentions": True}, "output_attentions: there is no attention"),
        ({"output_hidden_states": True}, "output_hidden_states: hidden states are not kept"),
        ({"past_key_values": ()}, "past_key_values: there are no keys and values; give state"),
        ({"shift_labels": ids}, "shift_labels: labels are shifted here"),
        ({"max_length_q": 3}, "max_length_q: forward has no such argument"),
        ({"labels": ids[:, 1:]}, r"labels must be shaped as input_ids, \(1, 4\), got \(1, 3\)"),
    ]:
        with pytest.raises(InputError, match=message):
            model(ids, **options)
    with pytest.raises(InputError, match="input_ids are missing"):
        model(attention_mask=torch.ones(1, 4))
    # Nothing is asked for.
    model(ids, output_attentions=False, output_hidden_states=None, inputs_embeds=None)
    # The library's own error.
    with pytest.raises(ValueError, match="only supports"):
        model.generate(ids, num_beams=2)
    with pytest.raises(InputError, match="the vocabulary of a model is fixed"):
        model.resize_token_embeddings(300)
    with pytest.raises(InputError, match=r"weights must be float32, got torch\.bfloat16"):
        load(folder, dtype=torch.bfloat16)(ids)


def test_what_a_config_asks_for_takes_effect_or_is_refused(folder: Path) -> None:
    ids = ids_of("abc")
    assert isinstance(load(folder, return_dict=False)(ids), tuple)
    with pytest.raises(InputError, match="output_hidden_states: hidden states are not kept"):
        load(folder, output_hidden_states=True)(ids)
    with pytest.raises(InputError, match="mode must be one of fakequant, float, got 'flaot'"):
        load(folder, mode="flaot")(ids)


@pytest.mark.parametrize("part", ["embedding", "head", "layers.0.mixer.f"])
def test_a_hook_that_would_never_be_called_is_refused(part: str, folder: Path) -> None:
    model = load(folder)
    hook = model.model.get_submodule(part).register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match=rf"a hook on model\.{part} cannot take effect"):
        model(ids_of("abc"))
    hook.remove()
    hook = model.model.get_submodule(part).register_forward_pre_hook(lambda *_: None)
    with pytest.raises(InputError, match=rf"a hook on model\.{part} cannot take effect"):
        model(ids_of("abc"))
    hook.remove()
    model.model.layers[0].register_forward_hook(lambda *_: None)
    model(ids_of("abc"))


def test_what_generate_cannot_do_is_refused(model: MatMulFreeForCausalLM, folder: Path) -> None:
    ids = ids_of("abc")
    for options, message in [
        ({"cache_implementation": "static"}, "generate: cache_implementation: there are no keys"),
        ({"output_attentions": True, "return_dict_in_generate": True}, "there is no attention"),
        ({"max_new_token": 3}, "max_new_token"),
        ({"logits_to_keep": 1}, "logits_to_keep"),
        ({"prompt_lookup_num_tokens": 2}, "only supports"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.generate(ids, do_sample=False, **({"max_new_tokens": 2} | options))
    # What it can do with a tokenizer stays possible.
    tokenizer = AutoTokenizer.from_pretrained(folder)
    whole = tokenizer.decode(model.generate(ids, max_new_tokens=8, do_sample=False)[0, 4:])
    found = model.generate(
        ids, max_new_tokens=8, do_sample=False, stop_strings=[whole[2]], tokenizer=tokenizer
    )
    assert tokenizer.decode(found[0, 4:]) == whole[: whole.index(whole[2]) + 1]


def test_generation_ends_at_each_end_token(model: MatMulFreeForCausalLM) -> None:
    ids = ids_of(TEXT)
    chosen = model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :].tolist()
    ends = [chosen[5], chosen[3]]
    found = model.generate(
        ids, max_new_tokens=8, do_sample=False, eos_token_id=ends, pad_token_id=0
    )[0, ids.shape[1] :]
    first = min(chosen.index(end) for end in ends)
    assert found.tolist() == chosen[: first + 1]


def test_a_model_that_reads_out_an_answer_predicts_no_tokens() -> None:
    model = MatMulFreeForCausalLM(
        MatMulFreeConfig(vocab_size=31, head_size=10, hidden_size=8, intermediate_size=8)
    )
    ids = torch.tensor([[30, 1, 12]])
    assert model(ids).logits.shape == (1, 3, 10)
    for call in (lambda: model(ids, labels=ids), lambda: model.generate(ids)):
        with pytest.raises(InputError, match="the head's 10 rows are not the 31 token ids"):
            call()


@pytest.mark.parametrize("damage", ["missing", "unexpected", "mismatched"])
def test_weights_of_another_model_are_an_error(damage: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bad")
    path = tmp_path / "bad" / "model.safetensors"
    tensors = load_file(path)
    head = tensors.pop("model.head.weight")
    if damage == "unexpected":
        tensors |= {"model.head.weight": head, "model.extra": head.clone()}
    if damage == "mismatched":
        tensors["model.head.weight"] = head[:-1].contiguous()
    save_file(tensors, path, {"format": "pt"})
    name = "model.extra" if damage == "unexpected" else "model.head.weight"
    with pytest.raises(
        (ValueError, RuntimeError), match=name if damage != "mismatched" else "mismatch"
    ):
        load(tmp_path / "bad")


def test_the_loss_may_be_divided_by_another_number(model: MatMulFreeForCausalLM) -> None:
    """As Trainer does where several batches make one step."""
    ids = ids_of("abcd", "wxyz")
    mean = model(ids, labels=ids).loss.item()
    assert model(ids, labels=ids, num_items_in_batch=16).loss.item() == pytest.approx(mean / 2)


def test_a_tuple_leaves_out_what_there_is_not(model: MatMulFreeForCausalLM) -> None:
    ids = ids_of("abc")
    logits, state = model(ids, return_dict=False)
    whole = model(ids)
    assert torch.equal(logits, whole.logits)
    assert torch.equal(state, whole.state)
    assert len(model(ids, return_dict=False, use_cache=False)) == 1
    loss, *rest = model(ids, labels=ids, return_dict=False)
    assert (loss.ndim, len(rest)) == (0, 2)


def test_what_was_loaded_can_be_asked_for(folder: Path) -> None:
    model, info = MatMulFreeForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert isinstance(model, MatMulFreeForCausalLM)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_names_may_be_mapped_by_the_caller(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "hf")
    path = tmp_path / "hf" / "model.safetensors"
    tensors = load_file(path)
    save_file({f"my_{name}": t for name, t in tensors.items()}, path, {"format": "pt"})
    with pytest.raises(InputError, match="tensor "):
        MatMulFreeForCausalLM.from_pretrained(tmp_path / "hf")
    found = MatMulFreeForCausalLM.from_pretrained(tmp_path / "hf", key_mapping={"^my_": ""})
    assert torch.equal(found.model.head.weight, tensors["model.head.weight"])


def test_only_the_main_process_writes_a_card(model: MatMulFreeForCausalLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not (tmp_path / "other" / "README.md").exists()
    model.save_pretrained(tmp_path / "main")
    assert (tmp_path / "main" / "README.md").read_text().startswith("---")


def test_a_batch_of_two_is_trained_by_the_fast_scan(model: MatMulFreeForCausalLM) -> None:
    """In training gradients reach every weight; logits stay near those of the chip."""
    ids = ids_of("abcd", "wxyz")
    still = model(ids).logits
    model.train()
    try:
        moving = model(ids, labels=ids)
        moving.loss.backward()
        assert all(weight.grad is not None for weight in model.parameters())
    finally:
        model.eval()
        model.zero_grad()
    assert torch.allclose(moving.logits, still, atol=0.5)

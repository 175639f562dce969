"""``MatMulFreeLM`` wrapped for Hugging Face's Auto classes, ``generate`` and ``pipeline``.

Shape suffixes are those of ``mmfree.models.matmul_free``: T time, B batch, d hidden size, L layers,
r rows of the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin, PreTrainedModel
from transformers.generation.configuration_utils import GenerationMode
from transformers.utils.generic import ModelOutput

from mmfree.errors import InputError
from mmfree.hf.card import CARD_NAME, model_card
from mmfree.hf.config import MatMulFreeConfig
from mmfree.models.bitlinear import Mode
from mmfree.models.matmul_free import MatMulFreeLM

IGNORED_LABEL = -100


@dataclass
class MatMulFreeOutput(ModelOutput):
    """What ``forward`` gives.

    ``loss``, if there were labels; ``logits`` in nats, float32 [B, T, head_size]; ``state`` after
    the last token, float32 [B, L, d].
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    state: Tensor | None = None


class MatMulFreeForCausalLM(PreTrainedModel, GenerationMixin):
    """MatMul-free language model, with a state in place of a cache of keys and values.

    The size of the state does not depend on the length. ``generate`` searches greedily or samples.
    Beams and assisted generation are refused: they would have to reorder or rewind the state.
    """

    config: MatMulFreeConfig
    config_class = MatMulFreeConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _input_embed_layer = "embedding"
    _is_stateful = True
    _supported_generation_modes = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)

    def __init__(self, config: MatMulFreeConfig) -> None:
        super().__init__(config)
        self.model = MatMulFreeLM(config.model_config())
        # A layer stays on one device. ``post_init`` reads this.
        self._no_split_modules = ["Layer"]
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **options: Any) -> Any:
        """As in transformers, but a tensor that is missing, unexpected or of another shape is an
        InputError, not a warning.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **options)
        model, info = loaded
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if found := sorted(map(str, info[problem])):
                source = args[0] if args else "the checkpoint"
                raise InputError(
                    f"{source}: {problem.removesuffix('_keys')} tensor {found[0]} ({len(found)} in"
                    " all): the weights are not those of this config"
                )
        return (model, info) if output_loading_info else model

    def save_pretrained(  # type: ignore[override]  # the options are passed on as they are
        self, save_directory: str | PathLike[str], is_main_process: bool = True, **options: Any
    ) -> None:
        """As in transformers, with a model card (README.md) unless there is one."""
        super().save_pretrained(save_directory, is_main_process=is_main_process, **options)
        card = Path(save_directory) / CARD_NAME
        if is_main_process and not card.exists():
            card.write_text(model_card(self.config, None, None), encoding="utf-8")

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing to do: MatMulFreeLM sets its weights, and ``from_pretrained`` needs them all."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> MatMulFreeOutput | tuple[Tensor, ...]:
        """Logits, and the state to go on from.

        Parameters
        ----------
        input_ids
            Token ids, int64 [B, T].
        attention_mask
            1 for tokens, 0 for padding, [B, >= T]; of a longer mask the last T columns count. In
            each row the tokens must be consecutive: padding is on the left or on the right. Padding
            does not touch the state, and its logits are 0.
        state
            State after the tokens that came before, float32 [B, L, d]; None: start of a sequence.
        labels
            Token ids to predict, [B, T], as usual the inputs themselves: they are shifted here.
            -100, and what follows padding, does not count.
        use_cache
            Whether the output has the state; None: yes.
        return_dict
            False: a tuple without what is None.

        Raises
        ------
        InputError
            If the mask has holes or another shape, there are labels for a model whose head does not
            predict token ids, embeddings are given in place of ids, or the weights are not float32.
        """
        if options.pop("inputs_embeds", None) is not None:
            raise InputError(
                "inputs_embeds: the embedding is part of the arithmetic; give input_ids"
            )
        if self.dtype != torch.float32:
            raise InputError(
                f"the weights must be float32, got {self.dtype}: load the model with"
                " dtype=torch.float32"
            )
        if labels is not None:
            self._check_predicts_tokens("labels")
        mask_BT = None if attention_mask is None else _checked_mask(attention_mask, input_ids)
        # Sums of products are exact in float32, and would not be in what autocast takes.
        with torch.autocast(input_ids.device.type, enabled=False):
            logits_BTr, state_BLd = self._run(input_ids, mask_BT, state)
        loss = None
        if labels is not None:
            if mask_BT is not None:
                after_padding_BT = torch.nn.functional.pad(
                    mask_BT[:, :-1], (1, 0), value=True
                ).logical_not()
                labels = labels.masked_fill(after_padding_BT, IGNORED_LABEL)
            # The model is time-major inside; transformers flattens by view.
            loss = self.loss_function(
                logits=logits_BTr.contiguous(),
                labels=labels,
                vocab_size=self.config.head_size,
                **options,
            )
        keeps_state = use_cache is None or use_cache
        output = MatMulFreeOutput(
            loss=loss, logits=logits_BTr, state=state_BLd if keeps_state else None
        )
        return output.to_tuple() if return_dict is False else output

    def _mode(self) -> Mode:
        if self.config.mode == "float":
            return "float"
        return "train" if self.training else "fakequant"

    def _run(
        self, ids_BT: Tensor, mask_BT: Tensor | None, state_BLd: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, T, r] and state [B, L, d].

        Rows with the same padding go through the model together, without it.
        """
        if mask_BT is None or bool(mask_BT.all()):
            before_LBd = None if state_BLd is None else state_BLd.transpose(0, 1)
            logits_BTr, after_LBd = self.model(ids_BT, before_LBd, self._mode())
            return logits_BTr, after_LBd.transpose(0, 1)
        batch, time = ids_BT.shape
        if state_BLd is None:
            state_BLd = self.model.initial_state(batch).transpose(0, 1)
        logits_BTr = torch.zeros((batch, time, self.config.head_size), device=ids_BT.device)
        after_BLd = state_BLd.clone()
        starts_B, counts_B = mask_BT.to(torch.int8).argmax(dim=1), mask_BT.sum(dim=1)
        for start, count in sorted(set(zip(starts_B.tolist(), counts_B.tolist(), strict=True))):
            if count == 0:
                continue
            rows = torch.nonzero((starts_B == start) & (counts_B == count)).flatten()
            part_LBd = state_BLd[rows].transpose(0, 1)
            logits, part_LBd = self.model(
                ids_BT[rows, start : start + count], part_LBd, self._mode()
            )
            logits_BTr[rows, start : start + count] = logits
            after_BLd[rows] = part_LBd.transpose(0, 1)
        return logits_BTr, after_BLd

    def _check_predicts_tokens(self, what: str) -> None:
        if self.config.head_size != self.config.vocab_size:
            raise InputError(
                f"{what}: the head's {self.config.head_size} rows are not the"
                f" {self.config.vocab_size} token ids: this model reads out an answer, and predicts"
                " no text"
            )

    def generate(self, *args: Any, **options: Any) -> Any:
        """As in transformers, for a model that predicts text, with padding on the left."""
        self._check_predicts_tokens("generate")
        mask = options.get("attention_mask")
        if mask is not None and not bool(mask[:, -1].all()):
            raise InputError("generate: pad prompts on the left (tokenizer.padding_side = 'left')")
        return super().generate(*args, **options)

    def resize_token_embeddings(self, *args: Any, **options: Any) -> Any:
        """Always InputError: head and config would no longer agree with the embedding."""
        raise InputError(
            "resize_token_embeddings: the vocabulary of a model is fixed; train one with another"
            " vocab_size"
        )

    # What generate asks a model for. The state has a name of its own, as in RWKV.

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def _prepare_attention_mask_for_generation(
        self, inputs_tensor: Tensor, *args: Any, **options: Any
    ) -> Any:
        """A mask in which every token counts, also the start token, with which others may pad."""
        return torch.ones(inputs_tensor.shape[:2], dtype=torch.long, device=inputs_tensor.device)

    def _update_model_kwargs_for_generation(
        self, outputs: ModelOutput, model_kwargs: dict[str, Any], *args: Any, **options: Any
    ) -> dict[str, Any]:
        if outputs.get("state") is not None:
            model_kwargs["state"] = outputs["state"]
        updated: dict[str, Any] = super()._update_model_kwargs_for_generation(
            outputs, model_kwargs, *args, **options
        )
        return updated


def _checked_mask(attention_mask: Tensor, ids_BT: Tensor) -> Tensor:
    """The mask of the ids, bool [B, T]."""
    batch, time = ids_BT.shape
    if (
        attention_mask.ndim != 2
        or attention_mask.shape[0] != batch
        or attention_mask.shape[1] < time
    ):
        raise InputError(
            f"attention_mask must be [batch, time] = [{batch}, at least {time}], got shape"
            f" {tuple(attention_mask.shape)}"
        )
    mask_BT = attention_mask[:, -time:].to(device=ids_BT.device, dtype=torch.bool)
    # Consecutive tokens begin at most once.
    begins_B = (mask_BT[:, 1:] & ~mask_BT[:, :-1]).sum(dim=1) + mask_BT[:, 0]
    if bool((begins_B > 1).any()):
        raise InputError(
            "attention_mask: padding between tokens is not supported, only on the left or on the"
            " right"
        )
    return mask_BT

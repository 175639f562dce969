"""``MatMulFreeLM`` wrapped for Hugging Face's Auto classes, ``generate`` and ``pipeline``.

Shape suffixes are those of ``mmfree.models.matmul_free``: T time, B batch, d hidden size, L layers,
r rows of the head.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.generation.configuration_utils import GenerationMode
from transformers.utils import logging
from transformers.utils.generic import ModelOutput

from mmfree.contract.tensor_names import WRAPPERS
from mmfree.errors import InputError, not_one_of
from mmfree.hf.arguments import CONFIG_ARGUMENTS, UNSUPPORTED, check_arguments, check_hooks
from mmfree.hf.card import CARD_NAME, model_card
from mmfree.hf.config import MODES, MatMulFreeConfig
from mmfree.hf.documents import Document, Layout, find_layout
from mmfree.models.bitlinear import Mode
from mmfree.models.matmul_free import MatMulFreeLM

IGNORED_LABEL = -100

_logger = logging.get_logger(__name__)


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
        InputError, not a warning. Names may hold those of wrappers, such as torch.compile's.
        """
        renamed = options.get("key_mapping") is None
        if renamed:
            options["key_mapping"] = {rf"\b{part}\.": "" for part in WRAPPERS}
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **options)
        model, info = loaded
        if renamed:
            # Or it would be saved under the wrapped names again.
            model._weight_conversions = []
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
        folder = Path(save_directory)
        # First, because transformers also uploads if it is asked to. A file in place of the folder
        # is its own error.
        if is_main_process and not folder.is_file() and not (folder / CARD_NAME).exists():
            folder.mkdir(parents=True, exist_ok=True)
            card = model_card(self.config, None, None)
            (folder / CARD_NAME).write_text(card, encoding="utf-8")
        super().save_pretrained(save_directory, is_main_process=is_main_process, **options)

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type = "AutoModelForCausalLM") -> None:
        """Nothing to do: folders carry ``mmfree.hf.remote_code``, not a copy of this file."""

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing to do: MatMulFreeLM sets its weights, and ``from_pretrained`` needs them all."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        state: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        position_ids: Tensor | None = None,
        seq_idx: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **unsupported: Any,
    ) -> MatMulFreeOutput | tuple[Tensor, ...]:
        """Logits, and the state to go on from.

        Parameters
        ----------
        input_ids
            Token ids, int64 [B, T].
        attention_mask
            1 for tokens, 0 for padding, [B, T]; with a state it may be longer, by what came before,
            and the last T columns count. In each row the tokens must be consecutive: padding is on
            the left or on the right. It does not touch the state, and its logits are 0.
        state
            State after the tokens that came before, float32 [B, L, d]; None: start of a sequence.
        labels
            Token ids to predict, [B, T], as usual the inputs themselves: they are shifted here.
            -100, the first token of each document and what follows padding do not count.
        use_cache
            Whether the output has the state; None: yes.
        return_dict
            False: a tuple without what is None; None: as the config says.
        position_ids
            Positions of the tokens in their documents, [B, T] or [1, T]. Where they begin again
            within a row, so does the state. Otherwise they have no meaning here.
        seq_idx
            Numbers of the documents, [B, T] or [1, T], to the same end.
        num_items_in_batch
            What the sum over the labels is divided by to give the loss; None: their number.

        Raises
        ------
        InputError
            If the mask has holes, ``position_ids`` leave some out, a shape is another, there are
            labels for a model whose head does not predict token ids, something is asked for that
            cannot take effect (``UNSUPPORTED``, an argument of another name, a hook on a module
            that is never called), or the weights are not float32.
        """
        check_arguments(unsupported, self.forward)
        check_arguments(
            {name: getattr(self.config, name, None) for name in CONFIG_ARGUMENTS}, self.forward
        )
        check_hooks(self.model)
        if self.dtype != torch.float32:
            raise InputError(
                f"the weights must be float32, got {self.dtype}: load the model with"
                " dtype=torch.float32"
            )
        if input_ids is None:
            raise InputError("input_ids are missing")
        if labels is not None:
            self._check_predicts_tokens("labels")
            if labels.shape != input_ids.shape:
                raise InputError(
                    f"labels must be shaped as input_ids, {tuple(input_ids.shape)}, got"
                    f" {tuple(labels.shape)}"
                )
        layout = find_layout(
            input_ids,
            attention_mask,
            position_ids,
            seq_idx,
            from_state=state is not None,
        )
        device = input_ids.device.type
        if torch.is_autocast_enabled(device):
            _logger.warning_once(
                "autocast (bf16, fp16) has no effect on this model: it computes in integers that"
                " float32 holds exactly"
            )
        # Sums of products are exact in float32, and would not be in what autocast takes.
        with torch.autocast(device, enabled=False):
            logits_BTr, state_BLd = self._run(input_ids, layout, state)
        loss = None
        if labels is not None:
            if layout is not None:
                labels = labels.masked_fill(~layout.predicted(), IGNORED_LABEL)
            # The model is time-major inside; transformers flattens by view.
            loss = self.loss_function(
                logits=logits_BTr.contiguous(),
                labels=labels,
                vocab_size=self.config.head_size,
                num_items_in_batch=num_items_in_batch,
            )
        keeps_state = use_cache is None or use_cache
        output = MatMulFreeOutput(
            loss=loss, logits=logits_BTr, state=state_BLd if keeps_state else None
        )
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output.to_tuple() if as_dict is False else output

    def _mode(self) -> Mode:
        if self.config.mode not in MODES:
            raise not_one_of("config: mode", self.config.mode, MODES)
        if self.config.mode == "float":
            return "float"
        return "train" if self.training else "fakequant"

    def _run(
        self, ids_BT: Tensor, layout: Layout | None, state_BLd: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, T, r] and state [B, L, d].

        Documents of the same length go through the model together, without padding.
        """
        if layout is None or layout.is_whole():
            before_LBd = None if state_BLd is None else state_BLd.transpose(0, 1)
            logits_BTr, after_LBd = self.model(ids_BT, before_LBd, self._mode())
            return logits_BTr, after_LBd.transpose(0, 1)
        batch, time = ids_BT.shape
        if state_BLd is None:
            state_BLd = self.model.initial_state(batch).transpose(0, 1)
        logits_BTr = torch.zeros((batch, time, self.config.head_size), device=ids_BT.device)
        after_BLd = state_BLd.clone()
        by_length: dict[int, list[Document]] = defaultdict(list)
        for document in layout.documents():
            by_length[document.stop - document.start].append(document)
        for length, documents in sorted(by_length.items()):
            rows = torch.tensor([document.row for document in documents], device=ids_BT.device)
            starts = torch.tensor([document.start for document in documents], device=ids_BT.device)
            columns = starts[:, None] + torch.arange(length, device=ids_BT.device)
            continues = torch.tensor([one.continues for one in documents], device=ids_BT.device)
            before_NLd = state_BLd[rows] * continues[:, None, None]
            logits, after_LNd = self.model(
                ids_BT[rows[:, None], columns], before_NLd.transpose(0, 1), self._mode()
            )
            logits_BTr[rows[:, None], columns] = logits
            last = torch.tensor([one.last for one in documents], device=ids_BT.device)
            after_BLd[rows[last]] = after_LNd.transpose(0, 1)[last]
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

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As in transformers, without what is for ``generate`` itself: it reads stop texts."""
        kwargs.pop("tokenizer", None)
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(*args, **kwargs)
        return inputs

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, *args: Any, **options: Any
    ) -> Any:
        for name in ("cache_implementation", "cache_config"):
            if getattr(generation_config, name, None) is not None:
                raise InputError(f"generate: {name}: {UNSUPPORTED['cache']}")
        # In transformers self is a protocol, which mypy does not find in us.
        return super()._prepare_cache_for_generation(  # type: ignore[misc]
            generation_config, *args, **options
        )

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

"""The config of a model in a Hugging Face folder: its shape, and what belongs to the checkpoint."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import fields
from os import PathLike
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError, not_one_of
from mmfree.hf.remote_code import auto_map, write_remote_code
from mmfree.training.presets import text_model

MODES = ("fakequant", "float")


class MatMulFreeConfig(PreTrainedConfig):
    """``config.json`` of a Hugging Face folder: shape and arithmetic of a MatMul-free model.

    Parameters
    ----------
    mode
        "fakequant": the chip's arithmetic (docs/arithmetic.md), so that logits equal the golden
        model's; in training (``model.train()``) with the fast scan. "float": the same ternary
        weights, activations not quantized.
    recipe
        How the model was trained: the recipe of ``mmfree.training.recipe.Recipe`` as plain JSON
        types. Making a checkpoint of mmfree of the folder again needs it.
    tokenizer
        ``{"kind": ...}`` of mmfree's tokenizer. The data of a trained tokenizer are in
        ``tokenizer.json``.
    bos_token_id, eos_token_id, pad_token_id
        Token that starts a sequence, token that ends one (or a list of such), and token to pad
        with; None if there is none.
    fields
        Those of ``ModelConfig``: vocab_size, head_size, hidden_size, intermediate_size, num_layers
        (also ``num_hidden_layers``), gate, token_shift. By default those of the preset "text".

    Raises
    ------
    InputError
        If the mode is unknown, recipe or tokenizer is not an object, or a field of the model or a
        token is out of range.
    """

    model_type = "mmfree"
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "num_layers"}
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["state"]

    def __init__(
        self,
        *,
        mode: str = "fakequant",
        recipe: dict[str, Any] | None = None,
        tokenizer: dict[str, Any] | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | list[int] | None = None,
        pad_token_id: int | None = None,
        tie_word_embeddings: bool = False,
        **values: Any,
    ) -> None:
        if mode not in MODES:
            raise not_one_of("config: mode", mode, MODES)
        if tie_word_embeddings:
            raise InputError(
                "config: tie_word_embeddings must be false: the head is ternary, the embedding"
                " is not"
            )
        for name, value in (("recipe", recipe), ("tokenizer", tokenizer)):
            if value is not None and not isinstance(value, dict):
                raise InputError(f"config: {name} must be an object, got {value!r}")
        self.mode = mode
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.bos_token_id, self.eos_token_id, self.pad_token_id = (
            bos_token_id,
            eos_token_id,
            pad_token_id,
        )
        self.tie_word_embeddings = False
        if "num_hidden_layers" in values:
            values["num_layers"] = values.pop("num_hidden_layers")
        given = {
            field.name: values.pop(field.name)
            for field in fields(ModelConfig)
            if field.name in values
        }
        model = ModelConfig.from_dict(text_model().to_dict() | given)
        for name, size in model.to_dict().items():
            setattr(self, name, size)
        for name, token in (("bos_token_id", bos_token_id), ("eos_token_id", eos_token_id)):
            _check_tokens(name, token, model.vocab_size)
        _check_names(values)
        # As a folder has it, the name of its repository may stand in front.
        super().__init__(**values | {"auto_map": auto_map()})

    def save_pretrained(  # type: ignore[override]  # the options are passed on as they are
        self, save_directory: str | PathLike[str], **options: Any
    ) -> None:
        """As in transformers, with the files that ``trust_remote_code=True`` needs."""
        super().save_pretrained(save_directory, **options)
        write_remote_code(save_directory)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Nothing to do: folders carry ``mmfree.hf.remote_code``, not a copy of this file."""

    def model_config(self) -> ModelConfig:
        """The shape as ``mmfree`` has it; InputError if a field was set to what is out of range."""
        return ModelConfig.from_dict(
            {
                field.name: getattr(self, field.name)
                for field in fields(ModelConfig)
                if hasattr(self, field.name)
            }
        )


def _check_names(values: dict[str, Any]) -> None:
    """InputError for a name that is nearly one of ours.

    Others are kept, as in transformers: its own fields, of whatever version, and other programs'.
    """
    ours = inspect.signature(MatMulFreeConfig.__init__).parameters.keys() - {"self", "values"}
    ours |= {field.name for field in fields(ModelConfig)}
    for name in values:
        near = difflib.get_close_matches(name, ours, n=1, cutoff=0.85)
        if near and not hasattr(PreTrainedConfig, name):
            raise InputError(f"config: there is no {name}; is {near[0]} meant?")


def _check_tokens(name: str, value: Any, vocab_size: int) -> None:
    several = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if name != "eos_token_id" and several is value:
        raise InputError(f"config: {name} must be one token id, got {value!r}")
    for token in several:
        if type(token) is not int or not 0 <= token < vocab_size:
            raise InputError(f"config: {name} must lie in 0..{vocab_size - 1}, got {token!r}")

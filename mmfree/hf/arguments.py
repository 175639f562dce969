"""What the model may be asked for: whatever could not take effect is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mmfree.errors import InputError
from mmfree.hf.documents import PACKING
from mmfree.models.bitlinear import BitLinear

UNSUPPORTED = {
    "inputs_embeds": "the embedding is part of the arithmetic; give input_ids",
    "past_key_values": "there are no keys and values; give state",
    "cache": "there are no keys and values; give state",
    "output_hidden_states": "hidden states are not kept; state is what the model remembers",
    "output_attentions": "there is no attention",
    "shift_labels": "labels are shifted here; give labels",
    "cu_seq_lens_q": f"belongs to attention; {PACKING}",
    "cu_seq_lens_k": f"belongs to attention; {PACKING}",
}
"""Arguments of other models, and what there is in their place. None and False ask for nothing."""

CONFIG_ARGUMENTS = ("output_hidden_states", "output_attentions")
"""Those that a config may hold."""


def check_arguments(asked: Mapping[str, Any], forward: Callable[..., Any]) -> None:
    """Check arguments that ``forward`` has no parameter for.

    Raises
    ------
    InputError
        If one asks for something, or is not known at all.
    """
    for name, value in asked.items():
        if name not in UNSUPPORTED:
            parameters = inspect.signature(forward).parameters.values()
            known = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD]
            raise InputError(f"{name}: forward has no such argument; it has {', '.join(known)}")
        if value is not None and value is not False:
            raise InputError(f"{name}: {UNSUPPORTED[name]}")


def check_hooks(model: nn.Module) -> None:
    """InputError for a hook on a module whose weights are used without calling it."""
    for name, module in model.named_modules():
        if isinstance(module, BitLinear | nn.Embedding) and (
            module._forward_hooks or module._forward_pre_hooks
        ):
            raise InputError(
                f"a hook on model.{name} cannot take effect: its weights are quantized and used"
                " without calling it (NEFTune: leave neftune_noise_alpha unset)"
            )

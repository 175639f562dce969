"""Names of tensors in files, whoever saved them."""

from __future__ import annotations

WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of a name that stand for no module: a model was saved through what wraps it for compiling,
or for training on several devices."""


def without_wrappers(name: str) -> str:
    """The name that a tensor has without what wraps its model, or a part of it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)

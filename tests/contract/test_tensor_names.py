"""Names of tensors without what wraps their model."""

from __future__ import annotations

import pytest

from mmfree.contract.tensor_names import without_wrappers


@pytest.mark.parametrize(
    "name",
    [
        "layers.0.mixer.f.bias",
        "_orig_mod.layers.0.mixer.f.bias",
        "module.layers.0.mixer.f.bias",
        "module._orig_mod.layers.0.mixer.f.bias",
        "_fsdp_wrapped_module.layers.0._checkpoint_wrapped_module.mixer.f.bias._orig_mod",
        "layers.0._orig_mod.mixer._fsdp_wrapped_module.f.bias",
    ],
)
def test_wrappers_are_left_out_wherever_they_are(name: str) -> None:
    assert without_wrappers(name) == "layers.0.mixer.f.bias"


def test_only_whole_parts_are_wrappers() -> None:
    assert without_wrappers("modules.0.module_list.weight") == "modules.0.module_list.weight"

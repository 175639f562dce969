"""The Python files of a Hugging Face folder, which ``trust_remote_code=True`` runs.

They import the classes from the installed package, so that a folder is computed by the arithmetic
of the product and not by an old copy of it. Where the package is missing, transformers names it.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

AUTO_CLASSES = {
    "AutoConfig": ("configuration_mmfree", "mmfree.hf.config", "MatMulFreeConfig"),
    "AutoModelForCausalLM": ("modeling_mmfree", "mmfree.hf.model", "MatMulFreeForCausalLM"),
}
"""Auto class -> module in the folder, and where that gets which class from."""

_TEMPLATE = '''\
"""{name} for transformers (`trust_remote_code=True`): code of the package mmfree.

If that is missing: pip install 'mmfree[hf]'
"""

from {module} import {name}

__all__ = ["{name}"]
'''


def auto_map() -> dict[str, str]:
    """What ``config.json`` says of the files."""
    return {auto: f"{file}.{name}" for auto, (file, _, name) in AUTO_CLASSES.items()}


def write_remote_code(folder: str | PathLike[str]) -> None:
    """Write the files that ``auto_map`` names."""
    for file, module, name in AUTO_CLASSES.values():
        text = _TEMPLATE.format(name=name, module=module)
        (Path(folder) / f"{file}.py").write_text(text, encoding="utf-8")

"""Ternary language models without matrix multiplication, from text to an addition-only chip.

``mmfree.load``, ``train``, ``export``, ``evaluate``, ``generate``, ``fit``, ``verilog`` and
``cosim`` are the functions of ``mmfree.api``, imported when one is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmfree.api import cosim, evaluate, export, fit, generate, load, train, verilog

__version__ = "0.1.0"

__all__ = ["cosim", "evaluate", "export", "fit", "generate", "load", "train", "verilog"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from mmfree import api

        return getattr(api, name)
    if name == "errors":
        return import_module("mmfree.errors")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

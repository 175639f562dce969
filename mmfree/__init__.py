"""Ternary language models without matrix multiplication, from text to an addition-only chip.

``mmfree.load``, ``train``, ``export``, ``evaluate``, ``generate``, ``verilog`` and ``cosim`` are
the functions of ``mmfree.api``, imported when one is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_FUNCTIONS = frozenset({"cosim", "evaluate", "export", "generate", "load", "train", "verilog"})


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        from mmfree import api

        return getattr(api, name)
    if name == "errors":
        return import_module("mmfree.errors")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FUNCTIONS})

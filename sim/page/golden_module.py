"""The fast player's plain path as a WebAssembly module, which checks the chip in a page."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mmfree.inference.native.compiling import ARITHMETIC_FLAGS, SOURCE_FOLDER
from sim.page.chip_module import NATIVE
from sim.page.zig import build_module

_PLAYER = ("kernels_plain", "player", "pow2", "sampler", "scalars", "weights")
"""Sources of the player: what plays tapes that were trained here."""

_OWN = ("golden", "alone")

_OPTIONS = (
    "-std=c++20",
    *ARITHMETIC_FLAGS,
    # Nothing is thrown: want of memory is a trap.
    "-fno-exceptions",
    *("-DMMFREE_ALONE", f"-I{SOURCE_FOLDER}"),
)


def golden_module() -> bytes:
    """Compile the module; its exports are those of native/golden.cpp.

    Raises
    ------
    ToolMissing
        If zig is not installed.
    """
    sources = [SOURCE_FOLDER / f"{name}.cpp" for name in _PLAYER]
    sources += [NATIVE / f"{name}.cpp" for name in _OWN]
    with tempfile.TemporaryDirectory(prefix="mmfree-page-") as name:
        folder = Path(name).resolve()
        return build_module(sources, folder, target="wasm32-wasi", options=_OPTIONS)

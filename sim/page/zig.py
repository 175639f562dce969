"""WebAssembly from C++, by the clang that comes with zig."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from mmfree.errors import ToolMissing
from mmfree.extras import how_to_install
from sim.simulators.tools import run_tools

_COMPILE = (
    *("-O2", "-flto", "-g0", "-fvisibility=hidden"),
    *("-fno-rtti", "-fno-threadsafe-statics", "-fno-sanitize=all"),
)

_LINK = ("--no-entry", "--strip-all", "--export-dynamic", "--gc-sections", "--lto-O2")
"""Without an entry, all that is marked as visible is exported."""


def find_zig() -> Path:
    """The zig program of the package ziglang.

    Raises
    ------
    ToolMissing
        If it is not installed.
    """
    if (spec := importlib.util.find_spec("ziglang")) and spec.origin:
        for name in ("zig", "zig.exe"):
            if (program := Path(spec.origin).parent / name).is_file():
                return program
    raise ToolMissing(f"zig was not found, which compiles pages: `{how_to_install('page')}`")


def build_module(
    sources: Sequence[Path], folder: Path, *, target: str, options: Sequence[str]
) -> bytes:
    """Compile and link sources to a WebAssembly module that imports nothing.

    Everything is made in ``folder``/obj, zig's caches included: what is made is decided by the
    sources alone.

    Raises
    ------
    SimulatorError
        If zig refuses them; the log of what it said is in ``folder``.
    ToolMissing
        If zig is not installed.
    """
    zig, made = str(find_zig()), folder / "obj"
    objects = [f"{source.stem}.o" for source in sources]
    compile_all = [
        [*(zig, "c++", "-c", "-target", target), *_COMPILE, *options, str(source), "-o", name]
        for source, name in zip(sources, objects, strict=True)
    ]
    link = [zig, "wasm-ld", *_LINK, *objects, "-o", "module.wasm"]
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": "cache", "ZIG_LOCAL_CACHE_DIR": "cache"}
    run_tools([*compile_all, link], folder, environment, of="zig", source=sources[0])
    return (made / "module.wasm").read_bytes()

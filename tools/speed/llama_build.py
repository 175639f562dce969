"""llama.cpp, built in an environment of its own, once.

python = built_python(default_folder(), default_build())       # in ~/.cache/mmfree/llama.cpp
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from mmfree.errors import ToolMissing

VERSION = "0.3.36"
"""Of llama-cpp-python, whose source distribution holds llama.cpp's sources."""

BUILDS = {
    "avx2": (
        *("-DGGML_NATIVE=OFF", "-DGGML_AVX512=OFF"),
        *("-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON"),
    ),
    "native": ("-DGGML_NATIVE=ON",),
}
"""Settings of CMake: for AVX2, or for all that this processor has."""

SETTINGS = ("-DCMAKE_BUILD_TYPE=Release", "-DGGML_OPENMP=ON", "-DLLAVA_BUILD=OFF")
"""Of every build. llama.cpp's own threads, without OpenMP, begin anew for every token."""

PACKAGES = (f"llama-cpp-python=={VERSION}", "numpy", "gguf")

DONE_NAME = "built.txt"
"""File that says what was built, when it has been."""

LOG_NAME = "build.log"

_ERROR = re.compile(r"CMake Error|\berror: (?!subprocess)|ERROR: (?!Failed|Could not build)")
"""In what pip, CMake and compilers say; pip's own say no more than which package it was."""


def default_folder() -> Path:
    """mmfree/llama.cpp in $XDG_CACHE_HOME, by default ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mmfree" / "llama.cpp"


def default_build() -> str:
    """The one of BUILDS that is faster: for x86 processors, TQ2_0's code is AVX2's at best."""
    return "avx2" if platform.machine() in ("x86_64", "AMD64") else "native"


def wanted(build: str) -> str:
    """What the file of a build says."""
    return "\n".join([*PACKAGES, *SETTINGS, *BUILDS[build], ""])


def built_python(place: Path, build: str) -> Path:
    """The Python that has llama_cpp and gguf, in a folder of each build: built unless it has been.

    Raises
    ------
    ToolMissing
        If the folder cannot be written or the build fails; the message holds its first error.
    """
    folder = place.absolute() / build
    python, done = folder / "bin" / "python", folder / DONE_NAME
    if done.exists() and done.read_text(encoding="utf-8") == wanted(build):
        return python
    print(f"building llama.cpp in {folder}, once: some minutes", file=sys.stderr, flush=True)
    pip = [python, "-m", "pip", "install", "--no-binary", "llama-cpp-python"]
    environment = os.environ | {"CMAKE_ARGS": " ".join([*SETTINGS, *BUILDS[build]])}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        log = folder / LOG_NAME
        log.write_bytes(b"")
        _run([sys.executable, "-m", "venv", folder], environment, log)
        # A wheel that pip kept may be of another processor or of other settings.
        _run([*pip, "--no-cache-dir", "--force-reinstall", *PACKAGES], environment, log)
        done.write_text(wanted(build), encoding="utf-8")
    except OSError as error:
        raise ToolMissing(
            f"llama.cpp cannot be built: {error.filename or folder}: {error.strerror or error};"
            " name another folder with --llama"
        ) from None
    return python


def _run(command: list[str | Path], environment: dict[str, str], log: Path) -> None:
    with log.open("ab") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = [line for line in lines if _ERROR.search(line)] or lines or ["it said nothing"]
        raise ToolMissing(f"llama.cpp could not be built: {told[0].strip()} (all of it: {log})")

"""The library of the fast player, loaded, with its functions declared (src/api.cpp)."""

from __future__ import annotations

import ctypes
import os
from ctypes import (
    CDLL,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from pathlib import Path

from mmfree.errors import InputError, ToolMissing, not_one_of
from mmfree.inference.native.compiling import compiled_library, is_compiled, sources_digest

PATHS = ("plain", "avx2", "avx512", "neon")
"""Instruction sets, in the order of the library's own numbers; the later, the faster."""

PATH_VARIABLE = "MMFREE_CPU_PATH"
"""Environment variable that names the path to take, for tests and comparisons."""

CPU_SHARE = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of all processors in so many, or "max"; where there is no such file, no limit."""

NUM_SITES = 7
"""Places for counters of saturations, whatever the arithmetic."""


class Settings(Structure):
    """See src/player.h."""

    _fields_ = [
        *(
            (name, c_int32)
            for name in (
                "arithmetic",
                "path",
                "threads",
                "hidden_size",
                "intermediate_size",
                "num_layers",
                "vocab_size",
                "head_size",
                "embedding_shift",
                "forget_fb",
                "gate",
                "index_shift",
                "product_shift",
                "token_shift",
                "residual_fb",
                "activation_fb",
                "logit_fb",
            )
        ),
        ("eps_mantissa", c_int64),
        ("eps_exponent", c_int64),
    ]


class Choice(Structure):
    """See src/sampler.h."""

    _fields_ = [
        ("a", c_uint64),
        ("b", c_uint64),
        ("gumbel", c_void_p),
        ("choosable", c_void_p),
        ("temperature", c_int32),
        ("logit_fb", c_int32),
    ]


_FUNCTIONS = {
    "sources": (c_char_p, ()),
    "paths": (c_uint32, ()),
    "new": (c_void_p, (POINTER(Settings),)),
    "delete": (None, (c_void_p,)),
    "set_embedding": (None, (c_void_p, c_void_p, c_void_p)),
    "set_matrix": (c_int, (c_void_p, c_int, c_int, c_void_p, c_int64, c_int64)),
    "set_pow2_tables": (None, (c_void_p, c_void_p, c_void_p, c_void_p)),
    "set_pow2_constants": (None, (c_void_p, c_int, c_int, c_int32, c_int32)),
    "set_pow2_bias": (None, (c_void_p, c_int, c_void_p)),
    "set_absmax_tables": (None, (c_void_p, c_void_p, c_void_p, c_void_p)),
    "set_absmax_segment": (None, (c_void_p, c_int, c_void_p, c_int32, c_int64, c_int64)),
    "set_absmax_constants": (
        None,
        (c_void_p, c_int, c_int, c_void_p, c_int32, c_int64, c_int64),
    ),
    "run": (None, (c_void_p, c_void_p, c_int, c_int, *(c_void_p,) * 2, c_int32, c_void_p)),
    "generate": (
        c_int,
        (
            *(c_void_p, POINTER(Choice), c_void_p, c_void_p),
            *(POINTER(c_uint8), c_int, c_int, c_void_p),
        ),
    ),
    "take_saturations": (None, (c_void_p, c_void_p)),
    "set_threads": (None, (c_void_p, c_int)),
    "weights": (c_void_p, (c_void_p,)),
    "weights_bytes": (c_uint64, (c_void_p,)),
    "read_weights": (c_double, (c_void_p,)),
    "try_glu": (None, (c_int, c_void_p, c_void_p, c_int, c_void_p)),
    "try_quantize": (c_int32, (c_int, c_void_p, c_void_p, c_int, c_void_p)),
    "try_sum": (None, (c_int, c_void_p, c_int, c_void_p)),
}
"""Name, without "mmfree_" -> type of the result, types of the parameters."""


@cache
def load_library() -> CDLL:
    """The library that was installed, if it is of these sources, or else the compiled one.

    Raises
    ------
    ToolMissing
        If there is none and it cannot be compiled (``compiled_library``).
    """
    wanted = sources_digest().encode()
    for path in sorted(Path(__file__).parent.glob("_player*.so")):
        # Of a clone that was changed since, or of another machine: then it is compiled anew.
        try:
            library = _declared(path)
        except (OSError, AttributeError):
            continue
        if library.mmfree_sources() == wanted:
            return library
    path = compiled_library()
    try:
        return _declared(path)
    except (OSError, AttributeError) as error:
        raise ToolMissing(
            f"the fast player cannot be loaded: {error}; delete {path.parent}"
        ) from None


def is_at_hand() -> bool:
    """Whether there is a library already: with the package, or compiled before."""
    return any(Path(__file__).parent.glob("_player*.so")) or is_compiled()


def _declared(path: Path) -> CDLL:
    library = ctypes.CDLL(str(path))
    for name, (result, parameters) in _FUNCTIONS.items():
        function = getattr(library, f"mmfree_{name}")
        function.restype, function.argtypes = result, parameters
    return library


def paths_here() -> tuple[str, ...]:
    """Paths that this processor has, the fastest last."""
    bits: int = load_library().mmfree_paths()
    return tuple(name for number, name in enumerate(PATHS) if bits >> number & 1)


def chosen_path() -> str:
    """The path that is taken: the fastest, or the one that PATH_VARIABLE names.

    Raises
    ------
    InputError
        If it names none that there is, or that this processor has.
    """
    asked, here = os.environ.get(PATH_VARIABLE), paths_here()
    if not asked:
        return here[-1]
    if asked not in PATHS:
        raise not_one_of(PATH_VARIABLE, asked, PATHS)
    if asked not in here:
        raise InputError(
            f"{PATH_VARIABLE}={asked}: this processor does not have it, but {', '.join(here)}"
        )
    return asked


def check_threads(asked: int) -> None:
    """InputError for more threads than there are processors: they would only be in the way."""
    if not 1 <= asked <= allowed_threads():
        raise InputError(
            f"--threads must lie in 1..{allowed_threads()}, the processors that there are, got"
            f" {asked}"
        )


def allowed_threads() -> int:
    """Processors that this process may use, of a container's share, too."""
    if hasattr(os, "sched_getaffinity"):
        number = len(os.sched_getaffinity(0))
    else:
        number = os.cpu_count() or 1
    try:
        quota, period = CPU_SHARE.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return number
    return number if quota == "max" else max(1, min(number, int(quota) // int(period)))

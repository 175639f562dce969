"""The fast player's NEON path: the tests of exactness and of hard steps, on an emulated Arm.

The library is compiled for 64-bit Arm by Zig's clang, and played by qemu-user; models, the golden
model and the comparison stay here.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmfree.inference.native import library, player
from mmfree.inference.native.compiling import FLAGS, SOURCE_FOLDER, sources
from mmfree.inference.native.library import PATH_VARIABLE, PATHS, Choice, paths_here
from tests.inference.native import test_player, test_steps
from tests.inference.native.test_player import (
    test_a_sequence_goes_on_from_its_state,
    test_drawing_ends_with_what_ends_a_text,
    test_models_trained_here,
    test_products_beyond_32_bits,
    test_published_checkpoints,
    test_rows_are_drawn_as_the_sampler_draws_them,
    test_the_fastest_path_is_taken,
    test_weights_that_are_no_codes_are_refused,
    two_processors,
)
from tests.inference.native.test_steps import (
    test_halves_are_rounded_away_from_zero,
    test_products_are_cut_not_rounded,
    test_sums_are_exact_to_their_last_bit,
)

__all__ = [
    "test_a_sequence_goes_on_from_its_state",
    "test_drawing_ends_with_what_ends_a_text",
    "test_halves_are_rounded_away_from_zero",
    "test_models_trained_here",
    "test_products_are_cut_not_rounded",
    "test_products_beyond_32_bits",
    "test_published_checkpoints",
    "test_rows_are_drawn_as_the_sampler_draws_them",
    "test_sums_are_exact_to_their_last_bit",
    "test_the_fastest_path_is_taken",
    "test_weights_that_are_no_codes_are_refused",
    "two_processors",
]
"""Collected here once more, with the library of ``emulated``."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="qemu-user is a program of Linux"),
]

TARGET = "aarch64-linux-musl"
"""With a C library that is linked into the program: an emulator finds no other."""

PATHS_OF = {"max": ("plain", "neon"), "cortex-a53": ("plain",)}
"""The emulator's name of a processor -> paths that it must have."""

SERVER = Path(__file__).with_name("serve_calls.cpp")


class EmulatedLibrary:
    """The library in a process of its own, as an object of ctypes: see serve_calls.cpp.

    A call goes there with what its arrays hold, and leaves in them what it makes of them there.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        assert name.startswith("mmfree_"), name
        return partial(self._call, name)

    def _call(self, name: str, *given: Any) -> int:
        if self._to.closed:
            assert name == "mmfree_delete", "only what failed outlives its process"
            return 0
        self.calls[name] += 1
        arguments = [part for argument in given for part in _parts(argument)]
        message = struct.pack("=32sq", name.encode(), len(arguments))
        for argument in arguments:
            if isinstance(argument, int):
                message += struct.pack("=qq", -1, argument)
            else:
                message += struct.pack("=qq", argument.nbytes, 0) + argument.tobytes()
        self._to.write(message)
        self._to.flush()
        (result,) = struct.unpack("=q", self._read(8))
        for argument in arguments:
            if not isinstance(argument, int):
                found = np.frombuffer(self._read(argument.nbytes), argument.dtype)
                if argument.flags.writeable:
                    argument[...] = found.reshape(argument.shape)
                else:
                    assert found.tolist() == argument.ravel().tolist()
        assert isinstance(result, int)
        return result

    def _read(self, size: int) -> bytes:
        found = self._from.read(size)
        assert len(found) == size, "the emulated process ended"
        return found


def _parts(argument: Any) -> list[int | NDArray[Any]]:
    """What an argument is for serve_calls.cpp."""
    if argument is None:
        return [0]
    if isinstance(argument, np.ndarray):
        return [argument]
    if isinstance(argument, Choice):
        gumbel, choosable = argument.tables
        return [np.frombuffer(argument, np.uint8), gumbel, 0 if choosable is None else choosable]
    if isinstance(argument, ctypes.Structure):
        return [np.frombuffer(argument, np.uint8)]
    if isinstance(argument, ctypes._Pointer):
        return [argument._arr]
    return [int(argument)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """serve_calls.cpp with the library's own sources and flags, for Arm."""
    made = tmp_path_factory.mktemp("neon") / "serve_calls"
    command = [
        *(sys.executable, "-m", "ziglang", "c++", "-target", TARGET, "-static"),
        *(*FLAGS, "-I", str(SOURCE_FOLDER)),
        # The server includes it.
        *(str(path) for path in sources() if path.name != "api.cpp"),
        *(str(SERVER), "-o", str(made)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"`make arm` installs the compiler:\n{done.stderr[-3000:]}"
    return made


@contextmanager
def emulated_by(
    program: Path, processor: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmulatedLibrary]:
    """Until then, the players of this process play on an emulated processor."""
    folders = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    names = ("qemu-aarch64", "qemu-aarch64-static")
    found = [qemu for name in names if (qemu := shutil.which(name, path=folders)) is not None]
    assert found, "no qemu-aarch64 on PATH: run `make arm`"
    command = [found[0], "-cpu", processor, str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        made = EmulatedLibrary(process)
        with monkeypatch.context() as patch:
            patch.delenv(PATH_VARIABLE, raising=False)
            for module in (library, player, test_steps):
                patch.setattr(module, "load_library", lambda: made)
            # Arrays instead of their addresses: their contents are sent.
            patch.setattr(player, "_address", lambda array: array)
            patch.setattr(test_steps, "of", lambda array: array)
            patch.setattr(test_steps, "HERE", [PATHS.index(path) for path in paths_here()])
            yield made
    assert process.returncode == 0


@pytest.fixture(autouse=True)
def emulated(
    request: pytest.FixtureRequest, program: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """What a test plays is played there: on an Arm with all that the emulator knows, by default."""
    processor = getattr(request, "param", "max")
    with emulated_by(program, processor, monkeypatch) as made:
        assert paths_here() == PATHS_OF[processor]
        yield
        assert made.calls.keys() > {"mmfree_paths"}, "nothing was played there"


@pytest.mark.parametrize("emulated", ["cortex-a53"], indirect=True)
def test_an_arm_without_the_dot_product_plays_the_other_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Armv8.0: NEON is not offered, and no instruction is met that is not there."""
    for tape in (
        test_player.pow2_tape("signed", wild=True),
        test_player.absmax_tape(tmp_path, (11, 37, 53, 2), wild=True),
    ):
        assert test_player.check(tape, monkeypatch) == test_player.due(tape)

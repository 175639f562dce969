"""What pyproject.toml cannot say: a wheel holds the library of the fast player, compiled."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent))

# Needs the standard library only: what builds a wheel has setuptools, and no numpy.
from mmfree.inference.native.compiling import FLAGS, SOURCE_FOLDER, sources, sources_digest


def named(paths: Iterable[Path]) -> list[str]:
    """As setuptools wants them: relative to this folder."""
    return [path.relative_to(Path(__file__).resolve().parent).as_posix() for path in paths]


class BuildLibrary(build_ext):
    def run(self) -> None:
        # The library of an editable clone would be of other sources after the first edit, and
        # hide what $CXX asks for. There the loader compiles, when a tape is first played.
        if not self.editable_mode:
            super().run()


class BuildWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        # The library has no Python in it: one wheel is for every version that mmfree runs on.
        return "py3", "none", super().get_tag()[2]


LIBRARY = Extension(
    "mmfree.inference.native._player",
    named(sources()),
    depends=named(sorted(SOURCE_FOLDER.glob("*.h"))),
    define_macros=[("MMFREE_SOURCES", f'"{sources_digest()}"')],
    # Python's own flags come first and ask for debugging symbols: eight times the size.
    extra_compile_args=[*FLAGS, "-g0"],
    extra_link_args=[*FLAGS],
    language="c++",
    # No version of Python in the name of the file.
    py_limited_api=True,
    # Without a compiler the wheel is built without it: golden plays, and the loader looks again.
    optional=True,
)

# The sources need POSIX.
setup(
    ext_modules=[LIBRARY] if sys.platform != "win32" else [],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": BuildWheel},
)

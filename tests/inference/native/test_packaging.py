"""Wheels: with the library of the fast player, and without a compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from mmfree.inference.native.compiling import FLAGS, SOURCE_FOLDER, sources, sources_digest
from mmfree.tape.pow2 import write_tape
from tests.support.models import SMALL_TEXT, tape_of, trained

ROOT = Path(__file__).parents[3]
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("mmfree", "hdl", "sim")
NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}

ASK_SETUP = """
import json, runpy, sys
import setuptools

# Whoever builds in isolation has setuptools, and nothing of these.
sys.modules |= dict.fromkeys(("numpy", "threadpoolctl", "tqdm"))
setuptools.setup = lambda ext_modules, **others: print(json.dumps(vars(ext_modules[0])))
runpy.run_path("setup.py")
"""


def run(*command: object, **environment: str) -> str:
    """What a command prints, if it succeeds."""
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def pip(*arguments: object, **environment: str) -> None:
    command = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*command, *arguments, **environment)


def copied_tree(folder: Path) -> Path:
    """What a source archive is made of."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "_player*.so")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for file in FILES:
        shutil.copy(ROOT / file, folder)
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source archive."""
    tree = copied_tree(tmp_path_factory.mktemp("tree"))
    setup = f"import os; os.chdir({str(tree)!r}); from setuptools import build_meta"
    run(sys.executable, "-c", f"{setup}; build_meta.build_sdist('dist')")
    (path,) = (tree / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_tape(tape_of(trained(SMALL_TEXT, folder / "run")), folder / "a.tape")
    return folder / "a.tape"


def built_wheel(archive: Path, folder: Path, **environment: str) -> Path:
    pip("wheel", "--no-build-isolation", "--no-deps", "-w", folder, archive, **environment)
    (path,) = folder.glob("*.whl")
    assert "-py3-none-" in path.name
    return path


def installed(folder: Path, *what: object) -> Path:
    """The programs of a new environment, which borrows what mmfree needs from this one."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    Path(run(python, "-I", "-c", asked).strip(), "borrowed.pth").write_text("\n".join(paths) + "\n")
    # An mmfree that is borrowed is none that could be replaced.
    pip("--python", python, "install", "--no-deps", "--no-index", "--ignore-installed", *what)
    return python.parent


def played(
    programs: Path, tape: Path, backend: str, *, compilers: bool = False
) -> subprocess.CompletedProcess[str]:
    """A text, with nothing but the new environment's programs on PATH."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}" if compilers else str(programs)
    environment = {"PATH": path, "XDG_CACHE_HOME": str(cache_of(programs))}
    options = ("--prompt", "def f", "--tokens", "40", "--seed", "3", "--backend", backend)
    return subprocess.run(
        [programs / "mmfree", "generate", tape, *options],
        cwd=programs,
        env=environment,
        capture_output=True,
        text=True,
    )


def cache_of(programs: Path) -> Path:
    return programs / "cache"


def test_a_wheel_is_compiled_of_the_same_sources_with_the_same_flags() -> None:
    """And setup.py runs where nothing is installed that mmfree needs."""
    command = [sys.executable, "-c", ASK_SETUP]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [ROOT / path for path in found["sources"]] == sources()
    headers = {path for path in SOURCE_FOLDER.iterdir() if path.suffix == ".h"}
    assert {ROOT / path for path in found["depends"]} == headers
    assert found["define_macros"] == [["MMFREE_SOURCES", f'"{sources_digest()}"']]
    assert found["extra_compile_args"][: len(FLAGS)] == list(FLAGS)
    assert found["optional"] is True


@pytest.mark.slow
def test_a_wheel_of_a_source_archive_plays_without_a_compiler(
    archive: Path, tape: Path, tmp_path: Path
) -> None:
    programs = installed(tmp_path / "new", built_wheel(archive, tmp_path))
    texts = [played(programs, tape, backend) for backend in ("cpu", "golden")]
    assert texts[0].returncode == 0, texts[0].stderr
    assert texts[0].stdout == texts[1].stdout
    assert len(texts[0].stdout) > 40
    assert not cache_of(programs).exists(), "compiled anew"


@pytest.mark.slow
def test_a_wheel_is_built_without_a_compiler_and_asks_for_one_where_it_plays(
    archive: Path, tape: Path, tmp_path: Path
) -> None:
    programs = installed(tmp_path / "new", built_wheel(archive, tmp_path, **NO_COMPILER))
    refused = played(programs, tape, "cpu")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "no C++ compiler for the fast player: g++ and clang++ not found on PATH" in line
    assert "--backend golden" in line
    golden = played(programs, tape, "golden")
    assert golden.returncode == 0, golden.stderr
    assert played(programs, tape, "cpu", compilers=True).stdout == golden.stdout
    assert len(list(cache_of(programs).rglob("player.so"))) == 1


@pytest.mark.slow
def test_an_editable_clone_has_no_library_that_could_become_old(tmp_path: Path) -> None:
    tree = copied_tree(tmp_path / "tree")
    programs = installed(tmp_path / "new", "--no-build-isolation", "--editable", tree)
    found = "import mmfree.inference.native as found; print(found.__file__)"
    assert run(programs / "python", "-I", "-c", found).startswith(str(tree))
    assert not list(tree.rglob("*.so"))

"""How the library of the fast player comes to be, and what is said where it cannot."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numpy._core import _multiarray_umath

from mmfree.errors import ToolMissing
from mmfree.inference.backends import load_backend, tape_player
from mmfree.inference.native import compiling, library
from mmfree.inference.native.compiling import compiled_library, find_compiler, sources_digest
from mmfree.inference.native.library import load_library
from mmfree.tape.pow2 import write_tape
from tests.support.models import SMALL_ADDITION, tape_of, trained

Compiler = Callable[[str], Path]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mmfree" / "player"


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """A program that $CXX names: it notes its calls, and does what is asked for."""

    def make(does: str) -> Path:
        path = tmp_path / "compiler"
        path.write_text(
            f'#!/bin/sh\nfor out; do :; done\n[ "$out" = --version ] && exit\n'
            f"echo called >> {tmp_path}/calls\n{does}\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CXX", str(path))
        return tmp_path / "calls"

    return make


def message_of(action: Callable[[], object]) -> str:
    with pytest.raises(ToolMissing) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_library_is_compiled_once_whoever_asks(cache: Path, compiler: Compiler) -> None:
    calls = compiler("sleep 0.3; echo library > $out")
    with ThreadPoolExecutor(4) as pool:
        paths = {path.result() for path in [pool.submit(compiled_library) for _ in range(4)]}
    (path,) = paths
    assert path.is_relative_to(cache)
    assert path.read_text() == "library\n"
    assert calls.read_text() == "called\n"
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["lock", "player.so"]


def test_other_sources_flags_or_compilers_are_another_library(
    cache: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler("echo library > $out")
    paths = [compiled_library()]
    monkeypatch.setenv("CXX", f"{os.environ['CXX']} -O1")
    paths.append(compiled_library())
    monkeypatch.setattr(compiling, "FLAGS", ("-O2",))
    paths.append(compiled_library())
    monkeypatch.setattr(compiling.platform, "machine", lambda: "another")
    paths.append(compiled_library())
    monkeypatch.setattr(compiling, "sources_digest", lambda: "0")
    paths.append(compiled_library())
    assert len(set(paths)) == len(paths)
    assert all(path.exists() for path in paths)


def test_the_digest_is_of_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "SOURCE_FOLDER", tmp_path)
    for name in ("a.cpp", "b.h"):
        (tmp_path / name).write_text("1")
    digests = [sources_digest()]
    for name in ("a.cpp", "b.h"):
        (tmp_path / name).write_text("2")
        digests.append(sources_digest())
    (tmp_path / "c.txt").write_text("no source")
    assert sources_digest() == digests[-1]
    assert len(set(digests)) == 3


def test_a_compiler_that_fails_is_quoted(cache: Path, compiler: Compiler) -> None:
    compiler("echo first line >&2; echo 'fatal: no such thing' >&2; exit 3")
    message = message_of(compiled_library)
    assert "could not be compiled by " in message
    assert "fatal: no such thing (all of it: " in message
    (log,) = cache.rglob("compiler.log")
    assert log.read_text() == "first line\nfatal: no such thing\n"
    assert not list(cache.rglob("*.so"))
    compiler("echo 'a.h:1: error: wrong' >&2; echo '  | ^~~' >&2; exit 1")
    assert "a.h:1: error: wrong (all of it: " in message_of(compiled_library)
    compiler("exit 3")
    assert "exit code 3" in message_of(compiled_library)
    compiler("exit 0")
    assert "exit code 0, and nothing was made" in message_of(compiled_library)


def test_a_compiler_that_is_no_program_is_told(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", 'g++ "')
    assert "no C++ compiler for the fast player: $CXX: No closing" in message_of(find_compiler)
    (tmp_path / "text").write_bytes(b"\0 no program")
    (tmp_path / "text").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "text"))
    message = message_of(compiled_library)
    assert "could not be compiled: " in message
    assert "Exec format error; set CXX" in message


def test_no_compiler_is_told_with_what_plays_all_the_same(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    message = message_of(find_compiler)
    assert "no C++ compiler for the fast player: g++ and clang++ not found on PATH" in message
    monkeypatch.setenv("CXX", "nothing -O2")
    assert "$CXX, nothing, not found" in message_of(find_compiler)


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler("echo library > $out")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    message = message_of(compiled_library)
    assert "the fast player cannot be kept: " in message
    assert "set XDG_CACHE_HOME to a folder that can be written" in message
    monkeypatch.setenv("XDG_CACHE_HOME", "a" * 300)
    assert "cannot be kept: " in message_of(compiled_library)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert "cannot be kept: Could not determine home" in message_of(compiled_library)


def test_an_installed_library_of_other_sources_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one with other functions, nor a file that is none; what is compiled is."""
    good = compiled_library()
    (tmp_path / "_player0.so").symlink_to(_multiarray_umath.__file__)
    for name in ("library.py", "_player1.so", "_player2.so"):
        (tmp_path / name).write_bytes(b"no library")
    (tmp_path / "_player2.so").unlink()
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    asked: list[int] = []

    def compile_it() -> Path:
        asked.append(1)
        return good

    monkeypatch.setattr(library, "compiled_library", compile_it)
    load = load_library.__wrapped__
    load()
    assert asked == [1], "compiled, for what lies there is no library"
    (tmp_path / "_player2.so").symlink_to(good)
    load()
    assert asked == [1], "found"
    monkeypatch.setattr(library, "sources_digest", lambda: "of changed sources")
    load()
    assert asked == [1, 1]


def test_a_kept_file_that_is_no_library_is_told(
    cache: Path, compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler("echo library > $out")
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    message = message_of(load_library.__wrapped__)
    assert "the fast player cannot be loaded: " in message
    assert f"delete {cache}" in message


def test_golden_plays_where_the_library_cannot_be_made(
    cache: Path,
    compiler: Compiler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By default, with a line that says why; and if it is asked for."""
    compiler("exit 1")
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    load_library.cache_clear()
    tape = tape_of(trained(SMALL_ADDITION, tmp_path / "run"))
    write_tape(tape, tmp_path / "a.tape")
    with pytest.raises(ToolMissing, match=r"could not be compiled by .*; --backend golden plays"):
        load_backend(tmp_path / "a.tape", "cpu")
    assert load_backend(tmp_path / "a.tape", "golden").name == "golden"
    tape_player.cache_clear()
    for _ in range(2):
        assert load_backend(tmp_path / "a.tape").name == "golden"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mmfree: golden plays, which is slower: the fast player could not be")
    load_library.cache_clear()
    tape_player.cache_clear()

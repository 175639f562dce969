"""The fast player under the compiler's sanitizers, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmfree.inference.native.compiling import find_compiler

ROOT = Path(__file__).parents[3]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["thread", "address,undefined"])
def test_a_sanitizer_finds_nothing(kind: str, tmp_path: Path) -> None:
    """While the tests of exactness run, with two threads and one, on every path."""
    compiler = find_compiler()[0]
    runtimes = []
    for part in kind.split(","):
        name = {"thread": "tsan", "address": "asan", "undefined": "ubsan"}[part]
        found = subprocess.run(
            [compiler, f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
        )
        runtimes.append(found.stdout.strip())
    environment = os.environ | {
        "CXX": f"{compiler} -fsanitize={kind} -fno-sanitize-recover=all -g",
        "LD_PRELOAD": ":".join(runtimes),
        "XDG_CACHE_HOME": str(tmp_path),
        "TSAN_OPTIONS": "exitcode=66",
        # Python itself leaks what it keeps until its end.
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    tests = Path(__file__).with_name("test_player.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout
    assert "WARNING: ThreadSanitizer" not in done.stdout + done.stderr

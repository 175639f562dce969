"""Zig compiles in a folder of its own, and says what is wrong."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mmfree.errors import ToolMissing
from sim.page.zig import build_module, find_zig
from sim.simulators.tools import SimulatorError

ANSWER = 'extern "C" __attribute__((visibility("default"))) int answer() { return 42; }\n'


def build(folder: Path, text: str) -> bytes:
    source = folder / "answer.cpp"
    source.write_text(text)
    return build_module([source], folder, target="wasm32-freestanding", options=())


def test_the_same_source_gives_the_same_bytes_wherever_it_is(tmp_path: Path) -> None:
    made = []
    for name in ("a", "another place"):
        (tmp_path / name).mkdir()
        made.append(build(tmp_path / name, ANSWER))
        # Caches of other programs have no say, and nothing is left elsewhere.
        assert (tmp_path / name / "obj" / "cache").is_dir()
    assert made[0] == made[1]
    assert made[0][:4] == b"\0asm"


def test_what_does_not_compile_or_link_is_told(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match=r"zig could not build answer.cpp: .*undeclared"):
        build(tmp_path, "int answer() { return unknown; }\n")
    with pytest.raises(SimulatorError, match="undefined symbol: elsewhere"):
        build(tmp_path, 'extern "C" int elsewhere();\n' + ANSWER.replace("42", "elsewhere()"))


def test_a_missing_zig_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "ziglang" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(ToolMissing, match=r"zig was not found.*\[page\]"):
        find_zig()

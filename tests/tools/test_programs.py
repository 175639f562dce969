"""Every program of tools/ is run as a module, and says so at its top and in its help."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

from tools.mutants.listed import ROOT

PROGRAMS = [
    path.relative_to(ROOT)
    for path in sorted((ROOT / "tools").rglob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
]


def test_there_are_some() -> None:
    assert len(PROGRAMS) >= 14


@pytest.mark.parametrize("path", PROGRAMS, ids=str)
def test_a_program_says_how_it_is_run(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = ".".join(path.with_suffix("").parts)
    # A package is run by its own name.
    program = module.removesuffix(".__main__")
    text = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    assert text is not None
    summary, empty, usage = text.splitlines()[:3]
    assert summary.endswith((".", "?"))
    assert not empty
    assert usage.strip().startswith(f"python -m {program}")
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(module).main()
    assert stopped.value.code == 0
    assert f"python -m {program}" in capsys.readouterr().out

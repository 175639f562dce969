"""What is said of a package that is missing: the command that installs it, from a clone or not."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mmfree.extras
from mmfree.extras import EXTRAS, how_to_install

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
BROUGHT = {"pyarrow": "datasets"}
"""Distribution -> the one that brings it."""


def test_the_extra_that_is_named_installs_what_is_missing() -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    distributions = packages_distributions()
    for module, extra in EXTRAS.items():
        if module not in distributions:
            continue  # pytest says elsewhere what is not installed
        (name,) = set(distributions[module])
        asked = BROUGHT.get(name, name).replace("_", "-")
        assert any(line.startswith((f"{asked}>", f"{asked}=")) for line in extras[extra]), module


REPOSITORY = {"url": "https://example.org/mmfree", "vcs_info": {"vcs": "git", "commit_id": "1"}}


@pytest.mark.parametrize(
    ("record", "requirement"),
    [
        ({"url": "file:///opt/my%20clone", "dir_info": {}}, "'/opt/my clone[text]'"),
        (REPOSITORY, "'mmfree[text] @ git+https://example.org/mmfree'"),
        (
            {"url": "https://example.org/mmfree.whl", "archive_info": {}},
            "'mmfree[text] @ https://example.org/mmfree.whl'",
        ),
        (None, "'mmfree[text]'"),
    ],
)
def test_an_extra_comes_from_where_mmfree_came(
    record: dict[str, Any] | None,
    requirement: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As pip wrote it down when it installed mmfree."""
    text = None if record is None else json.dumps(record)
    there = SimpleNamespace(read_text={"direct_url.json": text}.get)
    monkeypatch.setattr(importlib.metadata, "distribution", {"mmfree": there}.__getitem__)
    monkeypatch.setattr(mmfree.extras, "CLONE", tmp_path)
    assert how_to_install("text").endswith(f"pip install {requirement}")


def test_in_a_clone_it_is_installed_in_place_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT.parent)
    assert how_to_install("hdl").endswith("pip install -e '.[hdl]'")
    monkeypatch.chdir(tmp_path)
    assert how_to_install("hdl").endswith(f"pip install -e '{PROJECT.parent}[hdl]'")


def test_the_pip_is_that_of_the_python_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is not active has another pip on the path, or none."""
    own = Path(sys.executable).with_name("pip")
    for found, program in ((str(own), "pip"), ("/usr/bin/pip", f"{sys.executable} -m pip")):
        monkeypatch.setattr(shutil, "which", {"pip": found}.get)
        assert how_to_install("hf").startswith(f"{program} install ")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert how_to_install("hf").startswith(f"{sys.executable} -m pip install ")

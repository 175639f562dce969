"""A cache of simulations for one test."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.simulators.runner import cache_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without builds; with the library that all simulations share, which takes long."""
    library = cache_folder().parent / "verilated"
    library.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    empty = cache_folder()
    empty.parent.mkdir(parents=True)
    (empty.parent / "verilated").symlink_to(library)
    return empty

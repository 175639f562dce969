"""A small trained text model, as a checkpoint and as a Hugging Face folder; an addition model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.models import SMALL_ADDITION, SMALL_TEXT, trained


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SMALL_TEXT, tmp_path_factory.mktemp("text") / "run")


@pytest.fixture(scope="session")
def addition_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SMALL_ADDITION, tmp_path_factory.mktemp("addition") / "run")


@pytest.fixture(scope="session")
def folder(run: Path) -> Path:
    pytest.importorskip("transformers", reason="extra hf is not installed")
    from mmfree.hf import to_hugging_face

    out = run.parent / "hf"
    to_hugging_face(run, out)
    return out

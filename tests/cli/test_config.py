"""``mmfree config``: what it prints is a config that trains what was asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmfree.cli.main import main
from mmfree.training.presets import PRESETS, load_run_config
from tests.support.command_line import run_json
from tests.support.models import SMALL_TEXT
from tests.support.subwords import bpe


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_printed_is_the_preset(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", name]) == 0
    (tmp_path / "my.json").write_text(capsys.readouterr().out)
    assert load_run_config(str(tmp_path / "my.json")) == PRESETS[name]()


def test_a_file_changes_and_keeps_its_tokenizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tokenizer.json").write_text(json.dumps(bpe().to_dict()))
    model = replace(SMALL_TEXT.model, vocab_size=400, head_size=400)
    config = replace(SMALL_TEXT, model=model, subword=bpe().to_dict())
    for named in ("tokenizer.json", config.to_dict()["tokenizer"]):
        values = config.to_dict() | {"tokenizer": named}
        (tmp_path / "a" / "c.json").write_text(json.dumps(values))
        changed = run_json(capsys, "config", tmp_path / "a" / "c.json", "--steps", 7)
        (tmp_path / "d.json").write_text(json.dumps(changed))
        wanted = replace(config, recipe=replace(config.recipe, steps=7))
        assert load_run_config(str(tmp_path / "d.json")) == wanted, "also from another folder"

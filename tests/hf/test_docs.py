"""docs/huggingface.md: every example runs, in the order of the page, on a small model."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="extra hf is not installed")

from mmfree.cli.main import main
from tests.support.published_checkpoints import write_text_checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "huggingface.md"
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


# What lm-eval-harness and the libraries that it loads warn of is not ours.
@pytest.mark.filterwarnings("ignore::Warning")
def test_every_example_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "runs" / "text")
    write_text_checkpoint(tmp_path / "MMfreeLM-370M")
    (tmp_path / "test.txt").write_text("the old cat sees a red bird. " * 3)
    (tmp_path / "questions.jsonl").write_text(
        '{"query": "the cat", "choices": ["sees", "never"], "gold": 0}\n'
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert {language for language, _ in BLOCKS} == {"sh", "python"}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), names)
            continue
        for line in block.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "mmfree"
            assert main(arguments) == 0, line
    assert (tmp_path / "tuned.tape").exists()
    assert names["weights"].shape == (256, 16)
    assert "The " in capsys.readouterr().out

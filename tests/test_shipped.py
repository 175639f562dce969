"""Models that come with mmfree: what a name stands for, and that each is what its card says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmfree.cli.main import main
from mmfree.errors import InputError
from mmfree.inference.backends import load_backend
from mmfree.inference.generate import generate
from mmfree.inference.places import find_model
from mmfree.shipped import FOLDER, NAMES, UNASKED, card_of, hidden_by, shipped_tape
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import open_tape
from mmfree.training.presets import stories_model

TAPE = FOLDER / "stories.tape"


def test_every_name_has_a_tape_and_a_card() -> None:
    assert {path.stem for path in FOLDER.glob("*.tape")} == set(NAMES) == set(UNASKED)
    for name in NAMES:
        assert open_tape(FOLDER / f"{name}.tape").sha256 in card_of(name)


def test_together_they_are_small() -> None:
    size = sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file())
    assert 300_000 < size < 500_000


def test_what_is_there_comes_before_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path("stories")
    assert find_model(name).tape == shipped_tape(name) == TAPE
    assert hidden_by(name) is None
    name.mkdir()
    assert shipped_tape(name) is None
    with pytest.raises(InputError, match="no model in this folder"):
        find_model(name)
    for verb in ("generate", "report"):
        assert main([verb, "stories"]) == 2
        told = capsys.readouterr().err.splitlines()
        assert told[0] == "stories: the folder here, not stories, which comes with mmfree"
    name.rmdir()
    name.write_bytes(TAPE.read_bytes())
    assert find_model(name).tape == name
    assert hidden_by(name) == "stories: the file here, not stories, which comes with mmfree"
    with pytest.raises(InputError, match=r"storys: .*, or stories, which comes with mmfree"):
        find_model(Path("storys"))


def test_stories_is_the_preset_and_writes_a_story(capsys: pytest.CaptureFixture[str]) -> None:
    tape = open_tape(TAPE)
    assert isinstance(tape, Tape)
    sizes = tape.config.to_dict()
    assert (sizes.pop("vocab_size"), sizes.pop("head_size")) == (1024, 1024)
    preset = stories_model().to_dict()
    assert sizes == {name: value for name, value in preset.items() if name in sizes}
    written = []
    for backend in ("golden", "cpu"):
        assert main(["generate", "stories", "--backend", backend, "--seed", "1", "--json"]) == 0
        written.append(json.loads(capsys.readouterr().out))
        assert written[-1].pop("backend") == backend
    assert written[0] == written[1]
    story = written[0]["prompt"] + written[0]["text"]
    assert story.startswith("Once upon a time")
    assert len(re.findall(r"[.!?]", story)) > 5
    assert len(written[0]["ids"]) < 500, "it ends by itself"
    assert written[0]["ids"][-1] == 0, "what begins the next"


def test_it_plays_without_the_library_of_tokenizers(tmp_path: Path) -> None:
    """As a core install has it."""
    code = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "import importlib.util as util; found = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name == 'tokenizers' else found(name, *a)\n"
        "from mmfree.cli.main import main; sys.exit(main(['generate', 'stories', '--seed', '1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    backend = load_backend(TAPE)
    due = UNASKED["stories"]
    text = "".join(piece for piece, _ in generate(backend, due.prompt, due.tokens, seed=1))
    assert done.stdout == f"{due.prompt}{text}\n"


def test_the_card_says_what_people_need() -> None:
    card = card_of("stories")
    for heading in ("Data", "Recipe", "Figures", "Limits", "Do not"):
        assert re.search(rf"^## {heading}", card, re.MULTILINE), heading
    assert "CDLA-Sharing" in card


def test_inspect_tells_the_token_shift(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "stories"]) == 0
    assert "gate hard, token shift 80, vocabulary 1024," in capsys.readouterr().out


def test_what_is_asked_of_stories_comes_before_what_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["generate", "stories", "--prompt", "Tim", "--tokens", "3", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["prompt"], len(found["ids"])) == ("Tim", 3)

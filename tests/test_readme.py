"""README and docs: the commands exist, and what they say about the project is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmfree.cli.parser import VERBS, build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README + PAGE, re.S)


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for line in BLOCKS[0].splitlines():
        tool, target = line.split()
        assert tool == "make"
        assert target in targets


COMMANDS = [
    line.partition("#")[0].partition(" > ")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("mmfree ")])
def test_every_command_is_understood(command: str) -> None:
    options = build_parser().parse_args(shlex.split(command)[1:])
    assert callable(options.command)


def test_every_verb_is_shown() -> None:
    shown = {command.split()[1] for command in COMMANDS if command.startswith("mmfree ")}
    assert shown == set(VERBS)
    assert "make demo" in README


@pytest.mark.parametrize(
    "path",
    sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]),
    ids=lambda p: p.name,
)
def test_links_and_named_files_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target
    for name in re.findall(r"`((?:mmfree|hdl|sim|tests|tools|docs)/[\w./]+\.\w+)`", text):
        assert (ROOT / name).exists(), name

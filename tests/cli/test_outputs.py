"""What every verb that writes has in common: one at a time, and nothing replaced unasked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmfree.tape.pow2 import write_tape
from tests.support.claims import another_process
from tests.support.command_line import error_of
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tests.support.processes import becomes, is_asleep
from tests.support.published_checkpoints import Shape, checkpoint_tensors, write_checkpoint

ROOT = Path(__file__).parents[2]

WRITERS = {
    "tokenize": ["tokenize", "TEXT", "--out", "OUT"],
    "train": ["train", "CONFIG", "--out", "OUT"],
    "compare": ["compare", "TEXT_CONFIG", "--out", "OUT"],
    "export": ["export", "RUN", "--out", "OUT"],
    "export, published": ["export", "PUBLISHED", "--out", "OUT"],
    "export hf": ["export", "RUN", "--format", "hf", "--out", "OUT"],
    "export bitnet": ["export", "RUN", "--format", "bitnet", "--out", "OUT"],
    "verilog": ["verilog", "TAPE", "--lanes", "16", "--out", "OUT"],
    "build": ["build", "TAPE", "--board", "ulx3s-85f", "--lanes", "16", "--out", "OUT"],
    "cosim": ["cosim", "TAPE", "--lanes", "16", "--waveform", "OUT"],
    "power": ["power", "TAPE", "--lanes", "16", "--out", "OUT"],
    "demo": ["demo", "--out", "OUT"],
    "report": ["report", "RUN", "--out", "OUT"],
    "page": ["page", "TAPE", "--out", "OUT"],
}
"""Every verb that writes, in every form of its output."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "text.txt").write_text("a line of text\n" * 40)
    (folder / "addition.json").write_text(json.dumps(SMALL_ADDITION.to_dict()))
    (folder / "text.json").write_text(json.dumps(SMALL_TEXT.to_dict()))
    write_tape(tape_of(trained(SMALL_ADDITION, folder / "run")), folder / "a.tape")
    write_checkpoint(folder / "published", Shape(), checkpoint_tensors(Shape()))
    return {
        "TEXT": str(folder / "text.txt"),
        "CONFIG": str(folder / "addition.json"),
        "TEXT_CONFIG": str(folder / "text.json"),
        "RUN": str(folder / "run"),
        "TAPE": str(folder / "a.tape"),
        "PUBLISHED": str(folder / "published"),
    }


@pytest.mark.parametrize("writer", WRITERS)
def test_a_verb_refuses_a_place_that_another_process_writes_to(
    writer: str, inputs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [inputs.get(word, word).replace("OUT", str(out)) for word in WRITERS[writer]]
    with another_process(out, "claim") as process:
        message = error_of(capsys, *arguments)
        assert f"{out}: process {process.pid} is writing there; wait until it has" in message
        process.kill()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_verb_that_is_ended_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """Here while it waits for its input; exit code 128 + signal, and one line."""
    os.mkfifo(tmp_path / "pipe")
    # A shell's background jobs ignore SIGINT, and so would what they start: a handler of ours is
    # the default in a program that is started.
    before = signal.signal(number, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "mmfree.cli", "tokenize", "pipe", "--out", "a/out"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(number, before)
    with process, (tmp_path / "pipe").open("wb") as pipe:
        pipe.write(b"some text\n" * 1000)
        pipe.flush()
        assert (tmp_path / "a" / ".out.lock").exists()
        # A signal between two reads, on the way to the next one, waits for what that one reads.
        assert becomes(lambda: is_asleep(process.pid))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.count("\n") == 1
    assert said.startswith("mmfree: ")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_forbidden_place_is_named_as_it_was_asked_for(
    inputs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    message = error_of(capsys, "export", inputs["RUN"], "--out", "/proc/none/a.tape")
    assert message == "mmfree: error: /proc/none: No such file or directory"
    message = error_of(capsys, "tokenize", inputs["TEXT"], "--out", "/proc/out")
    assert message == "mmfree: error: /proc/out: No such file or directory"
    message = error_of(capsys, "export", inputs["RUN"], "--force", "--out", "/dev/full/a.tape")
    assert "/dev/full" in message
    assert "partial" not in message

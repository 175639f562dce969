"""``mmfree cosim`` of a folder that ``mmfree verilog`` wrote, and waveforms, as users see them."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmfree import api
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.memory_image import read_memory_image
from mmfree.cli.main import main
from mmfree.tape.pow2 import Tape, write_tape
from sim.cosim.run import WAVEFORM_BYTES, CosimResult
from tests.support.below import Below
from tests.support.command_line import error_of, run_json
from tests.support.sim.shapes import ODD
from tests.support.verbs.case import SUM_TAPE, TEXT_TAPE
from tests.support.verbs.chips import COSIM, RESULT

AXI64 = ExternalMemory(port_bits=64, ports=1)
ICARUS = ["--simulator", "icarus", "--prompt", "01"]


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that reads bits."""
    path = tmp_path_factory.mktemp("tape") / "model.tape"
    write_tape(replace(ODD.tape(1, wild=False), tokenizer={"kind": "parity"}), path)
    return path


@pytest.fixture(scope="module")
def written(tape: Path) -> Path:
    api.verilog(tape, tape.parent / "chip", lanes=ODD.lanes)
    return tape.parent / "chip"


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    shutil.copytree(written, tmp_path / "chip")
    return tmp_path / "chip"


def flip_a_weight(folder: Path) -> None:
    """Alter a bit of the first word of weights."""
    path = folder / "weights_0.hex"
    lines = path.read_text().splitlines()
    lines[1] = f"{int(lines[1], 16) ^ 1:x}"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_a_folder_is_played_with_its_own_design(
    folder: Path, tape: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--lanes", ODD.lanes, "--bits", "2", *ICARUS]
    values = run_json(capsys, "cosim", folder, *options)
    assert values["bit_exact"] is True
    assert values["altered"] == []
    assert values["lanes"] == ODD.lanes
    assert values["tokens"] == values["tokens_due"] > 2
    assert values["compared"] == values["due"] == 25 * values["tokens"]
    of_tape = run_json(capsys, "cosim", tape, *options)
    assert "altered" not in of_tape
    for name in ("text", "sha256", "counters", "cycles_per_token"):
        assert values[name] == of_tape[name]


def test_an_altered_folder_names_its_files_and_the_fault(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip_a_weight(folder)
    values = run_json(capsys, "cosim", folder, *ICARUS, code=1)
    assert values["altered"] == ["weights_0.hex"]
    assert values["divergence"]["fault"] == "weights"
    assert values["divergence"]["segment"] == "layer 0 gates"
    assert (values["tokens"], values["compared"]) == (0, 0)
    assert values["missing"]["rows"] == values["tokens_due"]
    assert main(["cosim", str(folder), *ICARUS]) == 1
    output = capsys.readouterr().out
    assert "altered since `mmfree verilog` wrote them: weights_0.hex" in output
    assert "NOT bit-exact; the first difference: sequence 0, position 0, token " in output
    assert "fault weights" in output
    assert f"0 of {values['tokens_due']} tokens, 0 of {values['due']} logits" in output


def test_a_profile_of_no_token_names_the_fault_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first token is withheld: there is no cycle to divide."""
    flip_a_weight(folder)
    assert main(["cosim", str(folder), *ICARUS, "--profile"]) == 1
    printed = capsys.readouterr()
    assert "fault weights" in printed.out
    assert re.search(r"0 of \d+ tokens", printed.out)


BEHAVIOUR = ["--latency", "5:90", "--withheld", "20", "--prompt", "01"]


def test_a_model_is_played_from_an_external_memory(
    tape: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_json(capsys, "cosim", tape, "--memory", "axi64:1M", *BEHAVIOUR)
    assert values["bit_exact"] is True
    assert values["memory"] == "axi64"
    assert values["lanes"] == 40
    assert values["tokens"] == values["tokens_due"] > 2
    assert 0 < values["bandwidth_utilization"] < 1
    usual = run_json(capsys, "cosim", tape, "--memory", "axi64", "--prompt", "01")
    assert usual["text"] == values["text"]
    assert usual["cycles_per_token"] != values["cycles_per_token"]


def test_a_folder_with_an_image_is_played_as_it_lies_there(
    tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own memory; a bit of the image is altered, and the fault says where."""
    folder = tmp_path / "chip"
    api.verilog(tape, folder, memory="axi64")
    values = run_json(capsys, "cosim", folder, *BEHAVIOUR)
    assert (values["bit_exact"], values["memory"], values["altered"]) == (True, "axi64", [])
    image = read_memory_image(folder / "memory.bin", api.chip_for(tape, memory=AXI64)[1])
    with image.path.open("r+b") as file:
        # The last word: the check word of the head.
        place = file.seek(image.region("weights_0").offset + 8 * image.words - 8)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    values = run_json(capsys, "cosim", folder, *BEHAVIOUR, code=1)
    assert values["altered"] == ["memory.bin"]
    assert (values["divergence"]["fault"], values["divergence"]["segment"]) == ("weights", "head")
    message = error_of(capsys, "cosim", folder, "--memory", "axi128")
    assert message.endswith(
        f"--memory axi128: the design in {folder} has axi64; leave the option out"
    )


def test_options_that_contradict_a_folder_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = error_of(capsys, "cosim", folder, "--lanes", 64)
    assert message.endswith(f"--lanes 64: the design in {folder} has 16; leave the option out")
    message = error_of(capsys, "cosim", folder, "--bits", "1.6")
    assert message.endswith(f"--bits 1.6: the design in {folder} has 2; leave the option out")
    for lanes in (0, 48):
        message = error_of(capsys, "cosim", folder / "model.tape", "--lanes", lanes)
        assert f"lanes must be a power of two in 4..1048576, got {lanes}" in message
    (folder / "design.json").unlink()
    assert "not a folder that `mmfree verilog` wrote" in error_of(capsys, "cosim", folder)
    assert "a folder; --waveform needs the name of a file" in error_of(
        capsys, "cosim", folder / "model.tape", "--waveform", tmp_path
    )


def test_the_help_gives_the_limit_of_a_waveform(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cosim", "--help"])
    assert f"it has {WAVEFORM_BYTES >> 30} GiB" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_the_waveform_of_a_good_run_is_kept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wave.vcd"
    assert main(["cosim", str(folder), *ICARUS, "--waveform", str(path)]) == 0
    output = capsys.readouterr().out
    assert "bit-exact: " in output
    size = path.stat().st_size / 1e6
    assert re.search(rf"waveform: {re.escape(str(path))}, {size:,.1f} MB, all \d+ tokens", output)
    message = error_of(capsys, "cosim", folder, *ICARUS, "--waveform", path)
    assert message.endswith(f"{path}: exists already; --force overwrites it")


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_simulated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "wave.vcd"
    message = error_of(capsys, "cosim", folder, *ICARUS, "--waveform", path)
    assert message == f"mmfree: error: {tmp_path / 'file'}: Not a directory"


def told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    result: CosimResult,
    *words: str,
    tape: Tape = TEXT_TAPE,
) -> tuple[int, list[str], Below]:
    """Exit code and lines of ``cosim`` with the result given, and what was asked for."""
    below = Below(monkeypatch)
    below.replace(
        COSIM.below
        | {
            "sim.cosim.run:cosim": result,
            "mmfree.inference.backends:load_tape_or_export": tape,
        }
    )
    # Any file: what is on the tape is given.
    code = main(["cosim", __file__, *words])
    return code, capsys.readouterr().out.splitlines(), below


def test_without_a_prompt_sixteen_random_tokens_are_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others from another seed, of the whole vocabulary; and there is no text to show."""
    prompts = []
    for seed in map(str, range(40)):
        code, lines, below = told(monkeypatch, capsys, RESULT, "--seed", seed)
        (sequence,) = below.asked["cosim(sequences)"]
        prompts.append(sequence.prompt)
        assert (code, lines[0].partition(":")[0]) == (0, "bit-exact")
    assert {len(prompt) for prompt in prompts} == {16}
    assert len({tuple(prompt) for prompt in prompts}) == 40
    seen = {token for prompt in prompts for token in prompt}
    assert seen <= set(range(256))
    assert min(seen) < 4
    assert max(seen) > 251


def test_a_chip_that_differs_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = replace(
        RESULT.verdict,
        compared=RESULT.verdict.compared | {"rows": 4},
        differing=RESULT.verdict.differing | {"logits": 2},
    )
    place = {"sequence": 0, "position": 3, "segment": "head"}
    wrong = replace(RESULT, verdict=verdict, divergence=place, cycles_per_token=99999.4)
    code, lines, _ = told(monkeypatch, capsys, wrong, "--prompt", "ab", "--tokens", "3")
    assert code == 1
    assert lines == [
        "NOT bit-exact; the first difference: sequence 0, position 3, segment head",
        "4 of 5 tokens, 1,360 of 1,360 logits and state words compared; 2 values differ; not"
        " compared: 1 chosen rows",
        "99,999 cycles per token at 64 lanes, lane utilization 7.9 % (simulated); 54,321 cycles"
        " simulated per second",
    ], "and no text, which would be a part of it"
    no_place = replace(wrong, divergence=None)
    assert told(monkeypatch, capsys, no_place, "--prompt", "ab")[1][0] == "NOT bit-exact"


def test_an_answer_is_read_out_at_every_position(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 + 2: a start token, and a digit of each in two columns."""
    result = replace(RESULT, rows=[[9, 9, 3, 9, 0]])
    code, lines, _ = told(monkeypatch, capsys, result, "--prompt", "1+2", tape=SUM_TAPE)
    assert (code, lines[0]) == (0, "3")


@pytest.mark.parametrize("option", [["--temperature", "0.1"], ["--stop", "0"]])
def test_options_of_choosing_need_tokens_to_choose(
    option: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(monkeypatch, capsys, RESULT, "--prompt", "ab", *option)[0] == 2

"""The demo: the whole product once, and that it fails where it should."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmfree.errors
from mmfree.cli import demo
from mmfree.cli.main import main
from mmfree.inference.scoring import TaskResult, TextResult
from mmfree.tape.operations import count_operations
from mmfree.tape.reading import open_pow2_tape
from mmfree.text.corpus import Corpus, python_prose
from sim.cosim.run_folder import Sequence
from tests.support.below import REAL, Below
from tests.support.models import SMALL_ADDITION, SMALL_TEXT
from tests.support.verbs.case import TEXT_TAPE
from tests.support.verbs.chips import RESULT
from tests.support.verbs.demo import DEMO, PAGE


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets that train in a second (and add wrongly), small sums, and no page."""
    monkeypatch.setattr(demo, "_write_page", lambda *_: None)
    runs = {"addition": lambda _: (SMALL_ADDITION, []), "text": lambda _: (SMALL_TEXT, [])}
    monkeypatch.setattr(demo, "RUNS", runs)
    monkeypatch.setattr(demo, "DIGITS", 6)
    monkeypatch.setattr(demo, "GOLDEN_SUMS", 30)
    monkeypatch.setattr(demo, "TEXT_TOKENS", 5)
    monkeypatch.setattr(demo, "TEXT_PROMPT", "The")


@pytest.mark.usefixtures("small")
def test_a_model_that_adds_wrongly_fails_though_the_chip_is_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--lanes", "16", "--json"]) == 1
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    passed = {check["name"]: check["passed"] for check in values["checks"]}
    assert passed == {
        "golden model, random sums": False,
        "golden model, full-carry sums": False,
        "chip equals golden model": True,
        "chip, sums": False,
    }
    tape = open_pow2_tape(out / "model.tape")
    operations = count_operations(tape)
    assert values["sha256"] == tape.sha256
    assert values["parameters"] == SMALL_ADDITION.model.num_parameters
    assert values["adds_per_token"] == values["weights_per_token"] == tape.num_ternary_weights
    assert values["table_reads_per_token"] == sum(operations.table_reads.values())
    assert values["products_per_token"] == sum(operations.products.values())
    assert values["tokens"] == 3 * 15
    assert (out / "verilog" / "mmfree.v").is_file()
    assert "== training: addition\n" in captured.err


@pytest.mark.usefixtures("small")
def test_a_second_run_goes_on_with_the_trained_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo", "text", "--out", str(tmp_path), "--lanes", "16"]
    assert main(arguments) in (0, 1)
    first = capsys.readouterr()
    model = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()
    assert main(arguments) in (0, 1)
    second = capsys.readouterr()
    assert "going on with" in second.err
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == model
    assert first.out == second.out
    assert "the chip wrote (temperature 0.4, seed 0):\nThe" in second.out
    assert "5 of 5 tokens are those that the golden model writes by itself" in second.out
    assert "ternary additions per token" in second.out


def play(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    results: dict[str, Any],
    *words: str,
) -> tuple[int, list[str], dict[str, Any], Below]:
    """The demo with its work replaced: exit code, lines, its record, and what it asked for."""
    below = Below(monkeypatch)
    below.replace(DEMO.below | results)
    code = main(["demo", *words])
    lines = capsys.readouterr().out.splitlines()
    return code, lines, json.loads(Path("out/demo.json").read_text()), below


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / PAGE).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "DIGITS", 4)
    monkeypatch.setattr(demo, "TEXT_TOKENS", 3)
    monkeypatch.setattr(demo, "TEXT_PROMPT", "The")


def sums_of(sequences: list[Sequence]) -> list[tuple[list[int], list[int]]]:
    """Digits of both numbers of each prompt, the least significant first."""
    assert all(sequence.prompt[0] == 30 for sequence in sequences)
    return [
        (sequence.prompt[1::2], [token - 10 for token in sequence.prompt[2::2]])
        for sequence in sequences
    ]


def number(digits: list[int]) -> int:
    return sum(digit * 10**place for place, digit in enumerate(digits))


@pytest.mark.usefixtures("place")
def test_two_random_sums_and_one_of_a_full_carry_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others from another seed. What the chip says is checked against Python's +."""
    found = TaskResult("golden", "addition", 4, 1000, 1000)
    golden = {"mmfree.cli.demo:evaluate_task": found}
    _, _, _, below = play(monkeypatch, capsys, golden, "--out", "out")
    sequences = below.asked["cosim(sequences)"]
    assert [one.generate for one in sequences] == [0, 0, 0]
    sums = sums_of(sequences)
    _, _, _, other = play(monkeypatch, capsys, golden, "--out", "out", "--seed", "1")
    assert all(a != b for a, b in zip(sums, sums_of(other.asked["cosim(sequences)"]), strict=True))
    assert all(len(a) == len(b) == 5 and a[4] == b[4] == 0 for a, b in sums)
    a, b = sums[2]
    assert a[0] + b[0] >= 10
    assert [x + y for x, y in zip(a[1:4], b[1:4], strict=True)] == [9, 9, 9]
    totals = [number(a) + number(b) for a, b in sums]
    # A digit at each position of b, the least significant first.
    rows = [[0, *(n for d in f"{total:05}"[::-1] for n in (7, int(d)))] for total in totals]
    played = replace(RESULT, rows=rows, profile={})
    options = golden | {"sim.cosim.run:cosim": played}
    code, lines, record, _ = play(monkeypatch, capsys, options, "--out", "out")
    assert code == 0
    answers = []
    for kind, (a, b), total in zip(("random", "random", "full-carry"), sums, totals, strict=True):
        answers += [f"{kind} sums:", f"   {number(a):04}", f" + {number(b):04}", f" ={total:>5}"]
    assert lines == [
        *answers,
        "",
        "ok    golden model, random sums:        1,000 of 1,000 of 4 digits exact",
        "ok    golden model, random sums:        1,000 of 1,000 of 4 digits exact",
        "ok    chip equals golden model:         1,360 of 1,360 logits and state words of 5 tokens",
        f"ok    {'chip, sums:':<34}3 of 3 equal to Python's +, one a full-carry chain",
        "",
        "parameters                        2,848",
        "ternary weights                   6,272",
        "lanes                                64",
        "cycles per token (simulated)      1,234",
        "lane utilization (simulated)      7.9 %",
        "ternary additions per token       2,336",
        "table reads per token                71",
        "shift-and-add products per token  1,777",
        "multipliers                           0",
        "",
        "Every check passed.",
        "",
        "Once.",
    ]
    assert record["answers"] == answers
    assert record["design"]["weight_code"] == "2"
    assert {name: record[name] for name in ("tokens", "profile", "simulated_hz")} == {
        "tokens": 5,
        "profile": {},
        "simulated_hz": 54321.0,
    }
    rows[1][2] ^= 1
    code, lines, _, _ = play(monkeypatch, capsys, options, "--out", "out")
    assert code == 1
    assert "FAIL  chip, sums:                       2 of 3 equal to Python's +" in "\n".join(lines)
    assert lines[-3:] == ["A check failed: see FAIL above.", "", "Once."]


class Stopped(BaseException):
    """Nothing catches it: as if the process were killed."""


STAGES = [place for place, result in DEMO.below.items() if result is not REAL]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("way", ["goes on", "gone", "--force"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_demo_that_stops_does_not_leave_what_an_older_one_said(
    stage: str, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither once a model is trained anew, nor beside another tape."""
    record, page = Path("out/demo.json"), Path("out/report.html")
    words = ["--out", "out", *(["--force"] if way == "--force" else [])]

    def demo_again(results: dict[str, Any]) -> dict[str, Any]:
        with monkeypatch.context() as patch:
            return play(patch, capsys, results, *words)[2] | {"seconds": 0}

    whole = demo_again({})
    page.write_text("every check passed")
    if way != "gone":
        Path("out/checkpoint").mkdir()
        Path("out/checkpoint/config.json").touch()
    with pytest.raises(Stopped):
        demo_again({stage: Stopped()})
    # Going on with a trained model changes nothing until its tape is written.
    kept = way == "goes on" and stage.endswith((":train", ":load_trained_tape"))
    assert page.exists() is kept
    if kept or stage.endswith(":write_report"):
        assert json.loads(record.read_text()) | {"seconds": 0} == whole
    else:
        assert not record.exists()
    assert demo_again({}) == whole


@pytest.mark.usefixtures("place")
def test_a_demo_that_is_asked_to_stop_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training would name options that a demo does not have."""
    asked = mmfree.errors.Stopped("stopped and saved: --resume goes on", 2)
    (train,) = (place for place in STAGES if place.endswith(":train"))
    Below(monkeypatch).replace(DEMO.below | {train: asked})
    assert main(["demo", "--out", "out"]) == 130
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == "mmfree: stopped; the same command goes on, without --force"


@pytest.mark.usefixtures("place")
def test_a_chip_that_differs_is_named_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = replace(RESULT.verdict, differing=RESULT.verdict.differing | {"logits": 2})
    wrong = replace(RESULT, rows=[[0]] * 3, verdict=verdict, divergence={"segment": "head"})
    code, _, record, _ = play(monkeypatch, capsys, {"sim.cosim.run:cosim": wrong}, "--out", "out")
    assert code == 1
    (check,) = (one for one in record["checks"] if one["name"] == "chip equals golden model")
    assert (check["due"], check["right"], check["passed"]) == (1365, 1363, False)
    assert check["detail"].startswith("first difference: {'segment': 'head'}; 5 tokens, ")
    assert record["bit_exact"] is False


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("margin", "passes"), [(-1e-6, True), (1e-6, False)])
def test_text_must_be_better_than_its_bytes_own_frequencies(
    margin: float, passes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Learned from "aab": of 259 counted an a is 3, a b 2 and a c 1. Held out: "abc"."""
    entropy = -(math.log2(3 / 259) + math.log2(2 / 259) + math.log2(1 / 259)) / 3
    corpus = Corpus("a.txt", *(np.frombuffer(t, np.uint8) for t in (b"aab", b"abc")), 3)
    scored = TextResult(
        backend="golden", bits_per_byte=entropy + margin, bytes=3, tokens=3, token_perplexity=1.0
    )
    prompt = [0, *b"The"]
    rows = [[1, 2, 3, *b" i\n"]]
    code, lines, record, below = play(
        monkeypatch,
        capsys,
        {
            "mmfree.cli.demo:load_trained_tape": TEXT_TAPE,
            "mmfree.cli.demo:load_corpus": corpus,
            "mmfree.cli.demo:evaluate_text": scored,
            "mmfree.cli.demo:generate_rows": list(b" i\n"),
            "sim.cosim.run:cosim": replace(RESULT, rows=rows, profile={}),
        },
        *("text", "--out", "out", "--seed", "7"),
    )
    assert code == int(not passes)
    config, data = demo.RUNS["text"](Path("out"))
    assert below.asked["train(config)"] == config
    assert below.asked["train(data)"] == below.asked["load_corpus(paths)"] == data
    assert data == [Path("out/text.txt")]
    drawn = Sequence(prompt=prompt, generate=3, temperature=26, seed=7, stop=0)
    assert below.asked["cosim(sequences)"] == [drawn]
    assert below.asked["evaluate_text(text)"] == b"abc"
    names = ("prompt", "tokens", "temperature", "seed", "stop", "top_k", "top_p")
    asked = {name: below.asked[f"generate_rows({name})"] for name in names}
    assert asked == dict.fromkeys(names) | {
        "prompt": prompt,
        "tokens": 3,
        "temperature": 26,
        "seed": 7,
    }, "as the chip draws"
    text, _, chip = record["checks"]
    assert (text["due"], text["right"], text["passed"]) == (3, 3 * passes, passes)
    assert text["detail"] == (
        f"{entropy + margin:.3f} bits per byte on 3 held-out bytes ({entropy:.3f} from the"
        " frequencies of bytes alone)"
    )
    assert (chip["name"], chip["due"], chip["right"]) == ("chip, text", 3, 3)
    assert lines[:3] == ["the chip wrote (temperature 0.4, seed 7):", "The i", ""]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("written", "right", "due"),
    [(b"Ho!", 2, 3), (b"Hi\0", 2, 3), (b"Hi!?", 3, 4), (b"Hi", 2, 3)],
)
def test_a_chip_that_writes_something_else_fails(
    written: bytes,
    right: int,
    due: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the golden model's three tokens, or less, or more."""
    scored = TextResult(
        backend="golden", bits_per_byte=1.0, bytes=46612, tokens=1, token_perplexity=1.0
    )
    code, lines, record, _ = play(
        monkeypatch,
        capsys,
        {
            "mmfree.cli.demo:load_trained_tape": TEXT_TAPE,
            "mmfree.cli.demo:evaluate_text": scored,
            "mmfree.cli.demo:generate_rows": list(b"Hi!"),
            "sim.cosim.run:cosim": replace(RESULT, rows=[[0, 0, 0, *written]], profile={}),
        },
        *("text", "--out", "out"),
    )
    assert code == 1
    chip = record["checks"][-1]
    assert (chip["due"], chip["right"]) == (due, right)
    assert chip["detail"] == (
        f"{right} of {due} tokens are those that the golden model writes by itself"
    )
    assert lines[1] == "The" + written.decode().removesuffix("\0"), "what ends a text is none"


def test_the_text_demo_has_words_for_tokens_and_learns_sentences(tmp_path: Path) -> None:
    """Its vocabulary is learned from its text: the same one whenever it goes on."""
    config, data = demo.RUNS["text"](tmp_path)
    assert (config.model.vocab_size, config.recipe.steps) == (1024, 500)
    assert data[0].read_text() == python_prose()
    assert demo.RUNS["text"](tmp_path) == (config, data)
    words = demo.TEXT_PROMPT.split()
    assert len(config.tokenizer.encode(demo.TEXT_PROMPT)) == 1 + len(words)


def test_lanes_that_cannot_be_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    below = Below(monkeypatch)
    below.replace({"mmfree.training.train:train": None})
    assert main(["demo", "--lanes", "48", "--out", str(tmp_path / "out")]) == 2
    assert below.asked == {}


def test_a_chip_too_large_for_a_page_has_none_and_the_demo_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.html"
    assert demo._write_page(TEXT_TAPE, "text", 2048, path) is None
    told = "no page: --lanes: the chip of a page has at most 1,024, not 2,048"
    assert told in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["addition", "text"])
def test_the_demo_holds(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a user runs it: training included."""
    assert main(["demo", preset, "--out", str(tmp_path), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert all(check["passed"] for check in values["checks"])
    assert values["bit_exact"]
    assert values["multipliers"] == 0
    config, _ = demo.RUNS[preset](tmp_path / "again")
    assert values["parameters"] == config.model.num_parameters
    if preset == "addition":
        assert values["lane_utilization"] >= 0.70
        assert values["tokens"] == 3 * 203

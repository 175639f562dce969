"""Pages in a real browser, from their files, without a network."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from hdl.planning.cycles import cycles_per_token
from mmfree.inference.backends import load_backend
from mmfree.inference.generate import generate
from mmfree.shipped import FOLDER, card_of
from mmfree.tape.pow2 import write_tape
from mmfree.tape.reading import open_tape
from mmfree.text.corpus import python_prose
from mmfree.text.tokenizers import tokenizer_from_dict
from sim.page.limits import design_of
from sim.page.page import WEB
from tests.support.models import SMALL_ADDITION, tape_of, trained
from tests.support.page.pages import HOSTILE, with_manifest, written
from tools.speed.browser import opened, play

IN_A_TEXT = """async (button) => {
  document.getElementById("play").click();
  while (document.querySelectorAll("#text span").length < 5)
    await new Promise((resolve) => setTimeout(resolve, 1));
  document.getElementById(button).click();
}"""
"""Begins a text, and presses a button while the chip goes on by itself."""


def sum_of(page: Page) -> str:
    return "".join(page.locator("#columns .sum td").all_inner_texts()).lstrip("0") or "0"


def test_a_text_is_what_mmfree_generates(text_page: Path) -> None:
    backend = load_backend(text_page.parent / "model.tape")
    due = "".join(p for p, _ in generate(backend, "ab", 40, temperature=1.0, seed=7))
    with opened(text_page) as page:
        found = play(page, prompt="ab", temperature="1", seed="7", tokens="40")
        assert found["told"] == "Done: 42 tokens played. The model wrote 40 tokens."
        assert found["compared"] == found["equal"] == 42
        assert page.evaluate("document.getElementById('text').textContent") == f"ab{due}"
        assert page.inner_text("#verdict") == "42 of 42 equal"
        # Of each token a row, and a state of 16 channels.
        assert page.inner_text("#values") == f": {42 * (1 + 16):,} values"
        tape = open_tape(text_page.parent / "model.tape")
        cycles = cycles_per_token(tape.config, design_of(tape))
        assert page.inner_text("#cycles") == f"{cycles:,} cycles/token"
        assert page.inner_text("#at-a-clock") == f"{1e8 / cycles:,.0f} tokens/s at 100 MHz"
        bars = page.locator("#segments span:last-child").all_inner_texts()
        assert len(bars) == len(tape.segments) + 1
        assert "0" not in bars
        # Those of the request and of its answer are not among them.
        assert 0 <= cycles - sum(int(bar.replace(",", "")) for bar in bars) <= 4


def test_a_flipped_bit_is_found_and_shown(text_page: Path) -> None:
    with opened(text_page, width=390, dark=True) as page:
        before = play(page, prompt="ab", seed="3", tokens="20")
        text = page.inner_text("#text")
        page.click("#flip")
        after = play(page, tokens="20")
        assert (after.pop("faults"), before.pop("faults")) == (1, 0)
        assert after["compared"] == after["equal"] == before["equal"]
        assert page.inner_text("#text") == text
        assert re.match(
            r"Fault in weights found, at segment .*repeated", page.inner_text("#faults")
        )
        # The cycles are those of a token, without those of the pass that had none.
        play(page, tokens="1", prompt="")
        page.click("#flip")
        assert play(page, tokens="1", prompt="")["faults"] == 1
        bars = page.locator("#segments span:last-child").all_inner_texts()
        cycles = int(page.inner_text("#cycles").split()[0].replace(",", ""))
        assert 0 <= cycles - sum(int(bar.replace(",", "")) for bar in bars) <= 4
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_bit_is_flipped_while_a_text_is_written(text_page: Path) -> None:
    """The request in progress ends, and another one goes on where it was: the same text."""
    with opened(text_page) as page:
        before = play(page, prompt="ab", temperature="3", seed="5", tokens="2000")
        text = page.inner_text("#text")
        assert before["compared"] > 200
        page.evaluate("document.body.dataset.compared = ''")
        page.evaluate(IN_A_TEXT, "flip")
        page.wait_for_selector("#play:not([disabled])")
        after = {
            name: int(page.evaluate(f"document.body.dataset.{name}"))
            for name in before
            if name not in ("told", "ready", "values")
        }
        assert after == {"compared": before["compared"], "equal": before["compared"], "faults": 1}
        assert page.inner_text("#text") == text


def test_a_fast_chip_can_be_stopped(text_page: Path) -> None:
    """One that has an answer before it looks up."""
    with opened(text_page) as page:
        whole = play(page, prompt="ab", temperature="3", seed="5", tokens="2000")["compared"]
        page.evaluate(IN_A_TEXT, "stop")
        page.wait_for_selector("#play:not([disabled])")
        assert page.inner_text("#status").startswith("Stopped")
        assert int(page.evaluate("document.body.dataset.compared")) < whole


def test_a_row_that_differs_is_shown(text_page: Path) -> None:
    """As if the golden model had another scale of the head's logits, and so other noise."""

    def change(about: dict[str, Any]) -> None:
        about["model"]["logit_fb"] -= 4

    with opened(with_manifest(text_page, change)) as page:
        found = play(page, prompt="ab", temperature="1", seed="7", tokens="40")
        assert 0 < found["equal"] < found["compared"] == 42
        assert page.inner_text("#verdict") == f"{found['equal']} of 42 equal"
        assert page.get_attribute("#verdict", "class") == "fail"


def test_the_state_is_compared(text_page: Path) -> None:
    """As if the golden model had another bias, or the state other places: the rows are the same."""

    def another_bias(about: dict[str, Any]) -> None:
        about["model"]["biases"][0] = [bias + 1 for bias in about["model"]["biases"][0]]

    def other_places(about: dict[str, Any]) -> None:
        about["model"]["state_places"].reverse()

    for change in (another_bias, other_places):
        with opened(with_manifest(text_page, change)) as page:
            found = play(page, prompt="ab", temperature="0", tokens="1")
            assert (found["equal"], found["compared"]) == (0, 3)


def test_what_waits_is_told_at_once(text_page: Path) -> None:
    with opened(text_page) as page:
        page.click("#flip")
        told = "A bit of a weight will be flipped before the next token."
        assert page.inner_text("#status") == told
        # One at a time.
        assert page.is_disabled("#flip")
        assert play(page, prompt="ab", tokens="5")["faults"] == 1
        assert page.is_enabled("#flip")


def test_a_bit_that_is_flipped_cycle_by_cycle_waits_for_no_token(text_page: Path) -> None:
    with opened(text_page) as page:
        page.check("#slow")
        page.evaluate("document.getElementById('pause').value = 500")
        page.dispatch_event("#pause", "input")
        page.click("#play")
        page.wait_for_timeout(600)
        page.click("#flip")
        page.wait_for_function(
            "() => /^Bit [0-9]+ of word/.test(document.getElementById('status').textContent)",
            timeout=5000,
        )
        page.click("#stop")
        page.wait_for_selector("#play:not([disabled])", timeout=5000)
        # Nobody waits for the token that had the fault.
        assert page.inner_text("#faults").endswith(" was written again.")


def test_fields_of_a_port_are_read_exactly(text_page: Path) -> None:
    """Of every width, across words, as BigInt reads them."""
    with opened(text_page) as page:
        page.add_script_tag(content=(WEB / "chip.js").read_text(encoding="utf-8"))
        wrong = page.evaluate(
            "() => {"
            "  const words = Uint32Array.from({length: 64}, (_, n) => (n + 1) * 2654435761);"
            "  const all = words.reduceRight((all, word) => (all << 32n) | BigInt(word), 0n);"
            "  const chip = Object.assign(Object.create(Chip.prototype), {ports: {w: words}});"
            "  let wrong = 0;"
            "  for (let bits = 1; bits <= 32; bits++)"
            "    for (let at = 0; at + bits <= 2048; at++)"
            "      wrong += chip.field('w', at, bits)"
            "        !== Number((all >> BigInt(at)) & ((1n << BigInt(bits)) - 1n));"
            "  return wrong;"
            "}"
        )
        assert wrong == 0


def test_pictures_are_of_what_is_given(text_page: Path) -> None:
    """Of a state [5, -3] between channels of the token before, and of two lanes' rows."""
    with opened(text_page) as page:
        strip, lanes = page.evaluate(
            "() => {"
            "  const about = {design: {rows: 1, columns: 3}, model: {segments: []}};"
            "  const given = {about, width: 2, layers: 1, shift: 1};"
            "  const inside = Object.assign(Object.create(Inside.prototype), given);"
            "  const size = (id, width, height) => Object.assign(element(id), {width, height});"
            "  const seen = (canvas, places) => {"
            "    const {width, height} = canvas, context = canvas.getContext('2d');"
            "    const {data} = context.getImageData(0, 0, width, height);"
            "    return places.map(([x, y]) => data[4 * (width * y + x) + 3] > 0);"
            "  };"
            "  const state = size('state', 2, 8), lanes = size('lanes', 30, 30);"
            "  inside.drawState(Int16Array.from([9, 5, -3, 9]));"
            "  inside.operands = {x: [1, -1, 0], w: [1, -1, 0], segment: 0, valid: 1, cycle: 1};"
            "  inside.drawLanes();"
            "  return ["
            "    seen(state, [[0, 0], [0, 7], [1, 0], [1, 7]]),"
            "    seen(lanes, [[4, 2], [4, 7], [14, 2], [14, 7], [24, 2], [24, 7],"
            "      [4, 20], [14, 20], [24, 20], [0, 24], [10, 24], [20, 24]]),"
            "  ];"
            "}"
        )
    assert strip == [True, False, False, True]
    # Halves of the activations; the upper bar of a plus; the left end of a plus and of a minus.
    halves, bars, ends = [True, False, False, True, False, False], [True, False, False], [True] * 2
    assert lanes == [*halves, *bars, *ends, False]


def test_the_largest_seed_is_that_of_mmfree(text_page: Path) -> None:
    seed = (1 << 64) - 1
    backend = load_backend(text_page.parent / "model.tape")
    due = "".join(p for p, _ in generate(backend, "ab", 10, temperature=3.0, seed=seed))
    with opened(text_page) as page:
        found = play(page, prompt="ab", temperature="3", seed=str(seed), tokens="10")
        assert found["compared"] == found["equal"]
        assert page.evaluate("document.getElementById('text').textContent") == f"ab{due}"


def test_cycle_by_cycle_and_stop(text_page: Path) -> None:
    """A token of hundreds of cycles, half a second each, ends at once."""
    with opened(text_page) as page:
        play(page, prompt="ab", tokens="5")
        page.fill("#tokens", "2000")
        page.check("#slow")
        page.evaluate("document.getElementById('pause').value = 500")
        page.dispatch_event("#pause", "input")
        page.press("#play", "Enter")
        page.wait_for_timeout(1200)
        assert re.match(r"cycle [\d,]+, segment ", page.inner_text("#cycle"))
        # Nothing of the text before is left.
        assert page.inner_text("#verdict") == "0 of 0 equal"
        assert page.inner_text("#values") == page.inner_text("#speed") == ""
        assert page.evaluate("document.activeElement.id") == "stop"
        page.keyboard.press("Enter")
        page.wait_for_selector("#play:not([disabled])", timeout=5000)
        assert page.evaluate("document.activeElement.id") == "play"
        page.uncheck("#slow")
        told = page.inner_text("#status")
        assert told.startswith("Stopped")
        equal, compared = re.findall(r"\d+", page.inner_text("#verdict"))
        assert equal == compared
        assert int(compared) < 2000
        # And goes on to play.
        found = play(page, prompt="ab", tokens="5")
        assert found["compared"] == found["equal"] == 7


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"temperature": "9"}, 'a temperature is from 0 to 3.98, not "9"'),
        ({"temperature": "1e-9"}, "a temperature is from 0 to 3.98, not"),
        ({"tokens": "0"}, "the number of tokens is a whole one from 1 to 2000"),
        ({"tokens": "2.7"}, "the number of tokens is a whole one from 1 to 2000"),
        ({"seed": "-1"}, "a seed is a whole number from 0 to 18446744073709551615"),
        ({"seed": str(1 << 64)}, "a seed is a whole number from 0 to 18446744073709551615"),
        ({"prompt": "a" * 2001}, "a prompt has at most 2000 characters"),
        ({"prompt": HOSTILE, "tokens": "1"}, None),
    ],
)
def test_what_cannot_be_played_is_told(
    text_page: Path, fields: dict[str, str], told: str | None
) -> None:
    with opened(text_page) as page:
        found = play(page, **fields)
        if told is None:
            assert found["told"].startswith("Done")
        else:
            assert found["told"].startswith(f"Not played: {told}")
        assert page.title() == f"mmfree: {HOSTILE}, the chip in a page"


def test_a_sum(tmp_path: Path) -> None:
    """Of a model that has learned nothing: the sum is wrong, and as the golden model has it."""
    tape = tape_of(trained(SMALL_ADDITION, tmp_path / "run"))
    with opened(written(tmp_path, "sums", tape)) as page:
        found = play(page, a="907", b="88")
        assert found["compared"] == found["equal"] == 9
        write_tape(tape, tmp_path / "model.tape")
        due = "".join(p for p, _ in generate(load_backend(tmp_path / "model.tape"), "907+88"))
        assert sum_of(page) == due.lstrip("0")
        wrong_digits = [n for n, digit in enumerate(due.zfill(4)) if digit != "0995"[n]]
        assert wrong_digits
        marked = page.eval_on_selector_all(
            "#columns .sum td", "cells => cells.map((cell) => [cell.className, cell.textContent])"
        )
        found = [(n, digit) for n, (name, digit) in enumerate(marked) if name == "fail"]
        assert found == [(n, due.zfill(4)[n]) for n in wrong_digits]
        told = f"The model is wrong in {len(wrong_digits)} of 4 digits."
        assert page.inner_text("#status").endswith(told)
        # Of 7 and 8.
        carries = page.locator("#columns .carry td").all_inner_texts()
        assert carries == ["", "", "1", ""]
        wrong = play(page, a="1e3", b="2")
        assert wrong["told"].startswith("Not played: two numbers are asked for")


def test_bpe_is_that_of_the_library(tmp_path: Path) -> None:
    """On 100 kB and more of prose, and on every kind of character."""
    tape = open_tape(FOLDER / "stories.tape")
    tokenizer = tokenizer_from_dict(tape.tokenizer)
    corpus = python_prose()[:100_000]
    texts = [corpus[start : start + 2000] for start in range(0, len(corpus), 2000)]
    texts += [
        " \t\n\u00a0\u2003x  y\u3000 z ",
        "don't we'll I'M 12ab\u0663\u00bd \u4e2d\u6587",
        "\x1c\x1f\x85a",
    ]
    with opened(written(tmp_path, "stories", tape)) as page:
        found = page.evaluate(
            "async (texts) => {"
            "  const bytes = await inflate(packed('manifest'));"
            "  const about = JSON.parse(new TextDecoder().decode(bytes));"
            "  const tokenizer = openTokenizer(about.tokenizer);"
            "  return texts.map((text) => {"
            "    const ids = tokenizer.encode(text), stream = new TextStream(tokenizer);"
            "    return [ids, ids.slice(1).map((id) => stream.push(id)).join('') + stream.end()];"
            "  });"
            "}",
            texts,
        )
    assert sum(len(text.encode()) for text in texts) >= 100_000
    for text, (ids, back) in zip(texts, found, strict=True):
        assert ids == tokenizer.encode(text)
        assert back == text


@pytest.mark.slow
def test_twenty_sums_and_fifty_tokens(tmp_path: Path) -> None:
    """Of the demo's model, and of stories."""
    from mmfree.training.presets import PRESETS

    tape = tape_of(trained(PRESETS["addition"](), tmp_path / "run"))
    path = written(tmp_path, "addition", tape)
    assert path.stat().st_size <= 200 * 1024
    rng = random.Random(0)
    with opened(path) as page:
        for _ in range(20):
            a, b = (rng.randrange(10 ** rng.randrange(1, 60)) for _ in range(2))
            found = play(page, a=str(a), b=str(b))
            assert found["compared"] == found["equal"]
            assert sum_of(page) == str(a + b)
    path = written(tmp_path, "stories", open_tape(FOLDER / "stories.tape"), card_of("stories"))
    assert path.stat().st_size <= 1024 * 1024
    with opened(path) as page:
        found = play(page, tokens="50")
        assert found["compared"] == found["equal"] >= 50

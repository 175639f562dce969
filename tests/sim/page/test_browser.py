"""Pages in a real browser, from their files, without a network."""

from __future__ import annotations

import base64
import json
import random
import re
import zlib
from collections.abc import Callable
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
from sim.page.page import packed, page_of
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tools.speed.browser import opened, play

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
)


IN_A_TEXT = """async (button) => {
  document.getElementById("play").click();
  while (document.querySelectorAll("#text span").length < 5)
    await new Promise((resolve) => setTimeout(resolve, 1));
  document.getElementById(button).click();
}"""
"""Begins a text, and presses a button while the chip goes on by itself."""


def written(folder: Path, name: str, tape: object, card: str = "") -> Path:
    path = folder / "page.html"
    path.write_bytes(page_of(tape, name, design_of(tape), card=card))
    return path


@pytest.fixture(scope="module")
def text_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model of bytes that has learned next to nothing, with a hostile name and card."""
    folder = tmp_path_factory.mktemp("text")
    tape = tape_of(trained(SMALL_TEXT, folder / "run"))
    write_tape(tape, folder / "model.tape")
    return written(folder, HOSTILE, tape, card=HOSTILE)


def with_manifest(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The page with another description of the model."""
    text = path.read_text(encoding="utf-8")
    (part,) = re.findall(r'id="manifest">([^<]*)<', text)
    about = json.loads(zlib.decompress(base64.b64decode(part)))
    change(about)
    other = path.with_name("other.html")
    other.write_text(text.replace(part, packed(json.dumps(about).encode())), encoding="utf-8")
    return other


def sum_of(page: Page) -> str:
    return "".join(page.locator("#columns .sum td").all_inner_texts()).lstrip("0") or "0"


def test_a_text_is_what_mmfree_generates(text_page: Path) -> None:
    backend = load_backend(text_page.parent / "model.tape")
    due = "".join(p for p, _ in generate(backend, "ab", 40, temperature=1.0, seed=7))
    with opened(text_page) as page:
        found = play(page, prompt="ab", temperature="1", seed="7", tokens="40")
        assert found["told"].startswith("Done")
        assert found["compared"] == found["equal"] == 42
        assert page.evaluate("document.getElementById('text').textContent") == f"ab{due}"
        assert page.inner_text("#verdict") == "42 of 42 equal"
        tape = open_tape(text_page.parent / "model.tape")
        cycles = cycles_per_token(tape.config, design_of(tape))
        assert page.inner_text("#cycles") == f"{cycles:,} cycles/token"
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
            if name not in ("told", "ready")
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


def test_cycle_by_cycle_and_stop(text_page: Path) -> None:
    with opened(text_page) as page:
        page.fill("#tokens", "2000")
        page.check("#slow")
        page.evaluate("document.getElementById('pause').value = 0")
        page.press("#play", "Enter")
        page.wait_for_timeout(300)
        assert re.match(r"cycle [\d,]+, segment ", page.inner_text("#cycle"))
        page.click("#stop")
        page.uncheck("#slow")
        page.wait_for_selector("#play:not([disabled])")
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
        ({"temperature": "9"}, "the temperature lies in 0 to 3.98"),
        ({"tokens": "0"}, "the number of tokens lies in 1 to 2000"),
        ({"seed": "-1"}, "a seed is a whole number"),
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
        assert sum_of(page) == due
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

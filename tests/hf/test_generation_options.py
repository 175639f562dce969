"""Generation options of lm-eval-harness: as it understands them, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from mmfree.errors import InputError
from mmfree.hf.generation_options import GENERATED_TOKENS, read_generation_options


@pytest.mark.parametrize(
    ("options", "stops", "tokens", "temperature"),
    [
        ({}, (), GENERATED_TOKENS, 0),
        ({"until": "\n"}, ("\n",), GENERATED_TOKENS, 0),
        # An empty text stands everywhere: it would end each answer before its first character.
        ({"until": ["", "Q:", "\n\n"]}, ("Q:", "\n\n"), GENERATED_TOKENS, 0),
        ({"until": ("a",), "max_gen_toks": 3}, ("a",), 3, 0),
        ({"max_new_tokens": "7"}, (), 7, 0),
        ({"max_tokens": 9.0, "max_gen_toks": 9}, (), 9, 0),
        ({"temperature": 1.0}, (), GENERATED_TOKENS, 64),
        ({"temperature": 1.0, "do_sample": False}, (), GENERATED_TOKENS, 0),
        ({"temperature": 0.5, "do_sample": True}, (), GENERATED_TOKENS, 32),
        ({"temperature": 0, "do_sample": False}, (), GENERATED_TOKENS, 0),
        ({"top_p": 0.9, "top_k": 5, "seed": 3}, (), GENERATED_TOKENS, 0),
        (
            {"temperature": 1, "top_p": 1.0, "top_k": 0, "num_beams": 1, "min_p": None},
            (),
            GENERATED_TOKENS,
            64,
        ),
    ],
)
def test_what_can_be_asked_for(
    options: dict[str, Any], stops: tuple[str, ...], tokens: int, temperature: int
) -> None:
    found = read_generation_options(options)
    assert (found.stops, found.tokens, found.temperature) == (stops, tokens, temperature)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": 3}, "until must be a text or a list of texts: 3"),
        ({"until": ["a", None]}, r"until must be a text or a list of texts: \['a', None\]"),
        ({"max_gen_toks": "many"}, "max_gen_toks must be a number, got 'many'"),
        ({"max_gen_toks": float("inf")}, "max_gen_toks must be a number, got inf"),
        ({"max_gen_toks": True}, "max_gen_toks must be a number, got True"),
        ({"max_gen_toks": 0}, "max_gen_toks must be an integer of at least 1, got 0"),
        ({"max_new_tokens": 2.5}, r"max_new_tokens must be an integer of at least 1, got 2\.5"),
        ({"max_gen_toks": 3, "max_tokens": 4}, "max_gen_toks and max_tokens differ"),
        ({"temperature": [1]}, r"temperature must be a number, got \[1\]"),
        ({"temperature": float("nan")}, "temperature must be a number, got nan"),
        ({"temperature": 9}, r"generation options: temperature must lie in 0\.\.3\.98, got 9"),
        ({"do_sample": "yes"}, "do_sample must be true or false, got 'yes'"),
        ({"do_sample": True}, "do_sample needs a temperature above 0"),
        (
            {"temperature": 1, "top_p": 0},
            r"options: top_p must lie above 0 and be at most 1, got 0",
        ),
        ({"temperature": 1, "top_p": "x"}, "top_p must be a number, got 'x'"),
        ({"temperature": 1, "top_k": 2.5}, r"top_k must be an integer of at least 1, got 2\.5"),
        ({"temperature": 1, "top_k": -2}, "top_k must be an integer of at least 1, got -2"),
        ({"temperature": 1, "seed": 3}, "seed=3 has no effect on this model"),
        ({"num_beams": 4}, "num_beams=4 has no effect on this model"),
        ({"repetition_penalty": 1.2}, r"repetition_penalty=1\.2 has no effect"),
        ({"stop": ["\n"]}, "stop=.* has no effect on this model, which knows until"),
        ({"max_gen_tok": 4}, "max_gen_tok=4 has no effect"),
    ],
)
def test_what_cannot_take_effect_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_generation_options(options)


@pytest.mark.parametrize(
    ("options", "top_k", "top_p"),
    [
        ({}, None, None),
        ({"top_k": 0, "top_p": 1}, None, None),
        ({"top_k": -1, "top_p": 1.0}, None, None),
        ({"top_k": 1}, 1, None),
        ({"top_k": "50", "top_p": "0.5"}, 50, 1 << 15),
        ({"top_p": 0.25}, None, 1 << 14),
    ],
)
def test_what_is_drawn_from_can_be_limited(
    options: dict[str, Any], top_k: int | None, top_p: int | None
) -> None:
    found = read_generation_options({"temperature": 1, **options})
    assert (found.top_k, found.top_p) == (top_k, top_p)
    found = read_generation_options({"temperature": 1, "do_sample": False, **options})
    assert (found.top_k, found.top_p) == (None, None), "nothing is drawn"


@pytest.mark.parametrize(
    ("name", "nothing", "something"),
    [
        ("min_p", 0.0, 0.1),
        ("typical_p", 1.0, 0.0),
        ("repetition_penalty", 1.0, 0.0),
        ("presence_penalty", 0, 1),
        ("frequency_penalty", 0.0, 0.5),
        ("num_beams", 1, 2),
        ("num_return_sequences", 1, 0),
    ],
)
def test_an_option_of_other_models_may_ask_for_nothing(
    name: str, nothing: float, something: float
) -> None:
    found = read_generation_options({"temperature": 1.0, name: nothing})
    assert (found.temperature, found.tokens) == (64, GENERATED_TOKENS)
    with pytest.raises(InputError, match=f"{name}={something} has no effect on this model"):
        read_generation_options({"temperature": 1.0, name: something})


@pytest.mark.parametrize(
    "name", ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"]
)
def test_the_most_tokens_have_several_names(name: str) -> None:
    assert read_generation_options({name: 7}).tokens == 7

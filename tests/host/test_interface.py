"""What a host asks of any chip, and the image that it may load."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for
from mmfree.errors import InputError
from mmfree.host.interface import Request, check_image
from tests.support.random_tapes import random_tape

TAPE = random_tape(
    np.random.default_rng(0),
    hidden_size=4,
    intermediate_size=6,
    num_layers=1,
    vocab_size=3,
    head_size=3,
    gate="hard",
)
DESIGN = design_for(TAPE, 16)


def test_a_request_chooses_the_most_likely_row_once() -> None:
    """Unless it says otherwise."""
    request = Request(token=3, begin=False)
    assert (request.temperature, request.limit, request.stop) == (0, 1, None)
    largest = Request(token=1 << 40, begin=True, temperature=255, limit=1 << 40, stop=0)
    assert (largest.begin, largest.stop) == (True, 0)


@pytest.mark.parametrize("name", ["token", "temperature", "limit", "stop"])
def test_numbers_of_a_request_are_integers(name: str) -> None:
    for value in (1.0, "1", [1]):
        values: dict[str, Any] = {"token": 0, "begin": True, name: value}
        with pytest.raises(InputError, match=rf"^request\.{name} must be an integer, got "):
            Request(**values)
    if name != "stop":
        with pytest.raises(InputError, match=rf"^request\.{name} must be an integer, got None$"):
            Request(**{"token": 0, "begin": True, name: None})


def test_an_image_is_for_one_design() -> None:
    """The first field that differs is named, whichever it is and whichever way."""
    image = layout(TAPE, DESIGN)
    check_image(image, replace(DESIGN))
    others: dict[str, Any] = {"columns": 8, "rows": 8, "post_width": 2, "weight_code": "1.6"}
    others["stores_logits"] = False
    for field in fields(DESIGN):
        if field.name in ("formats", "memory", "arithmetic"):
            continue  # another memory has other rows, columns or code, too
        mine = getattr(DESIGN, field.name)
        other = others.get(field.name, mine + 1 if isinstance(mine, int) else None)
        assert other != mine
        message = f"another design: {field.name} of {mine}, but the chip has {other}$"
        with pytest.raises(InputError, match=message):
            check_image(image, replace(DESIGN, **{field.name: other}))

"""Published systems: held out fairly, and predicted."""

from __future__ import annotations

import pytest

from sim.power.coefficients import load_part, part_names
from sim.power.validation import Prediction, predictions

FOUND = predictions()
OUTSIDE = {"AI_TRIGGER CNN, KU5P", "DRSA 16 x 16 int8 array, XC7A100T"}
"""Busier and idler than a system whose activity is unknown is taken to be (docs/log.md)."""


def test_most_were_held_out() -> None:
    assert sum(p.held_out for p in FOUND) >= len(FOUND) / 2
    assert len({p.name for p in FOUND}) == len(FOUND) >= 12


@pytest.mark.parametrize("prediction", FOUND, ids=lambda p: p.name)
def test_the_published_value_lies_in_the_interval(prediction: Prediction) -> None:
    assert prediction.inside == (prediction.name not in OUTSIDE)
    watts = prediction.watts
    assert 0 < watts.low < watts.best < watts.high
    assert watts.high / watts.low < (5 if "par8" in prediction.name else 3)


def test_what_is_held_out_is_no_source_of_a_coefficient() -> None:
    sources = " ".join(
        q.source for name in part_names() for q in load_part(name).coefficients.values()
    )
    for prediction in FOUND:
        if prediction.held_out and "bitnet" not in prediction.name:
            assert prediction.name.split(",")[0].split(" on ")[0] not in sources
    for seen in ("ternfpga", "DRSA", "cw305"):
        assert seen in sources
        assert not any(seen in prediction.name and prediction.held_out for prediction in FOUND)


def test_systems_with_meters_are_among_those_held_out() -> None:
    assert sum(p.held_out and p.kind == "meter" for p in FOUND) >= 5


def test_what_is_said_of_each() -> None:
    for prediction in FOUND:
        values = prediction.to_dict()
        assert set(values) >= {"name", "held_out", "low", "best", "high", "published"}
        assert values["source"]
        assert values["kind"] in ("tool", "meter")

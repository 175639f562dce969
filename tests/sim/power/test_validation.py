"""Published systems: held out fairly, and predicted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.power.coefficients import load_part, part_names
from sim.power.interval import Interval
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


BY_HAND = {
    # 0.08 toggles: LUTs of 0.18 and 0.17 pJ, flip-flops of 0.009 and 0.17; each flip-flop's clock
    # 0.025; RAM of 12 pJ in 0.4 of the cycles; DSP of 4.5 in half of them.
    "XCU50 regular expressions": 190e6
    * 1e-12
    * (0.08 * (488058 * 0.35 + 665852 * 0.179) + 665852 * 0.025 + 0.4 * 412.5 * 12 + 0.5 * 4 * 4.5),
    # The clock runs while idle, too; over 3.808 W of the board, and 7.87 GB/s of 20 pJ a bit.
    "bitnet-kv260, base 3": 3.808
    + 250e6 * 1e-12 * (0.08 * (42271 * 0.35 + 53342 * 0.179) + 0.4 * (95 + 40) * 12)
    + 7.87e9 * 8 * 20e-12,
    # Two cards, each with its static 3.6 W.
    "TerEffic, 370M on chip": 2
    * (
        3.6
        + 150e6
        * 1e-12
        * (
            0.08 * (781000 * 0.35 + 900000 * 0.179)
            + 900000 * 0.025
            + 0.4 * (964 + 740) * 12
            + 0.5 * 3041 * 4.5
        )
    ),
    # Static power alone, of a part of its own.
    "cw305 ECC P-256": 0.099,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_prediction_by_hand(name: str) -> None:
    (found,) = (prediction for prediction in FOUND if prediction.name == name)
    assert found.watts.best == pytest.approx(BY_HAND[name], rel=1e-6)


def test_a_value_at_the_end_of_its_interval_is_inside() -> None:
    some = FOUND[0]
    for published, inside in ((2.0, True), (4.0, True), (1.99, False), (4.01, False)):
        prediction = replace(some, watts=Interval(2.0, 3.0, 4.0), published=published)
        assert prediction.inside is inside
        values = prediction.to_dict()
        assert [values[key] for key in ("low", "best", "high")] == [2.0, 3.0, 4.0]
        assert (values["published"], values["inside"]) == (published, inside)
        assert values["what"] == some.what

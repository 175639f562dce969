"""Boundaries of shapes, number formats and matrices: contract, models."""

from __future__ import annotations

import math
from typing import Any

from mmfree.contract.absmax import AbsmaxFormats
from mmfree.contract.pow2 import Formats
from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.models.bitlinear import BitLinear
from tests.support.boundaries import Boundary, both_ends

SIZES: dict[str, Any] = {
    "vocab_size": 5,
    "hidden_size": 3,
    "intermediate_size": 4,
    "num_layers": 2,
}
SHAPE = "mmfree/contract/shape.py"
NORM_EPS = "1e-12 <= self.norm_eps <= 1"


def absmax(**changes: Any) -> AbsmaxConfig:
    return AbsmaxConfig(**(SIZES | changes))


def shifted(channels: int) -> ModelConfig:
    return ModelConfig(**SIZES, head_size=2, token_shift=channels)


ROWS: list[Boundary] = [
    *both_ends(
        SHAPE,
        "0 <= self.token_shift <= self.hidden_size",
        shifted,
        (0, 3),
        r"config: token_shift must be an integer in 0\.\.3",
    ),
    *(
        row
        for name, largest in (
            ("vocab_size", 1 << 24),
            ("hidden_size", 65535),
            ("intermediate_size", 65535),
            ("num_layers", 4096),
        )
        for run in (
            lambda value, name=name: absmax(**{name: value}),
            lambda value, name=name: ModelConfig(**(SIZES | {"head_size": 2, name: value})),
        )
        for row in both_ends(
            SHAPE, "1 <= value <= high", run, (1, largest), f"config: {name} must be an integer"
        )
    ),
    *both_ends(
        SHAPE,
        "1 <= value <= high",
        lambda value: ModelConfig(**SIZES, head_size=value),
        (1, 1 << 24),
        "config: head_size must be an integer",
    ),
    *both_ends(
        SHAPE,
        "0 <= value < self.vocab_size",
        lambda value: absmax(bos_token_id=value),
        (0, 4),
        r"config: bos_token_id must be null or in 0\.\.4",
    ),
    *(
        Boundary(
            file=SHAPE,
            compares=NORM_EPS,
            allowed=lambda _, end=end: absmax(norm_eps=end),
            refused=lambda _, end=end, towards=towards: absmax(
                norm_eps=math.nextafter(end, towards)
            ),
            says=r"config: norm_eps must be a number in 1e-12\.\.1, got \d",
        )
        for end, towards in ((1e-12, 0.0), (1.0, 2.0))
    ),
    *(
        row
        for name in (
            *("residual_fb", "index_fb", "gate_sigmoid_fb"),
            *("gate_hard_fb", "forget_fb", "state_fb"),
        )
        for row in both_ends(
            "mmfree/contract/pow2.py",
            "0 <= value <= 15",
            lambda value, name=name: Formats(**{name: value}),
            (0, 15),
            rf"formats\.{name} must be an integer in 0\.\.15",
        )
    ),
    *(
        row
        for name, limits in (
            ("residual_fb", (8, 24)),
            ("activation_fb", (8, 24)),
            ("forget_fb", (8, 22)),
            ("logit_fb", (9, 24)),
        )
        for row in both_ends(
            "mmfree/contract/absmax.py",
            "low <= value <= high",
            lambda value, name=name: AbsmaxFormats(**{name: value}),
            limits,
            rf"formats\.{name} must be an integer",
        )
    ),
    *both_ends(
        "mmfree/models/bitlinear.py",
        "1 <= fan_in <= MAX_FAN_IN",
        lambda value: BitLinear("o", value, 1, "hard"),
        (1, 65535),
        r"matrix o: fan-in must be in 1\.\.65535",
    ),
]

"""Model configuration and presets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmfree.formats import GATES, MAX_FAN_IN


def check_sizes(config: object, limits: dict[str, int]) -> None:
    """ValueError names the first field that is not an integer in 1..limit."""
    for name, high in limits.items():
        value = getattr(config, name)
        if type(value) is not int or not 1 <= value <= high:
            raise ValueError(f"config: {name} must be an integer in 1..{high}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape and arithmetic choices of a MatMul-free language model.

    Parameters
    ----------
    vocab_size
        Rows of the embedding: token ids are 0..vocab_size-1.
    head_size
        Rows of the head. The head's row r predicts token id r, or what the tokenizer makes of it.
    hidden_size
        d, width of the residual vector and of the state of a layer.
    intermediate_size
        I, width of the GLU.
    num_layers
        Blocks of MLGRU and GLU.
    gate
        Activation of the forget gate: "sigmoid", "hard", or "signed", which can also turn the sign of the state.

    Raises
    ------
    ValueError
        If a size is not an integer in its range, or the gate is unknown.
    """

    vocab_size: int
    head_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    gate: str = "hard"

    def __post_init__(self) -> None:
        limits = {
            "vocab_size": 1 << 24,
            "head_size": 1 << 24,
            "hidden_size": MAX_FAN_IN,
            "intermediate_size": MAX_FAN_IN,
            "num_layers": 4096,
        }
        check_sizes(self, limits)
        if self.gate not in GATES:
            raise ValueError(f"config: gate must be one of {', '.join(GATES)}, got {self.gate!r}")

    @classmethod
    def from_dict(cls, data: Any, source: str = "config") -> ModelConfig:
        """Build from a JSON object; unknown and missing fields are errors that name ``source``."""
        if not isinstance(data, dict):
            raise ValueError(f"{source}: expected a JSON object, got {type(data).__name__}")
        known = {f.name for f in fields(cls)}
        required = known - {"gate"}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"{source}: unknown field {unknown[0]!r}; known: {sorted(known)}")
        if missing := sorted(required - set(data)):
            raise ValueError(f"{source}: missing field {missing[0]!r}")
        try:
            return cls(**data)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order."""
        return asdict(self)

    @property
    def num_ternary_weights(self) -> int:
        """Ternary weights read per token: all projections and the head."""
        d, i = self.hidden_size, self.intermediate_size
        return self.num_layers * (4 * d * d + 3 * i * d) + self.head_size * d

    @property
    def num_parameters(self) -> int:
        """Ternary weights, embedding and gate biases."""
        embedding = self.vocab_size * self.hidden_size
        return self.num_ternary_weights + embedding + self.num_layers * self.hidden_size

    @property
    def num_state_words(self) -> int:
        """Words of recurrent state: one per layer and channel."""
        return self.num_layers * self.hidden_size


def read_json(path: Path) -> Any:
    """Parse a JSON file; one clear ValueError when it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None


def addition_model(gate: str = "hard") -> ModelConfig:
    """Two layers of d = 64 for streaming addition: 31 input tokens, ten output rows."""
    return ModelConfig(
        vocab_size=31,
        head_size=10,
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        gate=gate,
    )


def text_model(gate: str = "hard") -> ModelConfig:
    """Two layers of d = 128 over bytes: small enough to train in minutes on a CPU."""
    return ModelConfig(
        vocab_size=256,
        head_size=256,
        hidden_size=128,
        intermediate_size=256,
        num_layers=2,
        gate=gate,
    )


def parity_model(gate: str = "signed") -> ModelConfig:
    """One layer of d = 32 over bits."""
    return ModelConfig(
        vocab_size=3, head_size=2, hidden_size=32, intermediate_size=64, num_layers=1, gate=gate
    )


def modular_model(gate: str = "hard") -> ModelConfig:
    """One layer of d = 128 for addition modulo 97: a, b and "="."""
    return ModelConfig(
        vocab_size=195, head_size=97, hidden_size=128, intermediate_size=256, num_layers=1, gate=gate
    )

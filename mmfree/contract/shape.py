"""Shapes of models: that of our own, and that of published checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TypeAlias

from mmfree.contract.absmax import ROLES_BY_KIND
from mmfree.contract.pow2 import GATES, MAX_FAN_IN
from mmfree.errors import InputError, not_one_of
from mmfree.files.objects import checked_fields


def check_sizes(config: object, limits: dict[str, int]) -> None:
    """InputError for the first field of ``limits`` that is not an integer in 1..limit."""
    for name, high in limits.items():
        value = getattr(config, name)
        if type(value) is not int or not 1 <= value <= high:
            raise InputError(f"config: {name} must be an integer in 1..{high}, got {value!r}")


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
        Activation of the forget gate: "sigmoid", "hard", or "signed", which can also change the
        sign of the state.
    token_shift
        Channels, the first ones, that i, f, g and gate, up read from the position before:
        0..hidden_size.

    Raises
    ------
    InputError
        If a size is not an integer in its range, or the gate is unknown.
    """

    vocab_size: int
    head_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    gate: str = "hard"
    token_shift: int = 0

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
            raise not_one_of("config: gate", self.gate, GATES)
        if type(self.token_shift) is not int or not 0 <= self.token_shift <= self.hidden_size:
            raise InputError(
                f"config: token_shift must be an integer in 0..{self.hidden_size} (hidden_size),"
                f" got {self.token_shift!r}"
            )

    @classmethod
    def from_dict(cls, data: object, source: str = "config") -> ModelConfig:
        """The config that a JSON object describes.

        Raises
        ------
        InputError
            If a field is unknown, missing or out of range; the message names ``source`` and field.
        """
        values = checked_fields(data, cls, source)
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, int | str]:
        """Plain JSON types, in field order; without a token shift of 0, which older files lack."""
        return {
            name: value for name, value in asdict(self).items() if name != "token_shift" or value
        }

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
    def state_width(self) -> int:
        """Words of state of a layer: x as the gates read it before, h, x as the GLU did."""
        return self.hidden_size + 2 * self.token_shift

    @property
    def num_state_words(self) -> int:
        """Words of recurrent state: one per layer and channel, and what a token shift keeps."""
        return self.num_layers * self.state_width


@dataclass(frozen=True, kw_only=True)
class AbsmaxConfig:
    """Shape of a published model.

    Parameters
    ----------
    vocab_size, hidden_size, intermediate_size, num_layers
        Rows of embedding and head; d; I; L.
    norm_eps
        Epsilon of the block norms, of the norm on g and of the last norm (``rms_norm_eps`` of
        config.json), above 0.
    bos_token_id
        The id that begins a text, or None.
    eos_token_id
        The id that ends a text, or None; several as a tuple or list, kept in ascending order.

    Raises
    ------
    InputError
        If a field is out of range.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    norm_eps: float = 1e-6
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        limits = {
            "vocab_size": 1 << 24,
            "hidden_size": MAX_FAN_IN,
            "intermediate_size": MAX_FAN_IN,
            "num_layers": 4096,
        }
        check_sizes(self, limits)
        if type(self.norm_eps) is not float or not 1e-12 <= self.norm_eps <= 1:
            raise InputError(
                f"config: norm_eps must be a number in 1e-12..1, got {self.norm_eps!r}"
            )
        begins, ends = self.bos_token_id, self.eos_token_id
        if begins is not None and not self._is_id(begins):
            raise InputError(
                f"config: bos_token_id must be null or in 0..{self.vocab_size - 1}, got {begins!r}"
            )
        several: tuple[int, ...] | list[int] = (
            ends if isinstance(ends, tuple | list) else () if ends is None else (ends,)
        )
        if not all(map(self._is_id, several)):
            raise InputError(
                f"config: eos_token_id must be null, in 0..{self.vocab_size - 1}, or a list of"
                f" such, got {ends!r}"
            )
        # One writing of each: a model has exactly one tape.
        ids = tuple(sorted(set(several)))
        single = None if not ids else ids[0] if len(ids) == 1 else ids
        object.__setattr__(self, "eos_token_id", single)

    def _is_id(self, value: object) -> bool:
        return type(value) is int and 0 <= value < self.vocab_size

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Every id that ends a text."""
        ends = self.eos_token_id
        return ends if isinstance(ends, tuple) else () if ends is None else (ends,)

    def to_dict(self) -> dict[str, int | float | list[int] | None]:
        """Plain JSON types, in field order."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @property
    def head_size(self) -> int:
        """Rows of the head: one per token id."""
        return self.vocab_size

    @property
    def num_ternary_weights(self) -> int:
        """Ternary weights read per token: all projections and the head."""
        return sum(
            rows * fan_in * len(ROLES_BY_KIND[kind]) for kind, _, rows, fan_in in self.segments()
        )

    @property
    def num_parameters(self) -> int:
        """Parameters of the checkpoint: ternary weights, embedding, lower bounds and gains."""
        d, i = self.hidden_size, self.intermediate_size
        gains = self.num_layers * (8 * d + i) + 2 * d
        return self.num_ternary_weights + self.vocab_size * d + self.num_layers * d + gains

    @property
    def state_width(self) -> int:
        """Words of state of a layer: one per channel."""
        return self.hidden_size

    @property
    def num_state_words(self) -> int:
        """Words of recurrent state: one per layer and channel."""
        return self.num_layers * self.state_width

    def segments(self) -> Iterator[tuple[str, int | None, int, int]]:
        """Yield (kind, layer, rows of a matrix, fan_in) of every segment, in the order of use."""
        d, i = self.hidden_size, self.intermediate_size
        shapes = {"gates": (d, d), "output": (d, d), "glu": (2 * i, d), "down": (d, i)}
        for layer in range(self.num_layers):
            for kind, (rows, fan_in) in shapes.items():
                yield kind, layer, rows, fan_in
        yield "head", None, self.vocab_size, d


AnyConfig: TypeAlias = ModelConfig | AbsmaxConfig
"""The shape of a model of either arithmetic."""


def segment_name(kind: str, layer: int | None) -> str:
    """``layer 3 glu``, or ``head``."""
    return kind if layer is None else f"layer {layer} {kind}"

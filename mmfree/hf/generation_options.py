"""The generation options of lm-eval-harness: what a task or ``--gen_kwargs`` may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmfree.errors import InputError
from mmfree.golden.sampling import temperature_code, top_p_code

GENERATED_TOKENS = 256
"""Tokens of an answer, where a task gives no number."""

TOKEN_OPTIONS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""The harness's names for the most tokens of an answer."""

LIMITS = {"top_k": (0, -1), "top_p": (1,)}
"""What is drawn from, and the values that limit nothing."""

SAMPLING_OPTIONS = ("min_p", "typical_p", "seed")
"""Other options that mean nothing unless tokens are drawn."""

NEUTRAL = {
    "min_p": (0,),
    "typical_p": (1,),
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
}
"""Values of other models' options that ask for nothing."""


@dataclass(frozen=True)
class GenerationOptions:
    """What an answer is to be: its most ``tokens``, where it stops, how its tokens are chosen.

    ``temperature`` is in 64ths (``mmfree.golden.sampling``); 0: the most likely token. ``top_k``
    and ``top_p`` (in 65,536ths) limit what is drawn from; None: they do not.
    """

    stops: tuple[str, ...]
    tokens: int
    temperature: int
    top_k: int | None = None
    top_p: int | None = None


def read_generation_options(options: Mapping[str, Any]) -> GenerationOptions:
    """The options of a request, as the harness understands them.

    Stop texts that are empty do not count. Without ``do_sample`` a temperature above 0 samples.

    Raises
    ------
    InputError
        If a value is of another type or out of range, or an option has no effect here.
    """
    rest = {name: value for name, value in options.items() if value is not None}
    stops = _stops(rest.pop("until", []))
    counts = {name: _number(name, rest.pop(name)) for name in TOKEN_OPTIONS if name in rest}
    if len(set(counts.values())) > 1:
        raise InputError(f"generation options: {' and '.join(counts)} differ; give one of them")
    tokens = next(iter(counts.values()), GENERATED_TOKENS)
    if tokens != int(tokens) or tokens < 1:
        raise InputError(
            f"generation options: {next(iter(counts))} must be an integer of at least 1, got"
            f" {tokens:g}"
        )
    asked = _number("temperature", rest.pop("temperature", 0))
    samples = rest.pop("do_sample", asked > 0)
    if not isinstance(samples, bool):
        raise InputError(f"generation options: do_sample must be true or false, got {samples!r}")
    if samples and asked == 0:
        raise InputError("generation options: do_sample needs a temperature above 0")
    top_k, top_p = _limits(rest, samples=samples)
    for name, value in rest.items():
        harmless = value in NEUTRAL.get(name, ()) or (name in SAMPLING_OPTIONS and not samples)
        if not harmless:
            raise InputError(
                f"generation options: {name}={value!r} has no effect on this model, which knows"
                f" until, {TOKEN_OPTIONS[0]}, do_sample, temperature, top_k and top_p; remove it"
                " from the task or from --gen_kwargs"
            )
    try:
        temperature = temperature_code(asked if samples else 0.0)
    except InputError as error:
        raise InputError(f"generation options: {str(error).removeprefix('--')}") from None
    return GenerationOptions(stops, int(tokens), temperature, top_k, top_p)


def _limits(rest: dict[str, Any], *, samples: bool) -> tuple[int | None, int | None]:
    """``top_k`` and the code of ``top_p``, taken out of the options."""
    asked = {name: rest.pop(name, None) for name in LIMITS}
    limits = {
        name: _number(name, value)
        for name, value in asked.items()
        if samples and value is not None and value not in LIMITS[name]
    }
    top_k = limits.get("top_k")
    if top_k is not None and (top_k != int(top_k) or top_k < 1):
        raise InputError(
            f"generation options: top_k must be an integer of at least 1, got {top_k:g}"
        )
    try:
        top_p = top_p_code(limits["top_p"]) if "top_p" in limits else None
    except InputError as error:
        raise InputError(f"generation options: {str(error).replace('--top-p', 'top_p')}") from None
    return None if top_k is None else int(top_k), top_p


def _stops(until: Any) -> tuple[str, ...]:
    several = [until] if isinstance(until, str) else until
    if not isinstance(several, list | tuple) or not all(isinstance(stop, str) for stop in several):
        raise InputError(f"generation options: until must be a text or a list of texts: {until!r}")
    return tuple(stop for stop in several if stop)


def _number(name: str, value: Any) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    # Neither an infinite number nor none.
    if not abs(number) < float("inf"):
        raise InputError(f"generation options: {name} must be a number, got {value!r}")
    return number

"""Control tokens kept out of text.

A vocabulary may hold its control tokens as pieces, which a text that spells one (or that a
normalizer turns into one) would become, whatever the library is told. So text is encoded by a copy
of the tokenizer in which control tokens have names that no text spells; ids stay as they are. What
comes out is checked all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HIDDEN = "\ufdd0mmfree token {}\ufdd1"
"""Name of a token, by its id, between two code points that Unicode gives to no character."""

_SHOWN = 40
"""Characters of a text that an error shows."""


def unknown_token(model: Mapping[str, Any]) -> str | None:
    """Name of what the model of a ``tokenizer.json`` makes of what it does not know."""
    if (number := model.get("unk_id")) is not None:
        return str(model["vocab"][number][0])
    return model.get("unk_token")


def without_control_tokens(
    contents: dict[str, Any], control: Mapping[int, str], added: Mapping[int, str], unknown: int
) -> Tokenizer:
    """A tokenizer that encodes text as ``contents`` does, and none of it as ``control``.

    Parameters
    ----------
    contents
        Of a ``tokenizer.json`` as the library writes it, which neither cuts nor fills texts.
    control
        Ids and names of what no text may become.
    added
        Ids and names of all added tokens.
    unknown
        An id after all of its own. A byte-pair encoding without a token for what it does not know
        leaves such characters out; here they become this id.

    Raises
    ------
    InputError
        If an added token has the id of another.
    """
    import tokenizers

    hidden = {name: _HIDDEN.format(number) for number, name in control.items()}
    kept = {hidden.get(name, name): number for number, name in added.items()}
    changed = {
        "model": _model_without(contents["model"], hidden, kept, unknown),
        "added_tokens": [_hide(token, hidden) for token in contents["added_tokens"]],
        # It would only add control tokens.
        "post_processor": None,
    }
    found = tokenizers.Tokenizer.from_str(json.dumps(contents | changed))
    found.encode_special_tokens = True
    for name, number in kept.items():
        if found.token_to_id(name) != number:
            raise InputError(f"the added token {added[number]!r} shares its id {number}")
    return found


def _model_without(
    model: dict[str, Any], hidden: Mapping[str, str], added: Mapping[str, int], unknown: int
) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if isinstance(model.get("unk_token"), str):
        changed["unk_token"] = hidden.get(model["unk_token"], model["unk_token"])
    if isinstance(model["vocab"], list):  # pieces with their scores
        changed["vocab"] = [[hidden.get(name, name), score] for name, score in model["vocab"]]
        return model | changed
    changed["vocab"] = {hidden.get(name, name): number for name, number in model["vocab"].items()}
    if "merges" in model:
        changed["merges"] = _merges_without(model, hidden)
        # With dropout the same text would be other tokens each time.
        changed["dropout"] = None
        if model.get("unk_token") is None:
            changed["unk_token"] = _HIDDEN.format(unknown)
            # Added tokens that the vocabulary has not get the ids after its last.
            changed["vocab"] = {**added, **changed["vocab"], changed["unk_token"]: unknown}
    return model | changed


def _merges_without(model: dict[str, Any], hidden: Mapping[str, str]) -> list[list[str]]:
    """The merges of a byte-pair encoding that neither make nor take a control token."""
    prefix = model.get("continuing_subword_prefix") or ""
    kept = []
    for merge in model["merges"]:
        left, right = merge
        if not {left, right, left + right.removeprefix(prefix)} & hidden.keys():
            kept.append(merge)
    return kept


def _hide(token: dict[str, Any], hidden: Mapping[str, str]) -> dict[str, Any]:
    """An added token; a control token is special, so that it is not looked for in text."""
    if token["content"] not in hidden:
        return token
    return token | {"content": hidden[token["content"]], "special": True}


class TextIds:
    """Which ids text may become.

    Parameters
    ----------
    control
        Ids and names of those that it may not.
    num_ids
        All are below it; this one stands for what the tokenizer does not know.
    """

    def __init__(self, control: Mapping[int, str], num_ids: int) -> None:
        self._control = control
        self._allowed = np.ones(num_ids + 1, dtype=bool)
        self._allowed[[*control, num_ids]] = False

    def checked(self, found: list[int], text: str) -> NDArray[np.int64]:
        """The ids that ``text`` became; InputError if it may not become one of them."""
        ids = np.array(found, dtype=np.int64)
        if (allowed := self._allowed[ids]).all():
            return ids
        wrong = int(ids[allowed.argmin()])
        shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
        if wrong in self._control:
            raise InputError(
                f"the tokenizer makes its control token {self._control[wrong]!r} of the text"
                f" {shown}: use one that knows every character, such as a byte-level one"
            )
        raise InputError(
            f"the tokenizer leaves out a character of the text {shown}: use one that knows every"
            " character, such as a byte-level one"
        )

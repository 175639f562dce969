"""The state that a sequence starts from, for every torch model with a constant state."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mmfree.errors import InputError


def starting_state(
    ids_BT: Tensor, state_LBd: Tensor | None, initial_state: Callable[[int], Tensor]
) -> Tensor:
    """The state before the first of the ids, float [L, B, words of a layer].

    It is ``state_LBd``, or if that is None the initial state of as many sequences as there are ids.

    Raises
    ------
    InputError
        If ids are not [B, T >= 1], or the state's shape is not the initial one's.
    """
    if ids_BT.ndim != 2 or ids_BT.shape[1] < 1:
        raise InputError(f"ids must be [batch, time >= 1], got shape {tuple(ids_BT.shape)}")
    initial_LBd = initial_state(len(ids_BT))
    if state_LBd is None:
        return initial_LBd
    if state_LBd.shape != initial_LBd.shape:
        raise InputError(
            f"state must be [layers, batch, hidden] = {tuple(initial_LBd.shape)}, got"
            f" {tuple(state_LBd.shape)}"
        )
    return state_LBd

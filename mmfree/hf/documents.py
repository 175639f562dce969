"""Where the documents of a batch lie: after padding, and one after another in packed rows.

Shape suffixes are those of ``mmfree.models.matmul_free``: T time, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmfree.errors import InputError

PACKING = "give position_ids, which restart at each document, as DataCollatorWithFlattening does"


@dataclass(frozen=True)
class Document:
    """Consecutive tokens of a row: columns ``start`` to ``stop``.

    ``continues``: it goes on from the row's state, as each row's first document does; others start
    from that of a new sequence. ``last``: the state after it is the row's.
    """

    row: int
    start: int
    stop: int
    continues: bool
    last: bool


@dataclass(frozen=True)
class Layout:
    """Which columns hold tokens, and where documents begin, both bool [B, T].

    The first token of a row counts as a beginning, too.
    """

    tokens_BT: Tensor
    begins_BT: Tensor

    def is_whole(self) -> bool:
        """Whether each row is one document without padding."""
        return bool(self.tokens_BT.all()) and not bool(self.begins_BT[:, 1:].any())

    def predicted(self) -> Tensor:
        """What is predicted from a token before it, in the same document: bool [B, T].

        So is what stands in the first column of padding on the right.
        """
        predicted_BT = torch.zeros_like(self.tokens_BT)
        predicted_BT[:, 1:] = self.tokens_BT[:, :-1] & ~self.begins_BT[:, 1:]
        return predicted_BT

    def documents(self) -> Iterator[Document]:
        """All of them, row by row and from left to right."""
        ends_BT = self.tokens_BT.clone()
        ends_BT[:, :-1] &= ~self.tokens_BT[:, 1:] | self.begins_BT[:, 1:]
        starts, stops = torch.nonzero(self.begins_BT).tolist(), torch.nonzero(ends_BT).tolist()
        rows = [row for row, _ in starts]
        for index, ((row, start), (_, end)) in enumerate(zip(starts, stops, strict=True)):
            yield Document(
                row,
                start,
                end + 1,
                continues=index == 0 or rows[index - 1] != row,
                last=index + 1 == len(rows) or rows[index + 1] != row,
            )


def find_layout(
    ids_BT: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    seq_idx: Tensor | None,
    *,
    from_state: bool,
) -> Layout | None:
    """The layout of a batch; None if nothing says that a row is more than one document.

    Parameters
    ----------
    attention_mask
        1 for tokens, 0 for padding, [B, T]; after a state it may be longer: the last T count.
    position_ids
        Positions of the tokens in their documents, [B, T] or [1, T].
    seq_idx
        Numbers of the documents, [B, T] or [1, T].
    from_state
        Whether a state stands for tokens before these.

    Raises
    ------
    InputError
        If one of them has another shape or impossible values, or they contradict one another.
    """
    if attention_mask is None and position_ids is None and seq_idx is None:
        return None
    tokens_BT = (
        torch.ones_like(ids_BT, dtype=torch.bool)
        if attention_mask is None
        else _tokens(attention_mask, ids_BT, from_state)
    )
    begins_BT = tokens_BT.clone()
    begins_BT[:, 1:] &= ~tokens_BT[:, :-1]
    # Between two neighbouring tokens a new document may begin.
    both_BT = tokens_BT[:, 1:] & tokens_BT[:, :-1]
    restarts = []
    if position_ids is not None:
        restarts.append(_restarts(_of_batch("position_ids", position_ids, ids_BT), both_BT))
    if seq_idx is not None:
        numbers_BT = _of_batch("seq_idx", seq_idx, ids_BT)
        restarts.append((numbers_BT[:, 1:] != numbers_BT[:, :-1]) & both_BT)
    if len(restarts) == 2 and not torch.equal(*restarts):
        raise InputError("position_ids and seq_idx begin documents at different tokens; give one")
    if restarts:
        begins_BT[:, 1:] |= restarts[0]
    return Layout(tokens_BT, begins_BT)


def _tokens(attention_mask: Tensor, ids_BT: Tensor, from_state: bool) -> Tensor:
    """The mask of the ids, bool [B, T]."""
    (batch, time), shape = ids_BT.shape, tuple(attention_mask.shape)
    if len(shape) != 2 or shape[0] != batch or shape[1] < time:
        raise InputError(
            f"attention_mask must be [batch, time] = [{batch}, at least {time}], got shape {shape}"
        )
    if shape[1] > time and not from_state:
        raise InputError(
            f"attention_mask has {shape[1]} columns for {time} input_ids: the tokens before them"
            " are missing; give them, or the state after them"
        )
    mask_BT = attention_mask[:, -time:].to(ids_BT.device)
    if bool(((mask_BT != 0) & (mask_BT != 1)).any()):
        value = mask_BT[(mask_BT != 0) & (mask_BT != 1)][0].item()
        raise InputError(
            f"attention_mask must be 1 for tokens and 0 for padding, got {value}; for packed"
            f" documents {PACKING}"
        )
    tokens_BT = mask_BT.to(torch.bool)
    # Consecutive tokens begin at most once.
    begins_B = (tokens_BT[:, 1:] & ~tokens_BT[:, :-1]).sum(dim=1) + tokens_BT[:, 0]
    if bool((begins_B > 1).any()):
        raise InputError(
            "attention_mask: padding between tokens is not supported, only on the left or on the"
            " right"
        )
    return tokens_BT


def _of_batch(name: str, values: Tensor, ids_BT: Tensor) -> Tensor:
    batch, time = ids_BT.shape
    if values.ndim != 2 or values.shape[0] not in (1, batch) or values.shape[1] != time:
        raise InputError(
            f"{name} must be [batch, time] = [{batch}, {time}], got shape {tuple(values.shape)}"
        )
    return values.to(ids_BT.device).expand(batch, time)


def _restarts(positions_BT: Tensor, both_BT: Tensor) -> Tensor:
    """Whether a document begins at columns 1 to T - 1, bool [B, T - 1].

    There the position does not follow the one before, but is 0 or what the row begins with.
    """
    before_BT, after_BT = positions_BT[:, :-1], positions_BT[:, 1:]
    restarts_BT = (after_BT != before_BT + 1) & both_BT
    known_BT = (after_BT == 0) | (after_BT == positions_BT[:, :1])
    if bool((restarts_BT & ~known_BT).any()):
        row, column = torch.nonzero(restarts_BT & ~known_BT)[0].tolist()
        raise InputError(
            "position_ids must count up by one, and begin again at each document: in row"
            f" {row} {positions_BT[row, column]} is followed by {positions_BT[row, column + 1]}"
        )
    return restarts_BT

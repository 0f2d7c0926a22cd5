"""Texts about users as the model reads them: each with how much of the user's history it was written from.

U users, L texts a user, S texts in all, B histories, T positions, D width

A text about a user names what the user liked. Read while predicting one of those items, it gives the answer away, so a
text that was written from a user's first n events may be read from position n on and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEVER = np.iinfo(np.int64).max  # the `end` of a text that is not there


@dataclass(frozen=True)
class Preferences:
    vector: np.ndarray  # (S + 1, D) float32; row 0 is nobody's
    row: np.ndarray  # (U, L) int64, rows of `vector`; 0 where there is no text
    end: np.ndarray  # (U, L) int64, ascending: how many of the user's events the text was written from


def make_preferences(
    vector: np.ndarray, present: np.ndarray, user: Sequence[int], end: Sequence[int], num_users: int
) -> Preferences:
    """Preferences from one row a text: vectors (S, D), whether it is there, user index and events covered (S,) each."""
    texts: list[list[tuple[int, int]]] = [[] for _ in range(num_users)]
    for place in np.flatnonzero(present):
        texts[user[place]].append((int(end[place]), int(place) + 1))
    longest = max((len(each) for each in texts), default=0)
    row, ends = np.zeros((num_users, longest), dtype=np.int64), np.full((num_users, longest), NEVER)
    for number, each in enumerate(texts):
        for column, (covered, place) in enumerate(sorted(each)):
            row[number, column], ends[number, column] = place, covered
    return Preferences(np.concatenate([np.zeros_like(vector[:1]), vector]), row, ends)


def newest_texts(row: Tensor, end: Tensor, user_index: Tensor, events: Tensor) -> Tensor:
    """The newest text that may be read at each position, as a row of `vector`, 0 = none.

    (U, L), (U, L), (B,), (B, T) events of the user up to each position -> (B, T)
    """
    allowed = end[user_index][:, None, :] <= events[..., None]  # (B, T, L)
    newest = allowed.sum(dim=-1)  # (B, T), since ends ascend
    rows = torch.nn.functional.pad(row, (1, 0))[user_index]  # (B, L + 1), column 0 for none
    return rows.gather(1, newest)

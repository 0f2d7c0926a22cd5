"""Thinned copies of what users did in training: histories that nobody had, about which a teacher can be asked.

U users, T events, C copies
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genrec.data.sequences import Sequences, Split

DRAW = 8  # keeps these draws apart from others by the same seed


@dataclass(frozen=True)
class Thinned:
    """Sequences with C copies of all users behind the users themselves, and the targets of training in all of them."""

    sequences: Sequences  # U (1 + C) users; some have no event
    train: Split
    weight: np.ndarray  # (all events,) of each as a target
    owner: np.ndarray  # (U (1 + C),) which of the U users each one is

    def copies(self, users: int) -> Split:
        """The targets of the copies of `users` users."""
        return self.train.take(np.flatnonzero(self.train.user >= users))


def add_thinned(
    sequences: Sequences, train: Split, weight: np.ndarray, copies: int, share: float, seed: int
) -> Thinned:
    """Each copy leaves out `share` of a user's events up to the last target of training, drawn event by event.

    An event that was a target is one in a copy too, where another stands before it.
    """
    users, events = len(sequences), len(sequences.item)
    owner = np.repeat(np.arange(users), np.diff(sequences.offset))  # (T,)
    last = np.full(users, -1)
    np.maximum.at(last, train.user, train.end)
    known = np.flatnonzero(np.arange(events) <= last[owner])
    rng = np.random.default_rng([seed, DRAW])
    kept = [known[rng.random(len(known)) >= share] for _ in range(copies)]
    event = np.concatenate([np.arange(events), *kept])  # of each event of a copy, which it was
    count = np.concatenate([np.bincount(owner[part], minlength=users) for part in (np.arange(events), *kept)])
    offset = np.concatenate([[0], np.cumsum(count)])
    user = np.repeat(np.arange(len(count)), count)
    asked = np.zeros(events, dtype=bool)
    asked[train.end] = True
    place = np.arange(len(event))
    ends = np.flatnonzero(asked[event] & (place >= events) & (place > offset[user]))
    joined = Sequences(
        sequences.item[event],
        sequences.time[event],
        offset,
        np.tile(sequences.user_id, copies + 1),
        is_order=sequences.is_order,
    )
    targets = Split(
        np.concatenate([train.user, user[ends]]).astype(np.int32), np.concatenate([train.end, ends]).astype(np.int64)
    )
    return Thinned(joined, targets, weight[event], np.tile(np.arange(users), copies + 1))

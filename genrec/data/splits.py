"""Kept events -> sequences with users and items numbered by first appearance, and their train/valid/test targets.

T events, U users, E targets
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from genrec.data.events import Events
from genrec.data.filters import TooFewEvents
from genrec.data.sequences import SPLITS, Sequences, Split

NEW_SHARE = 0.1  # of the targets after train, that are of items without an event before its end


class NumberedEvents(NamedTuple):
    sequences: Sequences
    item_ids: pl.Series  # the shop's ids of items 0..N-1
    tie_order: np.ndarray  # (T,) in the order of the sequences


def build_sequences(events: Events, tie_order: np.ndarray) -> NumberedEvents:
    """Events in file order -> all users end to end, with users and items numbered.

    users are numbered as they appear in the file, items as in the sequences; `tie_order` (T,) orders a user's events of
    one time, and where it is equal too they stay in file order
    """
    user_rank, user_codes = rank_by_appearance(events.user)
    order = np.lexsort((tie_order, events.time, user_rank))  # stable
    item, item_codes = rank_by_appearance(events.item[order])
    offset = np.concatenate([[0], np.cumsum(np.bincount(user_rank, minlength=len(user_codes)))])
    user_id = events.user_id.gather(user_codes).to_numpy().astype(np.str_)
    weight = None if events.weight is None else events.weight[order]
    sequences = Sequences(
        item.astype(np.int32), events.time[order], offset.astype(np.int64), user_id, weight, events.is_order
    )
    return NumberedEvents(sequences, events.item_id.gather(item_codes), tie_order[order])


def rank_by_appearance(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) codes -> (T,) ranks 0, 1, ... in order of first appearance, and rank -> code."""
    first = find_first(codes)
    in_order = np.argsort(first, kind="stable")
    rank_to_code = in_order[: int((first < len(codes)).sum())]
    rank = np.empty(len(first), dtype=np.int64)
    rank[in_order] = np.arange(len(first))
    return rank[codes], rank_to_code


def find_first(codes: np.ndarray) -> np.ndarray:
    """(T,) codes -> (N,) the position at which each stands first; T where it does not."""
    first = np.full(codes.max(initial=-1) + 1, len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the earliest position is written last, so it stays
    return first


def split_chronologically(sequences: Sequences, tie_order: np.ndarray) -> dict[str, Split]:
    """All targets by time, the first 80% train, 10% valid, 10% test, by count.

    Each event is one but a user's first and those of weight 0. Of equal times by `tie_order` (T,), which never turns a
    user's own events round; then by user.
    """
    targets = order_targets(sequences, tie_order)
    return cut_targets(sequences, targets, find_cuts(len(targets)))


def order_targets(sequences: Sequences, tie_order: np.ndarray) -> np.ndarray:
    """(E,) events that may be targets, by time."""
    targets = np.delete(np.arange(len(sequences.item)), sequences.offset[:-1])
    targets = targets[mark_weighty(sequences)[targets]]
    return targets[np.lexsort((tie_order[targets], sequences.time[targets]))]  # stable


def cut_targets(sequences: Sequences, targets: np.ndarray, cuts: tuple[int, int]) -> dict[str, Split]:
    """Targets (E,) in order -> train, valid and test, which begin at the cuts."""
    owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offset))  # (T,)
    by_split = zip(SPLITS, np.split(targets, cuts), strict=True)
    return {name: Split(owner[ends].astype(np.int32), ends) for name, ends in by_split}


def split_by_new_items(sequences: Sequences, tie_order: np.ndarray) -> dict[str, Split]:
    """All targets by time; train ends, before 80% of them at the latest, where a tenth of the later ones are new.

    New is an item that no event before the cut names. Of the later targets, of old items too, the first half is valid,
    the second test.
    """
    by_time = np.lexsort((tie_order, sequences.time))  # (T,) stable
    place = np.argsort(by_time)  # (T,) of each event in time
    first = find_first(sequences.item[by_time])  # (N,) place in time of each item's first event
    targets = order_targets(sequences, tie_order)
    start = find_new_items(place[targets], first[sequences.item[targets]])
    return cut_targets(sequences, targets, (start, start + (len(targets) - start) // 2))


def find_new_items(place: np.ndarray, first: np.ndarray) -> int:
    """Where train ends among targets at ascending `place` (E,) whose items stand first at `first` (E,) <= place."""
    count = len(place)
    new = count - np.searchsorted(np.sort(first), place)  # (E,) targets of items that begin there or later
    later = count - np.arange(count)
    enough = np.flatnonzero(new >= NEW_SHARE * later)
    enough = enough[enough <= find_cuts(count)[0]]
    return int(enough[-1]) if len(enough) else 0


def leave_one_out(sequences: Sequences) -> dict[str, Split]:
    """Each user's last event is test, the one before it valid, the others train; a first event has no history.

    Events of weight 0 are none of these.
    """
    owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offset))  # (T,)
    place = np.arange(len(sequences.item)) - sequences.offset[owner]  # 0 = the user's first
    weighty = mark_weighty(sequences)
    count = np.cumsum(weighty)
    from_end = count[sequences.offset[owner + 1] - 1] - count  # 0 = the user's last
    chosen = {"train": from_end >= 2, "valid": from_end == 1, "test": from_end == 0}
    ends = {name: np.flatnonzero(where & weighty & (place > 0)) for name, where in chosen.items()}
    return {name: Split(owner[end].astype(np.int32), end) for name, end in ends.items()}


def mark_weighty(sequences: Sequences) -> np.ndarray:
    """(T,) bool: events that may be targets."""
    return np.ones(len(sequences.item), dtype=bool) if sequences.weight is None else sequences.weight > 0


RULES = {
    "chronological": split_chronologically,
    "new_items": split_by_new_items,
    "leave_one_out": lambda sequences, tie_order: leave_one_out(sequences),  # the order of the sequences holds it
}


def split_targets(sequences: Sequences, rule: str, tie_order: np.ndarray) -> dict[str, Split]:
    """Targets by a rule; a split without rows is an error."""
    splits = RULES[rule](sequences, tie_order)
    refuse_empty({name: len(split) for name, split in splits.items()}, len(sequences), len(sequences.item), rule)
    return splits


def refuse_empty(rows: dict[str, int], users: int, events: int, rule: str) -> None:
    if not all(rows.values()):
        raise TooFewEvents(
            f"{users:,} users with {events:,} events are too few for a {rule} split, rows would be {rows}"
        )


def find_cuts(targets: int) -> tuple[int, int]:
    """Where valid and test begin among targets by time."""
    return int(0.8 * targets), int(0.9 * targets)

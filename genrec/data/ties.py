"""Events of one time: how many there are, what they leave undecided, and the order that a seed gives them.

Times that many events share (whole days, one time for a whole file) order neither a user's events nor the cut between
train and held-out targets: what stands in their place is the order of the file, which may be that of the items.

T events, E targets
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genrec.config import Data
from genrec.data.sequences import SPLITS, Sequences, Split

NOTICED = 0.01  # a share of ties from which the screen speaks of them
DAY = 86_400  # seconds


def draw_tie_order(rule: str, num_events: int, seed: int) -> np.ndarray:
    """(T,) what decides between events of one time: all alike, so that file order stays, or a permutation by seed."""
    if rule == "file":
        return np.zeros(num_events, dtype=np.int64)
    return np.random.default_rng(seed).permutation(num_events)


def measure_ties(sequences: Sequences, splits: dict[str, Split], data: Data) -> dict[str, Any]:
    """Shares of what times leave undecided.

    "neighbours": of a user's successive events, those of one time. "train_and_held_out": of the valid and test targets,
    those whose time an earlier split's target also has (chronological), or the user's own event before it
    (leave_one_out).
    """
    neighbours = share_of(mark_tied_with_previous(sequences)[mark_with_previous(sequences)])
    undecided = {name: share_of(mark_undecided(sequences, splits, name, data.split)) for name in SPLITS[1:]}
    return put_together(data, bool((sequences.time % DAY == 0).all()), neighbours, undecided)


def put_together(data: Data, whole_days: bool, neighbours: float, undecided: dict[str, float]) -> dict[str, Any]:
    return {
        "order": data.ties,
        "split": data.split,
        "whole_days": whole_days,
        "neighbours": neighbours,
        "train_and_held_out": undecided,
    }


def mark_with_previous(sequences: Sequences) -> np.ndarray:
    """(T,) bool: not a user's first event."""
    later = np.ones(len(sequences.item), dtype=bool)
    later[sequences.offset[:-1]] = False
    return later


def mark_tied_with_previous(sequences: Sequences) -> np.ndarray:
    """(T,) bool: of the same user and time as the event before."""
    tied = np.zeros(len(sequences.item), dtype=bool)
    tied[1:] = sequences.time[1:] == sequences.time[:-1]
    return tied & mark_with_previous(sequences)


def mark_undecided(sequences: Sequences, splits: dict[str, Split], name: str, rule: str) -> np.ndarray:
    """(E,) bool: another order among equal times could have put this target of a split on the other side."""
    targets = splits[name].end
    if rule == "leave_one_out":
        return mark_tied_with_previous(sequences)[targets]
    earlier = [splits[other].end for other in SPLITS[: SPLITS.index(name)]]
    return np.isin(sequences.time[targets], sequences.time[np.concatenate(earlier)])


def share_of(marks: np.ndarray) -> float:
    return round(float(marks.mean()), 4) if len(marks) else 0.0


def describe_ties(ties: dict[str, Any]) -> list[str]:
    """What of it a user should know, with the ways on; nothing where times decide."""
    lines, neighbours = [], ties["neighbours"]
    cut = max(ties["train_and_held_out"].values())
    if max(neighbours, cut) <= NOTICED:
        return []
    days = ", times are whole days" if ties["whole_days"] else ""
    if neighbours > NOTICED:
        in_file = "they stand as in the file (--data.ties random draws their order by seed)"
        by_seed = "their order is drawn by seed (--data.ties file keeps that of the file)"
        order = in_file if ties["order"] == "file" else by_seed
        lines.append(f"{neighbours:.1%} of a user's successive events have one time{days}; {order}")
    if cut > NOTICED:
        lines.append(describe_cut(ties["train_and_held_out"], ties["split"]))
    return lines


def describe_cut(shares: dict[str, float], rule: str) -> str:
    parts = " and ".join(f"{share:.1%} of {name}" for name, share in shares.items())
    if rule == "leave_one_out":
        return f"times do not say which event is a user's last: {parts} targets have the time of the event before"
    return (
        f"times do not tell train from held-out: {parts} targets have the time of an earlier split's; "
        "--data.split leave_one_out holds out each user's last event instead, so that train has every user"
    )

"""Targets of all groups by time, and what the report says of each split's, without all of them at one place.

Targets are dealt out by ranges of days; each range is sorted by itself, and ranges one behind the other are all targets
in their order. Where it is cut follows from how many each range has.

T events of a group, E targets, H = max_history
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genrec.data.sequences import SPLITS, Sequences
from genrec.data.shards.files import has_column, join_column, map_column, read_group, write_columns, write_groups
from genrec.data.shards.groups import mark_targets, read_laid
from genrec.data.splits import leave_one_out, mark_weighty
from genrec.data.ties import DAY, mark_tied_with_previous

BY_RANGE = "targets.arrow"


def count_days(laid: Path, place: Path) -> dict[str, Any]:
    """Writes how many targets each day has."""
    sequences = read_laid(laid)
    days, counts = np.unique(sequences.time[find_targets(sequences)] // DAY, return_counts=True)
    write_columns(place, days=days, counts=counts)
    return {"targets": int(counts.sum())}


def find_targets(sequences: Sequences) -> np.ndarray:
    """(E,) events but a user's first and those of weight 0."""
    may = mark_weighty(sequences).copy()
    may[sequences.offset[:-1]] = False
    return np.flatnonzero(may)


def deal_targets(laid: Path, bounds: list[int], max_history: int, place: Path) -> dict[str, Any]:
    """Writes the targets by range: range r has days from bounds[r - 1] on and before bounds[r]."""
    sequences = read_laid(laid)
    targets = find_targets(sequences)
    last, repeats = mark_targets(sequences)
    columns = {
        "index": map_column(laid, "index")[targets],
        "time": np.asarray(sequences.time[targets]),
        "length": measure_lengths(sequences, max_history)[targets].astype(np.int32),
        "last": last[targets].astype(np.int8),
        "past": repeats[targets].astype(np.int8),
    }
    columns |= {"tie": map_column(laid, "tie")[targets]} if has_column(laid, "tie") else {}
    place.mkdir(parents=True, exist_ok=True)
    write_groups(place / BY_RANGE, columns, find_range(columns["time"], bounds), len(bounds) + 1)
    return {}


def find_range(time: np.ndarray, bounds: list[int]) -> np.ndarray:
    return np.searchsorted(np.array(bounds, dtype=np.int64), time // DAY, side="right")


def measure_lengths(sequences: Sequences, max_history: int) -> np.ndarray:
    """(T,) events before each one that an example keeps."""
    place = np.arange(len(sequences.item)) - np.repeat(sequences.offset[:-1], np.diff(sequences.offset))
    return np.minimum(place, max_history)


def sort_range(number: int, dealt: list[Path], cuts: tuple[int, int], max_history: int, place: Path) -> dict[str, Any]:
    """Writes the events of a range's targets in their order. `cuts`: where valid and test begin, in rows of it."""
    batches = read_group([group / BY_RANGE for group in dealt], number)
    index, time = join_column(batches, "index"), join_column(batches, "time")
    tie = [join_column(batches, "tie")] if "tie" in batches[0].schema.names else []
    order = np.lexsort((index, *tie, time))
    write_columns(place, index=index[order], time=time[order])
    split = (np.arange(len(order)) >= cuts[0]).astype(int) + (np.arange(len(order)) >= cuts[1])
    length, last, past = (join_column(batches, name)[order] for name in ("length", "last", "past"))
    return count_splits(split, length, last, past, max_history)


def hold_out_last(laid: Path, max_history: int, place: Path) -> dict[str, Any]:
    """leave_one_out of a group: writes each event's split, 0 for train, 1 valid, 2 test, -1 no target."""
    sequences = read_laid(laid)
    split = np.full(len(sequences.item), -1, dtype=np.int8)
    for number, targets in enumerate(leave_one_out(sequences).values()):
        split[targets.end] = number
    write_columns(place, split=split)
    tied, held = mark_tied_with_previous(sequences), split >= 0
    last, repeats = mark_targets(sequences)
    said = count_splits(
        split[held], measure_lengths(sequences, max_history)[held], last[held], repeats[held], max_history
    )
    return said | {"undecided": {name: int(tied[split == n].sum()) for n, name in enumerate(SPLITS)}}


def count_splits(
    split: np.ndarray, length: np.ndarray, last: np.ndarray, past: np.ndarray, max_history: int
) -> dict[str, Any]:
    """Of targets (E,) what preparation.SplitCounts has, a split."""
    said = {}
    for number, name in enumerate(SPLITS):
        own = split == number
        lengths = np.bincount(length[own], minlength=max_history + 1).tolist()
        said[name] = {"lengths": lengths, "repeating_last": int(last[own].sum()), "in_past": int(past[own].sum())}
    return said

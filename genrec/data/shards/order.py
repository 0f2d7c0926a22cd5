"""Groups of users -> all sequences and splits in the order that one machine would give them.

U users, T events, N items, E targets
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from genrec.data.preparation import SplitCounts
from genrec.data.sequences import SPLITS, Sequences, Split
from genrec.data.shards.core import Core, Groups
from genrec.data.shards.files import has_column, map_column, read_texts, write_columns
from genrec.data.shards.groups import USERS, lay_group, list_users
from genrec.data.shards.targets import count_days, deal_targets, hold_out_last, sort_range
from genrec.data.shards.work import Task
from genrec.data.splits import find_cuts, refuse_empty
from genrec.data.ties import draw_tie_order


class Laid(NamedTuple):
    """All events at their places."""

    sequences: Sequences
    item_codes: np.ndarray  # (N,) item number -> code
    groups: list[Path]
    ties: dict[str, Any]  # counts of each group, added up


class Targets(NamedTuple):
    splits: dict[str, Split]
    counts: dict[str, SplitCounts]
    undecided: dict[str, float]  # shares of valid and test targets that times leave undecided


@dataclass(frozen=True)
class Step:
    """A task a group, at a place of its own."""

    groups: Groups

    def carry(self, name: str, function: Any, told: list[tuple[Any, ...]]) -> tuple[list[Path], list[dict[str, Any]]]:
        place = self.groups.place / name
        place.mkdir(exist_ok=True)
        places = [place / f"{number}" for number in range(len(told))]
        tasks = [Task(function, (*of, at), place / f"{at.name}.json") for of, at in zip(told, places, strict=True)]
        return places, self.groups.finish(name, tasks)


def order_groups(groups: Groups, core: Core, rule: str, seed: int, is_order: bool) -> Laid:
    step = Step(groups)
    users, _ = step.carry("users", list_users, list(zip(groups.rows, core.left, strict=True)))
    offset, owners = number_users(users)
    draw_ties(groups, core, users, rule, seed)
    laid, said = step.carry("lay", lay_group, list(zip(groups.rows, core.left, users, strict=True)))
    number, codes = number_items(laid, groups.num_items)
    user_id = name_users(groups, users, owners)
    sequences = join_sequences(laid, number, offset, user_id, is_order)
    ties = {name: sum(group[name] for group in said) for name in ("followed", "tied")}
    return Laid(sequences, codes, laid, ties | {"whole_days": all(group["whole_days"] for group in said)})


def number_users(users: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(U + 1,) offsets of all users by their first event, (U,) where each stands in the groups' users one behind other.

    Each group is told where its users' events begin.
    """
    places = [map_column(path, "row") for path in users]
    keys = [np.concatenate(places)]
    if has_column(users[0], "ticks"):
        keys.append(np.concatenate([map_column(path, "ticks") for path in users]))
    owners = np.lexsort(keys)
    events = np.concatenate([map_column(path, "events") for path in users])
    offset = np.concatenate([[0], np.cumsum(events[owners])]).astype(np.int64)
    begin = np.empty(len(owners), dtype=np.int64)
    begin[owners] = offset[:-1]
    ends = np.cumsum([len(place) for place in places])[:-1]
    for path, own in zip(users, np.split(begin, ends), strict=True):
        write_columns(path, begin=own)
    return offset, owners


def draw_ties(groups: Groups, core: Core, users: list[Path], rule: str, seed: int) -> None:
    """Each group's share of the one order that `seed` draws over all events as they stand in the files."""
    if rule == "file":
        return
    left = [map_column(path, "left") for path in core.left]
    keys = [
        np.concatenate([map_column(rows, name)[kept] for rows, kept in zip(groups.rows, left, strict=True)])
        for name in ("row", "ticks")
        if has_column(groups.rows[0], name)
    ]
    order = np.lexsort(keys)
    tie = np.empty(len(order), dtype=np.int64)
    tie[order] = draw_tie_order(rule, len(order), seed)
    ends = np.cumsum([len(kept) for kept in left])[:-1]
    for path, own in zip(users, np.split(tie, ends), strict=True):
        write_columns(path, tie=own)


def number_items(laid: list[Path], num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes,) -> item number by first appearance in the sequences, and number -> code."""
    never = np.iinfo(np.int64).max
    first = np.full(num_items, never)
    for place in laid:
        items = map_column(place, "items")
        first[items] = np.minimum(first[items], map_column(place, "first"))
    codes = np.argsort(first, kind="stable")[: int((first < never).sum())]
    number = np.full(num_items, -1, dtype=np.int32)
    number[codes] = np.arange(len(codes), dtype=np.int32)
    return number, codes


def name_users(groups: Groups, users: list[Path], owners: np.ndarray) -> np.ndarray:
    """(U,) str"""
    names = [
        read_texts(rows / USERS).gather(np.array(map_column(path, "code")))
        for rows, path in zip(groups.rows, users, strict=True)
    ]
    return pl.concat(names).gather(owners).to_numpy().astype(np.str_)


def join_sequences(
    laid: list[Path], number: np.ndarray, offset: np.ndarray, user_id: np.ndarray, is_order: bool
) -> Sequences:
    events = int(offset[-1])
    item, time = np.empty(events, dtype=np.int32), np.empty(events, dtype=np.int64)
    weight = np.empty(events, dtype=np.float32) if has_column(laid[0], "weight") else None
    for place in laid:
        index = map_column(place, "index")
        item[index], time[index] = number[map_column(place, "item")], map_column(place, "time")
        if weight is not None:
            weight[index] = map_column(place, "weight")
    return Sequences(item, time, offset, user_id, weight, is_order)


# Splits


def split_groups(groups: Groups, laid: Laid, rule: str, max_history: int) -> Targets:
    find = find_last if rule == "leave_one_out" else find_by_time
    ends, counts, undecided = find(groups, laid, max_history)
    owner = np.repeat(np.arange(len(laid.sequences), dtype=np.int32), np.diff(laid.sequences.offset))
    splits = {name: Split(owner[end], end) for name, end in ends.items()}
    return Targets(splits, counts, {name: share(undecided[name], len(ends[name])) for name in SPLITS[1:]})


def share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


Found = tuple[dict[str, np.ndarray], dict[str, SplitCounts], dict[str, int]]


def find_last(groups: Groups, laid: Laid, max_history: int) -> Found:
    """leave_one_out: (events of each split's targets, counts, undecided ones)"""
    places, said = Step(groups).carry("hold out", hold_out_last, [(path, max_history) for path in laid.groups])
    split = np.empty(len(laid.sequences.item), dtype=np.int8)
    for path, place in zip(laid.groups, places, strict=True):
        split[map_column(path, "index")] = map_column(place, "split")
    ends = {name: np.flatnonzero(split == number) for number, name in enumerate(SPLITS)}
    refuse_few(ends, laid, "leave_one_out")
    undecided = {name: sum(group["undecided"][name] for group in said) for name in SPLITS}
    return ends, add_counts(said), undecided


def find_by_time(groups: Groups, laid: Laid, max_history: int) -> Found:
    """chronological: the same"""
    step, many = Step(groups), len(groups.rows)
    counted, _ = step.carry("count", count_days, [(path,) for path in laid.groups])
    bounds, targets = cut_ranges(counted, many)
    total = int(targets.sum())
    valid, test = find_cuts(total)
    refuse_empty(
        {"train": valid, "valid": test - valid, "test": total - test},
        len(laid.sequences),
        len(laid.sequences.item),
        "chronological",
    )
    dealt, _ = step.carry("deal", deal_targets, [(path, bounds, max_history) for path in laid.groups])
    starts = np.cumsum(targets) - targets
    told = [
        (number, dealt, (valid - int(start), test - int(start)), max_history) for number, start in enumerate(starts)
    ]
    ranges, said = step.carry("sort", sort_range, told)
    end = np.concatenate([map_column(path, "index") for path in ranges])
    ends: dict[str, np.ndarray] = dict(zip(SPLITS, np.split(end, (valid, test)), strict=True))
    return ends, add_counts(said), count_undecided(laid.sequences.time, ends)


def cut_ranges(counted: list[Path], many: int) -> tuple[list[int], np.ndarray]:
    """(days at which a range begins, but for the first; targets of each range), `many` ranges where days allow it."""
    days, place = np.unique(np.concatenate([map_column(path, "days") for path in counted]), return_inverse=True)
    counts = np.zeros(len(days), dtype=np.int64)
    np.add.at(counts, place, np.concatenate([map_column(path, "counts") for path in counted]))
    if not len(days):
        return [], np.zeros(1, dtype=np.int64)
    number = (np.cumsum(counts) - counts) * many // counts.sum()  # (days,) range by the targets before it
    begins = np.flatnonzero(np.diff(number, prepend=-1))
    return days[begins[1:]].tolist(), np.add.reduceat(counts, begins)


def count_undecided(time: np.ndarray, ends: dict[str, np.ndarray]) -> dict[str, int]:
    """Targets by time: an earlier split has the time of one where it is the last that stands there."""
    last = {name: time[ends[before][-1]] for name, before in (("valid", "train"), ("test", "valid"))}
    return {name: int((time[ends[name]] == last[name]).sum()) for name in last}


def refuse_few(ends: dict[str, np.ndarray], laid: Laid, rule: str) -> None:
    rows = {name: len(end) for name, end in ends.items()}
    refuse_empty(rows, len(laid.sequences), len(laid.sequences.item), rule)


def add_counts(said: list[dict[str, Any]]) -> dict[str, SplitCounts]:
    return {
        name: SplitCounts(
            np.sum([group[name]["lengths"] for group in said], axis=0),
            *(sum(group[name][of] for group in said) for of in ("repeating_last", "in_past")),
        )
        for name in SPLITS
    }

"""The filters that look at all events: the window, repeated events, and the k-core in rounds.

A round is a task a group; what each item lost is added up between them, so that no event ever moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genrec.config import Data
from genrec.data.filters import (
    OUTSIDE_CORE,
    PUBLISHED_FIRST_YEAR,
    PUBLISHED_ITEMS,
    REPEATED,
    UNRECORDED,
    UNTITLED,
    TooFewEvents,
    WindowCut,
    describe_span,
    name_outside,
    name_unrated,
    name_window,
)
from genrec.data.ledger import Ledger
from genrec.data.shards.files import map_column, write_columns
from genrec.data.shards.groups import cut_group, join_group, shrink_group
from genrec.data.shards.reading import Finish, ReadShop
from genrec.data.shards.work import Task


class Core(NamedTuple):
    """What is left of each group, and how it was reached."""

    left: list[Path]
    rounds: list[dict[str, int]]
    cuts: list[dict[str, Any]]  # what the window and repeats took, a group
    items: int  # that are left


@dataclass(frozen=True)
class Groups:
    """All groups, joined and filtered row by row."""

    rows: list[Path]
    num_items: int
    place: Path
    finish: Finish


def join_groups(read: ReadShop, groups: int, items: Path, place: Path, finish: Finish) -> Groups:
    """What the rows lose is added to the shop's ledger."""
    rows = [place / f"group-{number}" for number in range(groups)]
    said = finish(
        "group",
        [
            Task(
                join_group,
                (number, read.parts, items, read.data.min_rating, read.ticks, path),
                place / f"group-{number}.json",
            )
            for number, path in enumerate(rows)
        ],
    )
    ledger = read.shop.event_ledger
    for reason, name in ((UNRECORDED, "unknown"), (UNTITLED, "nameless"), (name_unrated(read.data), "unrated")):
        ledger.drop(reason, sum(group[name] for group in said))
    return Groups(rows, len(read.shop.events.item_id), place, finish)


def filter_groups(groups: Groups, data: Data, ledger: Ledger) -> tuple[Core, WindowCut | None]:
    published = data.compat == "minionerec"
    if published and data.st_year is not None and ledger.kept:
        data = data.model_copy(update={"st_year": find_published_start(groups, data)})
    core = reach_core(groups, data, data.user_k if published else data.item_k, not published)
    window = describe_cut(core, data)
    if window:
        ledger.drop(name_outside(window.months), window.outside)
    ledger.drop(REPEATED, sum(cut["repeated"] for cut in core.cuts))
    left = core.rounds[-1]["events"]
    ledger.drop(OUTSIDE_CORE, core.rounds[0]["events"] - left)
    ledger.check(left)
    if left == 0:
        raise TooFewEvents("no events are left")
    return core, window


def find_published_start(groups: Groups, data: Data) -> int:
    """filters.find_published_start, of groups."""
    assert data.st_year is not None, "a window that is open at its start cannot begin earlier"
    year = data.st_year
    while year > PUBLISHED_FIRST_YEAR:
        earlier = data.model_copy(update={"st_year": year})
        if reach_core(groups, earlier, data.user_k, False).items >= PUBLISHED_ITEMS:
            break
        year -= 1
    return year


def reach_core(groups: Groups, data: Data, item_k: int, drop_repeats: bool) -> Core:
    """The largest set of events where each user has user_k and each item item_k of them, inside the window."""
    name = f"core-{data.st_year}"
    left, cuts = carry_round(
        groups, f"{name}-0", "filter", cut_group, [(rows, data, drop_repeats) for rows in groups.rows]
    )
    per_item = np.zeros(groups.num_items, dtype=np.int64)
    add_items(per_item, left, 1)
    rounds, said = [], cuts
    while True:
        rounds.append(describe_round(per_item, said))
        enough = groups.place / f"{name}-enough-{len(rounds)}"
        write_columns(enough, enough=per_item >= item_k)
        told = [(rows, path, enough, data.user_k) for rows, path in zip(groups.rows, left, strict=True)]
        smaller, said = carry_round(groups, f"{name}-{len(rounds)}", "k-core", shrink_group, told)
        if sum(group["left"] for group in said) == rounds[-1]["events"]:
            return Core(smaller, rounds, cuts, rounds[-1]["items"])
        add_items(per_item, smaller, -1)
        remove_round(groups.place / f"{name}-{len(rounds) - 2}")
        left = smaller


def carry_round(
    groups: Groups, name: str, step: str, function: Any, told: list[tuple[Any, ...]]
) -> tuple[list[Path], list[dict[str, Any]]]:
    """(what is left of each group, what its task said)"""
    place = groups.place / name
    left = [place / f"group-{number}" for number in range(len(told))]
    place.mkdir(exist_ok=True)
    tasks = [Task(function, (*of, path), place / f"{path.name}.json") for of, path in zip(told, left, strict=True)]
    return left, groups.finish(step, tasks)


def add_items(per_item: np.ndarray, places: list[Path], sign: int) -> None:
    for place in places:
        per_item[map_column(place, "items")] += sign * map_column(place, "counts")


def describe_round(per_item: np.ndarray, said: list[dict[str, Any]]) -> dict[str, int]:
    """What stood before its removals."""
    users, events = (sum(group[name] for group in said) for name in ("users", "left"))
    return {"users": users, "items": int((per_item > 0).sum()), "events": events}


def remove_round(place: Path) -> None:
    """Rows that no later round reads; what items lost in it stays, for a job that is taken up again."""
    for path in place.glob("group-*/left.npy"):
        path.unlink()


def describe_cut(core: Core, data: Data) -> WindowCut | None:
    months, events = name_window(data), sum(cut["events"] for cut in core.cuts)
    if events == 0 or months == ("", ""):
        return None
    held = [cut for cut in core.cuts if cut["events"]]
    first, last = min(cut["first"] for cut in held), max(cut["last"] for cut in held)
    return WindowCut(months, sum(cut["outside"] for cut in core.cuts), events, describe_span(first, last))

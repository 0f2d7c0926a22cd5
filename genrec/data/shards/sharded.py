"""The data stage by shards: files of events -> what preparation.prepare_shop() makes of them, hash for hash.

    parse     a task a piece of a file: its rows, grouped by a hash of their users
    group     a task a group of users, here and in what follows: its rows of all pieces, in the order of the files
    filter    window and repeated events
    k-core    in rounds; the counts of items are added up between them
    lay       users are numbered by their first event; each event gets its place among all
    sort      targets by ranges of days

Tasks are functions from files to files (work.py), so any workers may carry them out, in any order and more than once.
The process that gives out the tasks reads the items' records, and holds the result and some numbers a user and item.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import NamedTuple

from genrec.config import Data
from genrec.data.filters import TooFewEvents
from genrec.data.preparation import Preparation, build_catalog, describe_counts, write_report
from genrec.data.shards.core import filter_groups, join_groups
from genrec.data.shards.order import order_groups, share, split_groups
from genrec.data.shards.reading import (
    Files,
    Finish,
    ReadShop,
    count_groups,
    count_text,
    make_recipe,
    open_files,
    read_shop,
    write_states,
)
from genrec.data.shards.work import Spent, Task, Workers, finish_tasks
from genrec.data.ties import put_together
from genrec.data.untitled import name_untitled
from genrec.errors import ArtifactError

PLACE = "shards"  # below the artifact that is being made, until it is


class Sharded(NamedTuple):
    preparation: Preparation
    spent: list[Spent]
    pieces: int
    groups: int
    whole: list[Path]  # files larger than a piece that cannot be cut


def prepare_by_shards(data: Data, seed: int, size: int, directory: Path, workers: Workers) -> Sharded:
    """`size` bytes of text a piece, and a group about as much; files between the tasks lie below `directory`."""
    files = open_files(data, size)
    groups = count_groups(files, size)
    place, spent = settle_place(files, data, seed, groups, directory.absolute()), []

    def finish(step: str, tasks: list[Task]) -> list[dict]:
        return finish_tasks(step, tasks, workers, spent)

    read = read_shop(files, data, make_recipe(files, data, groups), place, finish)
    try:
        preparation = cut_shop(read, seed, groups, place, finish)
    except TooFewEvents as error:
        trail = read.shop.event_ledger.trail()
        raise ArtifactError(
            f"{error}: {trail}; without --data.shard_size and --run.engine ray the same command tries what to change"
        ) from None
    whole = [pieces[0].path for pieces in files.pieces if len(pieces) == 1 and count_text(pieces[0].path) > size]
    return Sharded(preparation, spent, len(files.all_pieces), groups, whole)


def settle_place(files: Files, data: Data, seed: int, groups: int, directory: Path) -> Path:
    """A directory for this very job; what another one left is removed."""
    told = repr((files.all_pieces, files.columns, data.model_dump(mode="json"), seed, groups))
    name = hashlib.sha256(told.encode()).hexdigest()[:16]
    place = directory / PLACE / name
    for other in place.parent.glob("*"):
        if other != place:
            shutil.rmtree(other)
    place.mkdir(parents=True, exist_ok=True)
    return place


def cut_shop(read: ReadShop, seed: int, groups: int, place: Path, finish: Finish) -> Preparation:
    """preparation.cut_shop, of events that lie in parts."""
    data = read.data
    named = name_untitled(read.shop) if data.untitled == "keep" else read.shop
    write_states(named, place / "items")
    joined = join_groups(read, groups, place / "items", place, finish)
    core, window = filter_groups(joined, data, read.shop.event_ledger)
    laid = order_groups(joined, core, data.ties, seed, read.shop.events.is_order)
    targets = split_groups(joined, laid, data.split, data.max_history)
    item_ids = read.shop.events.item_id.gather(laid.item_codes)
    catalog = build_catalog(named.items, item_ids)
    users, events = len(laid.sequences), len(laid.sequences.item)
    described = describe_counts(catalog, users, events, targets.counts)
    report = write_report(read.shop, core.rounds, window, data, item_ids, described)
    neighbours = share(laid.ties["tied"], laid.ties["followed"])
    ties = put_together(data, laid.ties["whole_days"], neighbours, targets.undecided)
    return Preparation(catalog, laid.sequences, targets.splits, report | {"time_ties": ties})

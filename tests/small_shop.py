"""A shop small enough to check by hand: users walk a noisy ring of items, so the next item can be learned.

For tests of everything that starts from the data artifact.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from genrec import artifacts, stage
from genrec.commandline import Command
from genrec.config import Config
from genrec.config_checks import validate
from genrec.data.catalog import Catalog, save_catalog
from genrec.data.item_json import write_item_json
from genrec.data.prepared import Prepared
from genrec.data.sequences import Sequences, Split, save_sequences, save_splits
from genrec.sids import make_index, save_index, write_index_json


def small_catalog(num_items: int) -> Catalog:
    numbers = range(num_items)
    return Catalog(
        item_id=np.array([f"B{i:03d}" for i in numbers], dtype=object),
        title=np.array([f"Item {i}, 'good' & \"new\" [{i}]" for i in numbers], dtype=object),
        text=np.array([f"text {i}" if i % 3 else "" for i in numbers], dtype=object),
        brand=np.array([f"brand {i % 4}" for i in numbers], dtype=object),
        categories=np.array([f"Shop,{'Tools' if i % 2 else 'Toys'}" for i in numbers], dtype=object),
    )


def small_shop(num_users: int = 60, num_items: int = 20, length: int = 9, seed: int = 0) -> Prepared:
    """Each user starts anywhere and mostly takes the next item of the ring; the last two events are held out."""
    random = np.random.default_rng(seed)
    lengths = random.integers(length - 4, length + 1, num_users)
    walks = []
    for user_length in lengths:
        steps = np.where(random.random(user_length) < 0.8, 1, random.integers(0, num_items, user_length))
        walks.append(np.cumsum(steps) % num_items)
    offset = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    item = np.concatenate(walks).astype(np.int32)
    sequences = Sequences(
        item, np.arange(len(item), dtype=np.int64), offset, np.array([f"u{u}" for u in range(num_users)])
    )
    return Prepared(small_catalog(num_items), sequences, leave_two_out(sequences), max_history=6)


def leave_two_out(sequences: Sequences) -> dict[str, Split]:
    users = np.arange(len(sequences), dtype=np.int32)
    ends = {"valid": sequences.offset[1:] - 2, "test": sequences.offset[1:] - 1}
    train = np.concatenate([np.arange(a + 1, b - 2) for a, b in pairwise(sequences.offset)])
    owner = np.searchsorted(sequences.offset, train, side="right") - 1
    return {"train": Split(owner.astype(np.int32), train), **{name: Split(users, end) for name, end in ends.items()}}


def small_config(run_dir: Path, **sections) -> Config:
    return validate(
        {"run": {"dir": str(run_dir)}, "data": {"dataset": "small", "source": "toy", "max_history": 6}, **sections}
    )


def write_data(config: Config, data: Prepared) -> None:
    """The shop as the data artifact of a run."""

    def build(config: Config, directory: Path) -> dict:
        save_catalog(data.catalog, directory / artifacts.CATALOG)
        save_sequences(data.sequences, directory / artifacts.SEQUENCES)
        save_splits(data.splits, directory / artifacts.SPLITS)
        return {}

    run_stage("data", config, build)


def write_sids(config: Config, data: Prepared, collide: bool = False) -> None:
    """Distinct 2-level SIDs as the sids artifact; with `collide` the first two items share one."""

    def build(config: Config, directory: Path) -> dict:
        codes = np.stack([np.arange(len(data.catalog)) // 5, np.arange(len(data.catalog)) % 5], axis=1)
        if collide:
            codes[1] = codes[0]
        index = make_index(codes, (codes[:, 0].max() + 1, 5), allow_collisions=collide)
        np.save(directory / artifacts.CODES, index.codes)
        save_index(index, directory / artifacts.SID_INDEX)
        write_index_json(index, directory / artifacts.INDEX_JSON.format(dataset=config.data.dataset))
        write_item_json(data.catalog, directory / artifacts.ITEM_JSON.format(dataset=config.data.dataset))
        return {}

    run_stage("embeddings", config, lambda config, directory: {})
    run_stage("sids", config, build)


def run_stage(name: str, config: Config, build) -> None:
    stage.run(name, Command(config, clean=False, dry_run=False), build)

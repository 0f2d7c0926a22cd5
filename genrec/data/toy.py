"""The toy store: a seeded synthetic shop whose structure is known, written as raw Amazon-2018 files.

Items stand in clusters (a category each, a few brands each). A user has two clusters of taste; the next item is mostly
the successor of the last one on its cluster's ring, else a popular one of the user's clusters. So the last item tells
much, a cluster tells something, and popularity alone tells little: a model that learns must beat it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from genrec.artifacts import whole_path
from genrec.config import Data
from genrec.data import amazon
from genrec.data.download import make_directory
from genrec.data.events import Shop

NUM_USERS, NUM_ITEMS, CLUSTER_SIZE = 600, 200, 10
SHORTEST, LONGEST = 6, 18  # events a user
FOLLOW, RING_STEPS = 0.7, (1, 1, 1, 2)  # chance to go along the ring, and how far
FIRST_DAY, DAYS = 1_422_748_800, 1_000  # from 2015-02-01
DAY = 86_400

NOUNS = (
    "kettle lamp drill rope chair clamp filter funnel gauge hinge "
    "hose knife ladder mirror pump saw scale stapler tape valve"
)
COLOURS = "red blue green black white silver amber violet grey brown"
BRANDS = "Acorn Birch Cedar Delta Ember Flint Grove Heron Iris Juniper"
ROOMS = "Kitchen Workshop Garden Office Bath"


def read_shop(data: Data, seed: int) -> Shop:
    """Write the raw files where they are not there yet, and read them as any other Amazon category."""
    directory = seed_dir(data, seed)
    if not find_raw_files(data, seed):
        write_raw(directory, data.dataset, seed=seed)
    return amazon.read_shop(data.model_copy(update={"raw_dir": directory}), amazon.EDITIONS["amazon18"])


def seed_dir(data: Data, seed: int) -> Path:
    """One directory a seed, so that another seed is another shop."""
    return data.raw_dir / f"toy_seed{seed}"


def find_raw_files(data: Data, seed: int) -> dict[str, Path]:
    """Both files, or none: the reviews are written last."""
    paths = amazon.find_raw_files(
        data.model_copy(update={"raw_dir": seed_dir(data, seed)}), amazon.EDITIONS["amazon18"]
    )
    return paths if len(paths) == 2 else {}


def write_raw(
    directory: Path, dataset: str = "toy", num_users: int = NUM_USERS, num_items: int = NUM_ITEMS, seed: int = 0
) -> None:
    """meta_<dataset>.json.gz and <dataset>_5.json.gz; the same arguments write the same bytes."""
    make_directory(directory)
    write_gzip_lines(directory / f"meta_{dataset}.json.gz", map(make_item_record, range(num_items)))
    write_gzip_lines(
        directory / f"{dataset}_5.json.gz", make_reviews(num_users, num_items, np.random.default_rng(seed))
    )


def make_item_record(item: int) -> dict[str, Any]:
    """Cluster -> room, kind of thing and brands; place in the cluster -> colour and model number."""
    cluster, place = divmod(item, CLUSTER_SIZE)
    room, noun = pick_word(ROOMS, cluster), pick_word(NOUNS, cluster)
    brand, colour = pick_word(BRANDS, cluster + place % 2), pick_word(COLOURS, place)
    series = cluster // len(NOUNS.split()) + 1
    return {
        "asin": make_asin(item),
        "title": f"{brand} {colour} {noun} {series}{place:02d}",
        "description": [f"A {colour} {noun} for the {room.lower()}.", f"Number {place + 1} of its line by {brand}."],
        "brand": brand,
        "category": ["Home", room, noun.capitalize()],
        "price": f"${10 + cluster + place}.00",
    }


def pick_word(words: str, number: int) -> str:
    choices = words.split()
    return choices[number % len(choices)]


def make_asin(item: int) -> str:
    return f"B{item:09d}"


def make_reviews(num_users: int, num_items: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Every user's walk, all users mixed in time order as in a real file."""
    rows = [row for user in range(num_users) for row in walk_user(user, num_items, rng)]
    return sorted(rows, key=lambda row: row["unixReviewTime"])


def walk_user(user: int, num_items: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One user's reviews, oldest first."""
    num_clusters = -(-num_items // CLUSTER_SIZE)
    tastes = rng.choice(num_clusters, size=min(2, num_clusters), replace=False)
    count = int(rng.integers(SHORTEST, LONGEST + 1))
    days = np.sort(rng.choice(DAYS, size=count, replace=False))
    rows, item = [], None
    for day in days.tolist():
        item = choose_next_item(item, tastes, num_items, rng)
        rows.append(
            {
                "overall": float(rng.integers(3, 6)),
                "reviewerID": f"A{user:06d}",
                "asin": make_asin(item),
                "unixReviewTime": FIRST_DAY + day * DAY,
            }
        )
    return rows


def choose_next_item(last: int | None, tastes: np.ndarray, num_items: int, rng: np.random.Generator) -> int:
    """The next item: on along the ring of the last one's cluster, or a fresh one of the user's clusters."""
    if last is not None and rng.random() < FOLLOW:
        return step_along_ring(last, int(rng.choice(RING_STEPS)), num_items)
    first = int(rng.choice(tastes)) * CLUSTER_SIZE
    size = min(CLUSTER_SIZE, num_items - first)
    place = int(min(rng.exponential(2.5), size - 1))  # early places are popular
    return first + place


def step_along_ring(item: int, steps: int, num_items: int) -> int:
    first = item // CLUSTER_SIZE * CLUSTER_SIZE
    size = min(CLUSTER_SIZE, num_items - first)
    return first + (item - first + steps) % size


def write_gzip_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """gzip without date and name, so that equal records are equal bytes; whole or not there."""
    text = "".join(json.dumps(record) + "\n" for record in records)
    with whole_path(path) as beside:
        beside.write_bytes(gzip.compress(text.encode(), mtime=0))

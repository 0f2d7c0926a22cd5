"""A data set in the competition's formats whose structure is known, so that a model that learns must beat chance.

Items stand in topics of TOPIC_SIZE, on a ring each. A user has two topics of taste; the next item is mostly the
successor of the last one on its ring, else a popular item of the user's topics. Clicks fall on the first topic more
often than on the second. An item's features and vectors follow its topic, a profile follows the user's topics.

Faults are planted as the real files have them: users and items that training never saw, values that the indexer lacks
(as strings), items without a vector or without features, a user without interactions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrec.artifacts import write_text
from tencentgr import files, safe_pickle
from tencentgr.features import ITEM_SPARSE, USER_ARRAY, USER_SPARSE, Record

TOPIC_SIZE = 20
FOLLOW = 0.65  # chance that the next item is the successor on the ring
SHORTEST, LONGEST = 5, 40  # interactions a user
CLICK = (0.4, 0.1)  # chance of a click in the first and in the second topic
START, DAY = 1_730_000_000, 86_400  # times run over the 90 days from here
MISSING_VECTOR, MISSING_FEATURES, COLD = 0.03, 0.02, 0.1  # shares of items, items, and queries that are cold
SHARD = 1000  # vectors a JSON file
LIKENESS = 0.6  # share of an item's vector that is its topic's

# {feature: values that a topic has for itself}, {feature: values that all topics share}; 111 is the item itself.
BY_TOPIC = {"118": 3, "101": 1, "102": 6, "119": 4, "120": 4, "121": 8, "122": 6, "115": 2, "117": 2}
SMALL = {"100": 6, "112": 25, "114": 17, "116": 18}
USER_SIZES = {"103": 60, "104": 2, "105": 7, "109": 3, "106": 13, "107": 17, "108": 4, "110": 2}


@dataclass(frozen=True)
class SampleWorld:
    """What is true of a sample. Items and users are 0-based here; those from num_items and num_users on are cold."""

    num_items: int
    num_users: int
    topic: np.ndarray  # (items,)
    features: list[Record]  # of each item, raw values
    creative: list[int]  # of each item
    taste: np.ndarray  # (users, 2) topics
    profile: list[Record]  # of each user, raw values
    user_name: list[str]
    walks: list[list[int]]  # each user's items
    indexer: dict[str, dict]

    def coded(self, item: int) -> Record:
        return encode_record(self.features[item], self.indexer["f"])


def write_sample(
    directory: Path,
    num_users: int = 2000,
    num_items: int = 1000,
    seed: int = 0,
    mm_emb_id: tuple[str, ...] = ("81", "82", "83"),
    widths: dict[str, int] | None = None,
    longest: int = LONGEST,
) -> SampleWorld:
    """All files of the competition; the same arguments write the same bytes. `widths` replaces the real widths."""
    random = np.random.default_rng(seed)
    world = make_world(num_users, num_items, longest, random)
    directory.mkdir(parents=True, exist_ok=True)
    safe_pickle.dump(world.indexer, directory / files.INDEXER)
    coded_items = {str(item + 1): world.coded(item) for item in range(num_items)}
    write_text(directory / files.ITEM_FEATURES, json.dumps(coded_items))
    trained = (line_of(world, user, world.walks[user], random) for user in range(num_users))
    write_sequences(directory / files.SEQ, directory / files.SEQ_OFFSETS, trained)
    queries = (line_of(world, user, query_walk(world, user, random), random) for user in query_users(world))
    write_sequences(directory / files.PREDICT_SEQ, directory / files.PREDICT_SEQ_OFFSETS, queries)
    write_lines(directory / files.PREDICT_SET, candidate_records(world))
    for mm_id in mm_emb_id:
        write_vectors(world, directory / files.EMBEDDINGS, mm_id, (files.WIDTHS | (widths or {}))[mm_id], random)
    return world


def make_world(num_users: int, num_items: int, longest: int, random: np.random.Generator) -> SampleWorld:
    items, users = num_items + max(1, num_items // 20), num_users + max(1, round(num_users * COLD))
    topics = max(2, -(-num_items // TOPIC_SIZE))
    topic = np.concatenate([np.arange(num_items) // TOPIC_SIZE, random.integers(0, topics, items - num_items)])
    taste = np.stack([random.permutation(-(-num_items // TOPIC_SIZE))[:2] for _ in range(users)])
    features = [item_features(item, int(topic[item]), random) for item in range(items)]
    for item in random.permutation(num_items)[: round(num_items * MISSING_FEATURES)]:
        features[item] = {}
    profile = [user_features(pair, random) for pair in taste.tolist()]
    creative = (20_000_000_000 + random.permutation(10 * items)[:items]).tolist()
    names = [f"user_{number:08d}" for number in random.permutation(10 * users)[:users].tolist()]
    walks = [draw_walk(taste[user], num_items, random.integers(SHORTEST, longest + 1), random) for user in range(users)]
    walks[num_users - 1] = []  # a user without interactions
    indexer = make_indexer(features[:num_items], profile[:num_users], creative[:num_items], names[:num_users])
    return SampleWorld(num_items, num_users, topic, features, creative, taste, profile, names, walks, indexer)


def draw_walk(taste: np.ndarray, num_items: int, length: int, random: np.random.Generator) -> list[int]:
    """Items of one user: along a ring, with jumps to popular items (Zipf by place) of either topic."""
    items: list[int] = []
    for step in range(length):
        if step and random.random() < FOLLOW:
            begin = items[-1] // TOPIC_SIZE * TOPIC_SIZE
            size = min(TOPIC_SIZE, num_items - begin)
            items.append(begin + (items[-1] - begin + 1) % size)
        else:
            begin = int(random.choice(taste)) * TOPIC_SIZE
            size = min(TOPIC_SIZE, num_items - begin)
            popularity = 1 / np.arange(1, size + 1)
            items.append(begin + int(random.choice(size, p=popularity / popularity.sum())))
    return items


def item_features(item: int, topic: int, random: np.random.Generator) -> dict[str, int]:
    """Raw values, as the indexer's keys: feature number, then the value's."""
    values = {name: topic * size + int(random.integers(size)) for name, size in BY_TOPIC.items()}
    values |= {name: int(random.integers(size)) for name, size in SMALL.items()} | {"111": item}
    return {name: raw_value(name, values[name]) for name in ITEM_SPARSE}


def user_features(taste: list[int], random: np.random.Generator) -> dict[str, Any]:
    sparse = {name: raw_value(name, int(random.integers(USER_SIZES[name]))) for name in USER_SPARSE}
    liked = {name: sorted({topic % USER_SIZES[name] for topic in taste}) for name in USER_ARRAY}
    return sparse | {name: [raw_value(name, value) for value in values] for name, values in liked.items()}


def raw_value(name: str, value: int) -> int:
    return int(name) * 10_000_000 + value


def make_indexer(features: list[Record], profiles: list[Record], creatives: list[int], names: list[str]) -> dict:
    """Ids from 1 of what training holds: its users, its items, and the values they have."""
    values: dict[str, dict[int, int]] = {name: {} for name in (*ITEM_SPARSE, *USER_SPARSE, *USER_ARRAY)}
    for record in [*features, *profiles]:
        for name, value in record.items():
            for one in value if isinstance(value, list) else [value]:
                values[name].setdefault(one, len(values[name]) + 1)
    return {
        "f": values,
        "i": {creative: item + 1 for item, creative in enumerate(creatives)},
        "u": {name: user + 1 for user, name in enumerate(names)},
        "a": {1: 1, 0: 2},
    }


def encode_record(record: Record, values: dict[str, dict[int, int]]) -> Record:
    """Raw values -> ids; a value the indexer lacks stays as a string."""

    def code(name: str, value: int) -> int | str:
        return values[name].get(value, str(value))

    return {
        name: [code(name, one) for one in value] if isinstance(value, list) else code(name, value)
        for name, value in record.items()
    }


def line_of(world: SampleWorld, user: int, items: list[int], random: np.random.Generator) -> list[list[Any]]:
    """One user's records: the profile, then the items; cold users go by name, cold items by creative id."""
    name = user + 1 if user < world.num_users else world.user_name[user]
    times = START + np.sort(random.integers(0, 90 * DAY, len(items) + 1))
    records = [[name, None, encode_record(world.profile[user], world.indexer["f"]), None, None, int(times[0])]]
    for item, time in zip(items, times[1:].tolist(), strict=True):
        number = item + 1 if item < world.num_items else world.creative[item]
        clicked = int(random.random() < CLICK[int(world.topic[item] != world.taste[user, 0])])
        records.append([name, number, None, world.coded(item), clicked, time])
    return records


def query_users(world: SampleWorld) -> list[int]:
    """Every second user of training, the one without interactions, and all cold ones."""
    return [*range(0, world.num_users - 1, 2), *range(world.num_users - 1, len(world.profile))]


def query_walk(world: SampleWorld, user: int, random: np.random.Generator) -> list[int]:
    """What a query shows: of some users one item that training never saw."""
    items = list(world.walks[user])
    if items and random.random() < COLD:
        items[random.integers(len(items))] = int(random.integers(world.num_items, len(world.features)))
    return items


def candidate_records(world: SampleWorld) -> Iterable[Record]:
    for item, creative in enumerate(world.creative):
        yield {"creative_id": creative, "retrieval_id": item, "features": world.coded(item)}


def write_vectors(world: SampleWorld, folder: Path, mm_id: str, width: int, random: np.random.Generator) -> None:
    """Unit vectors, a mixture of the topic's and the item's own; 81 as a pickle, the others as JSON lines."""
    folder.mkdir(exist_ok=True)
    centres = random.standard_normal((world.topic.max() + 1, width))
    own = random.standard_normal((len(world.topic), width))
    vectors = LIKENESS * centres[world.topic] + (1 - LIKENESS) * own
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    have = np.flatnonzero(random.random(len(vectors)) >= MISSING_VECTOR)
    if mm_id == "81":
        safe_pickle.dump({world.creative[i]: vectors[i] for i in have}, folder / f"emb_{mm_id}_{width}.pkl")
        return
    shards = folder / f"emb_{mm_id}_{width}"
    shards.mkdir(exist_ok=True)
    for begin in range(0, len(have), SHARD):
        lines = (
            {"anonymous_cid": world.creative[i], "emb": [round(value, 6) for value in vectors[i].tolist()]}
            for i in have[begin : begin + SHARD]
        )
        write_lines(shards / f"part_{begin // SHARD:05d}.json", lines)


def write_sequences(path: Path, offset_path: Path, lines: Iterable[Any]) -> None:
    safe_pickle.dump(write_lines(path, lines), offset_path)


def write_lines(path: Path, lines: Iterable[Any]) -> list[int]:
    """JSON lines; the byte at which each begins."""
    offsets = []
    with path.open("wb") as file:
        for line in lines:
            offsets.append(file.tell())
            file.write(json.dumps(line).encode() + b"\n")
    return offsets

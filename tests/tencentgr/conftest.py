"""A small sample of the competition's form, and a hand-made one whose every number can be checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tencentgr import files, safe_pickle
from tencentgr.generator import write_sample

WIDTHS = {"81": 8, "82": 12, "83": 20}


@pytest.fixture(scope="session")
def world_and_sample(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sample")
    world = write_sample(directory, num_users=120, num_items=80, seed=3, mm_emb_id=tuple(WIDTHS), widths=WIDTHS)
    return world, directory


@pytest.fixture(scope="session")
def sample(world_and_sample) -> Path:
    return world_and_sample[1]


@pytest.fixture(scope="session")
def world(world_and_sample):
    return world_and_sample[0]


INDEXER = {
    "u": {"ann": 1, "bob": 2, "cyd": 3},
    "i": {501: 1, 502: 2, 503: 3, 504: 4},
    "f": {"103": {30: 1, 31: 2}, "106": {7: 1, 8: 2, 9: 3}, "100": {5: 1, 6: 2}, "117": {1: 1, 2: 2, 3: 3}},
}
ITEMS = {"1": {"100": 1, "117": 3}, "2": {"100": 2}, "3": {"100": 1, "117": 2}}  # item 4 has none
ANN = [
    [1, None, {"103": 2, "106": [3, 1]}, None, None, 0],
    [1, 1, None, ITEMS["1"], 0, 3600],
    [1, 2, None, ITEMS["2"], 1, 7200],
    [1, 3, None, ITEMS["3"], None, 97200],
]
BOB = [[2, 4, None, {}, 1, 50], [2, 1, None, ITEMS["1"], 0, 60]]
CYD = [[3, None, {"103": 1}, None, None, 9]]  # no interactions


def write_by_hand(directory: Path, lines: list, name: str = files.SEQ, offsets: str = files.SEQ_OFFSETS) -> None:
    """The hand-made data set with these lines (bytes stand as they are) for a sequence file."""
    safe_pickle.dump(INDEXER, directory / files.INDEXER)
    (directory / files.ITEM_FEATURES).write_text(json.dumps(ITEMS))
    (directory / files.EMBEDDINGS).mkdir(exist_ok=True)
    vectors = {501: np.array([1, 0], np.float32), "503": np.array([0, 2], np.float32), 999: np.ones(2, np.float32)}
    safe_pickle.dump(vectors, directory / files.EMBEDDINGS / "emb_81_2.pkl")
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (directory / name).write_bytes(b"".join(line + b"\n" for line in encoded))
    begins = np.cumsum([0, *(len(line) + 1 for line in encoded)])[:-1].tolist()
    safe_pickle.dump(begins, directory / offsets)


@pytest.fixture
def by_hand(tmp_path) -> Path:
    write_by_hand(tmp_path, [ANN, BOB, CYD])
    return tmp_path

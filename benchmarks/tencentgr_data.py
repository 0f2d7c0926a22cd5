"""Training samples a second: rows out of the memory-mapped cache against a JSON line parsed for every sample.

    OMP_NUM_THREADS=1 python benchmarks/tencentgr_data.py --users 4000 --items 5000 --rounds 3

Both sides read the same generated data set (up to 100 interactions a user, embedding 81 of width 32) through torch's
DataLoader, batches of 128 rows of 102 tokens, in turn in one process. The plain side is the field's way: seek to the
line, json.loads, token arrays and a dict of features for every token and every target, a vector added to each. Ours
gives token numbers, since the model looks features up on the device; a third line makes it do that look-up as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import in_turn, medians, timed
from tencentgr import files
from tencentgr.dataset import SequenceDataset, TencentGRData, collate, load_data, split_rows
from tencentgr.entries import locate_source
from tencentgr.generator import write_sample

BATCH, MAX_HISTORY, LONGEST = 128, 101, 100


class JsonDataset(Dataset):
    """One sample: one line parsed, one dict of features a token."""

    def __init__(self, directory: Path, lines: np.ndarray):
        self.path, self.lines = directory / files.SEQ, lines
        self.offsets = files.read_offsets(directory / files.SEQ_OFFSETS)
        creatives = files.names_by_id(files.read_indexer(directory)["i"])
        vectors = dict(files.read_embedding(directory, "81"))
        self.vectors = {item: vectors[name] for item, name in enumerate(creatives.tolist()) if name in vectors}
        self.zeros = np.zeros(32, dtype=np.float32)
        self.files = {}  # one a process, since workers would move each other's

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, row: int) -> tuple:
        if os.getpid() not in self.files:
            self.files[os.getpid()] = self.path.open("rb")
        file = self.files[os.getpid()]
        file.seek(self.offsets[self.lines[row]])
        records = json.loads(file.readline())
        profiles = [(user, features, 2, 0) for user, item, features, _, _, _ in records if item is None]
        items = [(item, features, 1, action) for _, item, _, features, action, _ in records if item is not None]
        tokens = [*profiles, *items]
        arrays = [np.zeros(MAX_HISTORY + 1, dtype=np.int32) for _ in range(5)]
        seq, pos, token_type, next_token_type, next_action_type = arrays
        seq_features, pos_features = np.empty(MAX_HISTORY + 1, dtype=object), np.empty(MAX_HISTORY + 1, dtype=object)
        place = MAX_HISTORY
        for token, following in zip(reversed(tokens[:-1]), reversed(tokens[1:]), strict=True):
            seq[place], token_type[place] = token[0], token[2]
            next_token_type[place], next_action_type[place] = following[2], following[3]
            seq_features[place] = self.filled(token)
            if following[2] == 1:
                pos[place], pos_features[place] = following[0], self.filled(following)
            place -= 1
            if place < 0:
                break
        return *arrays, seq_features, pos_features

    def filled(self, token: tuple) -> dict:
        number, features, kind, _ = token
        return dict(features) | ({"81": self.vectors.get(number, self.zeros)} if kind == 1 else {})


def stack_plain(rows: list[tuple]) -> tuple:
    columns = list(zip(*rows, strict=True))
    return *(torch.from_numpy(np.stack(column)) for column in columns[:5]), columns[5], columns[6]


def look_up(data: TencentGRData):
    """A collate that also gathers every feature of tokens and targets."""
    tables = [torch.from_numpy(np.array(table)) for table in (data.items.sparse, data.items.array)]
    tables += [torch.from_numpy(np.array(vectors)) for vectors in data.items.emb.values()]
    users = [torch.from_numpy(np.array(table)) for table in (data.users.sparse, data.users.array)]

    def gather(rows) -> dict[str, torch.Tensor]:
        batch = collate(rows)
        item, user = batch["seq"] * (batch["token_type"] == 1), batch["seq"] * (batch["token_type"] == 2)
        features = [table[item] for table in tables] + [table[batch["pos"]] for table in tables]
        return batch | dict(enumerate(features + [table[user] for table in users]))

    return gather


def samples_a_second(dataset: Dataset, together, count: int, workers: int) -> float:
    """Over `count` rows drawn at random, workers running when the clock starts."""
    drawn = RandomSampler(dataset, replacement=True, num_samples=count)
    batches = iter(DataLoader(dataset, BATCH, sampler=drawn, collate_fn=together, num_workers=workers))
    next(batches)
    start = time.perf_counter()
    read = sum(len(batch[0] if isinstance(batch, tuple) else batch["seq"]) for batch in batches)
    return read / (time.perf_counter() - start)


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        write_sample(directory, options.users, options.items, mm_emb_id=("81",), longest=LONGEST)
        first, again = (timed(lambda: load_data(locate_source(directory))).wall for _ in range(2))
        data = load_data(locate_source(directory))
        print(f"{len(data.sequences.item):,} interactions; first load {first:.2f} s, the next {again:.3f} s")
        rows = split_rows(data, seed=0, valid_share=0)["train"]
        ours = SequenceDataset(data, rows, MAX_HISTORY)
        sides = {  # what is read, how a batch is made of it, rows a round
            "JSON a sample": (JsonDataset(directory, rows.sequence), stack_plain, 3000),
            "cache": (ours, collate, 200_000),
            "cache and look-up": (ours, look_up(data), 30_000),
        }
        for workers in (0, 2):
            report(sides, workers, options.rounds)


def report(sides: dict, workers: int, rounds: int) -> None:
    speed = medians(in_turn({name: partial(samples_a_second, *side, workers) for name, side in sides.items()}, rounds))
    for name, rate in speed.items():
        times = rate / speed["JSON a sample"]
        print(f"{workers} workers  {name:18} {rate:12,.0f} samples/s  {times:7.1f} x")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()

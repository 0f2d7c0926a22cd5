"""One split of UR4Rec's rows as batches; UR4Rec/data/multimodal_dataset.py says what a batch holds.

B rows, L positions, N items, U users, T events, E rows of a split, n negatives, C candidates, S side of a poster
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from genrec.data.sequences import SPLITS, Examples, Sequences, Split, cut_examples
from genrec.data.splits import leave_one_out
from genrec.errors import ArtifactError
from UR4Rec.data.content import ContentSource
from UR4Rec.data.dataset_loader import ItemMetadata, UserSequences
from UR4Rec.data.poster_encoder import read_pixels

Batch = dict[str, Any]


@dataclass(frozen=True)
class BatchSettings:
    """How rows are cut and drawn; fields are the arguments of create_dataloaders."""

    max_seq_len: int
    num_negatives: int
    num_candidates: int
    image_size: int
    seed: int
    windows: bool


class MultimodalDataset(Dataset):
    """One split. `epoch` decides which negatives are drawn; a batch depends on it and on the rows, on nothing else."""

    def __init__(
        self,
        user_sequences: UserSequences,
        item_metadata: ItemMetadata,
        split: str,
        settings: BatchSettings,
        posters: dict[int, Path] | None,
    ):
        self.user_ids = list(user_sequences)
        self.num_items = len(item_metadata)
        self.split = split
        self.settings = settings
        self.posters = posters
        self.epoch = 0
        self.sequences = as_sequences(user_sequences)
        self.rows = self.cut_rows()
        self.seen = seen_items(self.sequences, last_target(self.sequences, split), self.num_items)
        self.candidates = None if split == "train" else self.draw_candidates()

    @property
    def windows(self) -> bool:
        return self.settings.windows and self.split == "train"

    def cut_rows(self) -> Split:
        """A row a target, or those that end a window."""
        rows = leave_one_out(self.sequences)[self.split]
        if not self.windows:
            return rows
        last = last_target(self.sequences, self.split)
        return rows.take((last[rows.user] - rows.end) % self.settings.max_seq_len == 0)

    def windowed(self) -> MultimodalDataset:
        """The same targets, each once, as windows."""
        twin = copy.copy(self)
        twin.settings = replace(self.settings, windows=True)
        twin.rows = twin.cut_rows()
        return twin

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Batch:
        return {name: value[0] for name, value in self.__getitems__([row]).items()}

    def __getitems__(self, rows: list[int]) -> Batch:
        cut, chosen = self.examples(np.asarray(rows)), self.rows.take(np.asarray(rows))
        items = torch.from_numpy(cut.history + 1).long()  # (B, L) -1 becomes the padding 0
        batch = {
            "user_ids": [self.user_ids[user] for user in cut.user],
            "user_index": torch.from_numpy(cut.user).long(),
            "history_length": torch.from_numpy(chosen.end - self.sequences.offset[chosen.user]),
            "input_seq": items,
            "seq_padding_mask": items == 0,
            "target_items": torch.from_numpy(cut.target + 1).long(),
            "negative_items": torch.from_numpy(self.draw_negatives(np.asarray(rows), cut.user)),
        }
        if self.windows:
            after = torch.cat([items[:, 1:], batch["target_items"][:, None]], dim=1)  # (B, L)
            batch["target_seq"] = after.masked_fill(items == 0, 0)
        if self.candidates is not None:
            batch["candidate_items"] = torch.from_numpy(self.candidates[rows])
        if self.posters is not None:
            for name in ("target", "negative"):
                batch[f"{name}_images"], batch[f"{name}_has_image"] = self.images(batch[f"{name}_items"])
        return batch

    def examples(self, rows: np.ndarray | None = None) -> Examples:
        """Rows, all by default, with item numbers 0..N-1, an id less one, as the main pipeline has them."""
        chosen = self.rows if rows is None else self.rows.take(rows)
        return cut_examples(self.sequences, chosen, self.settings.max_seq_len)

    def draw_negatives(self, rows: np.ndarray, user: np.ndarray) -> np.ndarray:
        """(B,) -> (B, n) ids; drawn again where seen."""
        random = np.random.default_rng([self.settings.seed, SPLITS.index(self.split), self.epoch, *rows])
        drawn = random.integers(1, self.num_items + 1, size=(len(rows), self.settings.num_negatives))
        while (seen := self.seen[user[:, None], drawn]).any():
            drawn[seen] = random.integers(1, self.num_items + 1, size=int(seen.sum()))
        return drawn

    def draw_candidates(self) -> np.ndarray:
        """(E, C) ids, the target first and no item twice."""
        random = np.random.default_rng([self.settings.seed, SPLITS.index(self.split)])
        others = self.settings.num_candidates - 1
        candidates = np.empty((len(self.rows), others + 1), dtype=np.int64)
        candidates[:, 0] = self.sequences.item[self.rows.end] + 1
        for row, user in enumerate(self.rows.user):
            unseen = np.flatnonzero(~self.seen[user])
            if len(unseen) < others:
                raise ArtifactError(
                    f"user {self.user_ids[user]} has {len(unseen)} unseen items, {others + 1} candidates need "
                    f"{others}; give a smaller num_candidates"
                )
            candidates[row, 1:] = random.choice(unseen, size=others, replace=False)
        return candidates

    def images(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(...,) ids -> (..., 3, S, S) pixels, 0 where there is no poster, and (...,) bool: there is one."""
        ids = items.flatten().tolist()
        size = self.settings.image_size
        pixels = [read_pixels(self.posters[i], size) if i in self.posters else torch.zeros(3, size, size) for i in ids]
        present = torch.tensor([i in self.posters for i in ids])
        return torch.stack(pixels).view(*items.shape, 3, size, size), present.view(items.shape)


class EpochSampler(Sampler[int]):
    """Row numbers in an order that (seed, epoch) decide; as they lie without `shuffle`."""

    def __init__(self, length: int, seed: int, shuffle: bool):
        self.length, self.seed, self.shuffle, self.epoch = length, seed, shuffle, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.length)
        if self.shuffle:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        return iter(order.tolist())


class EpochLoader(DataLoader):
    """A DataLoader that knows its epoch: each pass is the next one, unless `set_epoch` says which."""

    def __init__(
        self,
        dataset: MultimodalDataset,
        batch_size: int,
        num_workers: int = 0,
        source: ContentSource | None = None,
    ):
        sampler = EpochSampler(len(dataset), dataset.settings.seed, shuffle=dataset.split == "train")
        super().__init__(dataset, batch_size, sampler=sampler, num_workers=num_workers, collate_fn=as_it_is)
        self.epoch = 0
        self.source = source  # of what the experts read
        self.twin: EpochLoader | None = None

    def windowed(self) -> EpochLoader:
        """The same targets as windows, in as many steps an epoch: each learns from about `batch_size` of them."""
        if self.dataset.windows:
            return self
        if self.twin is None:
            dataset = self.dataset.windowed()
            windows = max(1, round(self.batch_size * len(dataset) / len(self.dataset)))
            self.twin = EpochLoader(dataset, windows, self.num_workers, self.source)
        return self.twin

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that of `epoch`; a resumed run calls it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        self.dataset.epoch = self.sampler.epoch = self.epoch
        self.epoch += 1
        return super().__iter__()


def as_it_is(batch: Batch) -> Batch:
    """The dataset makes whole batches."""
    return batch


def as_sequences(user_sequences: UserSequences) -> Sequences:
    """The main pipeline's form: item numbers 0..N-1 (an id less one), users end to end, time = place."""
    lengths = [len(items) for items in user_sequences.values()]
    item = np.concatenate([np.asarray(items, dtype=np.int32) for items in user_sequences.values()]) - 1
    time = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    user_id = np.array([str(user) for user in user_sequences])
    return Sequences(item, time, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), user_id)


def last_target(sequences: Sequences, split: str) -> np.ndarray:
    """(U,) position of each user's last event that the split may see."""
    return sequences.offset[1:] - 1 - {"train": 2, "valid": 1, "test": 0}[split]


def seen_items(sequences: Sequences, last: np.ndarray, num_items: int) -> np.ndarray:
    """(U, N + 1) bool, by id: the user's items up to event `last`; and the padding 0, which is never drawn."""
    owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offset))  # (T,)
    allowed = np.arange(len(sequences.item)) <= last[owner]
    seen = np.zeros((len(sequences), num_items + 1), dtype=bool)
    seen[owner[allowed], sequences.item[allowed] + 1] = True
    seen[:, 0] = True
    return seen

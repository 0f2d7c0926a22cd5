"""Who bought what when, as flat arrays, and the examples that are cut from them.

U users, T events, E examples, H history
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genrec.artifacts import load_arrays, save_arrays
from genrec.errors import ArtifactError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Sequences:
    """All users end to end; each user's events in time order, ties in file order."""

    item: np.ndarray  # (T,) int32
    time: np.ndarray  # (T,) int64, seconds
    offset: np.ndarray  # (U + 1,) int64, user u owns events offset[u]:offset[u + 1]
    user_id: np.ndarray  # (U,) str, the shop's own id

    def __len__(self) -> int:
        return len(self.user_id)


@dataclass(frozen=True)
class Split:
    """Pointers to targets: example e asks for event `end[e]` of user `user[e]`, given that user's events before it."""

    user: np.ndarray  # (E,) int32
    end: np.ndarray  # (E,) int64, index into Sequences.item

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Split:
        return Split(self.user[rows], self.end[rows])


@dataclass(frozen=True)
class Examples:
    """Histories and targets as item numbers."""

    user: np.ndarray  # (E,) int32
    history: np.ndarray  # (E, H) int32, left-padded with -1, oldest first
    target: np.ndarray  # (E,) int32

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Examples:
        return Examples(self.user[rows], self.history[rows], self.target[rows])


def cut_examples(sequences: Sequences, split: Split, max_history: int) -> Examples:
    """The rows of a split with at most `max_history` events before each target."""
    back = np.arange(-max_history, 0)  # (H,)
    where = split.end[:, None] + back  # (E, H) event index, before the user's first where there is none
    inside = where >= sequences.offset[split.user][:, None]
    history = np.where(inside, sequences.item[np.maximum(where, 0)], -1).astype(np.int32)
    return Examples(split.user.astype(np.int32), history, sequences.item[split.end].astype(np.int32))


def save_sequences(sequences: Sequences, path: Path) -> None:
    save_arrays(
        path,
        item=sequences.item.astype(np.int32),
        time=sequences.time.astype(np.int64),
        offset=sequences.offset.astype(np.int64),
        user_id=sequences.user_id.astype(np.str_),
    )


def load_sequences(path: Path) -> Sequences:
    """What save_sequences wrote, or ArtifactError where the arrays do not belong together."""
    arrays = load_arrays(path, "item", "time", "offset", "user_id")
    sequences = Sequences(*(arrays[name] for name in ("item", "time", "offset", "user_id")))
    item, offset = sequences.item, sequences.offset
    integers = all(array.ndim == 1 and array.dtype.kind == "i" for array in (item, sequences.time, offset))
    names = sequences.user_id.ndim == 1 and sequences.user_id.dtype.kind == "U"
    if not (integers and names and len(offset) == len(sequences) + 1 and len(item) == len(sequences.time)):
        held = ", ".join(f"{name} {arrays[name].dtype} {arrays[name].shape}" for name in arrays)
        raise ArtifactError(f"{path} must hold events (T,), offsets (U + 1,) and users (U,); it holds {held}")
    if offset[0] != 0 or offset[-1] != len(item) or (np.diff(offset) < 0).any() or item.min(initial=0) < 0:
        raise ArtifactError(
            f"{path}: offsets must rise from 0 to {len(item):,} and items be 0 or more; "
            f"offsets go from {offset[0]} to {offset[-1]}, the least item is {item.min(initial=0)}"
        )
    return sequences


def save_splits(splits: dict[str, Split], path: Path) -> None:
    arrays = {f"{name}_{part}": getattr(split, part) for name, split in splits.items() for part in ("user", "end")}
    save_arrays(path, **arrays)


def load_splits(path: Path) -> dict[str, Split]:
    arrays = load_arrays(path, *(f"{name}_{array}" for name in SPLITS for array in ("user", "end")))
    splits = {name: Split(arrays[f"{name}_user"], arrays[f"{name}_end"]) for name in SPLITS}
    for name, split in splits.items():
        pair = (split.user, split.end)
        if split.user.shape != split.end.shape or any(array.ndim != 1 or array.dtype.kind != "i" for array in pair):
            held = " and ".join(f"{array.dtype} {array.shape}" for array in pair)
            raise ArtifactError(f"{path}: {name}_user and {name}_end must be integers (E,) each; they are {held}")
    return splits


def mark_seen_in_training(sequences: Sequences, splits: dict[str, Split]) -> np.ndarray:
    """(T,) bool: events up to each user's last train target. Counts, factors and texts of training use these alone."""
    last = np.full(len(sequences), -1, dtype=np.int64)  # (U,)
    np.maximum.at(last, splits["train"].user, splits["train"].end)
    owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offset))  # (T,)
    return np.arange(len(sequences.item)) <= last[owner]


def count_train_events(sequences: Sequences, splits: dict[str, Split], num_items: int) -> np.ndarray:
    """(N,) events of each item that training may see."""
    return np.bincount(sequences.item[mark_seen_in_training(sequences, splits)], minlength=num_items)

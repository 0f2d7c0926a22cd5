"""Who bought what when, as flat arrays, and the examples that are cut from them.

U users, T events, E examples, H history, P events of a past
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    weight: np.ndarray | None = None  # (T,) float32, how much each event counts as a target; None: alike
    is_order: bool = False  # `time` is the place within the user, which no two users can be compared by

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
class Past:
    """All that each example's user had before its target, however long: pointers, read out a block at a time."""

    sequences: Sequences
    split: Split  # (E,) targets

    def take(self, rows: np.ndarray) -> Past:
        return Past(self.sequences, self.split.take(rows))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and item of each event, (sum of P,) both, row by row, oldest first."""
        begin = self.sequences.offset[self.split.user]
        length = self.split.end - begin  # (E,)
        row = np.repeat(np.arange(len(length)), length)
        place = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
        return row, self.sequences.item[begin[row] + place]

    def items(self) -> np.ndarray:
        """(E, P) int32: each row's items, each once and ascending, padded with -1; P of the longest row."""
        row, item = self.pairs()
        order = np.lexsort((item, row))
        row, item = row[order], item[order]
        first = np.ones(len(row), dtype=bool)  # of its row and item
        first[1:] = (row[1:] != row[:-1]) | (item[1:] != item[:-1])
        row, item = row[first], item[first]
        length = np.bincount(row, minlength=len(self.split))
        place = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
        items = np.full((len(length), length.max(initial=0)), -1, dtype=np.int32)
        items[row, place] = item
        return items


@dataclass(frozen=True)
class Examples:
    """Histories and targets as item numbers."""

    user: np.ndarray  # (E,) int32
    history: np.ndarray  # (E, H) int32, left-padded with -1, oldest first
    target: np.ndarray  # (E,) int32
    past: Past | None = None  # of rows of a split
    excluded: Past | None = None  # what no list may hold; None: a list may hold every item

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Examples:
        past, excluded = (pointers and pointers.take(rows) for pointers in (self.past, self.excluded))
        return Examples(self.user[rows], self.history[rows], self.target[rows], past, excluded)

    def without_seen(self) -> Examples:
        """The same questions, answered by items alone that the user did not have before."""
        assert self.past is not None, "only rows of a split know their past"
        return replace(self, excluded=self.past)


def cut_examples(sequences: Sequences, split: Split, max_history: int) -> Examples:
    """The rows of a split with at most `max_history` events before each target."""
    back = np.arange(-max_history, 0)  # (H,)
    where = split.end[:, None] + back  # (E, H) event index, before the user's first where there is none
    inside = where >= sequences.offset[split.user][:, None]
    history = np.where(inside, sequences.item[np.maximum(where, 0)], -1).astype(np.int32)
    target = sequences.item[split.end].astype(np.int32)
    return Examples(split.user.astype(np.int32), history, target, Past(sequences, split))


def save_sequences(sequences: Sequences, path: Path) -> None:
    save_arrays(
        path,
        item=sequences.item.astype(np.int32),
        time=sequences.time.astype(np.int64),
        offset=sequences.offset.astype(np.int64),
        user_id=sequences.user_id.astype(np.str_),
        **({} if sequences.weight is None else {"weight": sequences.weight.astype(np.float32)}),
        **({"is_order": np.array([1], dtype=np.int8)} if sequences.is_order else {}),
    )


def load_sequences(path: Path) -> Sequences:
    """What save_sequences wrote, or ArtifactError where the arrays do not belong together."""
    arrays = load_arrays(path, "item", "time", "offset", "user_id")
    columns = (arrays[name] for name in ("item", "time", "offset", "user_id"))
    sequences = Sequences(*columns, weight=arrays.get("weight"), is_order="is_order" in arrays)
    item, offset = sequences.item, sequences.offset
    integers = all(array.ndim == 1 and array.dtype.kind == "i" for array in (item, sequences.time, offset))
    names = sequences.user_id.ndim == 1 and sequences.user_id.dtype.kind == "U"
    if sequences.weight is not None and sequences.weight.shape != item.shape:
        raise ArtifactError(f"{path} must hold a weight an event, {item.shape}; it holds {sequences.weight.shape}")
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

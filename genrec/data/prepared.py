"""What the data stage made, read back whole: every stage after it starts here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from genrec.data.catalog import Catalog
from genrec.data.sequences import Examples, Sequences, Split, count_train_events, cut_examples, mark_seen_in_training
from genrec.data.updated import Updated
from genrec.errors import ArtifactError


def check_pointers(num_items: int, sequences: Sequences, splits: dict[str, Split], directory: Path) -> None:
    """Every event is of an item that the catalogue has, and every row of a split an event of its own user."""
    if (largest := int(sequences.item.max(initial=-1))) >= num_items:
        raise ArtifactError(
            f"{directory}: events name item {largest}, the catalogue has {num_items} items; make it anew with --clean"
        )
    if not len(sequences):
        raise ArtifactError(f"{directory} has no users; prepare more events or a wider window")
    for name, split in splits.items():
        users = (split.user >= 0) & (split.user < len(sequences))
        user = np.where(users, split.user, 0)
        inside = users & (split.end >= sequences.offset[user]) & (split.end < sequences.offset[user + 1])
        if not inside.all():
            row = int(np.flatnonzero(~inside)[0])
            raise ArtifactError(
                f"{directory}: row {row} of {name} is event {split.end[row]} of user {split.user[row]}, who has no "
                "such event; make it anew with --clean"
            )


@dataclass(frozen=True)
class Prepared:
    catalog: Catalog
    sequences: Sequences
    splits: dict[str, Split]
    max_history: int
    updated: Updated | None = None  # of an updated run: what was learned before it

    def examples(self, name: str) -> Examples:
        return cut_examples(self.sequences, self.splits[name], self.max_history)

    def some_examples(self, name: str) -> Examples:
        """The same, where nothing can be done without a row."""
        if not len(self.splits[name]):
            rows = ", ".join(f"{len(split):,} {each}" for each, split in self.splits.items())
            raise ArtifactError(
                f"the data has no {name} rows ({rows}); prepare more events, a wider window, or another data.split"
            )
        return self.examples(name)

    @cached_property
    def seen(self) -> np.ndarray:
        """(T,) bool: events that training may see."""
        return mark_seen_in_training(self.sequences, self.splits)

    @cached_property
    def train_count(self) -> np.ndarray:
        """(N,) those events by item."""
        return count_train_events(self.sequences, self.splits, len(self.catalog))

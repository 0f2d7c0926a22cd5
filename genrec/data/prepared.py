"""What the data stage made, read back whole: every stage after it starts here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genrec.data.catalog import Catalog
from genrec.data.sequences import Examples, Sequences, Split, count_train_events, cut_examples, mark_seen_in_training


@dataclass(frozen=True)
class Prepared:
    catalog: Catalog
    sequences: Sequences
    splits: dict[str, Split]
    max_history: int

    def examples(self, name: str) -> Examples:
        return cut_examples(self.sequences, self.splits[name], self.max_history)

    @cached_property
    def seen(self) -> np.ndarray:
        """(T,) bool: events that training may see."""
        return mark_seen_in_training(self.sequences, self.splits)

    @cached_property
    def train_count(self) -> np.ndarray:
        """(N,) those events by item."""
        return count_train_events(self.sequences, self.splits, len(self.catalog))

"""What the data stage made, read back whole: every stage after it starts here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genrec import artifacts, stage
from genrec.artifacts import ArtifactError
from genrec.config import Config, result_knobs
from genrec.data.catalog import Catalog, load_catalog
from genrec.data.sequences import (
    Examples,
    Sequences,
    Split,
    examples,
    load_sequences,
    load_splits,
    seen_in_training,
    train_counts,
)


@dataclass(frozen=True)
class Prepared:
    catalog: Catalog
    sequences: Sequences
    splits: dict[str, Split]
    max_history: int

    def examples(self, name: str) -> Examples:
        return examples(self.sequences, self.splits[name], self.max_history)

    @cached_property
    def seen(self) -> np.ndarray:
        """(T,) bool: events that training may see."""
        return seen_in_training(self.sequences, self.splits)

    @cached_property
    def train_count(self) -> np.ndarray:
        """(N,) those events by item."""
        return train_counts(self.sequences, self.splits, len(self.catalog))


def load_prepared(config: Config) -> Prepared:
    """The data artifact of a run, or an error where it is missing or was made with other data.* knobs than asked."""
    directory = stage.stage_dir(config, "data")
    made = stage.require(config, "data")
    asked = {f"data.{key}": value for key, value in result_knobs(config.data).items()}
    there = {key: value for key, value in made.config.items() if key in asked}  # another seed may use the same data
    if differences := stage.differing({"config": there, "inputs": {}}, {"config": asked, "inputs": {}}):
        raise ArtifactError(stage.refusal("data", directory, ": " + "; ".join(differences)))
    return Prepared(
        load_catalog(directory / artifacts.CATALOG),
        load_sequences(directory / artifacts.SEQUENCES),
        load_splits(directory / artifacts.SPLITS),
        config.data.max_history,
    )

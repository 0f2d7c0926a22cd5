"""What rewards know of the items, read from the artifacts of the run."""

from __future__ import annotations

from collections.abc import Iterable

from genrec.config import SEQUENTIAL_REWARDS
from genrec.data.prepared import Prepared
from genrec.data.vectors import scale_to_unit
from genrec.pipeline import REWARD_READS
from genrec.sids import SidIndex
from genrec.store import RunStore
from genrec.training.rewards import Knowledge, Scores


def load_knowledge(store: RunStore, data: Prepared, index: SidIndex, rewards: Iterable[str], device: str) -> Knowledge:
    """Whatever these rewards need; an error names the stage to run first."""
    names = set(rewards)
    for stage in sorted({stage for name in names for stage in REWARD_READS.get(name, ())}):
        store.manifest(stage)
    return Knowledge(
        index.codes,
        data.train_count,
        scale_to_unit(store.vectors(len(index))) if "semantic" in names else None,
        {name: load_scores(store, name, device) for name in SEQUENTIAL_REWARDS if name in names},
    )


def find_available(store: RunStore) -> set[str]:
    """Rewards whose stage this run has, the models they ask included."""
    ready = {name for name, stages in REWARD_READS.items() if all(map(store.has, stages))}
    return {name for name in ready if name not in SEQUENTIAL_REWARDS or store.sequential_model(name).is_dir()}


def load_scores(store: RunStore, name: str, device: str) -> Scores:
    """Scores by one of the run's sequential models."""
    from genrec.models.sasrec import load_sasrec

    return load_sasrec(store.sequential_model(name), device).score_items

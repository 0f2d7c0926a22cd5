"""What rewards know of the items, read from the artifacts of the run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from genrec import artifacts
from genrec.config import SEQUENTIAL_REWARDS, STAGE_OF_REWARD, Config
from genrec.data.prepared import Prepared
from genrec.quantizers.build import load_vectors
from genrec.sids import SidIndex
from genrec.stage import require, stage_dir
from genrec.training.rewards import Knowledge, Scores


def load_knowledge(config: Config, data: Prepared, index: SidIndex, rewards: Iterable[str]) -> Knowledge:
    """Whatever these rewards need; an error names the stage to run first."""
    wanted = set(rewards)
    for name in sorted(wanted & STAGE_OF_REWARD.keys()):
        require(config, STAGE_OF_REWARD[name])
    return Knowledge(
        index.codes,
        data.train_count,
        unit_vectors(config, len(index)) if "semantic" in wanted else None,
        {name: sequential_scores(config, name) for name in SEQUENTIAL_REWARDS if name in wanted},
    )


def available(config: Config) -> set[str]:
    """Rewards whose stage this run has, the models they ask included."""
    made = {name for name, stage in STAGE_OF_REWARD.items() if artifacts.read_manifest(stage_dir(config, stage))}
    return {
        name for name in made if name not in SEQUENTIAL_REWARDS or (stage_dir(config, "sequential") / name).is_dir()
    }


def unit_vectors(config: Config, num_items: int) -> np.ndarray:
    """(N, D) text embeddings of length 1."""
    vectors = load_vectors(config, num_items)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def sequential_scores(config: Config, name: str) -> Scores:
    """Scores by one of the run's sequential models."""
    from genrec.models.sasrec import load_sasrec

    return load_sasrec(stage_dir(config, "sequential") / name, config.run.device).score_items

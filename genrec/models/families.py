"""Every model family by name, and how it is made ready. All answer `recommend(examples, k)`.

What each reads from the run stands in genrec/pipeline.py, FAMILY_READS.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from genrec import artifacts
from genrec.config import Config
from genrec.data.prepared import Prepared
from genrec.data.sequences import Examples
from genrec.evaluation.metrics import Recommendations
from genrec.store import RunStore

# Imports of the families themselves wait until one is loaded: `--help` and a table of baselines need no torch.


class Recommender(Protocol):
    def recommend(self, examples: Examples, k: int) -> Recommendations: ...


Load = Callable[[Config, Prepared], Recommender]


def load_popular(config: Config, data: Prepared) -> Recommender:
    from genrec.models.popular import fit_popular

    return fit_popular(data.train_count)


def load_popular_recent(config: Config, data: Prepared) -> Recommender:
    from genrec.models.popular import fit_popular_recent

    return fit_popular_recent(data.sequences, data.seen, len(data.catalog), config.evaluation.recent_share)


def load_last_item(config: Config, data: Prepared) -> Recommender:
    from genrec.models.popular import fit_last_item

    return fit_last_item(data.sequences, data.seen, data.train_count)


def load_item_knn(config: Config, data: Prepared) -> Recommender:
    from genrec.models.knn import fit_knn

    return fit_knn(data.sequences, data.seen, data.train_count)


def sequential_loader(name: str) -> Load:
    def load(config: Config, data: Prepared) -> Recommender:
        from genrec.models.sasrec import load_sasrec

        return load_sasrec(RunStore.of(config).sequential_model(name), config.run.device)

    return load


def generative_loader(stage: str, exact: bool = False) -> Load:
    def load(config: Config, data: Prepared) -> Recommender:
        from genrec.models.generative import load_generative

        return load_generative(model_directory(config, stage), config, data, exact)

    return load


def load_ensemble(config: Config, data: Prepared) -> Recommender:
    from genrec.models.ensemble import Ensemble

    language, other = (FAMILIES[name](config, data) for name in ("sft", config.evaluation.ensemble_with))
    return Ensemble(language, other, config.evaluation.ensemble_weight)


FAMILIES: dict[str, Load] = {
    "popular": load_popular,
    "popular_recent": load_popular_recent,
    "last_item": load_last_item,
    "item_knn": load_item_knn,
    "sasrec": sequential_loader("sasrec"),
    "sasrec_text": sequential_loader("sasrec_text"),
    "sasrec_bce": sequential_loader("sasrec_bce"),
    "sft": generative_loader("sft"),
    "sft_exact": generative_loader("sft", exact=True),
    "rl": generative_loader("rl"),
    "rl_exact": generative_loader("rl", exact=True),
    "ensemble": load_ensemble,
}


def rows_scored(config: Config) -> list[str]:
    """`evaluation.models`, and with `ranking: exact` the exact ranking of each language model right after it."""
    exact = config.evaluation.ranking == "exact"
    twins = [(name, f"{name}_exact") if exact else (name,) for name in config.evaluation.models]
    return [name for pair in twins for name in pair if name in FAMILIES]


def model_directory(config: Config, stage: str) -> Path:
    """Where a language model lies: `evaluation.base_model` stands in for the run's own sft."""
    given = config.evaluation.base_model
    return given if stage == "sft" and given else RunStore.of(config).path(stage)


def fingerprints_outside(config: Config) -> dict[str, str]:
    """What the chosen models are made of beside the run's stages, as far as it exists."""
    grown, found = RunStore.of(config).grown_dir, {}
    if config.evaluation.index == "sids_grown" and grown.exists():
        found["sids_grown"] = artifacts.directory_fingerprint(grown)
    if config.evaluation.base_model:
        found["base_model"] = artifacts.directory_fingerprint(config.evaluation.base_model)
    return found

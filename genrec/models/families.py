"""Every model family by name: what it reads from the run, how it is made ready. All answer `recommend(examples, k)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from genrec import artifacts
from genrec.config import STAGE_OF_REWARD, Config
from genrec.data.grown import grown_dir
from genrec.data.prepared import Prepared
from genrec.data.sequences import Examples
from genrec.evaluation.metrics import Recommendations
from genrec.stage import STAGES, require, stage_dir

# Imports of the families themselves wait until one is loaded: `--help` and a table of baselines need no torch.


class Recommender(Protocol):
    def recommend(self, examples: Examples, k: int) -> Recommendations: ...


@dataclass(frozen=True)
class Family:
    load: Callable[[Config, Prepared], Recommender]
    reads: tuple[str, ...] = ()  # stages beside data


def load_popular(config: Config, data: Prepared) -> Recommender:
    from genrec.models.popular import fit_popular

    return fit_popular(data.train_count)


def load_popular_recent(config: Config, data: Prepared) -> Recommender:
    from genrec.models.popular import fit_popular_recent

    return fit_popular_recent(data.sequences, data.seen, len(data.catalog), config.evaluate.recent_share)


def load_last_item(config: Config, data: Prepared) -> Recommender:
    from genrec.models.popular import fit_last_item

    return fit_last_item(data.sequences, data.seen, data.train_count)


def load_item_knn(config: Config, data: Prepared) -> Recommender:
    from genrec.models.knn import fit_knn

    return fit_knn(data.sequences, data.seen, data.train_count)


def sequential_loader(name: str) -> Callable[[Config, Prepared], Recommender]:
    def load(config: Config, data: Prepared) -> Recommender:
        from genrec.models.sasrec import load_sasrec

        return load_sasrec(stage_dir(config, "sequential") / name, config.run.device)

    return load


def generative_loader(stage: str, exact: bool = False) -> Callable[[Config, Prepared], Recommender]:
    def load(config: Config, data: Prepared) -> Recommender:
        from genrec.models.generative import load_generative

        return load_generative(model_directory(config, stage), config, data, exact)

    return load


def load_ensemble(config: Config, data: Prepared) -> Recommender:
    from genrec.models.ensemble import Ensemble

    language, other = (FAMILIES[name].load(config, data) for name in ("sft", config.evaluate.ensemble_with))
    return Ensemble(language, other, config.evaluate.ensemble_weight)


FAMILIES: dict[str, Family] = {
    "popular": Family(load_popular),
    "popular_recent": Family(load_popular_recent),
    "last_item": Family(load_last_item),
    "item_knn": Family(load_item_knn),
    "sasrec": Family(sequential_loader("sasrec"), reads=("sequential",)),
    "sasrec_text": Family(sequential_loader("sasrec_text"), reads=("embeddings", "sequential")),
    "sasrec_bce": Family(sequential_loader("sasrec_bce"), reads=("sequential",)),
    "sft": Family(generative_loader("sft"), reads=("sids", "sft")),
    "sft_exact": Family(generative_loader("sft", exact=True), reads=("sids", "sft")),
    "rl": Family(generative_loader("rl"), reads=("sids", "rl")),
    "rl_exact": Family(generative_loader("rl", exact=True), reads=("sids", "rl")),
    "ensemble": Family(load_ensemble, reads=("sids", "sft", "sequential")),
}


def rows_scored(config: Config) -> list[str]:
    """`evaluate.models`, and with `ranking: exact` the exact ranking of each language model right after it."""
    twins = [
        (name, f"{name}_exact") if config.evaluate.ranking == "exact" else (name,) for name in config.evaluate.models
    ]
    return [name for pair in twins for name in pair if name in FAMILIES]


def model_directory(config: Config, stage: str) -> Path:
    """Where a language model lies: `evaluate.base_model` stands in for the run's own sft."""
    return config.evaluate.base_model if stage == "sft" and config.evaluate.base_model else stage_dir(config, stage)


def stages_read(config: Config) -> tuple[str, ...]:
    """The stages beside data that the chosen models read, in the order of the pipeline."""
    wanted = {stage for name in config.evaluate.models for stage in FAMILIES[name].reads}
    if config.evaluate.base_model:
        wanted.discard("sft")
    return tuple(stage for stage in STAGES if stage in wanted)


def fingerprints_read(config: Config) -> dict[str, str]:
    """What the chosen models are made of, as far as it exists: {"sids": ..., "sft": ..., "base_model": ...}."""
    manifests = {stage: artifacts.read_manifest(stage_dir(config, stage)) for stage in stages_read(config)}
    found = {stage: manifest.fingerprint for stage, manifest in manifests.items() if manifest}
    if config.evaluate.index == "sids_grown" and grown_dir(config).exists():
        found["sids_grown"] = artifacts.directory_fingerprint(grown_dir(config))
    if config.evaluate.base_model:
        found["base_model"] = artifacts.directory_fingerprint(config.evaluate.base_model)
    return found


def require_stages(config: Config) -> None:
    for stage in stages_read(config):
        require(config, stage)


def without(config: Config, stage: str) -> list[str]:
    """`evaluate.models` that can be scored though a stage is skipped: all where an earlier run of it is there."""
    lacking = not artifacts.read_manifest(stage_dir(config, stage)) and stage in stages_read(config)
    return [name for name in config.evaluate.models if not (lacking and stage in FAMILIES[name].reads)]


def rewardless(config: Config, stage: str) -> str:
    """Why RL cannot run though it was not skipped itself; '' where it can."""
    asking = [name for name in config.rl.reward_type if STAGE_OF_REWARD.get(name) == stage]
    if not asking or artifacts.read_manifest(stage_dir(config, stage)):
        return ""
    return f"rl: skipped too, for its reward {asking[0]} asks {stage}; --rl.reward_type ranking needs no other stage"


if __name__ == "__main__":  # python -m genrec.models.families STAGE [flags]: for the pipeline's --skip
    import sys

    from genrec.commandline import parse

    asked = parse(sys.argv[2:]).config
    print(",".join(without(asked, sys.argv[1])), rewardless(asked, sys.argv[1]), sep="\n")

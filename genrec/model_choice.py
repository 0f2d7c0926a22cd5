"""Which language model of a run is meant where none is named, with which semantic IDs, and how its lists were made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genrec.artifacts import read_manifest
from genrec.config import Config
from genrec.errors import ArtifactError
from genrec.models.card import Card
from genrec.pipeline import FAMILY_READS, command_of, keep_word
from genrec.remote import fetch_artifacts, require_run_there
from genrec.runtime.training_record import is_unchanged
from genrec.store import RunStore, list_sids

LANGUAGE_MODELS = ("rl", "sft")  # what is taken of a run, the first that helped
ROW_SETTINGS = (
    *("decoding", "num_beams", "frontier_budget", "normalization", "index", "dtype", "cold_share"),
    *("ensemble_with", "ensemble_weight", "recent_share"),
)


def language_stage(name: str) -> str:
    return "rl" if name.startswith("rl") else "sft"


def choose_model(store: RunStore) -> str:
    """rl where RL was kept, else sft."""
    trained = [name for name in LANGUAGE_MODELS if read_manifest(store.path(name))]
    if "rl" in trained and not ("sft" in trained and is_unchanged(store.path("rl"))):
        return "rl"
    if trained:
        return trained[-1]
    raise ArtifactError(
        f"{store.directory} has no language model yet; run first: {command_of('sft')} (with your other flags), or take "
        "what needs none: model item_knn, last_item or popular"
    )


def fetch_models(config: Config, models: Iterable[str | None], export: bool = False) -> None:
    """With run.remote: what is read of the run to answer by these models, None the one that stands for it.

    Rows of the table tell how lists are made; `export` fetches what `genrec export` made.
    """
    if config.run.remote is None:
        return
    require_run_there(config)
    read = ["data", *(["export"] if export else [])]
    for name in {model or fetch_language_model(config): None for model in models}:
        read += ["sids/*" if stage == "sids" else stage for stage in FAMILY_READS[name]]
        read += [f"evaluation/{keep_word(row)}" for row in (name, f"{name}_exact")]
    fetch_artifacts(config, read)  # at once, so that they fit together


def fetch_language_model(config: Config) -> str:
    """rl, and sft where RL is not there or changed nothing."""
    store = RunStore(config.run.dir)
    fetch_artifacts(config, ["rl"])
    if read_manifest(store.path("rl")) is None or is_unchanged(store.path("rl")):
        fetch_artifacts(config, ["sft"])
    return choose_model(store)


def choose_sids(store: RunStore, card: Card | None) -> str:
    """The semantic IDs that the model answers in; of a model without any, those of the run where it has one kind."""
    names = list_sids(store.directory)
    if card is None:
        return names[0] if len(names) == 1 else ""
    manifests = {name: read_manifest(store.directory / "sids" / name) for name in names}
    fitting = [name for name, manifest in manifests.items() if manifest and manifest.fingerprint == card.sids]
    if not fitting:
        there = ", ".join(f"{name} {manifest.fingerprint}" for name, manifest in manifests.items() if manifest)
        raise ArtifactError(
            f"the model of {store.directory} was trained with sids {card.sids}, the run has {there or 'none'}; "
            f"train it anew: {command_of('sft')} --clean"
        )
    return fitting[0]


def settings_of_run(run: Path, name: str, card: Card | None) -> dict[str, Any]:
    """How the run's table ranked this model; where it has no such row, as the model was taught."""
    taught = {"normalization": card.normalization} if card else {}
    manifest = read_manifest(run / "evaluation" / keep_word(name))
    if manifest is None:
        return taught
    keys = {f"evaluation.{key}": key for key in ROW_SETTINGS}
    return taught | {short: manifest.config[key] for key, short in keys.items() if key in manifest.config}

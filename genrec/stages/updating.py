"""The stages of an updated run that are built from another run: data, embeddings and semantic IDs with new ones behind.

Every other stage of it is the stage itself. `genrec update` calls them in order.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec import artifacts
from genrec.config import Config, Data, Update
from genrec.data.ties import measure_ties
from genrec.data.updated import save_updated
from genrec.errors import ArtifactError, ConfigError
from genrec.launch import note
from genrec.pipeline import artifact_dir, command_of
from genrec.store import RunStore
from genrec.windows import is_own_shop

if TYPE_CHECKING:
    from genrec.data.events import Shop
    from genrec.data.joining import Joined
    from genrec.quantizers.grow import Grown

MANY_POOR = 0.1  # share of poorly placed items from which the screen warns; 0.01 is expected
CARRIED = (artifacts.CODEBOOKS, artifacts.CONSTRAINED, artifacts.CONSTRAINED_QUALITY)  # what SIDs grow by next time


@dataclass(frozen=True)
class Begin:
    """The run that is gone on from."""

    run: Path
    store: RunStore  # with the semantic IDs that its model was taught
    model: Path  # its sft, or its rl where that was kept


def find_begin(run: Path) -> Begin:
    """A run with a model, or an ArtifactError that says what to run first."""
    from genrec.runtime.training_record import is_unchanged

    if not run.is_dir():
        raise ArtifactError(f"--from_run {run} is not a directory; name a run that genrec run has finished")
    for name in ("data", "sft"):
        if artifacts.read_manifest(run / name) is None:
            raise ArtifactError(
                f"{run / name} is not there, and an update goes on from a trained model; run first: "
                f"{command_of(name)} --run.dir {run} (with your other flags)"
            )
    taught = artifacts.require(run / "sft", command_of("sft")).inputs["sids"]
    names = [
        path.parent.name
        for path in sorted((run / "sids").glob(f"*/{artifacts.MANIFEST}"))
        if (manifest := artifacts.read_manifest(path.parent)) and manifest.fingerprint == taught
    ]
    if not names:
        raise ArtifactError(f"{run / 'sids'} has none with the fingerprint {taught}, which {run / 'sft'} was taught")
    better = artifacts.read_manifest(run / "rl") is not None and not is_unchanged(run / "rl")
    return Begin(run, RunStore(run, sids=names[0]), run / ("rl" if better else "sft"))


# Data


def read_joined(begin: Begin, update: Update, data: Data) -> tuple[Joined, Shop]:
    """The new tables, read by the rules of the run's data and joined to them.

    Where the items do not belong to the events, what is wrong with the events themselves is told first.
    """
    from genrec.data.joining import join_events
    from genrec.data.table import read_shop

    old, rules = begin.store.prepared(), rules_of_new_tables(update, data)
    try:
        shop = read_shop(rules)[0]
    except ArtifactError:
        if rules.items:
            join_events(old, read_shop(rules.model_copy(update={"items": None}))[0], rules, begin.run)
        raise
    return join_events(old, shop, rules, begin.run), shop


def rules_of_new_tables(update: Update, data: Data) -> Data:
    own = is_own_shop(data.source)
    return Data(
        source="table",
        dataset=data.dataset,
        events=update.events,
        items=update.items,
        columns=update.columns or (data.columns if own else None),
        event_weights=data.event_weights if own else None,
        max_bad_share=data.max_bad_share,
        min_rating=data.min_rating,
        user_k=data.user_k,
        item_k=data.item_k,
        untitled=data.untitled,
    )


def refuse_source(data: Data, run: Path) -> None:
    if data.source == "minionerec":
        raise ConfigError(
            f"{run} holds published rows without times (data.source minionerec), so no event is newer than another; "
            "genrec update works for every other source, by a table with the run's own ids"
        )


def fingerprint_begin(begin: Begin, update: Update) -> dict[str, str]:
    """What an updated run's data are made of."""
    from genrec.artifacts import sample_fingerprint
    from genrec.data.table_files import find_raw_files

    tables = {"events": update.events, "items": update.items}
    files = {
        f"new {role} {number}": sample_fingerprint(file)
        for role, location in tables.items()
        if location
        for number, file in enumerate(find_raw_files(location, role))
    }
    return {"data before": begin.store.manifest("data").fingerprint, **files}


def write_data(joined: Joined, shop: Shop, config: Config, directory: Path) -> dict[str, Any]:
    from genrec.data.catalog import save_catalog
    from genrec.data.preparation import describe_preparation, summarize_preparation
    from genrec.data.sequences import save_sequences, save_splits

    data = joined.data
    save_catalog(data.catalog, directory / artifacts.CATALOG)
    save_sequences(data.sequences, directory / artifacts.SEQUENCES)
    save_splits(data.splits, directory / artifacts.SPLITS)
    save_updated(joined.updated, directory / artifacts.UPDATED)
    report = {
        "files": shop.files,
        "read": {"events": joined.ledger.as_dict(), "items": shop.item_ledger.as_dict()},
        "window": None,
        "k_core_rounds": [],
        **describe_preparation(data.catalog, data.sequences, data.splits, data.max_history),
        "time_ties": measure_ties(data.sequences, data.splits, config.data),
    }
    artifacts.write_json(directory / artifacts.REPORT, report)
    for line in summarize_preparation(report):
        note("data", line)
    return {key: report[key] for key in ("users", "items", "events", "rows")}


def write_earlier_rows(updated_run: RunStore, config: Config, directory: Path) -> dict[str, Any]:
    """The same data, measured on the test rows of the runs before."""
    from genrec.data.catalog import save_catalog
    from genrec.data.sequences import save_sequences, save_splits

    data = updated_run.prepared()
    assert data.updated is not None, "written by an update"
    save_catalog(data.catalog, directory / artifacts.CATALOG)
    save_sequences(data.sequences, directory / artifacts.SEQUENCES)
    save_splits(data.splits | {"test": data.updated.earlier}, directory / artifacts.SPLITS)
    return {"rows": len(data.updated.earlier)}


# Embeddings and semantic IDs


def write_embeddings(begin: Begin, config: Config, partial: Path) -> dict[str, Any]:
    """The vectors of the run before, and new items encoded by the same model."""
    from genrec.embeddings.item_encoder import encode_items, encoder_settings, forget_shards
    from genrec.engine.model_workers import choose_workers
    from genrec.stages.embed import make_item_texts

    catalog, known = RunStore.of(config).catalog(), len(begin.store.catalog())
    vectors, texts = begin.store.vectors(known), make_item_texts(config.embeddings, catalog)[known:]
    if texts:
        workers = choose_workers("embeddings", config.run, config.run.dir)
        settings = encoder_settings(config.embeddings, config.run.device, by_workers=workers is not None)
        new = encode_items(texts, settings, partial, workers)
        if new.shape[1] != vectors.shape[1]:
            raise ArtifactError(
                f"{config.embeddings.plm_checkpoint} gives vectors {new.shape[1]} wide, those in {begin.run} are "
                f"{vectors.shape[1]} wide; use the encoder of the run"
            )
        vectors = np.concatenate([vectors, new])
        forget_shards(partial)
    artifacts.save_array(partial / artifacts.EMBEDDINGS.format(dataset=config.data.dataset), vectors)
    note("embeddings", f"{known:,} items as before, {len(texts):,} encoded by {config.embeddings.plm_checkpoint}")
    return {"items": len(vectors), "width": vectors.shape[1], "encoded": len(texts)}


def write_sids(begin: Begin, config: Config, partial: Path) -> dict[str, Any]:
    """The semantic IDs of the run before, byte for byte, and new items by the same codebooks."""
    from genrec.quantizers.grow import extend_index
    from genrec.quantizers.purchases import collect_purchases
    from genrec.quantizers.quality import measure_quality
    from genrec.stages.sids import report, write_index

    if config.run.engine != "local":
        note("sids", f"is computed by this process; an update gives run.engine {config.run.engine} no shards of it")
    store, known = RunStore.of(config), len(begin.store.index())
    catalog = store.catalog()
    vectors = store.vectors(len(catalog))
    grown = extend_index(begin.store, vectors[known:])
    text_only = config.sids.model_copy(update={"alpha": 0.0})  # the pairs alone are asked for, no factors
    purchases = collect_purchases(*store.events(len(catalog)), text_only, len(catalog))
    quality = measure_quality(grown.index, grown.index.codes, catalog, vectors, purchases.pairs, config.run.seed)
    carry_codebooks(begin.store.path("sids"), len(catalog) - known, partial)
    write_index(grown.index, [catalog], quality, config.data.dataset, partial)
    report(config.sids.method, quality)
    tell_of_growth(grown)
    statistics = begin.store.manifest("sids").statistics
    lineage = begin.store.sid_lineage()
    return {**statistics, "items": len(catalog), "grown_from": lineage, "poorly_placed": int(grown.poor.sum())}


def carry_codebooks(frozen: Path, added: int, partial: Path) -> None:
    """What the SIDs were made by goes along, so that they can grow again; new items have no collaborative vectors."""
    for name in CARRIED:
        if (frozen / name).exists():
            shutil.copyfile(frozen / name, partial / name)
    if (frozen / artifacts.QUANTIZER).exists():
        shutil.copytree(frozen / artifacts.QUANTIZER, partial / artifacts.QUANTIZER, dirs_exist_ok=True)
    if (frozen / artifacts.FACTORS).exists():
        factors = np.load(frozen / artifacts.FACTORS, allow_pickle=False)
        artifacts.save_array(partial / artifacts.FACTORS, np.pad(factors, ((0, added), (0, 0))))


def tell_of_growth(grown: Grown) -> None:
    from genrec.quantizers.grow import POOR

    new, poor = len(grown.poor), int(grown.poor.sum())
    note("sids", f"{new:,} new items, {int(grown.moved.sum()):,} moved to a free SID, {poor:,} poorly placed")
    if poor > MANY_POOR * new:
        note(
            "sids", f"WARNING: {poor / new:.0%} of them fit worse than {POOR}% of the old items; --anew makes SIDs anew"
        )


# Where models are compared


def share_stage(stage: str, original: Config, target: Config) -> None:
    """The artifact of one run in another one, as it stands there now."""
    there = artifacts.require(artifact_dir(original, stage), command_of(stage))
    place = artifact_dir(target, stage)
    manifest = artifacts.read_manifest(place)
    if manifest is None or manifest.fingerprint != there.fingerprint:
        artifacts.share_directory(artifact_dir(original, stage), place)

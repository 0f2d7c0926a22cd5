"""Item vectors -> semantic IDs by sids.method, distinct unless collisions are kept.

reads   data/, embeddings/<dataset>.emb.npy
writes  sids/<method>/<dataset>.index.json <dataset>.item.json codes.npy codebooks.npz sid_index.npz quality.json
        quality.png; of the learned methods quantizer/best_{collision,loss}.safetensors, of rqkmeans_plus what it began
        from, constrained.{npz,json}

    genrec sids --config quickstart --method rqkmeans
    genrec sids --config quickstart --method rqkmeans --codebook_size 128 --name wide    # beside it, in sids/wide/
    genrec sids --config quickstart --add new.item.json --retire "[12, 40]"   # -> sids_grown/
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec import artifacts, sids, stage
from genrec.artifacts import (
    CATALOG,
    CODEBOOKS,
    CODES,
    CONSTRAINED,
    CONSTRAINED_QUALITY,
    EMBEDDINGS,
    FACTORS,
    INDEX_JSON,
    ITEM_JSON,
    QUALITY,
    QUALITY_PLOT,
    SID_INDEX,
    read_json,
    read_manifest,
    save_array,
    write_json,
)
from genrec.commandline import parse, stage_program
from genrec.config import Config
from genrec.errors import exit_on_failure
from genrec.launch import note
from genrec.pipeline import artifact_dir, command_of
from genrec.store import RunStore, list_sids

if TYPE_CHECKING:
    from genrec.data.catalog import Catalog
    from genrec.data.shards.work import Workers
    from genrec.data.vectors import Rows
    from genrec.quantizers.build import Mixture
    from genrec.quantizers.purchases import Purchases
    from genrec.sids import SidIndex

STAGE = "sids"

# What the codebooks of rqkmeans_constrained depend on, beside the inputs and run.seed.
CONSTRAINED_KNOBS = ("num_levels", "codebook_size", "kmeans_iters", "kmeans_backend", "alpha", "factors")


def main(argv: list[str] | None = None, method: str | None = None) -> None:
    """`method` is what a script of rq/ stands for: it takes the config's place; flags of the call come after it."""
    argv = sys.argv[1:] if argv is None else argv
    if method is not None:
        argv = ["--method", method, *argv]
    command = parse(stage_program(command_of(STAGE), __doc__, STAGE), argv)
    config = command.config
    with exit_on_failure(config.run.dir):
        if config.sids.add is not None or config.sids.retire:
            grow(config, command.dry_run)
            return
        stage.run(STAGE, command, build)
        if not command.dry_run:
            print_comparison(config)


def build(config: Config, partial: Path) -> dict[str, Any]:
    """The whole stage; `partial` also keeps what a killed run had learned."""
    from genrec.data.catalog import load_labels, read_catalog_slices
    from genrec.quantizers.build import build_index, take_published
    from genrec.quantizers.by_shards import SHARDS
    from genrec.quantizers.purchases import collect_purchases
    from genrec.quantizers.quality import measure_quality

    store, knobs, seed = RunStore.of(config), config.sids, config.run.seed
    labels = load_labels(store.file("data", CATALOG))
    num_items = len(labels.brand)
    text = read_vectors(store, num_items, config)
    purchases = collect_purchases(*store.events(num_items), knobs, num_items)
    mixture = mix(text, purchases, config, partial)
    if knobs.method == "rqkmeans_plus" and not (partial / CONSTRAINED).exists():
        take_over_constrained(config, partial)
    if knobs.method == "imported":
        built = take_published(store.published_index(), num_items, store.path("data"))
    else:
        with open_workers(config, text) as workers:
            built = build_index(mixture.vectors, knobs, seed, config.run.device, partial, workers)
        sids.save_codebooks(built.codebooks, partial / CODEBOOKS)
    quality = measure_quality(built.index, built.codes, labels, text, purchases.pairs, seed)
    quality |= {"reconstruction": built.reconstruction} if built.reconstruction else {}
    quality |= {"start": read_json(partial / CONSTRAINED_QUALITY)} if knobs.method == "rqkmeans_plus" else {}
    quality |= mixture.describe()
    write_index(built.index, read_catalog_slices(store.file("data", CATALOG)), quality, config.data.dataset, partial)
    artifacts.remove_directories(partial / SHARDS)
    report(knobs.method, quality)
    return {"items": len(built.index), "collisions": quality["collisions"], "levels": quality["levels"]} | (
        mixture.describe()
    )


def read_vectors(store: RunStore, num_items: int, config: Config) -> Rows:
    """(N, D): an array, or what stays on disk where there are more items than sids.train_rows."""
    from genrec.data.vectors import open_vectors
    from genrec.quantizers.build import BY_SHARDS

    if num_items <= config.sids.train_rows or config.sids.method not in BY_SHARDS:
        return store.vectors(num_items)
    note(STAGE, f"{num_items:,} items: learned on {config.sids.train_rows:,} (sids.train_rows), given by shards")
    return open_vectors(store.file("embeddings", EMBEDDINGS), num_items)


def open_workers(config: Config, text: Rows) -> AbstractContextManager[Workers]:
    """Who gives codes by shards; what is in memory gets its codes here."""
    from genrec.data.shards.work import in_turn
    from genrec.data.vectors import RowFile
    from genrec.engine.model_workers import choose_workers

    by_shards = isinstance(text, RowFile)
    if config.run.engine != "local" and not by_shards:
        most = f"{config.sids.train_rows:,} items (sids.train_rows)"
        note(STAGE, f"is computed by this process; run.engine {config.run.engine} gives codes to more than {most}")
    find = choose_workers(STAGE, config.run, config.run.dir) if by_shards else None
    return find() if find else nullcontext(in_turn)


def mix(text: Rows, purchases: Purchases, config: Config, partial: Path) -> Mixture:
    """What is quantized; collaborative vectors are kept for items that come later."""
    from genrec.data.vectors import RowFile
    from genrec.quantizers.build import mix_vectors

    factors = None
    if purchases.factors is not None:
        save_array(partial / FACTORS, purchases.factors)
        if isinstance(text, RowFile):
            factors = RowFile(str((partial / FACTORS).resolve()), purchases.factors.shape)
    mixture = mix_vectors(text, purchases, config.sids, config.run.seed, factors)
    if mixture.alpha is not None:
        rates = f", by their hit rates {mixture.hit_rates}" if mixture.hit_rates else ""
        note(STAGE, f"alpha {mixture.alpha}: text and collaborative vectors mixed{rates}")
    return mixture


def write_index(
    index: SidIndex, catalog: Iterable[Catalog], quality: dict[str, Any], dataset: str, directory: Path
) -> None:
    """`catalog` comes a slice at a time."""
    from genrec.data.item_json import write_items
    from genrec.quantizers.quality import plot_quality

    save_array(directory / CODES, index.codes)
    sids.save_index(index, directory / SID_INDEX)
    sids.write_index_json(index, directory / INDEX_JSON.format(dataset=dataset))
    write_items(catalog, directory / ITEM_JSON.format(dataset=dataset))
    write_json(directory / QUALITY, quality)
    plot_quality(quality, index, directory / QUALITY_PLOT)


def report(method: str, quality: dict[str, Any]) -> None:
    from genrec.quantizers.quality import list_warnings

    before, after = quality["collisions"]["before"], quality["collisions"]["after"]
    used = " ".join(f"{row['used']}/{row['codes']}" for row in quality["levels"])
    error = f", error {quality['reconstruction']['error'][-1]:.3f}" if "reconstruction" in quality else ""
    note(
        STAGE,
        f"{quality['items']:,} items by {method}, codes used {used}{error}, "
        f"collisions {before['items']:,} ({before['share']:.1%}) before, {after['items']:,} after",
    )
    for warning in list_warnings(quality):
        note(STAGE, f"WARNING: {warning}")


def take_over_constrained(config: Config, partial: Path) -> None:
    """The codebooks that rqkmeans_plus begins from, where rqkmeans_constrained has just the same in this run."""
    from genrec.quantizers.build import keep_start

    beside = config.sids.model_copy(update={"method": "rqkmeans_constrained", "name": ""})
    job = stage.Job(STAGE, config.model_copy(update={"sids": beside}), build)
    manifest, wanted = read_manifest(job.final), job.identity
    if manifest is None or manifest.inputs != wanted["inputs"]:
        return
    keys = ["run.seed", *(f"sids.{name}" for name in CONSTRAINED_KNOBS)]
    if all(manifest.config[key] == wanted["config"][key] for key in keys):
        artifacts.require(job.final, command_of(STAGE))
        quality = read_json(job.final / QUALITY)
        error = quality["reconstruction"]["error"]
        keep_start(partial, sids.load_codebooks(job.final / CODEBOOKS), quality["collisions"]["before"], error)
        note(STAGE, f"goes on from the codebooks in {job.final}")


def print_comparison(config: Config) -> None:
    """The run's semantic IDs side by side, where there are several."""
    from genrec.quantizers.quality import make_comparison

    names, store = list_sids(config.run.dir), RunStore.of(config)
    if len(names) < 2:
        return
    qualities = {name: replace(store, sids=name).sid_quality() for name in names}
    print(f"\n{make_comparison({name: quality for name, quality in qualities.items() if quality})}")
    users = list_users(config)
    for name in [name for name in names if name in users]:
        print(f"made from sids/{name} in this run: {', '.join(users[name])}")
    print(f"in use by this configuration: sids/{store.sids} (--sids.method, --sids.name)\n")


def list_users(config: Config) -> dict[str, list[str]]:
    """{name: the finished stages that were made from these semantic IDs}."""
    names = {}
    for name in list_sids(config.run.dir):
        manifest = read_manifest(config.run.dir / STAGE / name)
        if manifest:
            names[manifest.fingerprint] = name
    users: dict[str, list[str]] = {}
    for stage_name in ("convert", "sft", "rl"):
        manifest = read_manifest(artifact_dir(config, stage_name))
        if manifest and (name := names.get(manifest.inputs.get(STAGE, ""))):
            users.setdefault(name, []).append(stage_name)
    return users


def grow(config: Config, dry_run: bool) -> None:
    """--add and --retire: sids/ and the texts of new items -> sids_grown/."""
    from genrec.quantizers.grow import grow_index, print_plan

    store = RunStore.of(config)
    if dry_run:
        print_plan(store, config.sids)
    else:
        grow_index(store, config.sids, config.embeddings, config.run.device)

"""Item texts -> sentence vectors, row = item. Killed and run again, it goes on from the last finished shard.

Texts are read and encoded a shard at a time, by this process or by workers of Ray (--run.engine ray).

reads   data/catalog.parquet
        --descriptions FILE: JSON {item id: text}, such as UR4Rec/models/llm_generator.py writes
writes  embeddings/<dataset>.emb.npy (N, D) float32

--root DIR, with the files that `prepare --output_path` wrote: the run that these came from, and DIR/<dataset>.emb.npy
links to its vectors. With files that came from no run: DIR/<dataset>.item.json -> DIR/<dataset>.emb.npy, without one.

    genrec embed --config 0.5b
    genrec embed --config 0.5b --run.engine ray --run.workers 8 --run.ray_address HEAD:6379
    genrec embed --dataset Industrial_and_Scientific --root DIR --plm_checkpoint MODEL_DIR
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec import stage
from genrec.artifacts import CATALOG, EMBEDDINGS, ITEM_JSON, sha256
from genrec.commandline import Command, parse, stage_program
from genrec.config import Config, Embeddings
from genrec.errors import exit_on_failure
from genrec.launch import note
from genrec.pipeline import command_of
from genrec.store import RunStore

if TYPE_CHECKING:
    from genrec.data.catalog import Catalog
    from genrec.embeddings.item_encoder import FindWorkers
    from genrec.embeddings.sorted_texts import Slices

STAGE = "embeddings"


def build(config: Config, partial: Path) -> dict[str, Any]:
    """The stage: texts of the catalogue -> <dataset>.emb.npy in `partial`."""
    from genrec.embeddings.item_encoder import forget_shards
    from genrec.engine.model_workers import choose_workers

    workers = choose_workers(STAGE, config.run, config.run.dir)
    statistics = write_vectors(config, choose_slices(config), partial, partial, workers)
    forget_shards(partial)
    return statistics


def choose_slices(config: Config) -> Slices:
    """Texts of the catalogue, a slice at a time; those of --descriptions are matched with all items at once."""
    from genrec.data.catalog import read_catalog_slices
    from genrec.embeddings.item_encoder import item_texts

    if config.embeddings.descriptions:
        texts = make_item_texts(config.embeddings, RunStore.of(config).catalog())
        return lambda: [texts]
    catalog = RunStore.of(config).file("data", CATALOG)
    return lambda: map(item_texts, read_catalog_slices(catalog))


def run_beside(command: Command, root: Path) -> None:
    """What --root asks for; like a stage, every expected failure ends in one line and exit 1."""
    with exit_on_failure(root):
        write_beside(command.config, root, command.dry_run)


def write_beside(config: Config, root: Path, dry_run: bool) -> None:
    """<root>/<dataset>.item.json -> <root>/<dataset>.emb.npy."""
    from genrec.data.item_json import read_item_json
    from genrec.embeddings.item_encoder import forget_shards
    from genrec.engine.model_workers import choose_workers

    texts = make_item_texts(config.embeddings, read_item_json(root / ITEM_JSON.format(dataset=config.data.dataset)))
    target = root / EMBEDDINGS.format(dataset=config.data.dataset)
    if dry_run:
        again = ", in place of the one there" if target.exists() else ""
        note(STAGE, f"to run: {len(texts):,} items by {config.embeddings.plm_checkpoint} -> {target}{again}")
        return
    # Other texts or settings have other shards.
    work = root / f".{config.data.dataset}.{work_name(config.embeddings, texts)}"
    write_vectors(config, lambda: [texts], root, work, choose_workers(STAGE, config.run, root))
    forget_shards(work)
    work.rmdir()
    note(STAGE, f"done -> {target}")


def make_item_texts(knobs: Embeddings, catalog: Catalog) -> list[str]:
    """(N,) one text an item, with those of --descriptions."""
    from genrec.data.given_texts import add_descriptions
    from genrec.embeddings.item_encoder import item_texts

    if knobs.descriptions:
        catalog, line = add_descriptions(catalog, knobs.descriptions)
        note(STAGE, line)
    return item_texts(catalog)


def work_name(knobs: Embeddings, texts: list[str]) -> str:
    values = knobs.model_dump_json(include={"plm_checkpoint", "max_length", "dtype", "normalize"})
    return hashlib.sha256("\n".join([values, *texts]).encode()).hexdigest()[:12]


def write_vectors(
    config: Config, slices: Slices, directory: Path, work_dir: Path, workers: FindWorkers | None
) -> dict[str, Any]:
    from genrec.embeddings.item_encoder import encode_to_file, encoder_settings

    path = directory / EMBEDDINGS.format(dataset=config.data.dataset)
    settings = encoder_settings(config.embeddings, config.run.device, by_workers=workers is not None)
    encoded = encode_to_file(path, slices, settings, work_dir, workers)
    note(STAGE, f"{encoded.items:,} items, width {encoded.width}, by {config.embeddings.plm_checkpoint}")
    return encoded._asdict()


def sources(config: Config) -> dict[str, str]:
    from genrec.embeddings.item_encoder import checkpoint_fingerprint

    path = config.embeddings.descriptions
    descriptions = {"descriptions": sha256(path)[:16]} if path and path.is_file() else {}
    return checkpoint_fingerprint(config.embeddings.plm_checkpoint) | descriptions


def main(argv: list[str] | None = None) -> None:
    command = parse(stage_program(command_of(STAGE), __doc__, STAGE, root_alone=True), argv)
    root = command.config.run.root
    if root is not None and command.run and command.run.lost:
        run_beside(command, root)
        return
    with exit_on_failure(command.config.run.dir):
        stage.run(STAGE, command, build, sources)

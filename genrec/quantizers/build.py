"""The stage `sids`: vectors -> semantic IDs, whichever the method.

reads   data/catalog.parquet sequences.npz splits.npz, embeddings/<dataset>.emb.npy
writes  codes.npy codebooks.npz sid_index.npz <dataset>.index.json <dataset>.item.json quality.json quality.png
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genrec import sids
from genrec.artifacts import (
    CATALOG,
    CODEBOOKS,
    CODES,
    EMBEDDINGS,
    INDEX_JSON,
    ITEM_JSON,
    QUALITY,
    QUALITY_PLOT,
    SEQUENCES,
    SID_INDEX,
    SPLITS,
    ArtifactError,
    save_arrays,
    write_json,
)
from genrec.config import Config
from genrec.data.catalog import Catalog, load_catalog
from genrec.data.item_json import write_item_json
from genrec.data.sequences import load_sequences, load_splits, seen_in_training
from genrec.models.item_encoder import check_vectors
from genrec.quantizers import collisions, quality
from genrec.quantizers.residual import Quantized
from genrec.sids import SidIndex
from genrec.stage import note, stage_dir

STAGE = "sids"


def build(config: Config, partial: Path) -> dict[str, Any]:
    """The whole stage; `partial` also keeps what a killed run had learned."""
    catalog = load_catalog(stage_dir(config, "data") / CATALOG)
    vectors = load_vectors(config, len(catalog))
    if config.sids.method == "imported":
        index = imported(config, len(catalog))
        before, error = index.codes, {}
    else:
        quantized = METHODS[config.sids.method](config, vectors, partial)
        index, before = collisions.resolve(quantized, config.sids.collisions), quantized.codes
        error = {"reconstruction": quality.reconstruction(quantized, index.codes[:, : before.shape[1]])}
        save_codebooks(quantized.codebooks, partial / CODEBOOKS)
    measured = quality.measure(index, before, catalog, vectors, next_purchases(config), config.run.seed) | error
    write(config, index, catalog, measured, partial)
    report(config, measured)
    return {"items": len(index), "collisions": measured["collisions"], "levels": measured["levels"]}


def rqkmeans(config: Config, vectors: np.ndarray, partial: Path) -> Quantized:
    from genrec.quantizers import rqkmeans

    knobs = config.sids
    return rqkmeans.fit(vectors, knobs.num_levels, knobs.codebook_size, knobs.kmeans_iters, config.run.seed)


METHODS: dict[str, Callable[[Config, np.ndarray, Path], Quantized]] = {
    "rqkmeans": rqkmeans,
}


def load_vectors(config: Config, num_items: int) -> np.ndarray:
    """(N, D) float32, checked against the catalogue."""
    path = stage_dir(config, "embeddings") / EMBEDDINGS.format(dataset=config.data.dataset)
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}; run rq/text2emb/amazon_text2emb.py") from None
    check_vectors(vectors, num_items, str(path))
    return vectors.astype(np.float32)


def imported(config: Config, num_items: int) -> SidIndex:
    """The published index that the data artifact brought along, collisions as published."""
    path = stage_dir(config, "data") / INDEX_JSON.format(dataset=config.data.dataset)
    if not path.exists():
        raise ArtifactError(
            f"sids.method imported needs {path}, which only an import of published artifacts writes "
            "(data.source minionerec); use --sids.method rqkmeans_plus to make an index from the texts"
        )
    index = sids.read_index_json(path)
    if len(index) != num_items:
        raise ArtifactError(f"{path} has {len(index)} items, the catalogue has {num_items}")
    return index


def next_purchases(config: Config) -> np.ndarray:
    """(P, 2) consecutive purchases that training may see."""
    data = stage_dir(config, "data")
    sequences, splits = load_sequences(data / SEQUENCES), load_splits(data / SPLITS)
    return quality.next_pairs(sequences.item, sequences.offset, seen_in_training(sequences, splits))


def save_codebooks(codebooks: tuple[np.ndarray, ...], path: Path) -> None:
    save_arrays(path, **{f"codebook_{level}": codebook for level, codebook in enumerate(codebooks)})


def write(config: Config, index: SidIndex, catalog: Catalog, measured: dict[str, Any], partial: Path) -> None:
    dataset = config.data.dataset
    np.save(partial / CODES, index.codes)
    sids.save_index(index, partial / SID_INDEX)
    sids.write_index_json(index, partial / INDEX_JSON.format(dataset=dataset))
    write_item_json(catalog, partial / ITEM_JSON.format(dataset=dataset))
    write_json(partial / QUALITY, measured)
    quality.plot(measured, index, partial / QUALITY_PLOT)


def report(config: Config, measured: dict[str, Any]) -> None:
    before, after = measured["collisions"]["before"], measured["collisions"]["after"]
    used = " ".join(f"{row['used']}/{row['codes']}" for row in measured["levels"])
    error = f", error {measured['reconstruction']['error'][-1]:.3f}" if "reconstruction" in measured else ""
    note(
        STAGE,
        f"{measured['items']:,} items by {config.sids.method}, codes used {used}{error}, "
        f"collisions {before['items']:,} ({before['share']:.1%}) before, {after['items']:,} after",
    )
    for warning in quality.warnings(measured):
        note(STAGE, f"WARNING: {warning}")

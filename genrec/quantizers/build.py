"""The stage `sids`: vectors -> semantic IDs, whichever the method.

reads   data/catalog.parquet sequences.npz splits.npz, embeddings/<dataset>.emb.npy
writes  codes.npy codebooks.npz sid_index.npz <dataset>.index.json <dataset>.item.json quality.json quality.png, and
        quantizer/best_{collision,loss}.safetensors of the learned methods, constrained.npz of rqkmeans_plus
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path
from typing import Any

import numpy as np

from genrec import sids
from genrec.artifacts import (
    CODEBOOKS,
    CODES,
    CONSTRAINED,
    FACTORS,
    INDEX_JSON,
    ITEM_JSON,
    QUALITY,
    QUALITY_PLOT,
    QUANTIZER,
    SID_INDEX,
    load_arrays,
    read_manifest,
    remove_directories,
    save_arrays,
    write_json,
)
from genrec.config import Config, Sids
from genrec.data.catalog import Catalog
from genrec.data.item_json import write_item_json
from genrec.data.sequences import cut_examples, mark_seen_in_training
from genrec.embeddings.item_encoder import save_array
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.lock import only_writer
from genrec.pipeline import STAGES, artifact_dir
from genrec.quantizers import collisions, quality, residual
from genrec.quantizers.residual import Quantized
from genrec.sids import SidIndex, load_codebooks, save_codebooks
from genrec.stage import Job, begin
from genrec.store import RunStore

STAGE = "sids"


@dataclass(frozen=True)
class Purchases:
    """What the stage may know of users."""

    pairs: np.ndarray  # (P, 2) consecutive items in training
    factors: np.ndarray | None  # (N, F) collaborative vectors, when alpha asks for them
    valid: np.ndarray  # (E, 2) last history item and target of valid examples: only alpha: auto looks at them


def build(config: Config, partial: Path) -> dict[str, Any]:
    """The whole stage; `partial` also keeps what a killed run had learned."""
    store = RunStore.of(config)
    catalog = store.catalog()
    text, purchases = store.vectors(len(catalog)), read_purchases(store, config.sids, len(catalog))
    vectors, mixed = mix(config, text, purchases, partial)
    if config.sids.method == "imported":
        index = check_published(store, len(catalog))
        before, error = index.codes, {}
    else:
        quantized = METHODS[config.sids.method](config, vectors, partial)
        index, before = collisions.resolve(quantized, config.sids.collisions), quantized.codes
        error = {"reconstruction": quality.reconstruction(quantized, index.codes[:, : before.shape[1]])}
        save_codebooks(quantized.codebooks, partial / CODEBOOKS)
    measured = quality.measure(index, before, catalog, text, purchases.pairs, config.run.seed) | error | mixed
    write(config, index, catalog, measured, partial)
    report(config, measured)
    return {"items": len(index), "collisions": measured["collisions"], "levels": measured["levels"]} | mixed


def rqkmeans(config: Config, vectors: np.ndarray, partial: Path) -> Quantized:
    from genrec.quantizers import rqkmeans

    knobs = config.sids
    return rqkmeans.fit(vectors, knobs.num_levels, knobs.codebook_size, knobs.kmeans_iters, config.run.seed)


def rqkmeans_constrained(config: Config, vectors: np.ndarray, partial: Path) -> Quantized:
    from genrec.quantizers.balanced import BACKENDS
    from genrec.runtime.device import pick_devices

    knobs = config.sids
    cluster = bind(
        BACKENDS[knobs.kmeans_backend], iters=knobs.kmeans_iters, device=pick_devices(config.run.device, 1)[0]
    )
    return residual.fit(vectors, knobs.num_levels, knobs.codebook_size, cluster, config.run.seed)


def rqkmeans_plus(config: Config, vectors: np.ndarray, partial: Path) -> Quantized:
    if not (partial / CONSTRAINED).exists():
        save_codebooks(rqkmeans_constrained(config, vectors, partial).codebooks, partial / CONSTRAINED)
    codebooks = load_codebooks(partial / CONSTRAINED)
    return learned(config, vectors, partial, vectors.shape[1], 1e-4, codebooks)


def rqvae(config: Config, vectors: np.ndarray, partial: Path) -> Quantized:
    return learned(config, vectors, partial, config.sids.latent, 1e-3, None)


def learned(
    config: Config,
    vectors: np.ndarray,
    partial: Path,
    latent: int,
    learning_rate: float,
    codebooks: tuple[np.ndarray, ...] | None,
) -> Quantized:
    """RQ-VAE, or with given codebooks RQ-Kmeans+."""
    from genrec.quantizers.rqvae import Shape
    from genrec.quantizers.rqvae_training import LAST, Training, fit
    from genrec.runtime.device import pick_devices

    knobs = config.sids
    residual.check_size(len(vectors), knobs.codebook_size)
    shape = Shape(
        widths=(vectors.shape[1],),
        latent=latent,
        hidden=tuple(knobs.hidden_sizes),
        num_levels=knobs.num_levels,
        codebook_size=knobs.codebook_size,
        residual=codebooks is not None,
    )
    same_named = {
        name: getattr(knobs, name) for name in Training.__dataclass_fields__ if name in type(knobs).model_fields
    }
    rate = knobs.learning_rate or learning_rate
    training = Training(
        **same_named | {"epochs": knobs.num_epochs, "learning_rate": rate},
        seed=config.run.seed,
        device=pick_devices(config.run.device, 1)[0],
    )
    quantized, _ = fit(vectors, shape, training, partial / QUANTIZER, codebooks)
    (partial / QUANTIZER / LAST).unlink()
    return quantized


METHODS: dict[str, Callable[[Config, np.ndarray, Path], Quantized]] = {
    "rqkmeans": rqkmeans,
    "rqkmeans_constrained": rqkmeans_constrained,
    "rqkmeans_plus": rqkmeans_plus,
    "rqvae": rqvae,
}

# What the codebooks of rqkmeans_constrained depend on, beside the inputs and run.seed.
CONSTRAINED_KNOBS = ("num_levels", "codebook_size", "kmeans_iters", "kmeans_backend", "alpha", "factors")


def take_over_constrained(config: Config) -> None:
    """A finished `sids` by rqkmeans_constrained becomes the beginning of rqkmeans_plus: its codebooks are kept.

    Only while no later stage was built on it; otherwise the stage refuses and names the ways on.
    """
    store, job = RunStore.of(config), Job(STAGE, config, build)
    if not store.has(STAGE):
        return
    manifest, wanted = store.manifest(STAGE), job.identity
    same = all(manifest.config.get(f"sids.{k}") == wanted["config"][f"sids.{k}"] for k in CONSTRAINED_KNOBS)
    same = same and manifest.config["run.seed"] == config.run.seed and manifest.inputs == wanted["inputs"]
    later = [other for name in STAGES if name != STAGE and (other := read_manifest(artifact_dir(config, name)))]
    used = any(other.inputs.get(STAGE) == manifest.fingerprint for other in later)
    if not same or used or manifest.config.get("sids.method") != "rqkmeans_constrained":
        return
    with only_writer(job.final):
        begin(job, wanted, clean=False)
        save_arrays(job.partial / CONSTRAINED, **load_arrays(job.final / CODEBOOKS))
        remove_directories(job.final)
    note(STAGE, f"goes on from the codebooks of rqkmeans_constrained that {job.final} held")


def read_purchases(store: RunStore, knobs: Sids, num_items: int) -> Purchases:
    """What training may know of users, and the valid pairs that alpha: auto is chosen on."""
    from genrec.quantizers.fused import item_factors

    sequences, splits = store.sequences(), store.splits()
    seen = mark_seen_in_training(sequences, splits)
    wanted = knobs.alpha == "auto" or knobs.alpha > 0
    factors = item_factors(sequences.item, sequences.offset, seen, num_items, knobs.factors) if wanted else None
    valid = cut_examples(sequences, splits["valid"], max_history=1)
    known = valid.history[:, -1] >= 0
    return Purchases(
        pairs=quality.next_pairs(sequences.item, sequences.offset, seen),
        factors=factors,
        valid=np.stack([valid.history[known, -1], valid.target[known]], axis=1),
    )


def check_published(store: RunStore, num_items: int) -> SidIndex:
    """The published index of an import, over the same catalogue."""
    index = store.published_index()
    if len(index) != num_items:
        raise ArtifactError(f"{store.path('data')} has an index of {len(index)} items, its catalogue has {num_items}")
    return index


def mix(config: Config, text: np.ndarray, purchases: Purchases, partial: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The vectors to quantize, and what to say of them: text alone, or fused by the alpha asked for or found."""
    from genrec.quantizers.fused import choose_alpha, fuse

    if purchases.factors is None:
        return text, {}
    tried: dict[str, Any] = {}
    alpha = config.sids.alpha
    if alpha == "auto":
        last, target = purchases.valid.T
        alpha, rates = choose_alpha(text, purchases.factors, last, target, config.run.seed)
        tried = {"alpha_hit_rates": rates}
    note(STAGE, f"alpha {alpha}: text and collaborative vectors mixed" + (f", by {tried}" if tried else ""))
    save_array(partial / FACTORS, purchases.factors)
    return fuse(text, purchases.factors, alpha), {"alpha": alpha} | tried


def write(config: Config, index: SidIndex, catalog: Catalog, measured: dict[str, Any], partial: Path) -> None:
    dataset = config.data.dataset
    save_array(partial / CODES, index.codes)
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

"""A catalogue that grows: new items get SIDs from the frozen codebooks, old ones keep theirs byte for byte.

A model trained on the old SIDs can therefore decode the new ones without training: their tokens are all known to it.

`grow_index` works on a run: sids/ (or sids_grown/ of an earlier call) and the texts of new items -> sids_grown/ with

    <dataset>.index.json  <dataset>.item.json  codes.npy  sid_index.npz     old items first, then the new ones
    allowed.npy (N + M,) bool, False for retired items: what models.trie.make_filter takes as `allowed`
    grown.json            each new item's SID, error, whether it had to move, whether it is poorly placed

N old items, M new items, L levels, d width of z
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrec import sids
from genrec.artifacts import (
    ALLOWED,
    CODEBOOKS,
    CODES,
    FACTORS,
    GROWN,
    INDEX_JSON,
    ITEM_JSON,
    NEW_VECTORS,
    QUANTIZER,
    SID_INDEX,
    Manifest,
    read_json,
    remove_directories,
    save_array,
    sha256,
    whole_directory,
    write_json,
)
from genrec.config import Embeddings, Sids
from genrec.data.catalog import Catalog
from genrec.data.item_json import read_item_json, write_item_json
from genrec.data.vectors import check_vectors, load_vectors
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.quantizers.collisions import reassign_codes
from genrec.quantizers.residual import Quantized, encode_residually, sum_codebooks
from genrec.sids import NONE, SidIndex, load_codebooks, make_index
from genrec.store import RunStore

STAGE = "sids"

POOR = 99  # a new item is poorly placed when its error is beyond this percentile of the old items' errors


@dataclass(frozen=True)
class Grown:
    index: SidIndex  # (N + M) rows, the first N as they were
    moved: np.ndarray  # (M,) bool: the nearest SID was taken
    error: np.ndarray  # (M,) float32 |x - x^|^2
    poor: np.ndarray  # (M,) bool


def place_items(index: SidIndex, new: Quantized, old_error: np.ndarray) -> Grown:
    """`new` holds the codes (M, L) that the frozen codebooks give; `old_error` (N,) is what old items live with."""
    depth = len(new.codebooks)
    codes = reassign_codes(new, taken=index.codes[:, :depth].astype(np.int64))  # (M, L)
    rows = np.full((len(codes), index.num_levels), NONE, dtype=np.int64)
    rows[:, :depth] = codes
    whole = np.concatenate([index.codes, rows.astype(index.codes.dtype)])
    grown = make_index(whole, index.sizes, allow_collisions=True)  # old rows may repeat where collisions were kept
    if not (grown.codes[: len(index)] == index.codes).all():
        raise ArtifactError("a semantic ID of an old item changed; this is a defect, nothing was written")
    error = row_error(new, codes)
    return Grown(grown, (codes != new.codes).any(axis=1), error, error > np.percentile(old_error, POOR))


def row_error(quantized: Quantized, codes: np.ndarray) -> np.ndarray:
    """|x - x^|^2 of each row: (n, L) -> (n,)."""
    rebuilt = quantized.reconstruct(sum_codebooks(codes, quantized.codebooks))
    return ((quantized.inputs - rebuilt) ** 2).sum(axis=1)


def grow_index(store: RunStore, knobs: Sids, embeddings: Embeddings, device: str) -> Path:
    """New items of sids.add, retired ones of sids.retire -> sids_grown/<method>, over what an earlier call made."""
    frozen, manifest, target = store.path(STAGE), store.manifest(STAGE), store.grown_dir
    base = target if target.exists() else frozen
    report = read_report(target)
    added = read_added(knobs.add, report)
    index, catalog, allowed = read_base(store.dataset, base)
    known = read_new_vectors(base, len(index) - len(store.index()))
    if added is not None:
        vectors = encode_texts(added, target.with_name(f"{target.name}.partial"), embeddings, device)
        check_vectors(vectors, len(added), f"the vectors of {knobs.add}")
        placed = quantize_by_artifact(manifest, frozen, vectors, np.zeros((len(vectors), 0), np.float32))
        grown = place_items(index, placed, measure_old_errors(store, manifest))
        report["added_files"].append(sha256(knobs.add))
        report["items"] += describe_items(grown, added, len(index))
        index, catalog = grown.index, join_catalogs(catalog, added)
        allowed = np.concatenate([allowed, np.ones(len(added), dtype=bool)])
        if known is not None:
            known.append(vectors)
    report["retired"] = retire_items(allowed, knobs.retire)
    write_grown(store.dataset, target, index, catalog, allowed, known, report)
    items, retired = report["items"], report["retired"]
    poor = sum(item["poor"] for item in items)
    note(STAGE, f"{len(items)} items added, {len(retired)} retired -> {target}")
    if poor:
        note(
            STAGE,
            f"{poor} of them are poorly placed: their error is above that of {POOR}% of the old items; "
            "make SIDs and model anew once they are many",
        )
    return target


def extend_index(store: RunStore, vectors: np.ndarray) -> Grown:
    """A run's semantic IDs with those of new items behind, whose text vectors (M, D) are given; nothing is written."""
    frozen, manifest, index = store.path(STAGE), store.manifest(STAGE), store.index()
    if not len(vectors):
        return Grown(index, *(np.zeros(0, kind) for kind in (bool, np.float32, bool)))
    placed = quantize_by_artifact(manifest, frozen, vectors, np.zeros((len(vectors), 0), np.float32))
    return place_items(index, placed, measure_old_errors(store, manifest))


def print_plan(store: RunStore, knobs: Sids) -> None:
    """Say what `grow_index` would do, with its own refusals; nothing is written."""
    store.manifest(STAGE)
    frozen, target = store.path(STAGE), store.grown_dir
    base = target if target.exists() else frozen
    added = read_added(knobs.add, read_report(target))
    count = len(added) if added is not None else 0
    _, catalog, allowed = read_base(store.dataset, base)
    retired = retire_items(np.concatenate([allowed, np.ones(count, dtype=bool)]), knobs.retire)
    note(
        STAGE, f"to run: {count} items added to the {len(catalog)} of {base}, {len(retired)} retired in all -> {target}"
    )


def read_added(path: Path | None, report: dict[str, Any]) -> Catalog | None:
    """The items of sids.add, None where there is no such file or it was added before."""
    if path is None:
        return None
    added = read_item_json(path)
    if sha256(path) not in report["added_files"]:
        return added
    note(STAGE, f"{path} was added before; only retirements are applied")
    return None


def read_report(target: Path) -> dict[str, Any]:
    if not (target / GROWN).exists():
        return {"added_files": [], "items": [], "retired": []}
    return read_json(target / GROWN)


def read_base(dataset: str, base: Path) -> tuple[SidIndex, Catalog, np.ndarray]:
    """Index, catalogue and (N,) allowed of sids/ or an earlier sids_grown/."""
    index = sids.load_index(base / SID_INDEX)
    catalog = read_item_json(base / ITEM_JSON.format(dataset=dataset))
    kept = base / ALLOWED
    allowed = np.load(kept, allow_pickle=False) if kept.exists() else np.ones(len(index), dtype=bool)
    return index, catalog, allowed


def read_new_vectors(base: Path, count: int) -> list[np.ndarray] | None:
    """Text vectors (M, D) of the items that earlier calls added; None where an earlier release left none."""
    if not count:
        return []
    path = base / NEW_VECTORS
    return [load_vectors(path, count)] if path.exists() else None


def encode_texts(added: Catalog, scratch: Path, embeddings: Embeddings, device: str) -> np.ndarray:
    """New texts -> (M, D) by the run's own encoder."""
    from genrec.embeddings.item_encoder import encode_items, encoder_settings, forget_shards, item_texts

    vectors = encode_items(item_texts(added), encoder_settings(embeddings, device), scratch)
    forget_shards(scratch)
    remove_directories(scratch)
    return vectors


def quantize_by_artifact(manifest: Manifest, frozen: Path, text: np.ndarray, factors: np.ndarray) -> Quantized:
    """Text vectors (n, D) and collaborative ones -> Quantized by what the artifact holds, none of which learns."""
    from genrec.quantizers.fused import fuse_vectors

    if not (frozen / CODEBOOKS).exists():
        raise ArtifactError(
            f"{frozen} holds no codebooks (sids.method imported), so nothing says where a new item belongs; "
            "make an index of your own with --sids.method rqkmeans_plus in a new --run.dir"
        )
    inputs = text
    if (frozen / FACTORS).exists():
        width = np.load(frozen / FACTORS, mmap_mode="r").shape[1]
        collaborative = factors if factors.shape[1] else np.zeros((len(text), width), np.float32)
        inputs = fuse_vectors(text, collaborative, manifest.statistics["alpha"])
    if (frozen / QUANTIZER).exists():
        return quantize_by_model(manifest, frozen, inputs)
    codebooks = load_codebooks(frozen / CODEBOOKS)
    if inputs.shape[1] != codebooks[0].shape[1]:
        raise ArtifactError(
            f"the new vectors are {inputs.shape[1]} wide, the codebooks in {frozen} {codebooks[0].shape[1]}; "
            "use the --embeddings.plm_checkpoint of the run"
        )
    return Quantized(inputs, encode_residually(inputs, codebooks), codebooks, inputs)


def quantize_by_model(manifest: Manifest, frozen: Path, inputs: np.ndarray) -> Quantized:
    import torch

    from genrec.quantizers.rqvae_training import best_path, load_quantizer, quantize

    model = load_quantizer(best_path(frozen / QUANTIZER, manifest.config["sids.best_by"]))
    return quantize(model, torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)))


def measure_old_errors(store: RunStore, manifest: Manifest) -> np.ndarray:
    """(N,) |x - x^|^2 of the run's own items with the SIDs they have."""
    frozen = store.path(STAGE)
    index = sids.load_index(frozen / SID_INDEX)
    factors = np.load(frozen / FACTORS) if (frozen / FACTORS).exists() else np.zeros((len(index), 0), np.float32)
    quantized = quantize_by_artifact(manifest, frozen, store.vectors(len(index)), factors)
    return row_error(quantized, index.codes[:, : len(quantized.codebooks)].astype(np.int64))


def describe_items(grown: Grown, added: Catalog, first: int) -> list[dict[str, Any]]:
    return [
        {
            "item": first + row,
            "title": str(added.title[row]),
            "sid": grown.index.text(first + row),
            "error": round(float(grown.error[row]), 5),
            "moved": bool(grown.moved[row]),
            "poor": bool(grown.poor[row]),
        }
        for row in range(len(added))
    ]


def join_catalogs(catalog: Catalog, added: Catalog) -> Catalog:
    names = ("title", "text", "brand", "categories")
    columns = {name: np.concatenate([getattr(catalog, name), getattr(added, name)]) for name in names}
    return Catalog(item_id=np.arange(len(catalog) + len(added)).astype(str).astype(object), **columns)


def retire_items(allowed: np.ndarray, items: list[int]) -> list[int]:
    """Marks items in place; all that are retired by now."""
    wrong = [item for item in items if not 0 <= item < len(allowed)]
    if wrong:
        raise ArtifactError(f"sids.retire names item {wrong[0]}, the catalogue has the items 0..{len(allowed) - 1}")
    allowed[items] = False
    if not allowed.any():
        raise ArtifactError("sids.retire leaves no item that could be recommended")
    return np.flatnonzero(~allowed).tolist()


def write_grown(
    dataset: str,
    target: Path,
    index: SidIndex,
    catalog: Catalog,
    allowed: np.ndarray,
    known: list[np.ndarray] | None,
    report: dict[str, Any],
) -> None:
    """Written beside, then put in the place of the earlier one."""
    with whole_directory(target) as beside:
        save_array(beside / CODES, index.codes)
        save_array(beside / ALLOWED, allowed)
        sids.save_index(index, beside / SID_INDEX)
        sids.write_index_json(index, beside / INDEX_JSON.format(dataset=dataset))
        write_item_json(catalog, beside / ITEM_JSON.format(dataset=dataset))
        if known:
            save_array(beside / NEW_VECTORS, np.concatenate(known))
        write_json(beside / GROWN, report)

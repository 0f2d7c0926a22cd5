"""Semantic IDs from multimodal vectors: an RQ-VAE over one or several embeddings, and IDs for later creatives.

Each embedding is scaled and projected by itself and the layer after sums the projections, so widths may differ. The
codebooks are learned on the items of the indexer; every other creative gets the codes of the frozen quantizer, then or
later (`add`), and no ID that was given out changes.

    <output_dir>/semantic_id_dict.json    {"creative": [code, ...]}
                 rqvae_model.safetensors  weights, shape and embedding ids
                 rqvae_model.pt           the bare state_dict, for other tools
                 rqvae.json               settings, inputs, quality; written last
                 rqvae.partial/           checkpoints of a run that was stopped; the same command goes on from there

n creatives, D width of all embeddings together, L levels
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genrec.artifacts import read_json, write_json, write_text
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.quantizers import quality
from genrec.quantizers.residual import Quantized
from genrec.quantizers.rqvae import ResidualQuantizer, RqvaeShape
from genrec.quantizers.rqvae_training import HEADER, RqvaeSettings, load_quantizer, quantize, train_quantizer
from genrec.runtime.device import pick_device
from genrec.runtime.tensor_file import read_state, write_tensors
from genrec.sids import make_index
from genrec.stage import remove
from tencentgr import files
from tencentgr.parts import BASE, Source, catalog_part, embedding_part, read_vectors

MODEL, EXPORT, CARD, PARTIAL = "rqvae_model.safetensors", "rqvae_model.pt", "rqvae.json", "rqvae.partial"
FEW = 1000  # items below which codebooks are poorly learned
LATENT, HIDDEN = 32, (256, 128)


@dataclass(frozen=True)
class Settings:
    """What the IDs depend on, beside the vectors."""

    mm_emb_id: tuple[str, ...]
    num_quantizers: int
    codebook_size: int
    batch_size: int
    num_epochs: int
    lr: float
    commitment_cost: float
    seed: int


def train(source: Source, settings: Settings, output_dir: Path, device: str) -> None:
    """Learn the codebooks and give every creative with a vector its ID."""
    names, vectors = known_vectors(source)
    wanted = {"settings": json.loads(json.dumps(asdict(settings))), "inputs": {"vectors": digest(names, vectors)}}
    if (output_dir / CARD).exists():
        have = read_json(output_dir / CARD)
        check_same({key: have[key] for key in wanted}, wanted, output_dir)
        note("rqvae", f"up to date: {output_dir / files.SEMANTIC}")
        return
    check_size(len(names), settings)
    partial = begin(output_dir, wanted)
    found, model = train_quantizer(vectors, shape_of(source, settings), training_of(settings, device), partial)
    save(model, settings, output_dir)
    write_codes(dict(zip(names, found.codes.tolist(), strict=True)), output_dir)
    measured = measure(found, settings)
    tell(measured)
    place_others(source, model, output_dir)
    write_json(output_dir / CARD, wanted | {"quality": measured})
    remove(partial)


def add(source: Source, output_dir: Path, device: str) -> None:
    """IDs by the frozen quantizer for creatives that have a vector and no ID yet."""
    if not (output_dir / CARD).exists():
        raise ArtifactError(f"{output_dir} holds no finished RQ-VAE; run train_rqvae.py without --add first")
    _, header = read_state(output_dir / MODEL, HEADER)
    if list(source.mm_emb_id) != header["mm_emb_id"]:
        raise ArtifactError(
            f"--mm_emb_id is {' '.join(source.mm_emb_id)}, the RQ-VAE in {output_dir} was trained on "
            f"{' '.join(header['mm_emb_id'])}; pass those"
        )
    place_others(source, load_quantizer(output_dir / MODEL).to(pick_device(device, "--device")), output_dir)


def digest(names: list[str], vectors: np.ndarray) -> str:
    """Of what the codebooks are learned on; creatives that came since are no part of it."""
    found = hashlib.sha256("\n".join(names).encode())
    found.update(np.ascontiguousarray(vectors))
    return found.hexdigest()[:16]


def check_same(have: dict[str, Any], wanted: dict[str, Any], where: Path) -> None:
    differences = [
        f"{key} is {have[kind].get(key)} there, {value} asked"
        for kind in wanted
        for key, value in wanted[kind].items()
        if have[kind].get(key) != value
    ]
    if differences:
        raise ArtifactError(
            f"{where} was made otherwise: {'; '.join(differences)}. Ways on: another --output_dir, or --clean to make "
            "it anew"
        )


def begin(output_dir: Path, wanted: dict[str, Any]) -> Path:
    """The directory of checkpoints; those of a stopped run are kept when it asked for the same."""
    partial = output_dir / PARTIAL
    begun = partial / "begun.json"
    if begun.exists():
        check_same(read_json(begun), wanted, partial)
        note("rqvae", "going on from where it was stopped")
        return partial
    remove(partial)
    partial.mkdir(parents=True)
    write_json(begun, wanted)
    return partial


def clean(output_dir: Path) -> None:
    remove(output_dir / PARTIAL)
    for name in (CARD, MODEL, EXPORT, files.SEMANTIC):
        (output_dir / name).unlink(missing_ok=True)


def known_vectors(source: Source) -> tuple[list[str], np.ndarray]:
    """Creatives of the indexer with at least one vector, and these side by side (n, D); a missing one is zero."""
    creatives = catalog_part(source)["creative_id"]
    tables = [
        embedding_part(source, f"emb_{mm_id}", mm_id, creatives, BASE[:1])["vectors"] for mm_id in source.mm_emb_id
    ]
    there = np.flatnonzero(np.any([table.any(axis=1) for table in tables], axis=0))
    if len(there) < len(creatives) - 1:
        note("rqvae", f"{len(creatives) - 1 - len(there):,} of {len(creatives) - 1:,} items have no vector and no ID")
    return creatives[there].tolist(), np.concatenate([table[there] for table in tables], axis=1)


def check_size(num_items: int, settings: Settings) -> None:
    if settings.codebook_size > num_items:
        raise ArtifactError(
            f"--codebook_size {settings.codebook_size} is more than the {num_items} items with vectors; "
            f"use {max(2, num_items // 4)} or fewer"
        )
    if num_items < FEW:
        note("rqvae", f"WARNING: only {num_items} items have vectors; codebooks want at least {FEW}")


def shape_of(source: Source, settings: Settings) -> RqvaeShape:
    return RqvaeShape(
        widths=tuple(files.embedding_source(source.data_dir, mm_id)[1] for mm_id in settings.mm_emb_id),
        latent=LATENT,
        hidden=HIDDEN,
        num_levels=settings.num_quantizers,
        codebook_size=settings.codebook_size,
        residual=False,
    )


def training_of(settings: Settings, device: str) -> RqvaeSettings:
    return RqvaeSettings(
        num_epochs=settings.num_epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.lr,
        beta=settings.commitment_cost,
        quantization_weight=1.0,
        ema=True,
        ema_decay=0.99,
        restart_dead=True,
        sinkhorn_eps=0.0,
        layerwise=False,
        eval_step=5,
        early_stop=0,
        best_by="loss",
        seed=settings.seed,
        device=str(pick_device(device, "--device")),
    )


def save(model: ResidualQuantizer, settings: Settings, output_dir: Path) -> None:
    header = {"shape": asdict(model.shape), "mm_emb_id": list(settings.mm_emb_id)}
    write_tensors(output_dir / MODEL, model.state_dict(), HEADER, header)
    beside = output_dir / (EXPORT + ".tmp")
    torch.save({name: value.cpu() for name, value in model.state_dict().items()}, beside)
    os.replace(beside, output_dir / EXPORT)


def write_codes(codes: dict[str, list[int]], output_dir: Path) -> None:
    write_text(output_dir / files.SEMANTIC, json.dumps(codes, indent=2))


def place_others(source: Source, model: ResidualQuantizer, output_dir: Path) -> None:
    """Append the IDs of creatives that have a vector and stand neither in the file nor in the indexer."""
    codes = files.read_semantic(output_dir / files.SEMANTIC)
    names, vectors = new_vectors(source, codes)
    if not names:
        note("rqvae", "no further creative has a vector")
        return
    device = next(model.parameters()).device
    found = quantize(model, torch.from_numpy(vectors).to(device)).codes
    write_codes(codes | dict(zip(names, found.tolist(), strict=True)), output_dir)
    note("rqvae", f"{len(names):,} creatives beyond those have IDs by the frozen quantizer")


def new_vectors(source: Source, have: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """Creatives of creative_emb/ that are not in `have`, in file order, and their vectors (n, D)."""
    have, found = set(have), {}
    widths = [files.embedding_source(source.data_dir, mm_id)[1] for mm_id in source.mm_emb_id]
    begins = np.cumsum([0, *widths])
    for place, mm_id in enumerate(source.mm_emb_id):
        for creative, vector in read_vectors(source, mm_id):
            if creative not in have:
                row = found.setdefault(creative, np.zeros(begins[-1], dtype=np.float32))
                row[begins[place] : begins[place + 1]] = vector
    return list(found), np.stack(list(found.values())) if found else np.zeros((0, begins[-1]), np.float32)


def measure(found: Quantized, settings: Settings) -> dict[str, Any]:
    """Use of the codes, items that share an ID, error after each level."""
    sizes = (settings.codebook_size,) * settings.num_quantizers
    index = make_index(found.codes, sizes, allow_collisions=True)
    return {
        "items": len(index),
        "levels": [quality.measure_usage(index.codes[:, level], size) for level, size in enumerate(sizes)],
        "collisions": quality.count_collisions(index.codes),
        "reconstruction": quality.measure_reconstruction(found, found.codes),
    }


def tell(measured: dict[str, Any]) -> None:
    used = " ".join(f"{row['used']}/{row['codes']}" for row in measured["levels"])
    error = " ".join(f"{error:.3f}" for error in measured["reconstruction"]["error"])
    shared = measured["collisions"]
    note(
        "rqvae",
        f"{measured['items']:,} items; codes used {used}; error left after each level {error}; "
        f"{shared['sharing']:,} items share an ID, at most {shared['largest']} one",
    )
    for level, row in enumerate(measured["levels"]):
        if row["used"] < quality.LOW_USAGE * min(row["codes"], measured["items"]):
            note("rqvae", f"WARNING: level {level + 1} uses only {row['used']} of {row['codes']} codes")
    if measured["reconstruction"]["error"][-1] > 0.9:
        note("rqvae", "WARNING: the codes say next to nothing of the vectors; train longer or with more codes")

"""Semantic IDs from multimodal vectors: an RQ-VAE over one or several embeddings, and IDs for later creatives.

Each embedding is scaled and projected by itself and the layer after sums the projections, so widths may differ. The
codebooks are learned on the items of the indexer; every other creative gets the codes of the frozen quantizer, then or
later (`add`), and no ID that was given out changes.

    <output_dir>/semantic_id_dict.json    {"creative": [code, ...]}
                 rqvae_model.safetensors  weights, shape and embedding ids
                 rqvae_model.pt           the bare state_dict, for other tools
                 rqvae.json               settings, inputs, quality, hashes of the files above; written last
                 rqvae.partial/           checkpoints of a run that was stopped; the same command goes on from there

n creatives, D width of all embeddings together, L levels
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genrec.artifacts import remove_directories, sha256, whole_file, write_json, write_text
from genrec.config import result_knobs
from genrec.errors import ArtifactError
from genrec.guard import Made, differences, read_made, refusal
from genrec.launch import note
from genrec.lock import only_writer
from genrec.quantizers import quality
from genrec.quantizers.residual import Quantized
from genrec.quantizers.rqvae import ResidualQuantizer, RqvaeShape
from genrec.quantizers.rqvae_training import HEADER, RqvaeSettings, load_quantizer, quantize, train_quantizer
from genrec.runtime.device import pick_device
from genrec.runtime.tensor_file import read_state, write_tensors
from genrec.sids import make_index
from genrec.stage import Identity
from tencentgr import files
from tencentgr.entries import BASE, CompetitionSource, catalog_entry, embedding_entry, locate_source, read_vectors
from tencentgr.options import RqvaeOptions

MODEL, EXPORT, CARD, PARTIAL = "rqvae_model.safetensors", "rqvae_model.pt", "rqvae.json", "rqvae.partial"
BEGUN = "begun.json"  # in rqvae.partial: what it was begun with
TRAINING = ("num_levels", "codebook_size", "batch_size", "num_epochs", "learning_rate", "beta", "seed")  # not --add
FEW = 1000  # items below which codebooks are poorly learned
LEAST_SHARE = 0.01  # of the vectors' variance that a level should explain
LATENT, HIDDEN = 32, (256, 128)


def train(options: RqvaeOptions, clean: bool = False) -> None:
    """Learn the codebooks and give every creative with a vector its ID."""
    with only_writer(options.output_dir):
        make_ids(source_of(options), options, clean)


def make_ids(source: CompetitionSource, options: RqvaeOptions, clean: bool) -> None:
    directory = options.output_dir
    names, vectors = vectors_of_items(source)
    identity = {"config": result_knobs(options), "inputs": {"vectors": digest(names, vectors)}}
    if (directory / CARD).exists() and not clean:
        card = read_made(directory / CARD)
        check_same(card, identity, directory)
        check_files(directory, card)
        remove_directories(directory / PARTIAL)  # a kill may have come between the card and its removal
        note("rqvae", f"up to date: {directory / files.SEMANTIC}")
        return
    check_size(len(names), options)
    check_owner(directory)
    if clean:
        remove_all(directory)
    partial = begin(directory, identity)
    quantized, model = train_quantizer(vectors, shape_of(source, options), settings_of(options), partial)
    save(model, source.mm_emb_id, directory)
    write_codes(dict(zip(names, quantized.codes.tolist(), strict=True)), directory)
    measures = measure(quantized, options)
    print_measures(measures)
    place_others(source, model, directory)
    hashes = {name: {"sha256": sha256(directory / name)} for name in (MODEL, EXPORT, files.SEMANTIC)}
    write_json(directory / CARD, identity | {"quality": measures, "files": hashes})
    remove_directories(partial)


def add(options: RqvaeOptions) -> None:
    """IDs by the frozen quantizer for creatives that have a vector and no ID yet."""
    directory = options.output_dir
    if not (directory / CARD).exists():
        raise ArtifactError(f"{directory} holds no finished RQ-VAE; run train_rqvae.py without --add first")
    check_files(directory, read_made(directory / CARD))
    header = read_header(directory / MODEL)
    if options.mm_emb_id != header["mm_emb_id"]:
        raise ArtifactError(
            f"--mm_emb_id is {' '.join(options.mm_emb_id)}, the RQ-VAE in {directory} was trained on "
            f"{' '.join(header['mm_emb_id'])}; pass those"
        )
    if unread := [f"--{name}" for name in TRAINING if name in options.model_fields_set]:
        note("rqvae", f"not read with --add, which takes the RQ-VAE as it was trained: {', '.join(unread)}")
    with only_writer(directory):
        model = load_model(directory / MODEL).to(pick_device(options.device, "--device"))
        place_others(source_of(options), model, directory)


def read_header(path: Path) -> dict[str, Any]:
    _, header = read_state(path, HEADER)
    if not isinstance(header, dict) or not isinstance(header.get("mm_emb_id"), list):
        raise ArtifactError(f"{path} is no RQ-VAE of this program: its header names no embeddings at mm_emb_id")
    return header


def load_model(path: Path) -> ResidualQuantizer:
    try:
        return load_quantizer(path)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{path} is no RQ-VAE of this program: {' '.join(str(error).split())[:200]}") from None


def check_files(directory: Path, card: Made) -> None:
    """The files are those that the card has the hashes of; one that `add` was writing when killed may be the older."""
    for name, entry in card.get("files", {}).items():
        if not (directory / name).is_file():
            raise ArtifactError(f"{directory} lacks {name}, which {CARD} lists; put it back, or --clean makes it anew")
        if (now := sha256(directory / name)) not in (entry["sha256"], entry.get("before")):
            raise ArtifactError(
                f"{directory / name} was changed after it was made: sha256 {entry['sha256'][:16]} in {CARD}, "
                f"{now[:16]} there now; put it back, or --clean makes it anew"
            )


def check_owner(directory: Path) -> None:
    """Semantic IDs that this program did not make are never written over."""
    path = directory / files.SEMANTIC
    if path.exists() and not (directory / CARD).exists() and not (directory / PARTIAL).exists():
        raise ArtifactError(f"{path} is there, but no {CARD} that says what made it; pass --output_dir ANOTHER")


def source_of(options: RqvaeOptions) -> CompetitionSource:
    return locate_source(options.data_dir, options.mm_emb_id, options.cache_dir, semantic=False, prefixes=False)


def digest(names: list[str], vectors: np.ndarray) -> str:
    """Of what the codebooks are learned on; creatives that came since do not belong to it."""
    sha256 = hashlib.sha256("\n".join(names).encode())
    sha256.update(np.ascontiguousarray(vectors))
    return sha256.hexdigest()[:16]


def check_same(made: Made, asked: Identity, place: Path) -> None:
    if different := differences(made, asked):
        raise ArtifactError(refusal(place, different, "--output_dir ANOTHER", "--clean"))


def begin(output_dir: Path, identity: Identity) -> Path:
    """The directory of checkpoints; those of a stopped run are kept when it asked for the same."""
    partial = output_dir / PARTIAL
    if (partial / BEGUN).exists():
        check_same(read_made(partial / BEGUN), identity, partial)
        note("rqvae", "going on from where it was stopped")
        return partial
    remove_directories(partial)
    partial.mkdir(parents=True)
    write_json(partial / BEGUN, identity)
    return partial


def remove_all(output_dir: Path) -> None:
    remove_directories(output_dir / PARTIAL)
    for name in (CARD, MODEL, EXPORT, files.SEMANTIC):
        (output_dir / name).unlink(missing_ok=True)


def vectors_of_items(source: CompetitionSource) -> tuple[list[str], np.ndarray]:
    """Creatives of the indexer with at least one vector, and these side by side (n, D); a missing one is zero."""
    creatives = catalog_entry(source)["creative_id"]
    tables = [
        embedding_entry(source, f"emb_{mm_id}", mm_id, creatives, BASE[:1])["vectors"] for mm_id in source.mm_emb_id
    ]
    rows = np.flatnonzero(np.any([table.any(axis=1) for table in tables], axis=0))
    if len(rows) < len(creatives) - 1:
        note("rqvae", f"{len(creatives) - 1 - len(rows):,} of {len(creatives) - 1:,} items have no vector and no ID")
    return creatives[rows].tolist(), np.concatenate([table[rows] for table in tables], axis=1)


def check_size(num_items: int, options: RqvaeOptions) -> None:
    if options.codebook_size > num_items:
        raise ArtifactError(
            f"--codebook_size {options.codebook_size} is more than the {num_items} items with vectors; "
            f"use {max(2, num_items // 4)} or fewer"
        )
    if num_items < FEW:
        note("rqvae", f"WARNING: only {num_items} items have vectors; codebooks want at least {FEW}")


def shape_of(source: CompetitionSource, options: RqvaeOptions) -> RqvaeShape:
    return RqvaeShape(
        widths=tuple(files.embedding_source(source.data_dir, mm_id)[1] for mm_id in source.mm_emb_id),
        latent=LATENT,
        hidden=HIDDEN,
        num_levels=options.num_levels,
        codebook_size=options.codebook_size,
        residual=False,
    )


def settings_of(options: RqvaeOptions) -> RqvaeSettings:
    return RqvaeSettings(
        num_epochs=options.num_epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        beta=options.beta,
        quantization_weight=1.0,
        ema=True,
        ema_decay=0.99,
        restart_dead=True,
        sinkhorn_eps=0.0,
        layerwise=False,
        eval_step=5,
        early_stop=0,
        best_by="loss",
        seed=options.seed,
        device=str(pick_device(options.device, "--device")),
    )


def save(model: ResidualQuantizer, mm_emb_id: Iterable[str], output_dir: Path) -> None:
    header = {"shape": asdict(model.shape), "mm_emb_id": list(mm_emb_id)}
    write_tensors(output_dir / MODEL, model.state_dict(), HEADER, header)
    with whole_file(output_dir / EXPORT) as file:
        torch.save({name: value.cpu() for name, value in model.state_dict().items()}, file)


def write_codes(codes: dict[str, list[int]], output_dir: Path) -> None:
    """Where the IDs are finished their card knows the new hash first, and the old one as long as it may be there."""
    text = json.dumps(codes, indent=2)
    if (output_dir / CARD).exists():
        card = read_made(output_dir / CARD)
        before, now = sha256(output_dir / files.SEMANTIC), hashlib.sha256(text.encode()).hexdigest()
        hashes = {**card.get("files", {}), files.SEMANTIC: {"sha256": now, "before": before}}
        write_json(output_dir / CARD, {**card, "files": hashes})
    write_text(output_dir / files.SEMANTIC, text)


def place_others(source: CompetitionSource, model: ResidualQuantizer, output_dir: Path) -> None:
    """Append the IDs of creatives that have a vector and stand neither in the file nor in the indexer."""
    codes = files.read_semantic(output_dir / files.SEMANTIC)
    names, vectors = new_vectors(source, codes)
    if not names:
        note("rqvae", "no further creative has a vector")
        return
    device = next(model.parameters()).device
    new_codes = quantize(model, torch.from_numpy(vectors).to(device)).codes
    write_codes(codes | dict(zip(names, new_codes.tolist(), strict=True)), output_dir)
    note("rqvae", f"{len(names):,} creatives beyond those have IDs by the frozen quantizer")


def new_vectors(source: CompetitionSource, have: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """Creatives of creative_emb/ that are not in `have`, in file order, and their vectors (n, D)."""
    have, rows = set(have), {}
    widths = [files.embedding_source(source.data_dir, mm_id)[1] for mm_id in source.mm_emb_id]
    begins = np.cumsum([0, *widths])
    for place, mm_id in enumerate(source.mm_emb_id):
        for creative, vector in read_vectors(source, mm_id):
            if creative not in have:
                row = rows.setdefault(creative, np.zeros(begins[-1], dtype=np.float32))
                row[begins[place] : begins[place + 1]] = vector
    return list(rows), np.stack(list(rows.values())) if rows else np.zeros((0, begins[-1]), np.float32)


def measure(quantized: Quantized, options: RqvaeOptions) -> dict[str, Any]:
    """Use of the codes, items that share an ID, error after each level."""
    sizes = (options.codebook_size,) * options.num_levels
    index = make_index(quantized.codes, sizes, allow_collisions=True)
    return {
        "items": len(index),
        "levels": [quality.measure_usage(index.codes[:, level], size) for level, size in enumerate(sizes)],
        "collisions": quality.count_collisions(index.codes),
        "reconstruction": quality.measure_reconstruction(quantized, quantized.codes),
    }


def print_measures(measures: dict[str, Any]) -> None:
    used = " ".join(f"{row['used']}/{row['codes']}" for row in measures["levels"])
    error = " ".join(f"{error:.3f}" for error in measures["reconstruction"]["error"])
    explained = " ".join(f"{share:.1%}" for share in measures["reconstruction"]["explained"])
    shared = measures["collisions"]
    note(
        "rqvae",
        f"{measures['items']:,} items; codes used {used}; error left after each level {error}, so it "
        f"explains {explained}; "
        f"{shared['sharing']:,} items share an ID, at most {shared['largest']} one",
    )
    for level, row in enumerate(measures["levels"]):
        if row["used"] < quality.LOW_USAGE * min(row["codes"], measures["items"]):
            note("rqvae", f"WARNING: level {level + 1} uses only {row['used']} of {row['codes']} codes")
    warn_of_idle_levels(measures["reconstruction"]["explained"])
    if measures["reconstruction"]["error"][-1] > 0.9:
        note("rqvae", "WARNING: the codes say next to nothing of the vectors; train longer or with more codes")


def warn_of_idle_levels(explained: list[float]) -> None:
    """Levels that say next to nothing of the vectors, with their shares of the variance."""
    idle = {number: share for number, share in enumerate(explained, start=1) if share < LEAST_SHARE}
    if not idle:
        return
    shares = ", ".join(f"level {number} {share:.2%}" for number, share in idle.items())
    fewer = max(1, len(explained) - len(idle))
    note(
        "rqvae",
        f"WARNING: below {LEAST_SHARE:.0%} of the vectors' variance is explained by {shares}; train longer or in "
        f"smaller batches, or pass --num_levels {fewer}",
    )

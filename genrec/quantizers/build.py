"""Vectors -> semantic IDs, by whichever method: quantize, make distinct, measure what the codes keep of the vectors.

N items, D width of the vectors, d width of the codebooks, L levels, K codes a level
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec.artifacts import CONSTRAINED, CONSTRAINED_QUALITY, QUANTIZER, write_json
from genrec.config import Sids
from genrec.data.shards.work import Workers, in_turn
from genrec.data.vectors import Rows
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.plugins import SID_METHOD, call_plugin, load_plugin, take_numbers
from genrec.quantizers import collisions, quality, residual
from genrec.quantizers.purchases import Purchases
from genrec.quantizers.residual import Quantized
from genrec.sids import SidIndex, load_codebooks, save_codebooks

if TYPE_CHECKING:
    from genrec.quantizers.by_shards import Job


RQVAE_RATE, PLUS_RATE = 1e-3, 1e-4  # where sids.learning_rate is empty


@dataclass(frozen=True)
class Mixture:
    """The vectors that are quantized, and how they came about."""

    vectors: Rows  # (N, D) float32
    alpha: float | None  # the share of the collaborative vectors; None where text stands alone
    hit_rates: dict[str, float]  # of each alpha that was tried for alpha: auto

    def describe(self) -> dict[str, Any]:
        """For quality.json and the manifest."""
        if self.alpha is None:
            return {}
        return {"alpha": self.alpha} | ({"alpha_hit_rates": self.hit_rates} if self.hit_rates else {})


@dataclass(frozen=True)
class BuiltIndex:
    index: SidIndex  # what the stage publishes
    codes: np.ndarray  # (N, L) as the method gave them, before collisions were resolved
    codebooks: tuple[np.ndarray, ...] | None  # (K, d) a level; None of a published index
    reconstruction: dict[str, Any] | None  # quality.reconstruction


def mix_vectors(text: Rows, purchases: Purchases, knobs: Sids, seed: int, factors: Rows | None = None) -> Mixture:
    """Text alone, or fused with the collaborative vectors by the alpha asked for or chosen on valid.

    `factors` are those of the purchases where they lie on disk, as text does.
    """
    from genrec.quantizers.fused import choose_alpha, mix_rows

    factors = purchases.factors if factors is None else factors
    if factors is None:
        return Mixture(text, None, {})
    alpha, rates = knobs.alpha, {}
    if alpha == "auto":
        last, target = purchases.valid.T
        alpha, rates = choose_alpha(text, factors, last, target, seed)
    return Mixture(mix_rows(text, factors, alpha), alpha, rates)


def build_index(
    vectors: Rows,
    knobs: Sids,
    seed: int,
    device: str,
    directory: Path,
    workers: Workers = in_turn,
) -> BuiltIndex:
    """(N, D) -> SIDs by sids.method; `directory` also keeps what a killed run had learned.

    An array is learned from as a whole. Of what lies on disk a sample is, and codes are given a shard at a time.
    """
    if not isinstance(vectors, np.ndarray) and knobs.method in BY_SHARDS:
        from genrec.quantizers.by_shards import Job

        residual.check_codebook_size(min(len(vectors), knobs.train_rows), knobs.codebook_size)
        quantized = BY_SHARDS[knobs.method](Job(vectors, knobs, seed, device, directory, workers))
    else:
        quantize = METHODS.get(knobs.method, quantize_by_plugin)
        quantized = quantize(vectors[:], knobs, seed, device, directory)
    index = collisions.resolve_collisions(quantized, knobs.collisions)
    return BuiltIndex(index, quantized.codes, quantized.codebooks, measure_error(quantized, index))


def measure_error(quantized: Quantized, index: SidIndex) -> dict[str, Any]:
    """What the codes that are published keep of the vectors."""
    return quality.measure_reconstruction(quantized, index.codes[:, : quantized.codes.shape[1]])


def take_published(index: SidIndex, num_items: int, directory: Path) -> BuiltIndex:
    """The published index of an import in `directory`, over the same catalogue."""
    if len(index) != num_items:
        raise ArtifactError(f"{directory} has an index of {len(index)} items, its catalogue has {num_items}")
    return BuiltIndex(index, index.codes, None, None)


def quantize_rqkmeans(vectors: np.ndarray, knobs: Sids, seed: int, device: str, directory: Path) -> Quantized:
    from genrec.quantizers import rqkmeans

    return rqkmeans.fit_rqkmeans(vectors, knobs.num_levels, knobs.codebook_size, knobs.kmeans_iters, seed)


def quantize_constrained(vectors: np.ndarray, knobs: Sids, seed: int, device: str, directory: Path) -> Quantized:
    from genrec.quantizers.balanced import BACKENDS
    from genrec.runtime.device import pick_devices

    cluster = partial(BACKENDS[knobs.kmeans_backend], iters=knobs.kmeans_iters, device=pick_devices(device, 1)[0])
    return residual.fit_levels(vectors, knobs.num_levels, knobs.codebook_size, cluster, seed)


def quantize_rqkmeans_plus(vectors: np.ndarray, knobs: Sids, seed: int, device: str, directory: Path) -> Quantized:
    def begin() -> Quantized:
        return quantize_constrained(vectors, knobs, seed, device, directory)

    codebooks = find_start(begin, knobs, directory)
    return train_rqvae(vectors, knobs, seed, device, directory, vectors.shape[1], PLUS_RATE, codebooks)


def find_start(begin: Callable[[], Quantized], knobs: Sids, directory: Path) -> tuple[np.ndarray, ...]:
    """The codebooks that rqkmeans_plus begins from: those that are there, or what `begin` makes."""
    codebooks = read_begun_codebooks(directory / CONSTRAINED)
    if codebooks is None:
        start = begin()
        codebooks, distinct = start.codebooks, collisions.resolve_collisions(start, knobs.collisions)
        error = measure_error(start, distinct)["error"]
        keep_start(directory, codebooks, quality.count_collisions(start.codes), error)
    return codebooks


def keep_start(directory: Path, codebooks: tuple[np.ndarray, ...], counted: dict[str, Any], error: list[float]) -> None:
    """What rqkmeans_plus begins from, and what it was worth as it was."""
    write_json(directory / CONSTRAINED_QUALITY, {"collisions": counted, "error": error})
    save_codebooks(codebooks, directory / CONSTRAINED)


def read_begun_codebooks(path: Path) -> tuple[np.ndarray, ...] | None:
    """What an earlier start of this stage had learned; None where it had not, or the file is damaged."""
    if not path.exists():
        return None
    try:
        return load_codebooks(path)
    except ArtifactError as error:
        note("sids", f"{error}; the codebooks are learned again")
        return None


def quantize_rqvae(vectors: np.ndarray, knobs: Sids, seed: int, device: str, directory: Path) -> Quantized:
    return train_rqvae(vectors, knobs, seed, device, directory, knobs.latent, RQVAE_RATE, None)


def train_rqvae(
    vectors: np.ndarray,
    knobs: Sids,
    seed: int,
    device: str,
    directory: Path,
    latent: int,
    learning_rate: float,
    codebooks: tuple[np.ndarray, ...] | None,
) -> Quantized:
    """RQ-VAE, or with given codebooks RQ-Kmeans+; `learning_rate` where sids.learning_rate is empty."""
    from genrec.quantizers.rqvae import RqvaeShape
    from genrec.quantizers.rqvae_training import RqvaeSettings, forget_checkpoint, train_quantizer
    from genrec.runtime.device import pick_devices

    residual.check_codebook_size(len(vectors), knobs.codebook_size)
    shape = RqvaeShape(
        widths=(vectors.shape[1],),
        latent=latent,
        hidden=tuple(knobs.hidden_sizes),
        num_levels=knobs.num_levels,
        codebook_size=knobs.codebook_size,
        residual=codebooks is not None,
    )
    same_named = {
        name: getattr(knobs, name) for name in RqvaeSettings.__dataclass_fields__ if name in type(knobs).model_fields
    }
    same_named["learning_rate"] = knobs.learning_rate or learning_rate
    settings = RqvaeSettings(**same_named, seed=seed, device=pick_devices(device, 1)[0])
    quantized, _ = train_quantizer(vectors, shape, settings, directory / QUANTIZER, codebooks)
    forget_checkpoint(directory / QUANTIZER)
    return quantized


def quantize_by_plugin(vectors: np.ndarray, knobs: Sids, seed: int, device: str, directory: Path) -> Quantized:
    """Codes of a function of the user's own; a code's row of the codebook is the mean residual of its items."""
    function = load_plugin(knobs.method, SID_METHOD)
    given = call_plugin(knobs.method, function, vectors, knobs.num_levels, knobs.codebook_size, seed)
    codes = take_numbers(f"SID method {knobs.method}", given, None)
    asked = (len(vectors), knobs.num_levels)
    if codes.shape != asked or codes.dtype.kind not in "iu":
        raise ArtifactError(f"SID method {knobs.method} gave {codes.dtype} {codes.shape}, asked are integers {asked}")
    if codes.min() < 0 or codes.max() >= knobs.codebook_size:
        raise ArtifactError(
            f"SID method {knobs.method} gave codes from {codes.min()} to {codes.max()}; they go from 0 to "
            f"{knobs.codebook_size - 1} (sids.codebook_size)"
        )
    return residual.fit_codebooks(vectors, codes, knobs.codebook_size)


# (vectors, sids.*, seed, device, directory) -> codes
METHODS: dict[str, Callable[[np.ndarray, Sids, int, str, Path], Quantized]] = {
    "rqkmeans": quantize_rqkmeans,
    "rqkmeans_constrained": quantize_constrained,
    "rqkmeans_plus": quantize_rqkmeans_plus,
    "rqvae": quantize_rqvae,
}


# By shards


def shard_nearest(job: Job) -> Quantized:
    from genrec.quantizers.by_shards import quantize_nearest

    return quantize_nearest(job, quantize_rqkmeans)


def shard_balanced(job: Job) -> Quantized:
    from genrec.quantizers.by_shards import quantize_balanced

    return quantize_balanced(job, quantize_constrained)


def shard_rqkmeans_plus(job: Job) -> Quantized:
    codebooks = find_start(lambda: shard_balanced(job), job.knobs, job.directory)
    return shard_by_model(job, job.rows.shape[1], PLUS_RATE, codebooks)


def shard_rqvae(job: Job) -> Quantized:
    return shard_by_model(job, job.knobs.latent, RQVAE_RATE, None)


def shard_by_model(job: Job, latent: int, learning_rate: float, codebooks: tuple[np.ndarray, ...] | None) -> Quantized:
    from genrec.quantizers.by_shards import quantize_by_model
    from genrec.quantizers.rqvae_training import best_path

    def learn() -> None:
        sample = job.sample()
        train_rqvae(sample, job.knobs, job.seed, job.device, job.directory, latent, learning_rate, codebooks)

    return quantize_by_model(job, best_path(job.directory / QUANTIZER, job.knobs.best_by), learn)


BY_SHARDS: dict[str, Callable[[Job], Quantized]] = {
    "rqkmeans": shard_nearest,
    "rqkmeans_constrained": shard_balanced,
    "rqkmeans_plus": shard_rqkmeans_plus,
    "rqvae": shard_rqvae,
}

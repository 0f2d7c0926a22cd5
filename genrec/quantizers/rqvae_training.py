"""Training of the learned quantizers: epochs that can be killed, and the best models by collisions and by loss.

Everything random in an epoch comes from (seed, epoch), so a run that goes on from `last` ends with the same bytes as
one that was never stopped.

N items, D width of the input, d width of z, L levels, K codes a level
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from genrec.quantizers.residual import Quantized, encode_residually
from genrec.quantizers.rqkmeans import cluster_kmeans
from genrec.quantizers.rqvae import ResidualQuantizer, RqvaeOutput, RqvaeShape
from genrec.runtime.epochs import CHECKPOINT, LearnerState, Metrics, fit
from genrec.runtime.tensor_file import load_weights, pack_state, read_state, unpack_state, write_tensors
from genrec.sids import count_collisions

HEADER = "json"  # the key of a model file's header
SETTLED = 1e-3  # a loss better by less than this share is no better
BEST = {"collision": "best_collision", "loss": "best_loss"}  # file stems


@dataclass(frozen=True)
class RqvaeSettings:
    """Fields are the knobs of the section `sids`."""

    num_epochs: int
    batch_size: int
    learning_rate: float
    beta: float
    quantization_weight: float
    ema: bool
    ema_decay: float
    restart_dead: bool
    sinkhorn_eps: float
    layerwise: bool
    eval_step: int
    early_stop: int
    best_by: str
    seed: int
    device: str = "cpu"


def train_quantizer(
    vectors: np.ndarray,
    shape: RqvaeShape,
    settings: RqvaeSettings,
    directory: Path,
    codebooks: tuple[np.ndarray, ...] | None = None,
) -> tuple[Quantized, ResidualQuantizer]:
    """(N, D) float32 -> codes by the best model; `directory` holds its checkpoints and those of a killed run.

    Given codebooks are judged before the first epoch too, so they may stay the best.
    """
    rows = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(settings.device)
    learner = RqvaeLearner(make_quantizer(rows, shape, settings, codebooks), rows, settings)
    fit(
        learner,
        learner.measure_collisions,
        settings.num_epochs,
        settings.early_stop,
        directory,
        name="quantizer",
        bests={BEST["loss"]: has_lower_loss, BEST["collision"]: has_fewer_collisions},
        every=settings.eval_step,
        judge_start=codebooks is not None,
        keep=lambda path, _: save_quantizer(learner.model, path),
    )
    best = load_quantizer(best_path(directory, settings.best_by)).to(settings.device)
    return quantize(best, rows), best


def best_path(directory: Path, best_by: str) -> Path:
    return directory / f"{BEST[best_by]}.safetensors"


def forget_checkpoint(directory: Path) -> None:
    (directory / CHECKPOINT).unlink(missing_ok=True)


class RqvaeLearner:
    """A quantizer, its optimizer and its rows (N, D), as the epoch loop takes them."""

    def __init__(self, model: ResidualQuantizer, rows: torch.Tensor, settings: RqvaeSettings):
        self.model, self.rows, self.settings = model, rows, settings
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)

    def train_epoch(self, epoch: int, save: Callable[[], None]) -> Metrics:
        return {"loss": train_epoch(self.model, self.optimizer, self.rows, self.settings, epoch)}

    def measure_collisions(self) -> Metrics | None:
        """The share of rows beyond the first of each SID; None while layer-wise training has levels to begin."""
        if not bool(self.model.started.all()):
            return None
        return {"collision": count_collisions(quantize(self.model, self.rows).codes) / len(self.rows)}

    def state(self) -> LearnerState:
        return LearnerState(pack_state({"model": self.model}, {"optimizer": self.optimizer}), {})

    def load_state(self, state: LearnerState) -> None:
        unpack_state(state.tensors, {"model": self.model}, {"optimizer": self.optimizer})


def has_lower_loss(entry: Metrics, best: Metrics | None) -> bool:
    """By more than SETTLED; given codebooks, before their first epoch, have no loss and are never best by it."""
    return "loss" in entry and (best is None or entry["loss"] < best["loss"] * (1 - SETTLED))


def has_fewer_collisions(entry: Metrics, best: Metrics | None) -> bool:
    """Of equal collisions the lower loss."""
    return best is None or rank_by_collisions(entry) < rank_by_collisions(best)


def rank_by_collisions(entry: Metrics) -> tuple[float, float]:
    return entry["collision"], entry.get("loss", float("inf"))


def make_quantizer(
    rows: torch.Tensor, shape: RqvaeShape, settings: RqvaeSettings, codebooks: tuple[np.ndarray, ...] | None
) -> ResidualQuantizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = ResidualQuantizer(shape)
    model.scale.copy_(measure_input_scale(rows.cpu(), shape.widths))
    if codebooks is not None:
        scaled = torch.stack([torch.from_numpy(book) for book in codebooks]) / model.scale
        start_level(model, slice(None), scaled)
    return model.to(settings.device)


def measure_input_scale(rows: torch.Tensor, widths: tuple[int, ...]) -> torch.Tensor:
    """(N, D) -> (D,) the deviation of each input as a whole: one number an input, so shapes are not bent."""
    deviations = [float((block - block.mean(dim=0)).pow(2).mean().sqrt()) for block in rows.split(list(widths), dim=1)]
    return torch.cat([torch.full((width,), d if d > 0 else 1.0) for width, d in zip(widths, deviations, strict=True)])


def train_epoch(
    model: ResidualQuantizer, optimizer: torch.optim.Optimizer, rows: torch.Tensor, settings: RqvaeSettings, epoch: int
) -> float:
    """One pass over the items in an order drawn from (seed, epoch); the mean loss."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    levels = active_levels(model.shape.num_levels, settings, epoch)
    start_levels(model, rows, levels, settings.seed)
    used = torch.zeros(levels, model.shape.codebook_size, device=rows.device)
    total = 0.0
    for batch in torch.randperm(len(rows), generator=generator).split(settings.batch_size):
        x = rows[batch.to(rows.device)] / model.scale
        output = model(x, levels, settings.beta, settings.ema, settings.sinkhorn_eps)
        loss = reconstruction_loss(output.reconstruction, x, model.shape.widths)
        loss = loss + settings.quantization_weight * output.commitment
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        counts = count_codes(output.codes, used.shape[1]).to(used.dtype)
        used += counts
        if settings.ema:
            move_codebooks(model, output, counts, settings.ema_decay)
        total += float(loss.detach()) * len(batch)
    if settings.restart_dead:
        restart_dead_codes(model, rows, used, generator)
    return total / len(rows)


def active_levels(num_levels: int, settings: RqvaeSettings, epoch: int) -> int:
    """All levels, or layer-wise one more in each equal share of the epochs."""
    if not settings.layerwise:
        return num_levels
    return min(num_levels, 1 + epoch * num_levels // settings.num_epochs)


def reconstruction_loss(reconstruction: torch.Tensor, x: torch.Tensor, widths: tuple[int, ...]) -> torch.Tensor:
    """Mean over inputs of each one's mean squared error: a wide input does not drown a narrow one."""
    pairs = zip(reconstruction.split(list(widths), dim=1), x.split(list(widths), dim=1), strict=True)
    return torch.stack([F.mse_loss(rebuilt, given) for rebuilt, given in pairs]).mean()


@torch.no_grad()
def start_levels(model: ResidualQuantizer, rows: torch.Tensor, levels: int, seed: int) -> None:
    """k-means codebooks for levels that have none yet, on the residuals of the levels before."""
    if bool(model.started[:levels].all()):
        return
    residual = model.latent(rows).cpu().numpy()
    for level in range(levels):
        if not model.started[level]:
            centroids, _ = cluster_kmeans(residual, model.shape.codebook_size, seed + level, iters=25)
            start_level(model, level, torch.from_numpy(centroids).to(rows.device))
        book = model.codebooks[level].detach().cpu().numpy()
        residual = residual - book[encode_residually(residual, (book,))[:, 0]]


@torch.no_grad()
def start_level(model: ResidualQuantizer, level: int | slice, codebook: torch.Tensor) -> None:
    model.codebooks[level] = codebook
    model.ema_sum[level] = codebook
    model.ema_count[level] = 1.0
    model.started[level] = True


def count_codes(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """(B, L) codes -> (L, K) how often each was used."""
    return torch.stack([torch.bincount(level, minlength=codebook_size) for level in codes.T])


@torch.no_grad()
def move_codebooks(model: ResidualQuantizer, output: RqvaeOutput, counts: torch.Tensor, ema_decay: float) -> None:
    """C <- sum of the residuals that chose each code / their count, both decayed; counts (L, K)."""
    for level, residual in enumerate(output.residuals):
        sums = torch.zeros_like(model.ema_sum[level]).index_add_(0, output.codes[:, level], residual)
        model.ema_count[level].lerp_(counts[level], 1 - ema_decay)
        model.ema_sum[level].lerp_(sums, 1 - ema_decay)
        model.codebooks[level] = model.ema_sum[level] / model.ema_count[level].clamp(min=1e-5)[:, None]


@torch.no_grad()
def restart_dead_codes(
    model: ResidualQuantizer, rows: torch.Tensor, used: torch.Tensor, generator: torch.Generator
) -> None:
    """Codes that an epoch did not use move onto residuals of random items."""
    if bool((used > 0).all()):
        return
    residual = model.latent(rows)
    for level in range(len(used)):
        dead = torch.nonzero(used[level] == 0).squeeze(1)
        picked = torch.randint(len(rows), (len(dead),), generator=generator).to(rows.device)
        book = model.codebooks[level]
        book[dead] = residual[picked]
        model.ema_sum[level, dead], model.ema_count[level, dead] = residual[picked], 1.0
        nearest = encode_residually(residual.cpu().numpy(), (book.detach().cpu().numpy(),))[:, 0]
        residual = residual - book[torch.from_numpy(nearest).long().to(rows.device)]


def quantize(model: ResidualQuantizer, rows: torch.Tensor) -> Quantized:
    """Codes of all rows (N, D) by the nearest codes, and how to come back from z to the input."""
    latent = model.latent(rows).cpu().numpy()
    books = tuple(book.detach().cpu().numpy().copy() for book in model.codebooks)

    def reconstruct(approximate: np.ndarray) -> np.ndarray:
        return model.reconstruct(torch.from_numpy(approximate).to(rows.device)).cpu().numpy()

    return Quantized(latent, encode_residually(latent, books), books, rows.cpu().numpy(), reconstruct)


def save_quantizer(model: ResidualQuantizer, path: Path) -> None:
    write_tensors(path, model.state_dict(), HEADER, {"shape": asdict(model.shape)})


def load_quantizer(path: Path) -> ResidualQuantizer:
    tensors, header = read_state(path, HEADER)
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in header["shape"].items()}
    model = ResidualQuantizer(RqvaeShape(**fields))
    load_weights(model, tensors, path)
    return model

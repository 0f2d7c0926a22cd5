"""Training of the learned quantizers: epochs that can be killed, and the best models by collisions and by loss.

Everything random in an epoch comes from (seed, epoch), so a run that goes on from `last` ends with the same bytes as
one that was never stopped.

N items, D width of the input, d width of z, L levels, K codes a level
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from genrec.quantizers.residual import Quantized, encode
from genrec.quantizers.rqkmeans import kmeans
from genrec.quantizers.rqvae import Output, ResidualQuantizer, Shape
from genrec.runtime.tensor_file import load_moments, moments, part, prefixed, read_state, write_tensors
from genrec.sids import count_collisions

LAST = "last.safetensors"
HEADER = "json"  # the key of every file's header
SETTLED = 1e-3  # a loss better by less than this share is no better
BEST = {"collision": "best_collision.safetensors", "loss": "best_loss.safetensors"}


@dataclass(frozen=True)
class Training:
    """Fields are the knobs of the section `sids`; epochs is its num_epochs."""

    epochs: int
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


@dataclass
class State:
    """Where training is; with the weights and the optimizer, all that `last` holds."""

    epoch: int = 0
    best_loss: float = float("inf")
    best_collision: float = float("inf")
    loss_there: float = float("inf")  # of the model with that collision rate
    stale: int = 0  # evaluations since the loss was last better


def fit(
    x: np.ndarray, shape: Shape, training: Training, directory: Path, codebooks: tuple[np.ndarray, ...] | None = None
) -> tuple[Quantized, ResidualQuantizer]:
    """(N, D) float32 -> codes by the best model; `directory` holds its checkpoints and those of a killed run."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(training.device)
    model, optimizer, state = begin(rows, shape, training, codebooks)
    if (directory / LAST).exists():
        state = load_training(model, optimizer, directory / LAST)
    elif codebooks is not None:
        evaluate(model, optimizer, rows, training, state, float("inf"), directory)  # the given codebooks may stay best
    for epoch in epochs(state, training):
        loss = train_epoch(model, optimizer, rows, training, epoch)
        state.epoch = epoch + 1
        if state.epoch % training.eval_step == 0 or state.epoch == training.epochs:
            evaluate(model, optimizer, rows, training, state, loss, directory)
    best = load_model(directory / BEST[training.best_by]).to(training.device)
    return quantize(best, rows), best


def epochs(state: State, training: Training) -> Iterator[int]:
    """The epochs still to run, with a progress bar; ends early when the loss has settled."""
    from tqdm import tqdm

    bar = tqdm(range(state.epoch, training.epochs), initial=state.epoch, total=training.epochs, desc="quantizer")
    for epoch in bar:
        if training.early_stop and state.stale >= training.early_stop:
            bar.close()
            return
        bar.set_postfix(loss=f"{state.best_loss:.4f}", collisions=f"{state.best_collision:.2%}", refresh=False)
        yield epoch


def begin(
    rows: torch.Tensor, shape: Shape, training: Training, codebooks: tuple[np.ndarray, ...] | None
) -> tuple[ResidualQuantizer, torch.optim.Optimizer, State]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = ResidualQuantizer(shape)
    model.scale.copy_(input_scale(rows.cpu(), shape.widths))
    if codebooks is not None:
        scaled = torch.stack([torch.from_numpy(book) for book in codebooks]) / model.scale
        start_level(model, slice(None), scaled)
    model.to(training.device)
    return model, torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=0.0), State()


def input_scale(rows: torch.Tensor, widths: tuple[int, ...]) -> torch.Tensor:
    """(N, D) -> (D,) the deviation of each input as a whole: one number an input, so shapes are not bent."""
    deviations = [float((part - part.mean(dim=0)).pow(2).mean().sqrt()) for part in rows.split(list(widths), dim=1)]
    return torch.cat([torch.full((width,), d if d > 0 else 1.0) for width, d in zip(widths, deviations, strict=True)])


def train_epoch(
    model: ResidualQuantizer, optimizer: torch.optim.Optimizer, rows: torch.Tensor, training: Training, epoch: int
) -> float:
    """One pass over the items in an order drawn from (seed, epoch); the mean loss."""
    generator = torch.Generator().manual_seed(training.seed * 1_000_003 + epoch)
    levels = active_levels(model.shape.num_levels, training, epoch)
    start_levels(model, rows, levels, training.seed)
    used = torch.zeros(levels, model.shape.codebook_size, device=rows.device)
    total = 0.0
    for batch in torch.randperm(len(rows), generator=generator).split(training.batch_size):
        x = rows[batch.to(rows.device)] / model.scale
        output = model(x, levels, training.beta, training.ema, training.sinkhorn_eps)
        loss = reconstruction_loss(output.reconstruction, x, model.shape.widths)
        loss = loss + training.quantization_weight * output.commitment
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        count_use(model, output, used, training)
        total += float(loss.detach()) * len(batch)
    if training.restart_dead:
        restart_dead(model, rows, used, generator)
    return total / len(rows)


def active_levels(num_levels: int, training: Training, epoch: int) -> int:
    """All levels, or layer-wise one more in each equal share of the epochs."""
    if not training.layerwise:
        return num_levels
    return min(num_levels, 1 + epoch * num_levels // training.epochs)


def reconstruction_loss(reconstruction: torch.Tensor, x: torch.Tensor, widths: tuple[int, ...]) -> torch.Tensor:
    """Mean over inputs of each one's mean squared error: a wide input does not drown a narrow one."""
    pairs = zip(reconstruction.split(list(widths), dim=1), x.split(list(widths), dim=1), strict=True)
    return torch.stack([F.mse_loss(found, wanted) for found, wanted in pairs]).mean()


@torch.no_grad()
def start_levels(model: ResidualQuantizer, rows: torch.Tensor, levels: int, seed: int) -> None:
    """k-means codebooks for levels that have none yet, on the residuals of the levels before."""
    if bool(model.started[:levels].all()):
        return
    residual = model.latent(rows).cpu().numpy()
    for level in range(levels):
        if not model.started[level]:
            centroids, _ = kmeans(residual, model.shape.codebook_size, seed + level, iters=25)
            start_level(model, level, torch.from_numpy(centroids).to(rows.device))
        book = model.codebooks[level].detach().cpu().numpy()
        residual = residual - book[encode(residual, (book,))[:, 0]]


@torch.no_grad()
def start_level(model: ResidualQuantizer, level: int | slice, codebook: torch.Tensor) -> None:
    model.codebooks[level] = codebook
    model.ema_sum[level] = codebook
    model.ema_count[level] = 1.0
    model.started[level] = True


@torch.no_grad()
def count_use(model: ResidualQuantizer, output: Output, used: torch.Tensor, training: Training) -> None:
    """Which codes a batch used; with EMA also move the codebooks: C <- sum of their residuals / count, decayed."""
    for level, residual in enumerate(output.residuals):
        codes = output.codes[:, level]
        counts = torch.bincount(codes, minlength=used.shape[1]).to(residual.dtype)
        used[level] += counts
        if training.ema:
            sums = torch.zeros_like(model.ema_sum[level]).index_add_(0, codes, residual)
            model.ema_count[level].lerp_(counts, 1 - training.ema_decay)
            model.ema_sum[level].lerp_(sums, 1 - training.ema_decay)
            model.codebooks[level] = model.ema_sum[level] / model.ema_count[level].clamp(min=1e-5)[:, None]


@torch.no_grad()
def restart_dead(model: ResidualQuantizer, rows: torch.Tensor, used: torch.Tensor, generator: torch.Generator) -> None:
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
        nearest = encode(residual.cpu().numpy(), (book.detach().cpu().numpy(),))[:, 0]
        residual = residual - book[torch.from_numpy(nearest).long().to(rows.device)]


def evaluate(
    model: ResidualQuantizer,
    optimizer: torch.optim.Optimizer,
    rows: torch.Tensor,
    training: Training,
    state: State,
    loss: float,
    directory: Path,
) -> None:
    """Collisions over all items; keeps the best models, then `last`, from which a killed run goes on."""
    ready = bool(model.started.all())  # layer-wise training has no whole model before the last level
    if ready:
        found = quantize(model, rows)
        rate = count_collisions(found.codes) / len(rows)
        if (rate, loss) < (state.best_collision, state.loss_there):
            state.best_collision, state.loss_there = rate, loss
            save_model(model, directory / BEST["collision"])
        better = loss < state.best_loss * (1 - SETTLED)
        state.stale = 0 if better else state.stale + 1
        if better:
            state.best_loss = loss
            save_model(model, directory / BEST["loss"])
    save_training(model, optimizer, state, directory / LAST)


def quantize(model: ResidualQuantizer, rows: torch.Tensor) -> Quantized:
    """Codes of all rows (N, D) by the nearest codes, and how to come back from z to the input."""
    latent = model.latent(rows).cpu().numpy()
    books = tuple(book.detach().cpu().numpy().copy() for book in model.codebooks)

    def reconstruct(approximate: np.ndarray) -> np.ndarray:
        return model.reconstruct(torch.from_numpy(approximate).to(rows.device)).cpu().numpy()

    return Quantized(latent, encode(latent, books), books, rows.cpu().numpy(), reconstruct)


def save_model(model: ResidualQuantizer, path: Path) -> None:
    write_tensors(path, model.state_dict(), HEADER, {"shape": asdict(model.shape)})


def load_model(path: Path) -> ResidualQuantizer:
    tensors, header = read_state(path, HEADER)
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in header["shape"].items()}
    model = ResidualQuantizer(Shape(**fields))
    model.load_state_dict(tensors)
    return model


def save_training(model: ResidualQuantizer, optimizer: torch.optim.Optimizer, state: State, path: Path) -> None:
    tensors = prefixed("model.", model.state_dict()) | moments("optimizer.", optimizer)
    write_tensors(path, tensors, HEADER, {"state": asdict(state)})


def load_training(model: ResidualQuantizer, optimizer: torch.optim.Optimizer, path: Path) -> State:
    tensors, header = read_state(path, HEADER)
    model.load_state_dict(part("model.", tensors))
    load_moments("optimizer.", tensors, optimizer)
    return State(**header["state"])

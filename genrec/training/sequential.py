"""Training SASRec: every position of a sequence at once, early stop on valid, exact resume after a kill.

B windows, T positions, P real positions of a batch, N items, d width
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genrec.config import Sequential
from genrec.data.prepared import Prepared
from genrec.data.repeats import held_out
from genrec.data.sequences import Examples, Sequences
from genrec.data.weights import target_weights
from genrec.evaluation.metrics import item_scores
from genrec.models.sasrec import SasRec, SasRecRecommender, SasRecShape, save_sasrec
from genrec.runtime.device import pick_device
from genrec.runtime.epochs import CHECKPOINT, HEADER, LearnerState, fit, highest
from genrec.runtime.tensor_file import load_weights, pack_state, read_state, unpack_state
from genrec.runtime.training_record import TrainingRecord, warn_of_rise, write_record
from genrec.training.divergence import symmetric_divergence

TEXT = "sasrec_text"  # the model whose item vectors start as the run's embeddings
TEXT_START = 0.06  # their standard deviation then; thrice a random start, so that what texts say lasts
METRIC = "ndcg@10"  # on valid, over the whole catalogue
BEST = "best"


def train_sasrec(
    name: str,
    data: Prepared,
    settings: Sequential,
    seed: int,
    device: str,
    directory: Path,
    vectors: np.ndarray | None = None,
    filter_seen: bool = False,
) -> TrainingRecord:
    """Train one model into `directory`; the epoch best on valid is what is kept. `vectors` (N, D) begin sasrec_text.

    With `filter_seen` the lists of valid leave out what the user had before.
    """
    torch.manual_seed(seed)
    model = make_model(name, data, settings, vectors).to(pick_device(device))
    learner = SasRecLearner(model, make_windows(data, settings), choose_loss(name, data, settings), settings, seed)
    valid = held_out(data, "valid", filter_seen)
    progress = fit(
        learner,
        lambda: {METRIC: score_valid(model, valid)},
        settings.num_epochs,
        settings.early_stop,
        directory,
        name=f"sequential: {name}",
        bests={BEST: highest(METRIC)},
    )
    best = progress.best[BEST]
    load_weights(model, read_state(directory / f"{BEST}.safetensors", HEADER)[0], directory / f"{BEST}.safetensors")
    save_sasrec(model, directory)
    torch.manual_seed(seed)
    first = measure_first_loss(make_model(name, data, settings, vectors).to(pick_device(device)), learner)
    last, rate = progress.curve[-1]["loss"], settings.learning_rate
    warning = warn_of_rise(f"sequential: {name}", first, last, "--sequential.learning_rate", rate)
    record = TrainingRecord("epochs", progress.epoch, best["epoch"], METRIC, best[METRIC], progress.curve, warning)
    write_record(record, directory)
    forget_states(directory)
    return record


def measure_first_loss(untrained: SasRec, learner: SasRecLearner) -> float:
    """Mean loss of as many windows as a batch holds, before any step: an epoch at rate 0."""
    settings = learner.settings.model_copy(update={"learning_rate": 0.0})
    windows = Windows(*(rows[: settings.batch_size] for rows in learner.windows))
    first = SasRecLearner(untrained, windows, learner.loss_of, settings, learner.seed)
    return first.train_epoch(0, lambda: None)["loss"]


def forget_states(directory: Path) -> None:
    """Remove what only a training needs, once the model is written."""
    for name in (CHECKPOINT, f"{BEST}.safetensors"):
        (directory / name).unlink(missing_ok=True)


class SasRecLearner:
    """A SASRec, its optimizer and its rows, as the epoch loop takes them."""

    def __init__(self, model: SasRec, windows: Windows, loss_of: Loss, settings: Sequential, seed: int):
        self.model, self.windows, self.loss_of, self.settings, self.seed = model, windows, loss_of, settings, seed
        self.optimizer = torch.optim.AdamW(
            model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )

    def train_epoch(self, epoch: int, save: Callable[[], None]) -> dict[str, float]:
        args = (self.model, self.optimizer, self.windows, self.loss_of, self.settings, self.seed, epoch)
        return {"loss": train_epoch(*args)}

    def state(self) -> LearnerState:
        return LearnerState(pack_state({"model": self.model}, {"optimizer": self.optimizer}), {})

    def load_state(self, state: LearnerState) -> None:
        unpack_state(state.tensors, {"model": self.model}, {"optimizer": self.optimizer})


def rate_share(done: float) -> float:
    """Share of the peak rate after a share of the training: half a cosine, 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * done))


def make_model(name: str, data: Prepared, settings: Sequential, vectors: np.ndarray | None = None) -> SasRec:
    """The published model (sasrec_bce) scores by the dot product, whatever sequential.cosine says."""
    knobs = {
        key: getattr(settings, key) for key in ("hidden_size", "num_layers", "num_heads", "dropout", "temperature")
    }
    cosine = settings.cosine and name != "sasrec_bce"
    model = SasRec(SasRecShape(len(data.catalog), max_length=data.max_history, cosine=cosine, **knobs))
    if vectors is not None:
        with torch.no_grad():
            start = make_text_start(vectors, settings.hidden_size)
            model.item.weight[:, : start.shape[1]] = torch.from_numpy(start)
    return model


def make_text_start(vectors: np.ndarray, width: int) -> np.ndarray:
    """(N, D) text vectors -> (N, at most width): their principal components, scaled to TEXT_START."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    components = centred @ axes[:width].T
    return (components * (TEXT_START / components.std())).astype(np.float32)


class Windows(NamedTuple):
    """Stretches of users' training events, right-padded: what stands at t is to be followed by what stands at t + 1."""

    item: np.ndarray  # (B, T + 1), -1 = padding
    weight: np.ndarray  # (B, T + 1) float32, of the item as a target


def make_windows(data: Prepared, settings: Sequential) -> Windows:
    events = cut_windows(data.sequences, data.seen, data.max_history)
    weight = target_weights(data, settings.balance, settings.half_life).astype(np.float32)
    return Windows(np.where(events >= 0, data.sequences.item[events], -1).astype(np.int64), weight[events])


def cut_windows(sequences: Sequences, seen: np.ndarray, max_length: int) -> np.ndarray:
    """(B, max_length + 1) event numbers, right-padded with -1: each user's training events, long ones cut.

    A window ends where the next begins, with one event in common, so every event but a user's first is once a target.
    """
    trained = np.flatnonzero(seen)
    bounds = np.searchsorted(trained, sequences.offset)  # (U + 1,) in the training events
    rows = [
        trained[at : min(at + max_length + 1, end)]
        for begin, end in pairwise(bounds)
        for at in range(begin, end - 1, max_length)
    ]
    windows = np.full((len(rows), max_length + 1), -1, dtype=np.int64)
    for row, window in enumerate(rows):
        windows[row, : len(window)] = window
    return windows


def train_epoch(
    model: SasRec,
    optimizer: torch.optim.Optimizer,
    windows: Windows,
    loss_of: Loss,
    settings: Sequential,
    seed: int,
    epoch: int,
) -> float:
    """One pass in an order and with dropout that depend on seed and epoch alone; the mean loss of its batches."""
    torch.manual_seed((seed << 20) + epoch)
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * rate_share(epoch / settings.num_epochs)
    total = torch.zeros((), device=model.bias.device)
    count = 0
    for batch in draw_batches(windows, settings.batch_size, np.random.default_rng([seed, epoch])):
        items, weights = (torch.from_numpy(rows).to(model.bias.device) for rows in batch)
        targets = items[:, 1:]
        real = targets >= 0

        def read(inputs=items[:, :-1], real=real) -> Tensor:
            return model(inputs)[real]  # (P, d)

        losses = loss_of(model, read, targets[real], settings)  # (P,)
        loss = (losses * weights[:, 1:][real]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total, count = total + loss.detach(), count + 1
    return float(total) / max(count, 1)


def draw_batches(windows: Windows, size: int, random: np.random.Generator) -> Iterator[Windows]:
    """Windows in random order, each batch as wide as its longest window."""
    order = random.permutation(len(windows.item))
    for begin in range(0, len(order), size):
        item, weight = (rows[order[begin : begin + size]] for rows in windows)
        width = (item >= 0).sum(axis=1).max()
        yield Windows(item[:, :width], weight[:, :width])


Read = Callable[[], Tensor]  # the states of a batch's real positions (P, d), under new dropout at each call
Loss = Callable[[SasRec, Read, Tensor, Sequential], Tensor]  # (model, read, targets (P,), settings) -> (P,)


def softmax_loss(model: SasRec, read: Read, targets: Tensor, settings: Sequential) -> Tensor:
    """-log softmax over the whole catalogue, (P,) -> (P,); with `rdrop` the mean of two passes and their divergence."""
    scores = model.score(read())  # (P, N)
    losses = F.cross_entropy(scores, targets, reduction="none", label_smoothing=settings.label_smoothing)
    if not settings.rdrop:
        return losses
    again = model.score(read())
    both = losses + F.cross_entropy(again, targets, reduction="none", label_smoothing=settings.label_smoothing)
    return both / 2 + settings.rdrop * symmetric_divergence(scores, again)


def bce_loss(model: SasRec, read: Read, targets: Tensor, settings: Sequential) -> Tensor:
    """The published loss, one uniform negative n a position: -log sigmoid(s_target) - log sigmoid(-s_n), -> (P,)."""
    shift = torch.randint(1, model.shape.num_items, targets.shape, device=targets.device)
    negatives = (targets + shift) % model.shape.num_items  # any item but the target
    states = read()
    positive, negative = model.score_some(states, targets), model.score_some(states, negatives)
    return -(F.logsigmoid(positive) + F.logsigmoid(-negative))


LOSSES: dict[str, Loss] = {"sasrec": softmax_loss, "sasrec_text": softmax_loss, "sasrec_bce": bce_loss}


def choose_loss(name: str, data: Prepared, settings: Sequential) -> Loss:
    if not settings.negatives or name == "sasrec_bce":
        return LOSSES[name]
    return SampledSoftmax((data.train_count + 1) / (data.train_count + 1).sum())


class SampledSoftmax:
    """-log softmax whose sum over the other items is estimated from n of them, drawn once for all positions of a batch.

    exp(s_t) + 1/n sum_{drawn j != t} exp(s_j) / q_j has the whole sum as its mean, j being drawn by any q > 0, with
    replacement (Bengio and Senecal 2008; the correction called log q). The target t is always among the summands.
    """

    def __init__(self, share: np.ndarray):
        self.share = torch.from_numpy(share)  # (N,) q, sums to 1

    def __call__(self, model: SasRec, read: Read, targets: Tensor, settings: Sequential) -> Tensor:
        drawn = torch.multinomial(self.share, settings.negatives, replacement=True)  # (n,)
        offset = torch.log(settings.negatives * self.share[drawn]).float().to(targets.device)
        drawn, states = drawn.to(targets.device), read()
        others = model.score_each(states, drawn) - offset  # (P, n)
        others = others.masked_fill(drawn == targets[:, None], -torch.inf)
        wanted = model.score_some(states, targets)
        return torch.cat([wanted[:, None], others], dim=1).logsumexp(dim=1) - wanted


def score_valid(model: SasRec, valid: Examples) -> float:
    return float(item_scores(SasRecRecommender(model).recommend(valid, 10), valid.target)[METRIC].mean())

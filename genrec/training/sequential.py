"""Training SASRec: every position of a sequence at once, early stop on valid, exact resume after a kill.

B windows, T positions, P real positions of a batch, N items, d width
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from genrec.artifacts import write_json
from genrec.config import Config, Sequential
from genrec.data.prepared import Prepared
from genrec.data.sequences import Sequences
from genrec.data.weights import target_weights
from genrec.evaluation.metrics import item_scores
from genrec.models.sasrec import SasRec, SasRecRecommender, SasRecShape, save_sasrec
from genrec.runtime.device import pick_device
from genrec.runtime.tensor_file import load_moments, moments, part, prefixed, read_state, write_tensors
from genrec.store import RunStore
from genrec.training.answer_loss import divergence

CHECKPOINT, PROGRESS = "checkpoint.safetensors", "progress"  # a file, and the key of its header
TEXT = "sasrec_text"  # the model whose item vectors start as the run's embeddings
TEXT_START = 0.06  # their standard deviation then; thrice a random start, so that what texts say lasts
TRAINING = "training.json"  # written last: a directory that has it is finished


@dataclass
class Progress:
    """How far training is; saved with every checkpoint."""

    epoch: int = 0
    best_epoch: int = -1
    best_ndcg: float = -1.0
    curve: list[float] = field(default_factory=list)  # NDCG@10 on valid after each epoch


def train_sasrec(name: str, config: Config, data: Prepared, directory: Path) -> Progress:
    """Train one model into `directory`; the epoch best on valid is what is kept."""
    options, seed = config.sequential, config.run.seed
    torch.manual_seed(seed)
    model = new_model(name, config, data).to(pick_device(config.run.device))
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    best = {key: value.clone() for key, value in model.state_dict().items()}
    windows = training_windows(data, options)
    progress = load_checkpoint(directory / CHECKPOINT, model, optimizer, best)
    valid = data.examples("valid")
    with tqdm(total=options.num_epochs, initial=progress.epoch, desc=f"sequential: {name}", disable=None) as bar:
        while progress.epoch < options.num_epochs and not stopped(progress, options):
            train_epoch(model, optimizer, windows, LOSSES[name], options, seed, progress.epoch)
            ndcg = valid_ndcg(model, valid)
            progress.curve.append(round(ndcg, 6))
            if ndcg > progress.best_ndcg:
                progress.best_epoch, progress.best_ndcg = progress.epoch, ndcg
                best = {key: value.clone() for key, value in model.state_dict().items()}
            progress.epoch += 1
            save_checkpoint(directory / CHECKPOINT, model, optimizer, best, progress)
            bar.update()
            bar.set_postfix_str(f"valid NDCG@10 {ndcg:.4f}, best {progress.best_ndcg:.4f}")
    model.load_state_dict(best)
    save_sasrec(model, directory)
    write_json(directory / TRAINING, asdict(progress))
    (directory / CHECKPOINT).unlink()
    return progress


def read_training(directory: Path) -> Progress:
    return Progress(**json.loads((directory / TRAINING).read_text(encoding="utf-8")))


def decay(done: float) -> float:
    """Share of the peak rate after a share of the training: half a cosine, 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * done))


def new_model(name: str, config: Config, data: Prepared) -> SasRec:
    """The published model (sasrec_bce) scores by the dot product, whatever sequential.cosine says."""
    options = config.sequential
    knobs = {key: getattr(options, key) for key in ("hidden_size", "num_layers", "num_heads", "dropout", "temperature")}
    cosine = options.cosine and name != "sasrec_bce"
    model = SasRec(SasRecShape(len(data.catalog), max_length=data.max_history, cosine=cosine, **knobs))
    if name == TEXT:
        with torch.no_grad():
            start = text_start(RunStore.of(config).vectors(len(data.catalog)), options.hidden_size)
            model.item.weight[:, : start.shape[1]] = torch.from_numpy(start)
    return model


def text_start(vectors: np.ndarray, width: int) -> np.ndarray:
    """(N, D) text vectors -> (N, at most width): their principal components, scaled to TEXT_START."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    found = centred @ axes[:width].T
    return (found * (TEXT_START / found.std())).astype(np.float32)


def stopped(progress: Progress, options: Sequential) -> bool:
    return options.early_stop > 0 and progress.epoch - progress.best_epoch > options.early_stop


class Windows(NamedTuple):
    """Stretches of users' training events, right-padded: what stands at t is to be followed by what stands at t + 1."""

    item: np.ndarray  # (B, T + 1), -1 = padding
    weight: np.ndarray  # (B, T + 1) float32, of the item as a target


def training_windows(data: Prepared, options: Sequential) -> Windows:
    events = window_events(data.sequences, data.seen, data.max_history)
    weight = target_weights(data, options.balance, options.half_life).astype(np.float32)
    return Windows(np.where(events >= 0, data.sequences.item[events], -1).astype(np.int64), weight[events])


def window_events(sequences: Sequences, seen: np.ndarray, max_length: int) -> np.ndarray:
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


def train_epoch(model, optimizer, windows: Windows, loss_of, options: Sequential, seed: int, epoch: int) -> None:
    """One pass in an order and with dropout that depend on seed and epoch alone, so a resumed run repeats it."""
    torch.manual_seed((seed << 20) + epoch)
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = options.learning_rate * decay(epoch / options.num_epochs)
    for batch in batches(windows, options.batch_size, np.random.default_rng([seed, epoch])):
        items, weights = (torch.from_numpy(part).to(model.bias.device) for part in batch)
        targets = items[:, 1:]
        real = targets >= 0

        def read(inputs=items[:, :-1], real=real) -> Tensor:
            return model(inputs)[real]  # (P, d)

        losses = loss_of(model, read, targets[real], options)  # (P,)
        loss = (losses * weights[:, 1:][real]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def batches(windows: Windows, size: int, random: np.random.Generator) -> Iterator[Windows]:
    """Windows in random order, each batch as wide as its longest window."""
    order = random.permutation(len(windows.item))
    for begin in range(0, len(order), size):
        item, weight = (part[order[begin : begin + size]] for part in windows)
        width = (item >= 0).sum(axis=1).max()
        yield Windows(item[:, :width], weight[:, :width])


Read = Callable[[], Tensor]  # the states of a batch's real positions (P, d), under new dropout at each call


def full_softmax(model: SasRec, read: Read, targets: Tensor, options: Sequential) -> Tensor:
    """-log softmax over the whole catalogue, (P,) -> (P,); with `rdrop` the mean of two passes and their divergence."""
    scores = model.score(read())  # (P, N)
    losses = F.cross_entropy(scores, targets, reduction="none", label_smoothing=options.label_smoothing)
    if not options.rdrop:
        return losses
    again = model.score(read())
    both = losses + F.cross_entropy(again, targets, reduction="none", label_smoothing=options.label_smoothing)
    return both / 2 + options.rdrop * divergence(scores, again)


def bce(model: SasRec, read: Read, targets: Tensor, options: Sequential) -> Tensor:
    """The published loss, one uniform negative n a position: -log sigmoid(s_target) - log sigmoid(-s_n), -> (P,)."""
    shift = torch.randint(1, model.shape.num_items, targets.shape, device=targets.device)
    negatives = (targets + shift) % model.shape.num_items  # any item but the target
    states = read()
    positive, negative = model.score_some(states, targets), model.score_some(states, negatives)
    return -(F.logsigmoid(positive) + F.logsigmoid(-negative))


LOSSES = {"sasrec": full_softmax, "sasrec_text": full_softmax, "sasrec_bce": bce}


def valid_ndcg(model: SasRec, valid) -> float:
    return float(item_scores(SasRecRecommender(model).recommend(valid, 10), valid.target)["ndcg@10"].mean())


def save_checkpoint(path: Path, model: SasRec, optimizer, best: dict[str, Tensor], progress: Progress) -> None:
    tensors = prefixed("model.", model.state_dict()) | prefixed("best.", best) | moments("adam.", optimizer)
    write_tensors(path, tensors, PROGRESS, asdict(progress))


def load_checkpoint(path: Path, model: SasRec, optimizer, best: dict[str, Tensor]) -> Progress:
    """Fill model, optimizer and best weights from a checkpoint; a new Progress where there is none."""
    if not path.exists():
        return Progress()
    tensors, progress = read_state(path, PROGRESS)
    model.load_state_dict(part("model.", tensors))
    best.update(part("best.", tensors))
    load_moments("adam.", tensors, optimizer)
    return Progress(**progress)

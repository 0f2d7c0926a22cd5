"""Families as teachers: the probability that each gives every item of being a user's next.

    p(i) = sum of w_k p_k(i) / sum of w_k    over the teachers k

SASRec's is the softmax that it was trained by. Item-kNN's is a power of its score, scaled to sum to 1: the power under
which valid targets are likeliest (4 on MovieLens-100K, 1 on Beauty). A row of training is scored as if its own user had
bought nothing, else the target's co-purchases with the history, which the row itself brought, would tell the answer.

B examples, N items
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch

from genrec.data.prepared import Prepared
from genrec.data.sequences import Examples
from genrec.errors import ArtifactError
from genrec.models.knn import ItemKnn, count_purchases, fit_knn, weighted_history
from genrec.models.popular import leave_out
from genrec.models.sasrec import SasRecRecommender, load_sasrec
from genrec.pipeline import command_of
from genrec.store import RunStore

POWERS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # of item-kNN's scores
MOST_ROWS = 2000  # valid rows that choose among them
BLOCK = 256  # of them at once


class Teacher(Protocol):
    def __call__(self, examples: Examples) -> np.ndarray:
        """(B, N); rows sum to 1, or to 0 where it knows nothing."""
        ...

    def of_windows(self, item: np.ndarray, user: np.ndarray) -> np.ndarray:
        """Items (B, T), padded on the right with -1, of users (B,) -> the same after each of them, (B, T, N)."""
        ...


@dataclass(frozen=True)
class SasRecTeacher:
    model: SasRecRecommender

    def __call__(self, examples: Examples) -> np.ndarray:
        return torch.softmax(self.model.score_all(examples).float(), dim=-1).cpu().numpy()

    def of_windows(self, item: np.ndarray, user: np.ndarray) -> np.ndarray:
        return torch.softmax(self.model.score_windows(item).float(), dim=-1).cpu().numpy()


@dataclass(frozen=True)
class KnnTeacher:
    """Of train rows alone: what a user bought in training is taken out of the co-purchases."""

    knn: ItemKnn
    purchases: sp.csr_array  # (U, N) of training
    users: np.ndarray  # (N,) users of each item in training
    power: float
    forgets_history: bool  # whether it gives the items that it is asked with no probability

    def __call__(self, examples: Examples) -> np.ndarray:
        scores = self.knn.scores(examples.history)
        row, item, own = self.own_part(examples)
        scores[row, item] = np.maximum(scores[row, item] - own, 0)
        if self.forgets_history:
            row, place = np.nonzero(examples.history >= 0)
            scores[row, examples.history[row, place]] = 0
        return scale_scores(leave_out(scores, examples.excluded), self.power)

    def of_windows(self, item: np.ndarray, user: np.ndarray) -> np.ndarray:
        return self(list_prefixes(item, user)).reshape(*item.shape, -1)

    def own_part(self, examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, item and the part of the item's score that the row's user brought, of each item bought in training.

        In the score of j user u counts for each history item h by decay(h) / sqrt(users of h * users of j).
        """
        row, item = self.bought(examples.user)
        scale = 1 / np.sqrt(np.maximum(self.users, 1))  # (N,)
        weight = weighted_history(examples.history, len(self.users))  # (B, N)
        of_row = weight @ scale  # (B,)
        itself = np.asarray(weight[row, item]).ravel() * scale[item]  # an item is not its own neighbour
        return row, item, (of_row[row] - itself) * scale[item]

    def bought(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and item of what each row's user bought in training, each item once."""
        rows = self.purchases[users]
        return np.repeat(np.arange(len(users)), np.diff(rows.indptr)), rows.indices


def list_prefixes(item: np.ndarray, user: np.ndarray) -> Examples:
    """Windows (B, T), padded on the right, of users (B,) -> what stands before each next item, B T examples."""
    rows, length = item.shape
    back = np.arange(length)[:, None] - np.arange(length)[::-1]  # (T, T) place in the window
    history = np.where(back >= 0, item[:, np.maximum(back, 0)], -1).reshape(rows * length, length)
    return Examples(np.repeat(user, length), history, np.zeros(rows * length, np.int32))


def scale_scores(scores: np.ndarray, power: float) -> np.ndarray:
    """(B, N) -> their power as shares of each row's sum; a row without a positive score stays 0."""
    raised = np.maximum(scores, 0) ** power
    return raised / np.maximum(raised.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)


def choose_power(knn: ItemKnn, examples: Examples) -> float:
    """The one of POWERS under which the targets that item-kNN has a score for are likeliest, the first without any."""
    rows = np.unique(np.linspace(0, max(len(examples) - 1, 0), MOST_ROWS).astype(np.int64))[: len(examples)]
    likelihood = np.zeros(len(POWERS))
    for begin in range(0, len(rows), BLOCK):
        asked = examples.take(rows[begin : begin + BLOCK])
        scores = leave_out(knn.scores(asked.history), asked.excluded)
        scored = np.flatnonzero(scores[np.arange(len(asked)), asked.target] > 0)
        at = scored, asked.target[scored]
        likelihood += [np.log(scale_scores(scores, power)[at]).sum() for power in POWERS]
    return POWERS[int(likelihood.argmax())]


@dataclass(frozen=True)
class Mixture:
    teachers: tuple[Teacher, ...]
    weights: tuple[float, ...]

    def __call__(self, examples: Examples) -> np.ndarray:
        total = sum(weight * teacher(examples) for weight, teacher in zip(self.weights, self.teachers, strict=True))
        return np.asarray(total) / sum(self.weights)

    def of_windows(self, item: np.ndarray, user: np.ndarray) -> np.ndarray:
        told = zip(self.weights, self.teachers, strict=True)
        return np.asarray(sum(weight * teacher.of_windows(item, user) for weight, teacher in told)) / sum(self.weights)


def load_sequential(store: RunStore, data: Prepared, name: str, device: str, filter_seen: bool) -> Teacher:
    """One of the run's sequential models; ArtifactError where it was trained on other data than the run has."""
    trained, present = store.manifest("sequential").inputs.get("data"), store.manifest("data").fingerprint
    if trained != present:
        raise ArtifactError(
            f"sft.teacher {name} was trained on data {trained}, {store.path('data')} is {present}; "
            f"run: {command_of('sequential')} --clean"
        )
    model = load_sasrec(store.sequential_model(name), device)
    if model.model.shape.num_items != len(data.catalog):
        raise ArtifactError(
            f"sft.teacher {name} knows {model.model.shape.num_items} items, the catalogue has {len(data.catalog)}; "
            f"run: {command_of('sequential')} --clean"
        )
    return SasRecTeacher(model)


def load_knn(store: RunStore, data: Prepared, name: str, device: str, filter_seen: bool) -> Teacher:
    bought = count_purchases(data.sequences, data.seen, len(data.catalog))
    users = np.bincount(bought.indices, minlength=len(data.catalog))
    knn, valid = fit_knn(data.sequences, data.seen, data.train_count), data.examples("valid")
    power = choose_power(knn, valid.without_seen() if filter_seen else valid)
    return KnnTeacher(knn, bought, users, power, filter_seen)


TEACHERS: dict[str, Callable[[RunStore, Prepared, str, str, bool], Teacher]] = {
    "sasrec": load_sequential,
    "sasrec_text": load_sequential,
    "item_knn": load_knn,
}


def load_teacher(
    store: RunStore, data: Prepared, weights: Mapping[str, float], device: str, filter_seen: bool
) -> Teacher:
    """The mixture of the teachers with a positive weight; with `filter_seen` lists leave out what a user had before.

    A sequential model learned from the data how seldom people come back; item-kNN's nearest items are those of the
    history itself, so it is told.
    """
    named = {name: weight for name, weight in weights.items() if weight > 0}
    return Mixture(
        tuple(TEACHERS[name](store, data, name, device, filter_seen) for name in named), tuple(named.values())
    )

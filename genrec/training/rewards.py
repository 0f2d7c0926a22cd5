"""Rewards of recommendation: what an answer is worth, as plain functions of a batch of groups.

B groups (one a prompt), G answers a group, N items, L levels, H history, D embedding width

A reward takes the groups and what is known of the items and gives (B, G) numbers. Answers are item numbers; rank 0 is
the likeliest answer of its group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from genrec.config import SEQUENTIAL_REWARDS
from genrec.errors import ArtifactError
from genrec.plugins import REWARD, call_plugin, load_plugin, take_numbers


@dataclass(frozen=True)
class Groups:
    item: np.ndarray  # (B, G)
    rank: np.ndarray  # (B, G) 0..G-1 in each row
    target: np.ndarray  # (B,)
    history: np.ndarray  # (B, H) items the prompt told of, -1 = none

    @property
    def hit(self) -> np.ndarray:
        """(B, G) bool."""
        return self.item == self.target[:, None]


Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (B, H), (B, G) -> (B, G)


@dataclass(frozen=True)
class Knowledge:
    """Facts about items that some rewards need; none where no chosen reward does."""

    codes: np.ndarray  # (N, L) semantic IDs
    train_count: np.ndarray  # (N,) training events
    vectors: np.ndarray | None = None  # (N, D) text embeddings of length 1
    sequential: Mapping[str, Scores] = field(default_factory=dict)  # by the name of the model


Reward = Callable[[Groups, Knowledge], np.ndarray]

PREFIX_CREDIT = 0.5  # what a miss with all but its exact item right would get; below the 1 of the exact item
FLAT = 1e-6  # a group whose rewards spread less than this has no advantage


def rule(groups: Groups, knowledge: Knowledge) -> np.ndarray:
    """1 for the target, else 0."""
    return groups.hit.astype(np.float64)


def ranking_only(groups: Groups, knowledge: Knowledge) -> np.ndarray:
    """In a group with the target, a miss at rank r costs 1/log2(r + 2) as a share of the whole group's sum; else 0.

    So the misses the model believed in most are pushed down most.
    """
    discount = 1 / np.log2(groups.rank + 2)
    cost = discount / discount.sum(axis=1, keepdims=True)
    held = groups.hit.any(axis=1, keepdims=True)
    return np.where(held & ~groups.hit, -cost, 0.0)


def ranking(groups: Groups, knowledge: Knowledge) -> np.ndarray:
    """rule + ranking_only."""
    return rule(groups, knowledge) + ranking_only(groups, knowledge)


def prefix(groups: Groups, knowledge: Knowledge) -> np.ndarray:
    """1 for the target, PREFIX_CREDIT m / L for a miss that shares its first m of L codes: misses differ too."""
    same = knowledge.codes[groups.item] == knowledge.codes[groups.target][:, None]  # (B, G, L)
    shared = np.cumprod(same, axis=-1).sum(axis=-1)
    return np.where(groups.hit, 1.0, PREFIX_CREDIT * shared / knowledge.codes.shape[1])


def semantic(groups: Groups, knowledge: Knowledge) -> np.ndarray:
    """Cosine of the answer's text embedding with the target's."""
    return np.einsum("bgd,bd->bg", knowledge.vectors[groups.item], knowledge.vectors[groups.target]).astype(np.float64)


def sequential(groups: Groups, knowledge: Knowledge, name: str) -> np.ndarray:
    """Score of a sequential model of the run after the same history, standardised in the group; 0 without a history.

    Under a KL term of weight beta the best policy is the SFT model's times exp(reward / beta), so with beta near 1 the
    language model learns what both know; far below it, to repeat the sequential model's first choice.
    """
    score = knowledge.sequential[name](groups.history, groups.item).astype(np.float64)
    spread = score.std(axis=1, keepdims=True)
    standard = (score - score.mean(axis=1, keepdims=True)) / np.where(spread > FLAT, spread, 1.0)
    return np.where((groups.history >= 0).any(axis=1, keepdims=True), standard, 0.0)


def diversity(groups: Groups, knowledge: Knowledge) -> np.ndarray:
    """A popular miss costs log(1 + n) / log(1 + n_max), n its training events; the target costs nothing."""
    popular = np.log1p(knowledge.train_count) / max(np.log1p(knowledge.train_count.max()), FLAT)
    return np.where(groups.hit, 0.0, -popular[groups.item])


REWARDS: dict[str, Reward] = {
    "rule": rule,
    "ranking_only": ranking_only,
    "ranking": ranking,
    "prefix": prefix,
    "semantic": semantic,
    **{name: partial(sequential, name=name) for name in SEQUENTIAL_REWARDS},
    "diversity": diversity,
}


def score_groups(name: str, groups: Groups, knowledge: Knowledge) -> np.ndarray:
    """(B, G) of one reward, or an error that names it."""
    if name in REWARDS:
        given = REWARDS[name](groups, knowledge)
    else:
        given = call_plugin(name, load_plugin(name, REWARD), groups, knowledge)
    value = take_numbers(f"reward {name}", given)
    if value.shape != groups.item.shape:
        raise ArtifactError(f"reward '{name}' gave shape {value.shape} for groups of shape {groups.item.shape}")
    if not np.isfinite(value).all():
        raise ArtifactError(
            f"reward '{name}' is not a number for {(~np.isfinite(value)).sum()} of {value.size} answers"
        )
    return value


def is_flat(reward: np.ndarray) -> np.ndarray:
    """(B, G) -> (B,) bool: groups whose rewards are all equal, so that nothing can be learned from them."""
    return np.ptp(reward, axis=1) < FLAT

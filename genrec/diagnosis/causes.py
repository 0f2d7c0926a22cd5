"""The causes of a miss, each a function from all rows of an evaluation to the rows that have it.

A bad case is a row whose truth does not stand in the first k.

E examples, N items, H history, k cut-off, W list length, L levels
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from genrec.data.catalog import Catalog, pick_categories
from genrec.data.sequences import Examples
from genrec.evaluation.metrics import Recommendations, ranks, sid_groups

Known = TypeVar("Known")

POPULAR = 2  # a list leans to the popular when its median item sold this many times the user's usual one


@dataclass(frozen=True)
class CaseLimits:
    """Where the lines between cases are drawn; the knobs of the section `analysis`."""

    top_k: int
    near_miss: int
    short_history: int
    recent_items: int


@dataclass(frozen=True)
class Cases:
    """All rows of one evaluation with what is known of their items; None where the run does not know it."""

    limits: CaseLimits
    examples: Examples
    recommendations: Recommendations
    train_count: np.ndarray  # (N,) training events
    tail: np.ndarray  # (N,) bool, the rare items
    category: np.ndarray | None = None  # (N,) int, -1 = unknown
    codes: np.ndarray | None = None  # (N, L)
    exact: Recommendations | None = None  # the same rows ranked without a beam
    tied: np.ndarray | None = None  # (E,) bool: the target has the time of the event before it

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def target(self) -> np.ndarray:
        return self.examples.target

    @property
    def top(self) -> np.ndarray:
        """(E, k)"""
        return self.recommendations.item[:, : self.limits.top_k]

    @cached_property
    def rank(self) -> np.ndarray:
        """(E,) 1-based, 0 where the truth is not listed."""
        return ranks(self.recommendations.item, self.target) + 1

    @cached_property
    def miss(self) -> np.ndarray:
        """(E,) bool"""
        return (self.rank == 0) | (self.rank > self.limits.top_k)

    @cached_property
    def just_below(self) -> np.ndarray | None:
        """(E,) bool: the truth stands between the two limits; None where no rank lies there."""
        if self.limits.near_miss <= self.limits.top_k:
            return None
        return (self.rank > self.limits.top_k) & (self.rank <= self.limits.near_miss)

    @cached_property
    def shared_codes(self) -> np.ndarray:
        """(E, k) how many first codes each recommended item shares with the truth."""
        codes = require(self.codes)
        equal = codes[self.top] == codes[self.target][:, None]  # (E, k, L)
        return np.where(self.top >= 0, np.cumprod(equal, axis=2).sum(axis=2), 0)

    @cached_property
    def left_at(self) -> np.ndarray:
        """(E,) the first level, from 1, at which the whole list has left the truth's codes; L + 1 where one has all."""
        return self.shared_codes.max(axis=1) + 1

    @cached_property
    def preference(self) -> np.ndarray | None:
        """(N,) what a user may like an item for: its category, or its first code where the category is unknown."""
        if self.category is None:
            return None if self.codes is None else self.codes[:, 0].astype(np.int64)
        if self.codes is None:
            return self.category
        return np.where(self.category >= 0, self.category, self.category.max() + 1 + self.codes[:, 0])


@dataclass(frozen=True)
class Cause:
    """One way to miss. A condition can be seen on hits too; a description is a property of the miss itself."""

    mark: Callable[[Cases], np.ndarray]  # -> (E,) bool
    says: str
    condition: bool = False
    needs: str = ""  # what of Cases must be known


def cold_item(cases: Cases) -> np.ndarray:
    return cases.train_count[cases.target] == 0


def long_tail(cases: Cases) -> np.ndarray:
    return cases.tail[cases.target] & ~cold_item(cases)


def short_history(cases: Cases) -> np.ndarray:
    return (cases.examples.history >= 0).sum(axis=1) <= cases.limits.short_history


def repeat_purchase(cases: Cases) -> np.ndarray:
    return (cases.examples.history == cases.target[:, None]).any(axis=1)


def recent_preference_ignored(cases: Cases) -> np.ndarray:
    """The user has recent items of known preference, and nothing recommended is like any of them."""
    preference = require(cases.preference)
    recent = look_up(preference, cases.examples.history[:, -cases.limits.recent_items :])  # (E, n)
    recommended = look_up(preference, cases.top)  # (E, k)
    alike = (recent[:, :, None] == recommended[:, None]) & (recent >= 0)[:, :, None]  # (E, n, k)
    return (recent >= 0).any(axis=1) & ~alike.any(axis=(1, 2))


def popularity_bias(cases: Cases) -> np.ndarray:
    """The list's median item is POPULAR times as popular as the user's usual item, and more popular than the truth."""
    history, truth = cases.examples.history, cases.train_count[cases.target]
    usual = np.where((history >= 0).any(axis=1), median_count(cases, history), truth)
    recommended = median_count(cases, cases.top)
    return (recommended > POPULAR * usual) & (recommended > truth)


def sid_collision(cases: Cases) -> np.ndarray:
    group = sid_groups(require(cases.codes))
    return np.bincount(group)[group][cases.target] > 1


def tied_target(cases: Cases) -> np.ndarray:
    return require(cases.tied)


def category_mismatch(cases: Cases) -> np.ndarray:
    category = require(cases.category)
    wanted, recommended = category[cases.target], look_up(category, cases.top)
    return cases.miss & (wanted >= 0) & ~(recommended == wanted[:, None]).any(axis=1)


def wrong_deeper(cases: Cases) -> np.ndarray:
    return cases.miss & (cases.left_at > 3) & (cases.left_at <= require(cases.codes).shape[1])


def near_miss(cases: Cases) -> np.ndarray:
    return cases.miss & require(cases.just_below)


def beam_loss(cases: Cases) -> np.ndarray:
    rank = ranks(require(cases.exact).item, cases.target)
    return cases.miss & (rank >= 0) & (rank < cases.limits.top_k)


CAUSES: dict[str, Cause] = {
    "cold_item": Cause(cold_item, "the truth was never bought in training", condition=True),
    "long_tail": Cause(long_tail, "the truth is one of the rare items", condition=True),
    "short_history": Cause(short_history, "little is known of the user", condition=True),
    "recent_preference_ignored": Cause(
        recent_preference_ignored,
        "nothing in the list is like the user's last items",
        condition=True,
        needs="preference",
    ),
    "repeat_purchase_missed": Cause(repeat_purchase, "the user had bought the truth before", condition=True),
    "popularity_bias": Cause(popularity_bias, "the list is far more popular than what the user buys", condition=True),
    "sid_collision": Cause(
        sid_collision, "the truth shares its semantic ID with another item", condition=True, needs="codes"
    ),
    "tied_target": Cause(tied_target, "the truth has the time of the event before it", condition=True, needs="tied"),
    "category_mismatch": Cause(category_mismatch, "nothing in the list is of the truth's category", needs="category"),
    "wrong_at_level_1": Cause(
        lambda cases: cases.miss & (cases.left_at == 1), "no item shares the first code", needs="codes"
    ),
    "wrong_at_level_2": Cause(
        lambda cases: cases.miss & (cases.left_at == 2), "right first code, lost at the second", needs="codes"
    ),
    "wrong_at_level_3": Cause(
        lambda cases: cases.miss & (cases.left_at == 3), "right first two codes, lost at the third", needs="codes"
    ),
    "wrong_deeper": Cause(wrong_deeper, "right first three codes, lost after them", needs="codes"),
    "near_miss": Cause(near_miss, "the truth stands just below the cut-off", needs="just_below"),
    "beam_loss": Cause(beam_loss, "an exact ranking has the truth, the beam lost it", needs="exact"),
}

NOT_KNOWN = {
    "just_below": "the lists, or analysis.near_miss, end at the cut-off",
    "preference": "neither categories nor semantic IDs are known",
    "category": "no categories are known that tell items apart",
    "codes": "this run has no semantic IDs",
    "tied": "the rows are a sample of their split",
    "exact": "no exact ranking; evaluate with --ranking exact",
}


def is_measurable(cause: Cause, cases: Cases) -> bool:
    return not cause.needs or getattr(cases, cause.needs) is not None


def require(knowledge: Known | None) -> Known:
    """What a cause needs, and `is_measurable` has seen to be there."""
    assert knowledge is not None
    return knowledge


def look_up(values: np.ndarray, items: np.ndarray) -> np.ndarray:
    """values[items], -1 where there is no item."""
    return np.where(items >= 0, values[items], -1)


def median_count(cases: Cases, items: np.ndarray) -> np.ndarray:
    """(E, n) items -> (E,) median of their training events, 0 where there are none."""
    counts = np.where(items >= 0, cases.train_count[items], np.nan)
    counts[~(items >= 0).any(axis=1)] = 0
    return np.nanmedian(counts, axis=1)


def number_categories(catalog: Catalog) -> np.ndarray | None:
    """(N,) number of each item's category at the level that tells items apart, -1 unknown; None where there is none."""
    names = pick_categories(catalog.categories)
    if not (names != "").any():
        return None
    categories, number = np.unique(names, return_inverse=True)
    return number - 1 if categories[0] == "" else number

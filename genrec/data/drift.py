"""How far new events are from those a model learned: population stability of items, categories and history lengths.

    PSI = sum_b (q_b - p_b) ln(q_b / p_b)      p, q: shares of old and new events in bin b, half an event added to each

Below .1 little has changed, from .25 on much has: the rule of thumb of N. Siddiqi, Credit Risk Scorecards (2006). Two
samples of one population of n and m events have PSI / (1/n + 1/m) about chi squared with B - 1 degrees of freedom
(B. Yurdakul, Statistical Properties of Population Stability Index, 2018), so beside each value stands what chance alone
exceeds once in twenty times.

T events, N items, B bins
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from genrec.data.catalog import pick_categories
from genrec.data.joining import Joined, join_splits
from genrec.tables import render_table

SOME, MUCH = 0.1, 0.25
ITEM_GROUPS = 20  # of about as many old events each, from the most often taken items to the rarest
RARE = 0.01  # categories with a smaller share of the old events are one bin


@dataclass(frozen=True)
class Stability:
    psi: float
    by_chance: float  # what two samples of one population exceed once in twenty times
    bins: int

    @property
    def verdict(self) -> str:
        if self.psi <= self.by_chance or self.psi < SOME:
            return "stable"
        return "some drift" if self.psi < MUCH else "much drift"


@dataclass(frozen=True)
class Drift:
    of: dict[str, Stability]
    events: int  # new ones
    new_users: int
    new_items: int
    events_of_new_users: float  # shares of the new events
    events_of_new_items: float


def measure_stability(old: np.ndarray, new: np.ndarray) -> Stability:
    """Counts a bin, (B,) and (B,)."""
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (old, new))
    chance = chi2.ppf(0.95, len(old) - 1) * (1 / old.sum() + 1 / new.sum()) if len(old) > 1 else 0.0
    return Stability(float(((q - p) * np.log(q / p)).sum()), float(chance), len(old))


def measure_drift(joined: Joined) -> Drift:
    """The new events against all old ones; of items those known before, since new ones have a share of their own."""
    data, fresh = joined.data, joined.fresh
    sequences, known = data.sequences, joined.updated.num_learned_items
    owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offset))
    old_users = np.zeros(len(sequences), dtype=bool)
    old_users[owner[~fresh]] = True
    of_known = sequences.item < known
    groups = group_items(np.bincount(sequences.item[~fresh], minlength=known))
    stability = {"items": compare_bins(groups[sequences.item[of_known]], fresh[of_known])}
    categories = pick_categories(data.catalog.categories)[sequences.item]
    named = categories != ""  # an item without a category says nothing of what is liked
    if len(np.unique(categories[named])) > 1:
        stability["categories"] = compare_bins(fold_rare(categories[named], ~fresh[named]), fresh[named])
    stability["history lengths"] = compare_bins(*measure_histories(joined))
    return Drift(
        stability,
        events=int(fresh.sum()),
        new_users=int((~old_users).sum()),
        new_items=len(data.catalog) - known,
        events_of_new_users=float((~old_users)[owner[fresh]].mean()),
        events_of_new_items=float((~of_known)[fresh].mean()),
    )


def measure_histories(joined: Joined) -> tuple[np.ndarray, np.ndarray]:
    """(E,) items that a history keeps, of rows that were learned and of all new ones; (E,) bool: which are new."""
    data = joined.data
    train, learned = data.splits["train"], np.flatnonzero(joined.updated.learned)
    newest = (data.splits["valid"], data.splits["test"])
    rows = join_splits(train.take(learned), train.take(np.flatnonzero(joined.fresh[train.end])), *newest)
    length = np.minimum(rows.end - data.sequences.offset[rows.user], data.max_history)
    return length, np.arange(len(rows)) >= len(learned)


def compare_bins(value: np.ndarray, fresh: np.ndarray) -> Stability:
    """(T,) anything, a bin a distinct value."""
    names, bin_of = np.unique(value, return_inverse=True)
    old, new = (np.bincount(bin_of[which], minlength=len(names)) for which in (~fresh, fresh))
    return measure_stability(old, new)


def group_items(count: np.ndarray) -> np.ndarray:
    """(N,) events -> (N,) group: items by how often they were taken, in runs of about a twentieth of the events."""
    order = np.argsort(-count, kind="stable")
    middle = np.cumsum(count[order]) - count[order] / 2
    group = np.empty(len(count), dtype=np.int64)
    group[order] = np.minimum(ITEM_GROUPS * middle / max(count.sum(), 1), ITEM_GROUPS - 1).astype(np.int64)
    return group


def fold_rare(names: np.ndarray, old: np.ndarray) -> np.ndarray:
    """(T,) number of each event's category; all that are rare among the old ones are -1."""
    _, number = np.unique(names, return_inverse=True)
    share = np.bincount(number[old], minlength=number.max() + 1) / max(old.sum(), 1)
    return np.where(share[number] >= RARE, number, -1)


def describe_drift(drift: Drift) -> str:
    """A table and a line."""
    rows = [["drift of", "PSI", "by chance", "bins", "reading"]]
    rows += [[n, f"{s.psi:.4f}", f"{s.by_chance:.4f}", str(s.bins), s.verdict] for n, s in drift.of.items()]
    return (
        f"{render_table(rows, words=('reading',))}\n"
        f"{drift.events:,} new events: {drift.events_of_new_items:.1%} on {drift.new_items:,} new items, "
        f"{drift.events_of_new_users:.1%} by {drift.new_users:,} new users; below {SOME:g} little has changed, from "
        f"{MUCH:g} on much has"
    )


def drift_to_json(drift: Drift) -> dict[str, Any]:
    content = asdict(drift)
    content["of"] = {name: asdict(each) | {"reading": each.verdict} for name, each in drift.of.items()}
    return content

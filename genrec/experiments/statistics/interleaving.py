"""Two rankings in one list: each user compares them, so far fewer users tell which is better.

Team draft: Radlinski, Kurup, Joachims, "How does clickthrough data reflect retrieval quality?" (CIKM 2008). It says
which ranking users prefer and how surely, not by how much a metric would move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Draft:
    """A list, and which ranking (0 or 1) brought each of its items."""

    items: list
    teams: list[int]


def draft_teams(first: Sequence, second: Sequence, length: int, generator: np.random.Generator) -> Draft:
    """Two rankings of items -> one list of at most `length`.

    In every round a coin says which of the two brings its best item that is not listed yet; then the other does.
    """
    rankings, listed = (iter(first), iter(second)), set()
    items, teams = [], []
    for begins in generator.integers(2, size=length):
        before = len(items)
        for team in (begins, 1 - begins):
            item = next((item for item in rankings[team] if item not in listed), None)
            if item is not None and len(items) < length:
                listed.add(item)
                items.append(item)
                teams.append(int(team))
        if len(items) in (length, before):
            break
    return Draft(items, teams)


def credit_teams(draft: Draft, clicked: Sequence) -> tuple[int, int]:
    """Clicks on items that each ranking brought; an item counts once."""
    chosen = set(clicked)
    teams = [team for item, team in zip(draft.items, draft.teams, strict=True) if item in chosen]
    return teams.count(0), teams.count(1)


@dataclass(frozen=True)
class Preference:
    """Users who clicked more on what one ranking brought, and how surely the rankings differ."""

    first: int
    second: int
    ties: int  # with as many clicks on either, but some
    p_value: float
    low: float  # of the second's share among those who prefer one
    high: float

    @property
    def share(self) -> float:
        """Of the second ranking, among users who prefer one; nan where nobody does."""
        return self.second / (self.first + self.second) if self.first + self.second else math.nan


def measure_preference(first: np.ndarray, second: np.ndarray, alpha: float = 0.05) -> Preference:
    """(n,) clicks of users on each ranking's items -> the exact sign test over users, with Clopper-Pearson's interval.

    Users, not clicks: one who clicks much has one vote, and all votes are independent.
    """
    from scipy.stats import binomtest

    wins = int((second > first).sum()), int((first > second).sum())
    ties = int(((first == second) & (first > 0)).sum())
    if not sum(wins):
        return Preference(0, 0, ties, 1.0, 0.0, 1.0)
    test = binomtest(wins[0], sum(wins))
    low, high = test.proportion_ci(1 - alpha)
    return Preference(wins[1], wins[0], ties, float(test.pvalue), float(low), float(high))

"""Each cause held against the hits: its share among misses and among hits, lift and excess, with intervals over users.

A cause that is as frequent among hits explains nothing, however many bad cases it covers.

E examples, C causes, B resamples
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genrec.diagnosis.causes import CAUSES, Cases, is_measurable
from genrec.evaluation.report import LEVEL, Estimate, bound_unanimous, draw_ratios


@dataclass(frozen=True)
class Finding:
    """One cause over all rows. Estimates are NaN where they do not exist, infinite where no hit has the cause."""

    rows: np.ndarray  # (E,) bool, the bad cases that have it
    misses: Estimate  # share of bad cases
    hits: Estimate  # share of hits
    lift: Estimate  # misses / hits
    excess: Estimate  # misses - hits


def diagnose_cases(cases: Cases, seed: int) -> dict[str, Finding | None]:
    """Every cause by name; None where it cannot be measured."""
    causes = {name: cause for name, cause in CAUSES.items() if is_measurable(cause, cases)}
    marks = np.stack([cause.mark(cases) for cause in causes.values()], axis=1)  # (E, C)
    rates = compare_rates(cases.examples.user, marks, cases.miss, seed)
    findings = {
        name: Finding(rows & cases.miss, *rate) for name, rows, rate in zip(causes, marks.T, rates, strict=True)
    }
    return {name: findings.get(name) for name in CAUSES}


def compare_rates(user: np.ndarray, marks: np.ndarray, miss: np.ndarray, seed: int) -> list[tuple[Estimate, ...]]:
    """(misses, hits, lift, excess) of each column of found (E, C), under one bootstrap of users.

    misses = sum(found * miss) / sum(miss), hits the same over ~miss; lift = misses / hits, excess = misses - hits.
    A share that all rows have, or none, gets its exact interval; one user alone gets none.
    """
    users = [len(np.unique(user[rows])) for rows in (miss, ~miss)]
    num_causes = marks.shape[1]
    weights = np.repeat(np.stack([miss, ~miss], axis=1).astype(float), num_causes, axis=1)  # (E, 2C)
    values = np.concatenate([marks, marks], axis=1).astype(float)
    draws = draw_ratios(user, values, weights, seed)  # (B, 2C)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = (values * weights).sum(axis=0, keepdims=True) / weights.sum(axis=0)  # (1, 2C)
        samples = [derive_rates(ratios[:, :num_causes], ratios[:, num_causes:]) for ratios in (whole, draws)]
    rates = [
        [estimate_rate(mean[0, c], draws[:, c]) for mean, draws in zip(*samples, strict=True)]
        for c in range(num_causes)
    ]
    return [bound_rates(rate, marks[miss, c], marks[~miss, c], *users) for c, rate in enumerate(rates)]


def bound_rates(
    rates: list[Estimate], misses: np.ndarray, hits: np.ndarray, users_missed: int, users_hit: int
) -> tuple[Estimate, ...]:
    """The same four where the bootstrap has nothing to draw from: rows all alike, or of one user."""
    enough = (users_missed > 1, users_hit > 1, min(users_missed, users_hit) > 1, min(users_missed, users_hit) > 1)
    rates = [rate if many else Estimate(rate.mean, np.nan, np.nan) for rate, many in zip(rates, enough, strict=True)]
    shares = zip(rates[:2], (misses, hits), (users_missed, users_hit), strict=True)
    return (*(bound_unanimous(*share) for share in shares), *rates[2:])


def derive_rates(misses: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, ...]:
    return misses, hits, misses / hits, misses - hits


def estimate_rate(mean: float, draws: np.ndarray) -> Estimate:
    """Percentile interval over the draws that have a value; the nearest ones, since a lift may be infinite."""
    draws = draws[~np.isnan(draws)]
    if np.isnan(mean) or not len(draws):
        return Estimate(np.nan, np.nan, np.nan)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return Estimate(float(mean), float(low), float(high))
